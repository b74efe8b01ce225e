CREATE TABLE meta (name text COLLATE "C" PRIMARY KEY, value text NOT NULL);

-- Up to where a lane is applied. ``token`` is the one who may write it, ``version`` grows with every transaction: whoever comes
-- late, or does not know what became of its last commit, notices it before it changes anything.
CREATE TABLE positions (
    lane integer PRIMARY KEY,
    seq bigint NOT NULL,
    token bigint NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO positions (lane, seq) VALUES (0, 0);

CREATE TABLE kinds (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE "C" NOT NULL UNIQUE);
CREATE TABLE sources (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text COLLATE "C" NOT NULL UNIQUE);

-- Room on each page for the next version of a row: no index has to be touched then.
CREATE TABLE profiles (
    id bigint PRIMARY KEY,
    public text COLLATE "C" NOT NULL UNIQUE,
    sum bytea NOT NULL,
    body bytea NOT NULL,
    newest bigint
) WITH (fillfactor = 70);

CREATE TABLE identifiers (
    kind bigint NOT NULL,
    value text COLLATE "C" NOT NULL,
    profile bigint NOT NULL,
    sum bytea NOT NULL,
    PRIMARY KEY (kind, value)
);

-- A profile's activities are a chain: the profile names the newest, each names the one before it.
CREATE TABLE activities (
    seq bigint PRIMARY KEY,
    profile bigint,
    time bigint NOT NULL,
    sum bytea NOT NULL,
    body bytea NOT NULL,
    before bigint
);

CREATE TABLE merges (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    seq bigint NOT NULL,
    winner bigint NOT NULL,
    loser bigint NOT NULL,
    sum bytea NOT NULL,
    body bytea NOT NULL
);
CREATE INDEX merges_of ON merges (winner);

CREATE TABLE dead_letters (
    seq bigint PRIMARY KEY,
    connector text COLLATE "C" NOT NULL,
    type text COLLATE "C" NOT NULL,
    code text COLLATE "C" NOT NULL,
    since bigint NOT NULL,
    sum bytea NOT NULL,
    body bytea NOT NULL
);

CREATE TABLE parked (
    seq bigint PRIMARY KEY,
    connector text COLLATE "C" NOT NULL,
    due bigint NOT NULL,
    bytes bigint NOT NULL,
    sum bytea NOT NULL,
    body bytea NOT NULL,
    extension text COLLATE "C" NOT NULL
);
CREATE INDEX parked_due ON parked (due);
CREATE INDEX parked_turns ON parked (extension, due, seq);

CREATE TABLE counts (
    connector text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    value bigint NOT NULL,
    PRIMARY KEY (connector, name)
) WITH (fillfactor = 50);

-- Running totals, moved in the transaction of what they count, so that nobody has to scan.
CREATE TABLE totals (name text COLLATE "C" PRIMARY KEY, value bigint NOT NULL) WITH (fillfactor = 10);
INSERT INTO totals (name, value)
VALUES ('events', 0), ('profiles', 0), ('activities', 0), ('dead_letters', 0), ('parked', 0), ('parked_bytes', 0);

CREATE TABLE audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    time bigint NOT NULL,
    uid bigint NOT NULL,
    "user" text NOT NULL,
    role text NOT NULL,
    command text NOT NULL,
    arguments text NOT NULL,
    outcome text NOT NULL
);

-- Remembered occurrences lie in a table per quarter, seen_YYYYMM, each of which inherits from this one: it holds none itself.
CREATE TABLE seen (digest bytea NOT NULL, seq bigint NOT NULL, verdict bigint NOT NULL, content bigint NOT NULL);

-- When the clock alone may move a profile into or out of an audience next; only profiles that have such a moment are here.
CREATE TABLE due (at bigint NOT NULL, profile bigint NOT NULL, PRIMARY KEY (at, profile));

CREATE TABLE audiences (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    members bigint NOT NULL DEFAULT 0,
    missing bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    fault text
);

-- Who is in: a profile's own row says it too, this is for asking the other way round.
CREATE TABLE members (
    audience bigint NOT NULL,
    profile bigint NOT NULL,
    since bigint NOT NULL,
    PRIMARY KEY (audience, profile)
);

-- The last times that somebody entered or left.
CREATE TABLE notices (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL,
    audience text COLLATE "C" NOT NULL,
    profile bigint NOT NULL,
    public text NOT NULL,
    entered bigint NOT NULL,
    at bigint NOT NULL,
    reason text NOT NULL
);

-- What waits for targets. ``due`` is NULL where a delivery stands behind another of its lane, or was set aside (``failed``).
CREATE TABLE targets (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    waiting bigint NOT NULL DEFAULT 0,
    bytes bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    delivered bigint NOT NULL DEFAULT 0,
    never bigint NOT NULL DEFAULT 0,
    attempts bigint NOT NULL DEFAULT 0,
    dropped bigint NOT NULL DEFAULT 0,
    full_since bigint,
    untold bigint NOT NULL DEFAULT 0,
    fault text,
    note text
) WITH (fillfactor = 20);

CREATE TABLE outbox (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text COLLATE "C" NOT NULL,
    target bigint NOT NULL,
    due bigint,
    lane bigint,
    failed bigint,
    attempts bigint NOT NULL DEFAULT 0,
    reason text NOT NULL DEFAULT '',
    profile bigint,
    sum bytea NOT NULL,
    body bytea NOT NULL
);
CREATE INDEX outbox_due ON outbox (target, due, n) WHERE due IS NOT NULL;
CREATE INDEX outbox_lanes ON outbox (target, lane, n) WHERE lane IS NOT NULL;
CREATE INDEX outbox_failed ON outbox (target, n) WHERE failed IS NOT NULL;
CREATE INDEX outbox_ids ON outbox (id);

CREATE TABLE attempts (
    n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at bigint NOT NULL,
    target bigint NOT NULL,
    id text COLLATE "C" NOT NULL,
    type text NOT NULL,
    attempt bigint NOT NULL,
    outcome text NOT NULL,
    profile bigint,
    seq bigint,
    seconds double precision NOT NULL,
    status bigint,
    reason text NOT NULL,
    body bytea,
    answer bytea
);
CREATE INDEX attempts_of ON attempts (id);
