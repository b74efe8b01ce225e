-- name: among_others
SELECT pg_advisory_xact_lock_shared(%s);

-- name: alone
SELECT pg_advisory_xact_lock(%s);

-- name: pass
-- ``desk``: only who has it may. Returned is which list of who is suppressed is in force, whether the settings are, and whether
-- this node leads.
UPDATE nodes SET version = version + 1, until = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE id = %(node)s AND version = %(version)s
    AND (NOT %(desk)s OR EXISTS (SELECT 1 FROM positions WHERE lane = -1 AND node = nodes.id))
RETURNING coalesce((SELECT value FROM meta WHERE name = 'note: suppressions'), ''),
    coalesce((SELECT value FROM meta WHERE name = 'note: settings'), '') = %(settings)s,
    EXISTS (SELECT 1 FROM positions WHERE lane = -1 AND node = nodes.id);

-- name: version
SELECT version FROM nodes WHERE id = %s;

-- name: join
INSERT INTO nodes (name, roles, settings, until) VALUES (%s, %s, %s, clock_timestamp() + make_interval(secs => %s))
RETURNING id;

-- name: back
DELETE FROM lost_nodes WHERE name = %s;

-- name: stay
UPDATE nodes SET until = clock_timestamp() + make_interval(secs => %s), settings = %s, roles = %s WHERE id = %s;

-- name: leave
WITH gone AS (DELETE FROM nodes WHERE id = %s RETURNING id) DELETE FROM reports WHERE node IN (SELECT id FROM gone);

-- name: bury
-- One that is in the middle of a transaction is not gone.
WITH gone AS (
    DELETE FROM nodes WHERE id IN (SELECT id FROM nodes WHERE until < clock_timestamp() FOR UPDATE SKIP LOCKED)
    RETURNING id, name, roles, until
), silent AS (
    DELETE FROM reports WHERE node IN (SELECT id FROM gone)
)
INSERT INTO lost_nodes (name, roles, seen)
SELECT DISTINCT ON (name) name, roles, until - make_interval(secs => %s) FROM gone
WHERE name NOT IN (SELECT name FROM nodes WHERE until >= clock_timestamp()) ORDER BY name, until DESC
ON CONFLICT (name) DO UPDATE SET roles = excluded.roles, seen = excluded.seen;

-- name: end_still
-- Who is idle in a transaction is ended by the server, but for one that only announced what was to come (a flush of the protocol).
-- Who stands still in the midst of a statement is not, before PostgreSQL 17: one that has written, or has an advisory lock, or is
-- waited for. Only a daemon: what else its user runs may wait for who reads it.
SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity AS a
WHERE a.datname = current_database() AND a.usename = current_user
    AND a.application_name = current_setting('application_name') AND a.state <> 'idle' AND a.wait_event_type = 'Client'
    AND a.state_change < clock_timestamp() - make_interval(secs => %s)
    AND (
        a.backend_xid IS NOT NULL
        OR EXISTS (SELECT FROM pg_locks AS l WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.granted)
        OR EXISTS (
            SELECT FROM pg_stat_activity AS w
            WHERE w.datname = a.datname AND w.wait_event_type = 'Lock' AND a.pid = ANY(pg_blocking_pids(w.pid))
        )
    );

-- name: forget_lost
DELETE FROM lost_nodes WHERE seen < clock_timestamp() - interval '7 days'
    OR name IN (SELECT name FROM nodes WHERE until >= clock_timestamp());

-- name: report
INSERT INTO reports (node, report) SELECT id, %s FROM nodes WHERE id = %s
ON CONFLICT (node) DO UPDATE SET report = excluded.report;

-- name: in_force
SELECT value FROM meta WHERE name = 'note: settings';

-- name: orphan
UPDATE positions SET node = NULL WHERE node NOT IN (SELECT id FROM nodes);

-- name: nodes
SELECT id, roles, settings FROM nodes ORDER BY id;

-- name: known
-- Who was buried while it joined is there all the same.
SELECT n.name, n.roles, array_remove(array_agg(p.lane ORDER BY p.lane), NULL),
    greatest(0, extract(epoch FROM clock_timestamp() - n.until) + %(seconds)s)::float8,
    coalesce((SELECT report FROM reports AS r WHERE r.node = n.id), ''),
    coalesce((SELECT value FROM meta WHERE name = 'note: settings'), '') = n.settings, false
FROM nodes AS n LEFT JOIN positions AS p ON p.node = n.id GROUP BY n.id
UNION ALL
SELECT name, roles, '{}', extract(epoch FROM clock_timestamp() - seen)::float8, '', true, true FROM lost_nodes
WHERE name NOT IN (SELECT name FROM nodes) ORDER BY 1;

-- name: lanes
SELECT lane, seq, node FROM positions WHERE lane >= 0 ORDER BY lane;

-- name: take_lane
UPDATE positions SET node = %s WHERE lane = %s AND node IS NULL;

-- name: let_go
UPDATE positions SET node = NULL WHERE lane = %s AND node = %s;

-- name: take_desk
INSERT INTO positions (lane, seq, node, token) VALUES (-1, 0, %s, %s)
ON CONFLICT (lane) DO UPDATE SET node = excluded.node, token = excluded.token WHERE positions.token <= excluded.token;

-- name: undivided
SELECT value::bigint FROM meta WHERE name = 'lanes: undivided';

-- name: divided
INSERT INTO meta (name, value) VALUES ('lanes: undivided', %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: make_lane
INSERT INTO positions (lane, seq) VALUES (%s, %s);

-- name: drop_lanes
DELETE FROM positions WHERE lane >= %s;

-- name: position
SELECT min(seq) FROM positions WHERE lane >= 0;

-- name: set_position
UPDATE positions SET seq = greatest(seq, %s) WHERE lane >= 0 AND node = %s;

-- name: begin_numbers
SELECT setval('profile_numbers', greatest(nextval('profile_numbers'), (SELECT max(id) FROM profiles),
    (SELECT value::bigint FROM meta WHERE name = 'last_profile')));

-- name: more_numbers
SELECT nextval('profile_numbers');

-- name: still_parked
-- Of two that bring one back the second finds it gone.
SELECT seq FROM parked WHERE seq = ANY(%b::bigint[]) ORDER BY seq FOR UPDATE;

-- name: people
-- Whoever changes one of them is waited for: in the order of their numbers, so that two do not wait for each other.
SELECT id, public, sum, body, newest FROM profiles WHERE id = ANY(%b::bigint[]) ORDER BY id FOR UPDATE;

-- name: more_people
-- Out of that order nobody is waited for.
SELECT id, public, sum, body, newest FROM profiles WHERE id = ANY(%b::bigint[]) ORDER BY id FOR UPDATE NOWAIT;

-- name: put_new_identifiers
INSERT INTO identifiers (kind, value, profile, sum)
SELECT * FROM unnest(%b::bigint[], %b::text[], %b::bigint[], %b::bytea[]) ON CONFLICT DO NOTHING;

-- name: put_seen
INSERT INTO {table} (digest, seq, verdict, content)
SELECT * FROM unnest(%b::bytea[], %b::bigint[], %b::bigint[], %b::bigint[]) ON CONFLICT DO NOTHING;
