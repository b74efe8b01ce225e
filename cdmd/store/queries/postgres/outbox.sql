-- name: put
INSERT INTO outbox (target, due, lane, id, profile, sum, body)
SELECT target, due, lane, id, profile, sum, body
FROM unnest(%b::bigint[], %b::bigint[], %b::bigint[], %b::text[], %b::bigint[], %b::bytea[], %b::bytea[])
    WITH ORDINALITY AS r (target, due, lane, id, profile, sum, body, place)
ORDER BY place;

-- name: put_attempts
INSERT INTO attempts (at, target, id, type, attempt, outcome, profile, seq, seconds, status, reason, body, answer)
SELECT at, target, id, type, attempt, outcome, profile, seq, seconds, status, reason, body, answer
FROM unnest(
    %b::bigint[], %b::bigint[], %b::text[], %b::text[], %b::bigint[], %b::text[], %b::bigint[], %b::bigint[], %b::float8[],
    %b::bigint[], %b::text[], %b::bytea[], %b::bytea[]
) WITH ORDINALITY AS r (at, target, id, type, attempt, outcome, profile, seq, seconds, status, reason, body, answer, place)
ORDER BY place;

-- name: targets_named
-- What waits for a target is changed by one at a time: who puts a delivery behind another must see it go.
SELECT name, id, waiting, bytes, full_since FROM targets WHERE name = ANY(%b::text[]) ORDER BY name FOR UPDATE;

-- name: add_target
INSERT INTO targets (name) VALUES (%s) ON CONFLICT DO NOTHING;

-- name: target_written
UPDATE targets SET waiting = waiting + %s, bytes = bytes + %s, dropped = dropped + %s, full_since = %s WHERE id = %s;

-- name: target_untold
UPDATE targets SET untold = untold + %s, fault = %s WHERE id = %s;

-- name: busy_lanes
SELECT DISTINCT lane FROM outbox WHERE target = %s AND lane = ANY(%b::bigint[]);

-- name: target_settled
UPDATE targets SET waiting = waiting - %(left)s, bytes = bytes - %(bytes)s, failed = failed + %(failed)s,
    delivered = delivered + %(delivered)s, never = never + %(never)s, attempts = attempts + %(attempts)s,
    full_since = CASE WHEN %(left)s > 0 THEN NULL ELSE full_since END
WHERE id = %(id)s;

-- name: still_waiting
SELECT n, target, lane, octet_length(body) FROM outbox WHERE failed IS NULL AND n = ANY(%b::bigint[]);

-- name: leave_outbox
DELETE FROM outbox WHERE n = %s;

-- name: wait_on
UPDATE outbox SET due = %s, attempts = %s, reason = %s WHERE n = %s;

-- name: set_aside
UPDATE outbox SET due = NULL, lane = NULL, failed = %s, attempts = %s, reason = %s WHERE n = %s;

-- name: next_in_lane
UPDATE outbox SET due = %(now)s
WHERE n = (SELECT min(n) FROM outbox WHERE target = %(target)s AND lane = %(lane)s) AND due IS NULL;

-- name: ready
-- Chosen by places and lengths first, so that what is read is bounded in bytes.
WITH chosen AS (
    SELECT n, due, octet_length(body) AS size FROM outbox
    WHERE target = (SELECT id FROM targets WHERE name = %(target)s) AND due IS NOT NULL AND due <= %(now)s
        AND n NOT IN (SELECT value::bigint FROM jsonb_array_elements_text(%(without)s::jsonb))
    ORDER BY due, n LIMIT %(limit)s
), room AS (SELECT n, due, sum(size) OVER (ORDER BY due, n) - size AS before FROM chosen)
SELECT o.n, o.attempts, t.name, o.lane, o.due, o.failed, o.reason, o.id, o.profile, o.sum, o.body
FROM room JOIN outbox AS o ON o.n = room.n JOIN targets AS t ON t.id = o.target
WHERE room.before < %(most)s ORDER BY room.due, room.n;

-- name: lane
WITH chosen AS (
    SELECT n, octet_length(body) AS size FROM outbox
    WHERE target = (SELECT id FROM targets WHERE name = %(target)s) AND lane = %(lane)s AND n > %(after)s
    ORDER BY n LIMIT %(limit)s
), room AS (SELECT n, sum(size) OVER (ORDER BY n) - size AS before FROM chosen)
SELECT o.n, o.attempts, t.name, o.lane, o.due, o.failed, o.reason, o.id, o.profile, o.sum, o.body
FROM room JOIN outbox AS o ON o.n = room.n JOIN targets AS t ON t.id = o.target
WHERE room.before < %(most)s ORDER BY room.n;

-- name: waiting
-- For a target of its own time. What is retried is in no lane, and it may have been sent to by lanes before.
WITH strict AS (
    SELECT n, octet_length(body) AS size FROM outbox
    WHERE target = (SELECT id FROM targets WHERE name = %(target)s) AND lane = 0 AND n > %(after)s ORDER BY n LIMIT %(limit)s
), alone AS (
    SELECT n, octet_length(body) AS size FROM outbox
    WHERE target = (SELECT id FROM targets WHERE name = %(target)s) AND due IS NOT NULL AND lane IS NULL AND n > %(after)s
    ORDER BY n LIMIT %(limit)s
), others AS (
    SELECT n, octet_length(body) AS size FROM outbox
    WHERE target = (SELECT id FROM targets WHERE name = %(target)s) AND lane > 0 AND n > %(after)s ORDER BY n LIMIT %(limit)s
), chosen AS (
    SELECT n, size FROM strict UNION ALL SELECT n, size FROM alone UNION ALL SELECT n, size FROM others ORDER BY n LIMIT %(limit)s
), room AS (SELECT n, sum(size) OVER (ORDER BY n) - size AS before FROM chosen)
SELECT o.n, o.attempts, t.name, o.lane, o.due, o.failed, o.reason, o.id, o.profile, o.sum, o.body
FROM room JOIN outbox AS o ON o.n = room.n JOIN targets AS t ON t.id = o.target
WHERE room.before < %(most)s ORDER BY room.n;

-- name: next_due
SELECT due FROM outbox WHERE target = (SELECT id FROM targets WHERE name = %s) AND due IS NOT NULL ORDER BY due LIMIT 1;

-- name: listed_waiting
SELECT o.n, o.attempts, t.name, o.lane, o.due, o.failed, o.reason, o.id, o.profile, o.sum, o.body
FROM outbox AS o JOIN targets AS t ON t.id = o.target
WHERE (%(target)s::text IS NULL OR t.name = %(target)s) AND o.failed IS NULL ORDER BY o.n LIMIT %(limit)s;

-- name: listed_failed
SELECT o.n, o.attempts, t.name, o.lane, o.due, o.failed, o.reason, o.id, o.profile, o.sum, o.body
FROM outbox AS o JOIN targets AS t ON t.id = o.target
WHERE (%(target)s::text IS NULL OR t.name = %(target)s) AND o.failed IS NOT NULL ORDER BY o.n LIMIT %(limit)s;

-- name: queued_between
SELECT o.n, o.attempts, t.name, o.lane, o.due, o.failed, o.reason, o.id, o.profile, o.sum, o.body
FROM outbox AS o JOIN targets AS t ON t.id = o.target WHERE o.id >= %s AND o.id <= %s ORDER BY o.n LIMIT 1000;

-- name: all_outbox
SELECT o.n, o.attempts, t.name, o.lane, o.due, o.failed, o.reason, o.id, o.profile, o.sum, o.body
FROM outbox AS o LEFT JOIN targets AS t ON t.id = o.target;

-- name: to_retry_failed
SELECT n, target, octet_length(body) FROM outbox
WHERE failed IS NOT NULL AND (%(target)s::text IS NULL OR target = (SELECT id FROM targets WHERE name = %(target)s))
    AND (%(id)s::text IS NULL OR id = %(id)s) ORDER BY n LIMIT %(limit)s;

-- name: to_retry_waiting
SELECT n FROM outbox
WHERE due > %(now)s AND (%(target)s::text IS NULL OR target = (SELECT id FROM targets WHERE name = %(target)s))
    AND (%(id)s::text IS NULL OR id = %(id)s) LIMIT %(limit)s;

-- name: retry
UPDATE outbox SET due = %s, attempts = 0 WHERE n = %s;

-- name: wait_anew
INSERT INTO outbox (target, due, id, profile, sum, body) SELECT target, %s::bigint, id, profile, sum, body FROM outbox WHERE n = %s;

-- name: target_retried
UPDATE targets SET failed = failed - %s, waiting = waiting + %s, bytes = bytes + %s WHERE id = %s;

-- name: targets
SELECT name, waiting, bytes, failed, delivered, never, attempts, dropped, full_since, untold, fault FROM targets ORDER BY name;

-- name: target_notes
SELECT name, note FROM targets WHERE note IS NOT NULL;

-- name: note_target
INSERT INTO targets (name, note) VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET note = excluded.note;

-- name: attempts
SELECT a.at, t.name, a.id, a.type, a.attempt, a.outcome, a.profile, a.seq, a.seconds, a.status, a.reason, a.body, a.answer
FROM attempts AS a JOIN targets AS t ON t.id = a.target
WHERE (%(target)s::text IS NULL OR t.name = %(target)s) AND (%(outcome)s::text IS NULL OR a.outcome = %(outcome)s)
ORDER BY a.n DESC LIMIT %(limit)s;

-- name: attempts_between
SELECT a.at, t.name, a.id, a.type, a.attempt, a.outcome, a.profile, a.seq, a.seconds, a.status, a.reason, a.body, a.answer
FROM attempts AS a JOIN targets AS t ON t.id = a.target
WHERE a.id >= %(first)s AND a.id <= %(last)s AND (%(target)s::text IS NULL OR t.name = %(target)s)
    AND (%(outcome)s::text IS NULL OR a.outcome = %(outcome)s) ORDER BY a.n DESC LIMIT %(limit)s;

-- name: old_attempts
DELETE FROM attempts WHERE n IN (SELECT n FROM (SELECT n, at FROM attempts ORDER BY n LIMIT %(limit)s) AS oldest WHERE at < %(before)s);

-- name: old_failed
SELECT n, target FROM outbox WHERE failed IS NOT NULL AND failed < %(before)s LIMIT %(limit)s;

-- name: target_unfailed
UPDATE targets SET failed = failed - %s WHERE id = %s;

-- name: some_of_target
SELECT n FROM outbox WHERE target = (SELECT id FROM targets WHERE name = %s) LIMIT %s;

-- name: drop_attempts
DELETE FROM attempts WHERE target = (SELECT id FROM targets WHERE name = %s);

-- name: drop_target
DELETE FROM targets WHERE name = %s;

-- name: miscounted_targets
SELECT t.name, t.waiting, o.really FROM targets AS t
CROSS JOIN LATERAL (SELECT count(*) AS really FROM outbox WHERE target = t.id AND failed IS NULL) AS o
WHERE t.waiting <> o.really;

-- name: outbox_about
SELECT n, target, lane, failed, octet_length(body) FROM outbox WHERE profile = ANY(%b::bigint[]);

-- name: outbox_at
SELECT n, target, lane, failed, octet_length(body) FROM outbox WHERE n = ANY(%b::bigint[]);

-- name: outbox_after
SELECT o.n, o.attempts, t.name, o.lane, o.due, o.failed, o.reason, o.id, o.profile, o.sum, o.body
FROM outbox AS o JOIN targets AS t ON t.id = o.target WHERE o.n > %s ORDER BY o.n LIMIT %s;

-- name: target_erased
UPDATE targets SET waiting = waiting - %s, bytes = bytes - %s, failed = failed - %s WHERE id = %s;

-- name: blank_attempts
-- The figures stay; whom they were about does not.
UPDATE attempts SET id = '', profile = NULL, seq = NULL, body = NULL, answer = NULL WHERE profile = ANY(%b::bigint[]);

-- name: blank_attempts_at
UPDATE attempts SET id = '', profile = NULL, seq = NULL, body = NULL, answer = NULL WHERE n = ANY(%b::bigint[]);

-- name: attempts_after
SELECT a.n, a.at, t.name, a.id, a.type, a.attempt, a.outcome, a.profile, a.seq, a.seconds, a.status, a.reason, a.body, a.answer
FROM attempts AS a JOIN targets AS t ON t.id = a.target WHERE a.n > %s ORDER BY a.n LIMIT %s;

-- name: activities_after
SELECT seq, profile, time, sum, body FROM activities WHERE seq > %s ORDER BY seq LIMIT %s;

-- name: of_the_hidden
-- Not with NOT IN: where all profiles are more than fit into work_mem they would be read anew for each row.
SELECT profile FROM outbox AS o WHERE profile IS NOT NULL AND NOT EXISTS (SELECT FROM profiles AS p WHERE p.id = o.profile)
UNION
SELECT profile FROM attempts AS a WHERE profile IS NOT NULL AND NOT EXISTS (SELECT FROM profiles AS p WHERE p.id = a.profile);
