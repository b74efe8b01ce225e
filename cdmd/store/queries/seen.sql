-- name: tables
SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'seen_[0-9]*' ORDER BY name DESC;

-- name: find
SELECT json_group_array(json_array(hex(digest), seq, verdict, content)) FROM {table} WHERE digest IN ({});

-- name: insert
INSERT INTO {table} (digest, seq, verdict, content) {rows};

-- name: update
UPDATE {table} SET seq = ?, verdict = ?, content = ? WHERE digest = ?;

-- name: first
SELECT digest, seq FROM {table} ORDER BY digest LIMIT ?;

-- name: forget
DELETE FROM {table} WHERE digest <= ?;

-- name: holds_kept
SELECT EXISTS (SELECT 1 FROM activities WHERE seq IN (SELECT value FROM json_each(:seqs)))
    OR EXISTS (SELECT 1 FROM parked WHERE seq IN (SELECT value FROM json_each(:seqs)))
    OR EXISTS (SELECT 1 FROM dead_letters WHERE seq IN (SELECT value FROM json_each(:seqs)));

-- name: drop
DROP TABLE {table};

-- name: create
CREATE TABLE {table} (
    digest BLOB PRIMARY KEY,
    seq INTEGER NOT NULL,
    verdict INTEGER NOT NULL,
    content INTEGER NOT NULL
) WITHOUT ROWID;

-- name: part
SELECT digest, seq, verdict, content FROM {table};

-- name: empty
SELECT NULL AS digest, NULL AS seq, NULL AS verdict, NULL AS content WHERE 0;

-- name: drop_view
DROP VIEW IF EXISTS seen;

-- name: create_view
CREATE VIEW seen AS {parts};
