-- name: tables
SELECT c.relname::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'seen'::regclass ORDER BY c.relname DESC;

-- name: find
SELECT digest, seq, verdict, content, tableoid::regclass::text FROM seen WHERE digest = ANY(%b::bytea[]);

-- name: insert
INSERT INTO {table} (digest, seq, verdict, content)
SELECT * FROM unnest(%b::bytea[], %b::bigint[], %b::bigint[], %b::bigint[]);

-- name: update
UPDATE {table} SET seq = %s, verdict = %s, content = %s WHERE digest = %b;

-- name: first
SELECT digest, seq FROM {table} ORDER BY digest LIMIT %s;

-- name: forget
DELETE FROM {table} WHERE digest <= %b;

-- name: holds_kept
SELECT EXISTS (SELECT 1 FROM activities WHERE seq IN (SELECT value::bigint FROM jsonb_array_elements_text(%(seqs)s::jsonb)))
    OR EXISTS (SELECT 1 FROM parked WHERE seq IN (SELECT value::bigint FROM jsonb_array_elements_text(%(seqs)s::jsonb)))
    OR EXISTS (SELECT 1 FROM dead_letters WHERE seq IN (SELECT value::bigint FROM jsonb_array_elements_text(%(seqs)s::jsonb)));

-- name: drop
DROP TABLE {table};

-- name: create
CREATE TABLE {table} (PRIMARY KEY (digest)) INHERITS (seen);
