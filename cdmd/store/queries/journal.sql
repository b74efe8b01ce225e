-- name: id
SELECT value FROM meta WHERE name = 'journal_id';

-- name: set_id
INSERT INTO meta (name, value) VALUES ('journal_id', ?);

-- name: rename
UPDATE meta SET value = ? WHERE name = 'journal_id';

-- name: forget_id
DELETE FROM meta WHERE name = 'journal_id';

-- name: empty_blocks
DELETE FROM blocks;

-- name: empty_counts
DELETE FROM counts;

-- name: head
SELECT seq FROM sqlite_sequence WHERE name = 'blocks';

-- name: forget_head
DELETE FROM sqlite_sequence WHERE name = 'blocks';

-- name: set_head
INSERT INTO sqlite_sequence (name, seq) VALUES ('blocks', ?);

-- name: append
INSERT INTO blocks (last, first, written, checksum, body) VALUES (?, ?, ?, ?, ?);

-- name: appended
-- A commit in one statement, a transaction of its own: between two the writer would wait for the interpreter, which the loop has.
CREATE TEMP VIEW appended AS SELECT last, first, written, checksum, body, '[]' AS counts FROM blocks;
CREATE TEMP TRIGGER append INSTEAD OF INSERT ON appended BEGIN
    INSERT INTO blocks (last, first, written, checksum, body)
    VALUES (new.last, new.first, new.written, new.checksum, new.body);
    INSERT INTO counts (connector, name, value)
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]')
    FROM json_each(new.counts) WHERE true
    ON CONFLICT (connector, name) DO UPDATE SET value = value + excluded.value;
END;

-- name: append_at_once
INSERT INTO appended (last, first, written, checksum, body, counts) VALUES (?, ?, ?, ?, ?, ?);

-- name: put_state
INSERT INTO state (connector, key, value) VALUES (?, ?, ?)
ON CONFLICT (connector, key) DO UPDATE SET value = excluded.value;

-- name: drop_state
DELETE FROM state WHERE connector = ? AND key = ?;

-- name: add_counts
-- All of a commit in one statement: [[connector, name, value], ...] as JSON.
INSERT INTO counts (connector, name, value)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]') FROM json_each(?) WHERE true
ON CONFLICT (connector, name) DO UPDATE SET value = value + excluded.value;

-- name: put_count
INSERT INTO counts (connector, name, value) VALUES (?, ?, ?);

-- name: counts
SELECT connector, name, value FROM counts;

-- name: tail
SELECT last, first, written, checksum, body FROM blocks ORDER BY last DESC LIMIT ?;

-- name: sizes
-- Not the bodies: a length is known without reading the pages behind it.
SELECT last, first, length(body) FROM blocks WHERE last > ? ORDER BY last LIMIT ?;

-- name: range
SELECT last, first, written, checksum, body FROM blocks WHERE last > ? AND last <= ? ORDER BY last;

-- name: since
SELECT last, first, written, checksum, body FROM blocks WHERE last > ? ORDER BY last;

-- name: get_state
SELECT key, value FROM state WHERE connector = ? AND key IN ({});

-- name: scan_state
SELECT key, value FROM state WHERE connector = ? AND key >= ? ORDER BY key LIMIT ?;

-- name: forget
DELETE FROM state WHERE connector = ?;

-- name: prunable
-- Only a prefix of the journal ever goes: it ends before the first block that must stay.
SELECT last, first FROM blocks
WHERE last < coalesce(
    (SELECT last FROM blocks WHERE written >= :before OR last > :upto ORDER BY last LIMIT 1), 9223372036854775807)
ORDER BY last LIMIT :limit;

-- name: prune
DELETE FROM blocks WHERE last <= ?;

-- name: first
SELECT first FROM blocks ORDER BY last LIMIT 1;

-- name: bytes
SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size();

-- name: revise
UPDATE blocks SET checksum = ?, body = ? WHERE last = ? AND checksum = ?;

-- name: owners
SELECT DISTINCT connector FROM state ORDER BY connector;
