-- name: add
INSERT INTO duties (kind, name) SELECT %s, unnest(%s::text[]) ON CONFLICT DO NOTHING;

-- name: orphan
UPDATE duties SET node = NULL WHERE node NOT IN (SELECT id FROM nodes);

-- name: there
SELECT d.name, d.node, d.token, n.name, d.said FROM duties AS d LEFT JOIN nodes AS n ON n.id = d.node
WHERE d.kind = %s AND d.name = ANY(%s::text[]) ORDER BY d.name;

-- name: take
-- A token is greater than all before it, also where the database was put back to an earlier moment.
UPDATE duties SET node = %s, said = '',
    token = greatest((SELECT max(token) + 1 FROM duties), (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
WHERE kind = %s AND name = %s AND node IS NULL RETURNING token;

-- name: let_go
UPDATE duties SET node = NULL WHERE node = %s AND kind = %s AND name = ANY(%s::text[]);

-- name: held
SELECT name FROM duties WHERE node = %s AND kind = %s AND name = ANY(%s::text[]);

-- name: say
UPDATE duties SET said = %s WHERE node = %s AND kind = %s AND name = %s;
