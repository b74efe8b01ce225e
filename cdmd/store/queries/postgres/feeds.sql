-- name: hold
INSERT INTO feed_holders (connector, token) VALUES (%s, %s)
ON CONFLICT (connector) DO UPDATE SET token = excluded.token WHERE feed_holders.token <= excluded.token RETURNING token;

-- name: hold_duty
INSERT INTO feed_holders (connector, token, fence) VALUES (%s, 0, %s)
ON CONFLICT (connector) DO UPDATE SET fence = excluded.fence WHERE feed_holders.fence <= excluded.fence RETURNING fence;

-- name: begin
INSERT INTO generations (connector, name) VALUES (%s, %s) RETURNING id;

-- name: others
SELECT id FROM generations WHERE connector = %s AND name = %s AND id IS DISTINCT FROM %s;

-- name: of_connector
SELECT id FROM generations WHERE connector = %s;

-- name: owner
SELECT connector FROM generations WHERE id = %s;

-- name: put
INSERT INTO blocks (id, sum, body) SELECT * FROM unnest(%b::bigint[], %b::bytea[], %b::bytea[]);

-- name: finish
UPDATE generations SET blocks = (SELECT count(*) FROM blocks WHERE id >= %(first)s AND id < %(end)s) WHERE id = %(generation)s
RETURNING blocks;

-- name: size
SELECT blocks FROM generations WHERE id = %s AND blocks IS NOT NULL;

-- name: get
SELECT id, sum, body FROM blocks WHERE id = ANY(%b::bigint[]);

-- name: some
SELECT id, sum, body FROM blocks WHERE id >= %s AND id < %s ORDER BY id LIMIT 64;

-- name: drop_blocks
DELETE FROM blocks WHERE id >= %s AND id < %s;

-- name: drop
DELETE FROM generations WHERE id = %s;

-- name: rename
UPDATE generations SET connector = %s WHERE connector = %s;

-- name: all
SELECT id, connector, name, blocks FROM generations ORDER BY id;

-- name: bring
INSERT INTO generations (id, connector, name, blocks) VALUES (%s, %s, %s, %s) ON CONFLICT (id) DO NOTHING;

-- name: give_on
SELECT setval(pg_get_serial_sequence('generations', 'id'), greatest(%s, (SELECT coalesce(max(id), 1) FROM generations),
    nextval(pg_get_serial_sequence('generations', 'id'))));
