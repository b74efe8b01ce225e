-- What waits for targets. ``due`` is NULL where a delivery stands behind another of its lane, or was set aside (``failed``).
-- Its id begins with its time, so that the index over ids grows at its end.
CREATE TABLE targets (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    waiting INTEGER NOT NULL DEFAULT 0,
    bytes INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    never INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0,
    full_since INTEGER,
    untold INTEGER NOT NULL DEFAULT 0,
    fault TEXT,
    note TEXT
);

CREATE TABLE outbox (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    target INTEGER NOT NULL,
    due INTEGER,
    lane INTEGER,
    failed INTEGER,
    attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    profile INTEGER,
    sum BLOB NOT NULL,
    body BLOB NOT NULL
);
CREATE INDEX outbox_due ON outbox (target, due, n) WHERE due IS NOT NULL;
CREATE INDEX outbox_lanes ON outbox (target, lane, n) WHERE lane IS NOT NULL;
CREATE INDEX outbox_failed ON outbox (target, n) WHERE failed IS NOT NULL;
CREATE INDEX outbox_ids ON outbox (id);

CREATE TABLE attempts (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    target INTEGER NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    profile INTEGER,
    seq INTEGER,
    seconds REAL NOT NULL,
    status INTEGER,
    reason TEXT NOT NULL,
    body BLOB,
    answer BLOB
);
CREATE INDEX attempts_of ON attempts (id);
