-- When the clock alone may move a profile into or out of an audience next; only profiles that have such a moment are here.
CREATE TABLE due (at INTEGER NOT NULL, profile INTEGER NOT NULL, PRIMARY KEY (at, profile)) WITHOUT ROWID;

CREATE TABLE audiences (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    members INTEGER NOT NULL DEFAULT 0,
    missing INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    fault TEXT
);

-- Who is in: a profile's own row says it too, this is for asking the other way round.
CREATE TABLE members (
    audience INTEGER NOT NULL,
    profile INTEGER NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (audience, profile)
) WITHOUT ROWID;

-- The last times that somebody entered or left.
CREATE TABLE notices (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    audience TEXT NOT NULL,
    profile INTEGER NOT NULL,
    public TEXT NOT NULL,
    entered INTEGER NOT NULL,
    at INTEGER NOT NULL,
    reason TEXT NOT NULL
);
