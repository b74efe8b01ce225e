-- name: meta
SELECT value FROM meta WHERE name = %s;

-- name: set_meta
INSERT INTO meta (name, value) VALUES (%s, %s);

-- name: note
INSERT INTO meta (name, value) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: position
SELECT seq FROM positions WHERE lane = %s;

-- name: take
-- Whoever held it is waited for.
UPDATE positions SET token = token + 1, version = version + 1 WHERE lane = %s RETURNING seq, token, version;

-- name: pass
UPDATE positions SET version = version + 1 WHERE lane = %s AND token = %s AND version = %s;

-- name: standing
SELECT seq, token, version FROM positions WHERE lane = %s;

-- name: set_position
UPDATE positions SET seq = greatest(seq, %s) WHERE lane = %s;

-- name: kinds
SELECT name, id FROM kinds;

-- name: add_kind
INSERT INTO kinds (name) VALUES (%s) ON CONFLICT DO NOTHING;

-- name: sources
SELECT name FROM sources;

-- name: add_source
INSERT INTO sources (name) VALUES (%s) ON CONFLICT DO NOTHING;

-- name: owners
SELECT value, profile FROM identifiers WHERE kind = %s AND value = ANY(%b::text[]);

-- name: known
SELECT value FROM identifiers WHERE kind = (SELECT id FROM kinds WHERE name = %s) AND value = ANY(%b::text[]);

-- name: owner
SELECT profile FROM identifiers WHERE kind = (SELECT id FROM kinds WHERE name = %s) AND value = %s;

-- name: public
SELECT id FROM profiles WHERE public = %s;

-- name: starting
SELECT value, profile FROM identifiers
WHERE kind = (SELECT id FROM kinds WHERE name = %(kind)s) AND value >= %(prefix)s AND value < %(beyond)s AND value > %(after)s
ORDER BY value LIMIT %(limit)s;

-- name: profiles
SELECT id, public, sum, body FROM profiles WHERE id = ANY(%b::bigint[]);

-- name: profiles_after
SELECT id, public, sum, body FROM profiles WHERE id > %s ORDER BY id LIMIT %s;

-- name: people
SELECT id, public, sum, body, newest FROM profiles WHERE id = ANY(%b::bigint[]);

-- name: next_profile
SELECT greatest(coalesce((SELECT max(id) FROM profiles), 0),
    coalesce((SELECT value::bigint FROM meta WHERE name = 'last_profile'), 0)) + 1;

-- name: put_profiles
-- The public id never changes: naming it here would rewrite its index, half of the pages of a batch.
INSERT INTO profiles (id, public, sum, body, newest)
SELECT * FROM unnest(%b::bigint[], %b::text[], %b::bytea[], %b::bytea[], %b::bigint[])
ON CONFLICT (id) DO UPDATE SET sum = excluded.sum, body = excluded.body, newest = coalesce(excluded.newest, profiles.newest);

-- name: add_profiles
INSERT INTO profiles (id, public, sum, body, newest)
SELECT * FROM unnest(%b::bigint[], %b::text[], %b::bytea[], %b::bytea[], %b::bigint[]);

-- name: put_identifiers
INSERT INTO identifiers (kind, value, profile, sum)
SELECT * FROM unnest(%b::bigint[], %b::text[], %b::bigint[], %b::bytea[])
ON CONFLICT (kind, value) DO UPDATE SET profile = excluded.profile, sum = excluded.sum;

-- name: put_activities
INSERT INTO activities (seq, profile, time, sum, body, before)
SELECT * FROM unnest(%b::bigint[], %b::bigint[], %b::bigint[], %b::bytea[], %b::bytea[], %b::bigint[]);

-- name: put_merges
INSERT INTO merges (seq, winner, loser, sum, body)
SELECT seq, winner, loser, sum, body
FROM unnest(%b::bigint[], %b::bigint[], %b::bigint[], %b::bytea[], %b::bytea[])
    WITH ORDINALITY AS r (seq, winner, loser, sum, body, place)
ORDER BY place;

-- name: put_dead
INSERT INTO dead_letters (seq, connector, type, code, since, sum, body)
SELECT * FROM unnest(%b::bigint[], %b::text[], %b::text[], %b::text[], %b::bigint[], %b::bytea[], %b::bytea[]);

-- name: put_parked
INSERT INTO parked (seq, connector, due, bytes, sum, body, extension)
SELECT * FROM unnest(%b::bigint[], %b::text[], %b::bigint[], %b::bigint[], %b::bytea[], %b::bytea[], %b::text[]);

-- name: put_due
INSERT INTO due (at, profile)
SELECT * FROM unnest(%b::bigint[], %b::bigint[]) ON CONFLICT DO NOTHING;

-- name: put_members
INSERT INTO members (audience, profile, since)
SELECT * FROM unnest(%b::bigint[], %b::bigint[], %b::bigint[]) ON CONFLICT DO NOTHING;

-- name: put_notices
INSERT INTO notices (id, audience, profile, public, entered, at, reason)
SELECT id, audience, profile, public, entered, at, reason
FROM unnest(%b::text[], %b::text[], %b::bigint[], %b::text[], %b::bigint[], %b::bigint[], %b::text[])
    WITH ORDINALITY AS r (id, audience, profile, public, entered, at, reason, place)
ORDER BY place;

-- name: seen
SELECT digest, seq, verdict, content FROM seen WHERE digest = ANY(%b::bytea[]);

-- name: activities
SELECT seq, profile, time, sum, body FROM activities WHERE seq = ANY(%b::bigint[]);

-- name: activities_upto
SELECT seq, profile, time, sum, body FROM activities WHERE seq > %s AND seq <= %s ORDER BY seq LIMIT %s;

-- name: newest_activities
-- Along the chain of each profile. UNION, not UNION ALL: a chain that damage closed to a circle ends all the same.
WITH RECURSIVE chain (seq) AS (
    SELECT newest FROM profiles
    WHERE id IN (SELECT value::bigint FROM jsonb_array_elements_text(%s::jsonb)) AND newest IS NOT NULL
    UNION
    SELECT a.before FROM chain JOIN activities AS a ON a.seq = chain.seq WHERE a.before IS NOT NULL
)
SELECT seq, profile, time, sum, body FROM chain JOIN activities USING (seq) ORDER BY time DESC, seq DESC LIMIT %s;

-- name: chain_ahead
UPDATE profiles SET newest = %s WHERE id = %s;

-- name: chained
SELECT seq, profile, time, sum, body, before FROM activities WHERE seq = ANY(%b::bigint[]);

-- name: place
UPDATE activities SET profile = %s, before = %s, sum = %s, body = %s WHERE seq = %s;

-- name: link
UPDATE activities SET before = %s WHERE seq = %s;

-- name: drop_merge
DELETE FROM merges WHERE winner = %s AND loser = %s;

-- name: disown
-- Another profile may own it by now: that one keeps it.
DELETE FROM identifiers WHERE kind = (SELECT id FROM kinds WHERE name = %s) AND value = %s
    AND profile IN (SELECT value::bigint FROM jsonb_array_elements_text(%s::jsonb));

-- name: loose_activities
-- Each is the newest of its profile or stands before one other of the same profile.
WITH ahead (seq, profile) AS (
    SELECT newest, id FROM profiles WHERE newest IS NOT NULL
    UNION ALL
    SELECT before, profile FROM activities WHERE before IS NOT NULL
)
SELECT (SELECT count(*) FROM activities WHERE profile IN (SELECT id FROM profiles))
    - (SELECT count(DISTINCT a.seq) FROM ahead JOIN activities AS a ON a.seq = ahead.seq AND a.profile = ahead.profile
        WHERE a.profile IN (SELECT id FROM profiles));

-- name: merges
SELECT seq, winner, loser, sum, body FROM merges WHERE winner = ANY(%b::bigint[]) ORDER BY id;

-- name: merges_after
SELECT id, seq, winner, loser, sum, body FROM merges WHERE id > %s ORDER BY id LIMIT %s;

-- name: merges_at
SELECT id, seq, winner, loser, sum, body FROM merges WHERE id = ANY(%b::bigint[]);

-- name: revise_merge
UPDATE merges SET sum = %s, body = %s WHERE id = %s;

-- name: dead_letters
SELECT seq, connector, type, code, since, sum, body FROM dead_letters
WHERE (%(connector)s::text IS NULL OR connector = %(connector)s)
    AND (%(type)s::text IS NULL
        OR type LIKE replace(replace(replace(replace(%(type)s, '\', '\\'), '%%', '\%%'), '_', '\_'), '*', '%%'))
    AND (%(code)s::text IS NULL OR code = %(code)s)
    AND (%(seqs)s::text IS NULL OR seq IN (SELECT value::bigint FROM jsonb_array_elements_text(%(seqs)s::jsonb)))
ORDER BY seq LIMIT %(limit)s;

-- name: dead_letter_causes
SELECT connector, type, code, count(*), min(since), max(since), max(seq) FROM dead_letters
GROUP BY connector, type, code ORDER BY count(*) DESC, connector, type, code LIMIT %s;

-- name: old_dead_letters
SELECT seq, connector, type, code, since, sum, body FROM dead_letters WHERE since < %s ORDER BY seq LIMIT %s;

-- name: dead_letters_at
SELECT seq, connector, type, code, since, sum, body FROM dead_letters WHERE seq = ANY(%b::bigint[]);

-- name: dead_letters_after
SELECT seq, connector, type, code, since, sum, body FROM dead_letters WHERE seq > %s ORDER BY seq LIMIT %s;

-- name: drop_dead
DELETE FROM dead_letters WHERE seq = ANY(%b::bigint[]);

-- name: waited_for
-- Each extension once, by steps through the index: there may be a hundred thousand rows of one of them.
WITH RECURSIVE step (extension) AS (
    SELECT min(extension) FROM parked
    UNION ALL
    SELECT (SELECT min(extension) FROM parked WHERE extension > step.extension) FROM step WHERE step.extension IS NOT NULL
)
SELECT extension FROM step WHERE extension IS NOT NULL;

-- name: waiting_for
SELECT extension, count(*) FROM parked GROUP BY extension;

-- name: due
SELECT seq, bytes FROM parked
WHERE extension = %(extension)s AND due <= %(now)s
    AND seq NOT IN (SELECT value::bigint FROM jsonb_array_elements_text(%(without)s::jsonb))
ORDER BY due, seq LIMIT %(limit)s;

-- name: next_due
SELECT min(due) FROM parked;

-- name: parked
SELECT seq, connector, due, bytes, sum, body FROM parked ORDER BY seq LIMIT %s;

-- name: parked_seqs
SELECT seq FROM parked;

-- name: parked_after
SELECT seq, connector, due, bytes, sum, body FROM parked WHERE seq > %s ORDER BY seq LIMIT %s;

-- name: parked_at
SELECT seq, connector, due, bytes, sum, body FROM parked WHERE seq = ANY(%b::bigint[]);

-- name: still_parked
SELECT seq FROM parked WHERE seq = ANY(%b::bigint[]);

-- name: count_parked
SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM parked WHERE seq = ANY(%b::bigint[]);

-- name: drop_parked
DELETE FROM parked WHERE seq = ANY(%b::bigint[]);

-- name: counts
SELECT connector, name, value FROM counts;

-- name: add_count
INSERT INTO counts (connector, name, value) VALUES (%s, %s, %s)
ON CONFLICT (connector, name) DO UPDATE SET value = counts.value + excluded.value;

-- name: totals
SELECT name, value FROM totals;

-- name: add_total
UPDATE totals SET value = value + %s WHERE name = %s;

-- name: bytes
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace;

-- name: audit
INSERT INTO audit (time, uid, "user", role, command, arguments, outcome) VALUES (%s, %s, %s, %s, %s, %s, %s);

-- name: audits
SELECT time, uid, "user", role, command, arguments, outcome FROM audit ORDER BY id DESC LIMIT %s;

-- name: audits_about
SELECT time, uid, "user", role, command, arguments, outcome FROM audit WHERE strpos(arguments, %s) > 0 ORDER BY id;

-- name: all_identifiers
SELECT kind, value, profile, sum FROM identifiers;

-- name: all_activities
SELECT seq, profile, time, sum, body FROM activities;

-- name: all_merges
SELECT seq, winner, loser, sum, body FROM merges;

-- name: all_dead_letters
SELECT seq, connector, type, code, since, sum, body FROM dead_letters;

-- name: all_parked
SELECT seq, connector, due, bytes, sum, body FROM parked;

-- name: count_identifiers
SELECT count(*) FROM identifiers;

-- name: lost_owners
-- Not with NOT IN, as ``outbox.of_the_hidden``.
SELECT count(*) FROM identifiers AS i WHERE NOT EXISTS (SELECT FROM profiles AS p WHERE p.id = i.profile);

-- name: real_totals
SELECT (SELECT count(*) FROM activities), (SELECT count(*) FROM dead_letters), (SELECT count(*) FROM parked),
    (SELECT coalesce(sum(bytes), 0)::bigint FROM parked);

-- name: overdue
SELECT profile FROM due WHERE at <= %s ORDER BY at, profile LIMIT %s;

-- name: first_due
SELECT min(at) FROM due;

-- name: not_due
DELETE FROM due WHERE at = %s AND profile = %s;

-- name: newest_in
SELECT id, newest FROM profiles WHERE newest IS NOT NULL AND id = ANY(%b::bigint[]);

-- name: history
-- Down the chains from some activities; UNION, so that a chain that damage closed to a circle ends within one look.
WITH RECURSIVE chain (seq, depth) AS (
    SELECT value::bigint, 1 FROM jsonb_array_elements_text(%(heads)s::jsonb)
    UNION
    SELECT a.before, chain.depth + 1 FROM chain JOIN activities AS a ON a.seq = chain.seq
    WHERE a.before IS NOT NULL AND chain.depth < %(each)s
        AND a.before NOT IN (SELECT value::bigint FROM jsonb_array_elements_text(%(until)s::jsonb))
)
SELECT seq, profile, time, sum, body, CASE WHEN depth = %(each)s THEN before END FROM chain JOIN activities USING (seq);

-- name: audience_ids
SELECT name, id FROM audiences;

-- name: add_audience
INSERT INTO audiences (name) VALUES (%s) ON CONFLICT DO NOTHING;

-- name: audiences
SELECT name, members, missing, failed, fault FROM audiences ORDER BY name;

-- name: audience_moved
UPDATE audiences SET members = members + %s WHERE id = %s;

-- name: audience_failed
UPDATE audiences SET missing = missing + %s, failed = failed + %s, fault = coalesce(%s::text, fault) WHERE id = %s;

-- name: drop_audience
DELETE FROM audiences WHERE name = %s AND id NOT IN (SELECT audience FROM members);

-- name: leave
DELETE FROM members WHERE audience = %s AND profile = %s;

-- name: members
SELECT m.profile, m.since, p.public, p.sum, p.body FROM members AS m JOIN profiles AS p ON p.id = m.profile
WHERE m.audience = (SELECT id FROM audiences WHERE name = %s) AND m.profile > %s ORDER BY m.profile LIMIT %s;

-- name: notices
SELECT id, audience, profile, public, entered, at, reason FROM notices
WHERE %(audience)s::text IS NULL OR audience = %(audience)s ORDER BY n DESC LIMIT %(limit)s;

-- name: notices_of
SELECT n, id, audience, profile, public, entered, at, reason FROM notices WHERE profile = ANY(%b::bigint[]);

-- name: forget_notices
DELETE FROM notices WHERE n <= (SELECT max(n) FROM notices) - %s;

-- name: miscounted_members
SELECT a.name, a.members, m.really FROM audiences AS a
CROSS JOIN LATERAL (SELECT count(*) AS really FROM members WHERE audience = a.id) AS m WHERE a.members <> m.really;

-- name: activities_after
-- With each, whether its profile is there.
SELECT seq, profile, time, sum, body, profile IS NULL OR EXISTS (SELECT 1 FROM profiles AS p WHERE p.id = a.profile)
FROM activities AS a WHERE seq > %s ORDER BY seq LIMIT %s;

-- name: identifiers_after
SELECT i.kind, k.name, i.value FROM identifiers AS i JOIN kinds AS k ON k.id = i.kind
WHERE (i.kind, i.value) > (%s, %s) ORDER BY i.kind, i.value LIMIT %s;

-- name: erase_identifier
DELETE FROM identifiers WHERE kind = (SELECT id FROM kinds WHERE name = %s) AND value = %s AND profile = %s;

-- name: erase_notices
DELETE FROM notices WHERE profile = ANY(%b::bigint[]);

-- name: erase_merges
DELETE FROM merges WHERE winner = ANY(%b::bigint[]);

-- name: erase_profiles
DELETE FROM profiles WHERE id = ANY(%b::bigint[]);

-- name: keep_last_profile
-- A number is never given again, or what is still to be erased of its first owner would be taken for the next one's.
INSERT INTO meta (name, value) SELECT 'last_profile', max(id)::text FROM profiles
ON CONFLICT (name) DO UPDATE SET value = greatest(meta.value::bigint, excluded.value::bigint)::text;

-- name: revise_activity
UPDATE activities SET sum = %s, body = %s WHERE seq = %s;

-- name: revise_letter
UPDATE dead_letters SET sum = %s, body = %s WHERE seq = %s;

-- name: revise_parked
UPDATE parked SET bytes = %s, sum = %s, body = %s WHERE seq = %s;

-- name: erase_activities
DELETE FROM activities WHERE seq = ANY(%b::bigint[]);

-- name: newest_one
SELECT newest FROM profiles WHERE id = %s;

-- name: before
SELECT before FROM activities WHERE seq = %s;

-- name: chain_over
UPDATE activities SET before = %s WHERE seq = %s;

-- name: moment
-- The first transaction that nobody knows of yet: what was removed before is of an earlier one.
SELECT pg_snapshot_xmax(pg_current_snapshot())::xid::text;

-- name: pause
SELECT pg_sleep(%s);

-- name: looking
-- Others of this role who look at a state of the database that may be older than that transaction, or have been writing since
-- before it: between two statements they look at nothing, and still no vacuum takes away what was removed meanwhile.
SELECT count(*) > 0 FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND greatest(age(backend_xmin), age(backend_xid)) > age(%s::xid);

-- name: vacuum
VACUUM profiles, identifiers, activities, merges, dead_letters, parked, members, notices, due, outbox, attempts, blocks, errands;
