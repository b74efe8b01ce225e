CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE positions (lane INTEGER PRIMARY KEY, seq INTEGER NOT NULL);
INSERT INTO positions (lane, seq) VALUES (0, 0);

CREATE TABLE kinds (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE sources (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);

-- Everything about a profile is one packed row: random pages written are the limit, not look-ups.
CREATE TABLE profiles (id INTEGER PRIMARY KEY, public TEXT NOT NULL UNIQUE, sum BLOB NOT NULL, body BLOB NOT NULL);

CREATE TABLE identifiers (
    kind INTEGER NOT NULL,
    value TEXT NOT NULL,
    profile INTEGER NOT NULL,
    sum BLOB NOT NULL,
    PRIMARY KEY (kind, value)
) WITHOUT ROWID;

CREATE TABLE activities (
    seq INTEGER PRIMARY KEY,
    profile INTEGER,
    time INTEGER NOT NULL,
    sum BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX activities_of ON activities (profile);

CREATE TABLE merges (
    id INTEGER PRIMARY KEY,
    seq INTEGER NOT NULL,
    winner INTEGER NOT NULL,
    loser INTEGER NOT NULL,
    sum BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX merges_of ON merges (winner);

CREATE TABLE dead_letters (
    seq INTEGER PRIMARY KEY,
    connector TEXT NOT NULL,
    type TEXT NOT NULL,
    code TEXT NOT NULL,
    since INTEGER NOT NULL,
    sum BLOB NOT NULL,
    body BLOB NOT NULL
);

CREATE TABLE parked (
    seq INTEGER PRIMARY KEY,
    connector TEXT NOT NULL,
    due INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    sum BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX parked_due ON parked (due);

CREATE TABLE counts (
    connector TEXT NOT NULL,
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (connector, name)
) WITHOUT ROWID;

-- Running totals, moved in the transaction of what they count, so that nobody has to scan.
CREATE TABLE totals (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO totals (name, value)
VALUES ('events', 0), ('profiles', 0), ('activities', 0), ('dead_letters', 0), ('parked', 0), ('parked_bytes', 0);

CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    time INTEGER NOT NULL,
    uid INTEGER NOT NULL,
    user TEXT NOT NULL,
    role TEXT NOT NULL,
    command TEXT NOT NULL,
    arguments TEXT NOT NULL,
    outcome TEXT NOT NULL
);

-- Remembered occurrences lie in a table per quarter, seen_YYYYMM; this view over all of them is made anew with each.
CREATE VIEW seen AS SELECT NULL AS digest, NULL AS seq, NULL AS verdict, NULL AS content WHERE 0;
