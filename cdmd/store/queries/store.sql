-- name: meta
SELECT value FROM meta WHERE name = ?;

-- name: set_meta
INSERT INTO meta (name, value) VALUES (?, ?);

-- name: note
INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: position
SELECT seq FROM positions WHERE lane = ?;

-- name: set_position
UPDATE positions SET seq = max(seq, ?) WHERE lane = ?;

-- name: kinds
SELECT name, id FROM kinds;

-- name: add_kind
INSERT INTO kinds (name) VALUES (?) ON CONFLICT DO NOTHING;

-- name: sources
SELECT name FROM sources;

-- name: add_source
INSERT INTO sources (name) VALUES (?) ON CONFLICT DO NOTHING;

-- name: owners
SELECT json_group_array(json_array(value, profile)) FROM identifiers WHERE kind = ? AND value IN ({});

-- name: known
SELECT value FROM identifiers WHERE kind = (SELECT id FROM kinds WHERE name = ?) AND value IN ({});

-- name: owner
SELECT profile FROM identifiers WHERE kind = (SELECT id FROM kinds WHERE name = ?) AND value = ?;

-- name: public
SELECT id FROM profiles WHERE public = ?;

-- name: starting
SELECT value, profile FROM identifiers
WHERE kind = (SELECT id FROM kinds WHERE name = :kind) AND value >= :prefix AND value < :beyond AND value > :after
ORDER BY value LIMIT :limit;

-- name: profiles
SELECT id, public, sum, body FROM profiles WHERE id IN ({});

-- name: profiles_after
SELECT id, public, sum, body FROM profiles WHERE id > ? ORDER BY id LIMIT ?;

-- name: gathered_profiles
-- Both aggregates see the rows in the same order.
SELECT json_group_array(json_array(id, public, hex(sum), length(body), newest)), CAST(group_concat(body, '') AS BLOB)
FROM profiles WHERE id IN ({});

-- name: next_profile
SELECT max(coalesce((SELECT max(id) FROM profiles), 0),
    coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'last_profile'), 0)) + 1;

-- name: put_profiles
-- The public id never changes: naming it here would rewrite its index, half of the pages of a batch.
INSERT INTO profiles (id, public, sum, body, newest) {rows}
ON CONFLICT (id) DO UPDATE SET sum = excluded.sum, body = excluded.body, newest = coalesce(excluded.newest, newest);

-- name: add_profiles
-- Those that are new: to look for a conflict costs a quarter of putting one in.
INSERT INTO profiles (id, public, sum, body, newest) {rows};

-- name: put_identifiers
INSERT INTO identifiers (kind, value, profile, sum) {rows}
ON CONFLICT (kind, value) DO UPDATE SET profile = excluded.profile, sum = excluded.sum;

-- name: put_activities
INSERT INTO activities (seq, profile, time, sum, body, before) {rows};

-- name: put_merges
INSERT INTO merges (seq, winner, loser, sum, body) {rows};

-- name: put_dead
INSERT INTO dead_letters (seq, connector, type, code, since, sum, body) {rows};

-- name: put_parked
INSERT INTO parked (seq, connector, due, bytes, sum, body, extension) {rows};

-- name: put_due
INSERT INTO due (at, profile) {rows} ON CONFLICT DO NOTHING;

-- name: put_members
INSERT INTO members (audience, profile, since) {rows} ON CONFLICT DO NOTHING;

-- name: put_notices
INSERT INTO notices (id, audience, profile, public, entered, at, reason) {rows};

-- name: seen
SELECT digest, seq, verdict, content FROM seen WHERE digest IN ({});

-- name: activities
SELECT seq, profile, time, sum, body FROM activities WHERE seq IN ({});

-- name: activities_upto
SELECT seq, profile, time, sum, body FROM activities WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?;

-- name: newest_activities
-- Along the chain of each profile. UNION, not UNION ALL: a chain that damage closed to a circle ends all the same.
WITH RECURSIVE chain (seq) AS (
    SELECT newest FROM profiles WHERE id IN (SELECT value FROM json_each(?)) AND newest IS NOT NULL
    UNION
    SELECT a.before FROM chain CROSS JOIN activities AS a ON a.seq = chain.seq WHERE a.before IS NOT NULL
)
SELECT seq, profile, time, sum, body FROM chain CROSS JOIN activities USING (seq) ORDER BY time DESC, seq DESC LIMIT ?;

-- name: chain_ahead
UPDATE profiles SET newest = ? WHERE id = ?;

-- name: chained
SELECT seq, profile, time, sum, body, before FROM activities WHERE seq IN ({});

-- name: place
UPDATE activities SET profile = ?, before = ?, sum = ?, body = ? WHERE seq = ?;

-- name: link
UPDATE activities SET before = ? WHERE seq = ?;

-- name: drop_merge
DELETE FROM merges WHERE winner = ? AND loser = ?;

-- name: disown
-- Another profile may own it by now: that one keeps it.
DELETE FROM identifiers WHERE kind = (SELECT id FROM kinds WHERE name = ?) AND value = ?
    AND profile IN (SELECT value FROM json_each(?));

-- name: loose_activities
-- Each is the newest of its profile or stands before one other of the same profile.
WITH ahead (seq, profile) AS (
    SELECT newest, id FROM profiles WHERE newest IS NOT NULL
    UNION ALL
    SELECT before, profile FROM activities WHERE before IS NOT NULL
)
SELECT (SELECT count(*) FROM activities WHERE profile IN (SELECT id FROM profiles))
    - (SELECT count(DISTINCT a.seq) FROM ahead CROSS JOIN activities AS a ON a.seq = ahead.seq AND a.profile = ahead.profile
        WHERE a.profile IN (SELECT id FROM profiles));

-- name: merges
SELECT seq, winner, loser, sum, body FROM merges WHERE winner IN ({}) ORDER BY id;

-- name: merges_after
SELECT id, seq, winner, loser, sum, body FROM merges WHERE id > ? ORDER BY id LIMIT ?;

-- name: merges_at
SELECT id, seq, winner, loser, sum, body FROM merges WHERE id IN ({});

-- name: revise_merge
UPDATE merges SET sum = ?, body = ? WHERE id = ?;

-- name: dead_letters
SELECT seq, connector, type, code, since, sum, body FROM dead_letters
WHERE (:connector IS NULL OR connector = :connector)
    AND (:type IS NULL OR type GLOB replace(replace(:type, '[', '[[]'), '?', '[?]'))
    AND (:code IS NULL OR code = :code)
    AND (:seqs IS NULL OR seq IN (SELECT value FROM json_each(:seqs)))
ORDER BY seq LIMIT :limit;

-- name: dead_letter_causes
SELECT connector, type, code, count(*), min(since), max(since), max(seq) FROM dead_letters
GROUP BY connector, type, code ORDER BY count(*) DESC, connector, type, code LIMIT ?;

-- name: old_dead_letters
SELECT seq, connector, type, code, since, sum, body FROM dead_letters WHERE since < ? ORDER BY seq LIMIT ?;

-- name: dead_letters_at
SELECT seq, connector, type, code, since, sum, body FROM dead_letters WHERE seq IN ({});

-- name: dead_letters_after
SELECT seq, connector, type, code, since, sum, body FROM dead_letters WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: drop_dead
DELETE FROM dead_letters WHERE seq IN ({});

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
WHERE extension = :extension AND due <= :now AND seq NOT IN (SELECT value FROM json_each(:without))
ORDER BY due, seq LIMIT :limit;

-- name: next_due
SELECT min(due) FROM parked;

-- name: parked
SELECT seq, connector, due, bytes, sum, body FROM parked ORDER BY seq LIMIT ?;

-- name: parked_seqs
SELECT seq FROM parked;

-- name: parked_after
SELECT seq, connector, due, bytes, sum, body FROM parked WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: parked_at
SELECT seq, connector, due, bytes, sum, body FROM parked WHERE seq IN ({});

-- name: still_parked
SELECT seq FROM parked WHERE seq IN ({});

-- name: count_parked
SELECT count(*), coalesce(sum(bytes), 0) FROM parked WHERE seq IN ({});

-- name: drop_parked
DELETE FROM parked WHERE seq IN ({});

-- name: counts
SELECT connector, name, value FROM counts;

-- name: add_count
INSERT INTO counts (connector, name, value) VALUES (?, ?, ?)
ON CONFLICT (connector, name) DO UPDATE SET value = value + excluded.value;

-- name: totals
SELECT name, value FROM totals;

-- name: add_total
UPDATE totals SET value = value + ? WHERE name = ?;

-- name: bytes
SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size();

-- name: audit
INSERT INTO audit (time, uid, user, role, command, arguments, outcome) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: audits
SELECT time, uid, user, role, command, arguments, outcome FROM audit ORDER BY id DESC LIMIT ?;

-- name: audits_about
SELECT time, uid, user, role, command, arguments, outcome FROM audit WHERE instr(arguments, ?) > 0 ORDER BY id;

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
SELECT count(*) FROM identifiers WHERE profile NOT IN (SELECT id FROM profiles);

-- name: real_totals
SELECT (SELECT count(*) FROM activities), (SELECT count(*) FROM dead_letters), (SELECT count(*) FROM parked),
    (SELECT coalesce(sum(bytes), 0) FROM parked);

-- name: overdue
SELECT profile FROM due WHERE at <= ? ORDER BY at, profile LIMIT ?;

-- name: first_due
SELECT min(at) FROM due;

-- name: not_due
DELETE FROM due WHERE at = ? AND profile = ?;

-- name: newest_in
SELECT id, newest FROM profiles WHERE newest IS NOT NULL AND id IN ({});

-- name: history
-- Down the chains from some activities; UNION, so that a chain that damage closed to a circle ends within one look.
WITH RECURSIVE chain (seq, depth) AS (
    SELECT value, 1 FROM json_each(:heads)
    UNION
    SELECT a.before, chain.depth + 1 FROM chain CROSS JOIN activities AS a ON a.seq = chain.seq
    WHERE a.before IS NOT NULL AND chain.depth < :each AND a.before NOT IN (SELECT value FROM json_each(:until))
)
SELECT seq, profile, time, sum, body, CASE WHEN depth = :each THEN before END FROM chain CROSS JOIN activities USING (seq);

-- name: audience_ids
SELECT name, id FROM audiences;

-- name: add_audience
INSERT INTO audiences (name) VALUES (?) ON CONFLICT DO NOTHING;

-- name: audiences
SELECT name, members, missing, failed, fault FROM audiences ORDER BY name;

-- name: audience_moved
UPDATE audiences SET members = members + ? WHERE id = ?;

-- name: audience_failed
UPDATE audiences SET missing = missing + ?, failed = failed + ?, fault = coalesce(?, fault) WHERE id = ?;

-- name: drop_audience
DELETE FROM audiences WHERE name = ? AND id NOT IN (SELECT audience FROM members);

-- name: leave
DELETE FROM members WHERE audience = ? AND profile = ?;

-- name: members
SELECT m.profile, m.since, p.public, p.sum, p.body FROM members AS m CROSS JOIN profiles AS p ON p.id = m.profile
WHERE m.audience = (SELECT id FROM audiences WHERE name = ?) AND m.profile > ? ORDER BY m.profile LIMIT ?;

-- name: notices
SELECT id, audience, profile, public, entered, at, reason FROM notices
WHERE :audience IS NULL OR audience = :audience ORDER BY n DESC LIMIT :limit;

-- name: notices_of
SELECT n, id, audience, profile, public, entered, at, reason FROM notices WHERE profile IN ({});

-- name: forget_notices
DELETE FROM notices WHERE n <= (SELECT max(n) FROM notices) - ?;

-- name: miscounted_members
SELECT a.name, a.members, (SELECT count(*) FROM members AS m WHERE m.audience = a.id) AS really FROM audiences AS a
WHERE a.members <> really;

-- name: activities_after
-- With each, whether its profile is there.
SELECT seq, profile, time, sum, body, profile IS NULL OR EXISTS (SELECT 1 FROM profiles AS p WHERE p.id = a.profile)
FROM activities AS a WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: identifiers_after
SELECT i.kind, k.name, i.value FROM identifiers AS i CROSS JOIN kinds AS k ON k.id = i.kind
WHERE (i.kind, i.value) > (?, ?) ORDER BY i.kind, i.value LIMIT ?;

-- name: erase_identifier
DELETE FROM identifiers WHERE kind = (SELECT id FROM kinds WHERE name = ?) AND value = ? AND profile = ?;

-- name: erase_notices
DELETE FROM notices WHERE profile IN ({});

-- name: erase_merges
DELETE FROM merges WHERE winner IN ({});

-- name: erase_profiles
DELETE FROM profiles WHERE id IN ({});

-- name: keep_last_profile
-- A number is never given again, or what is still to be erased of its first owner would be taken for the next one's.
INSERT INTO meta (name, value) SELECT 'last_profile', max(id) FROM profiles WHERE true
ON CONFLICT (name) DO UPDATE SET value = max(CAST(value AS INTEGER), CAST(excluded.value AS INTEGER));

-- name: revise_activity
UPDATE activities SET sum = ?, body = ? WHERE seq = ?;

-- name: revise_letter
UPDATE dead_letters SET sum = ?, body = ? WHERE seq = ?;

-- name: revise_parked
UPDATE parked SET bytes = ?, sum = ?, body = ? WHERE seq = ?;

-- name: erase_activities
DELETE FROM activities WHERE seq IN ({});

-- name: newest_one
SELECT newest FROM profiles WHERE id = ?;

-- name: before
SELECT before FROM activities WHERE seq = ?;

-- name: chain_over
UPDATE activities SET before = ? WHERE seq = ?;
