-- name: there
SELECT to_regclass(quote_ident(current_schema()) || '.meta') IS NOT NULL;

-- name: schema
SELECT coalesce(max(number), 0) FROM migrations;

-- name: tables
SELECT relname::text FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') ORDER BY relname;

-- name: columns
SELECT a.attname::text, coalesce(array_position(i.indkey::smallint[], a.attnum) + 1, 0)
FROM pg_attribute AS a LEFT JOIN pg_index AS i ON i.indrelid = a.attrelid AND i.indisprimary
WHERE a.attrelid = %s::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum;

-- name: count
SELECT count(*) FROM {table};

-- name: size
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r';

-- name: each
SELECT {columns} FROM {table} WHERE {behind} ORDER BY {key};

-- name: meta
SELECT name, value FROM meta;

-- name: users
SELECT name FROM nodes WHERE until >= clock_timestamp() ORDER BY id;

-- name: sequences
-- Of which table each is, if of one.
SELECT s.relname::text, t.relname::text, a.attname::text
FROM pg_class AS s
LEFT JOIN pg_depend AS d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
LEFT JOIN pg_class AS t ON t.oid = d.refobjid
LEFT JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE s.relkind = 'S' AND s.relnamespace = current_schema()::regnamespace ORDER BY s.relname;

-- name: number
SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM {table};

-- name: greatest
SELECT coalesce(max({columns}), 0) FROM {table};

-- name: set_number
SELECT setval(%s::regclass, greatest(%s::bigint, 0) + 1, false);

-- name: progress_table
CREATE TABLE IF NOT EXISTS moving_progress (name text COLLATE "C" PRIMARY KEY, last bytea NOT NULL);

-- name: no_progress_table
DROP TABLE IF EXISTS moving_progress;

-- name: progress
SELECT name, last FROM moving_progress;

-- name: reached
INSERT INTO moving_progress (name, last) VALUES (%s, %b) ON CONFLICT (name) DO UPDATE SET last = excluded.last;

-- name: restart
DELETE FROM moving_progress WHERE name = %s;

-- name: put
COPY {table} ({columns}) FROM STDIN;

-- name: empty
TRUNCATE {table};

-- name: empty_meta
-- What a store says of its own move stays.
DELETE FROM meta WHERE name <> %s;

-- name: say
INSERT INTO meta (name, value) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: unsay
DELETE FROM meta WHERE name = %s;

-- name: analyze
ANALYZE;
