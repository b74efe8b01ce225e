-- name: tables
SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'seen_[0-9]*' ORDER BY name DESC;

-- name: find
SELECT json_group_array(json_array(hex(digest), seq, verdict, content)) FROM {table} WHERE digest IN ({{}});

-- name: insert
INSERT INTO {table} (digest, seq, verdict, content);

-- name: update
UPDATE {table} SET seq = ?, verdict = ?, content = ? WHERE digest = ?;

-- name: count
SELECT count(*) FROM {table};

-- name: holds_kept
-- CROSS JOIN holds the order: the remembered rows one by one, each looked up by its number, until the first hit.
SELECT EXISTS (SELECT 1 FROM {table} AS s CROSS JOIN activities AS a ON a.seq = s.seq)
    OR EXISTS (SELECT 1 FROM {table} AS s CROSS JOIN parked AS p ON p.seq = s.seq)
    OR EXISTS (SELECT 1 FROM {table} AS s CROSS JOIN dead_letters AS d ON d.seq = s.seq);

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
