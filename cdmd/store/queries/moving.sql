-- name: tables
SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\' ORDER BY name;

-- name: columns
SELECT name, pk FROM pragma_table_info(?) ORDER BY cid;

-- name: count
SELECT count(*) FROM {table};

-- name: size
SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size();

-- name: each
SELECT {columns} FROM {table} WHERE {behind} ORDER BY {key};

-- name: meta
SELECT name, value FROM meta;

-- name: numbers
SELECT name, seq FROM sqlite_sequence;

-- name: numbered
SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%AUTOINCREMENT%' ORDER BY name;

-- name: forget_number
DELETE FROM sqlite_sequence WHERE name = ?;

-- name: set_number
INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?);

-- name: progress_table
CREATE TABLE IF NOT EXISTS moving_progress (name TEXT PRIMARY KEY, last BLOB NOT NULL) WITHOUT ROWID;

-- name: no_progress_table
DROP TABLE IF EXISTS moving_progress;

-- name: progress
SELECT name, last FROM moving_progress;

-- name: reached
INSERT INTO moving_progress (name, last) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET last = excluded.last;

-- name: restart
DELETE FROM moving_progress WHERE name = ?;

-- name: put
INSERT INTO {table} ({columns}) VALUES ({marks});

-- name: empty
DELETE FROM {table};

-- name: empty_meta
-- What a store says of its own move stays.
DELETE FROM meta WHERE name <> ?;

-- name: say
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: unsay
DELETE FROM meta WHERE name = ?;
