CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- One row for each commit. AUTOINCREMENT keeps the greatest number ever given, so that numbers never restart.
CREATE TABLE blocks (
    last INTEGER PRIMARY KEY AUTOINCREMENT,
    first INTEGER NOT NULL,
    written INTEGER NOT NULL,
    checksum BLOB NOT NULL,
    body BLOB NOT NULL
);

CREATE TABLE state (
    connector TEXT NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (connector, key)
) WITHOUT ROWID;

CREATE TABLE counts (
    connector TEXT NOT NULL,
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    PRIMARY KEY (connector, name)
) WITHOUT ROWID;
