-- name: begin
INSERT INTO generations (connector, name) VALUES (?, ?);

-- name: bring
INSERT INTO generations (id, connector, name, blocks) VALUES (?, ?, ?, ?);

-- name: others
SELECT id FROM generations WHERE connector = ? AND name = ? AND id IS NOT ?;

-- name: of_connector
SELECT id FROM generations WHERE connector = ?;

-- name: put
INSERT INTO blocks (id, sum, body) VALUES (?, ?, ?);

-- name: finish
UPDATE generations SET blocks = (SELECT count(*) FROM blocks WHERE id >= :first AND id < :end) WHERE id = :generation;

-- name: size
SELECT blocks FROM generations WHERE id = ? AND blocks IS NOT NULL;

-- name: get
SELECT id, sum, body FROM blocks WHERE id IN ({});

-- name: range
SELECT id, sum, body FROM blocks WHERE id >= ? AND id < ? ORDER BY id;

-- name: unfinish
UPDATE generations SET blocks = NULL WHERE id = ? AND blocks IS NOT NULL;

-- name: drop_blocks
DELETE FROM blocks WHERE id IN (SELECT id FROM blocks WHERE id >= ? AND id < ? LIMIT ?);

-- name: drop
DELETE FROM generations WHERE id = ?;

-- name: rename
UPDATE generations SET connector = ? WHERE connector = ?;

-- name: all
SELECT id, connector, name, blocks FROM generations ORDER BY id;

-- name: lost
SELECT count(*) FROM blocks WHERE id / 16777216 NOT IN (SELECT id FROM generations);
