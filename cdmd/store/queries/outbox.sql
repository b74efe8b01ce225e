-- name: put
INSERT INTO outbox (target, due, lane, id, profile, sum, body) {rows};

-- name: put_attempts
INSERT INTO attempts (at, target, id, type, attempt, outcome, profile, seq, seconds, status, reason, body, answer) {rows};

-- name: targets_named
SELECT name, id, waiting, bytes, full_since FROM targets WHERE name IN ({});

-- name: add_target
INSERT INTO targets (name) VALUES (?) ON CONFLICT DO NOTHING;

-- name: target_written
UPDATE targets SET waiting = waiting + ?, bytes = bytes + ?, dropped = dropped + ?, full_since = ? WHERE id = ?;

-- name: target_untold
UPDATE targets SET untold = untold + ?, fault = ? WHERE id = ?;

-- name: busy_lanes
SELECT DISTINCT lane FROM outbox WHERE target = ? AND lane IN ({});

-- name: target_settled
UPDATE targets SET waiting = waiting - :left, bytes = bytes - :bytes, failed = failed + :failed,
    delivered = delivered + :delivered, never = never + :never, attempts = attempts + :attempts,
    full_since = CASE WHEN :left > 0 THEN NULL ELSE full_since END
WHERE id = :id;

-- name: still_waiting
SELECT n, target, lane, length(body) FROM outbox WHERE failed IS NULL AND n IN ({});

-- name: leave_outbox
DELETE FROM outbox WHERE n = ?;

-- name: wait_on
UPDATE outbox SET due = ?, attempts = ?, reason = ? WHERE n = ?;

-- name: set_aside
UPDATE outbox SET due = NULL, lane = NULL, failed = ?, attempts = ?, reason = ? WHERE n = ?;

-- name: next_in_lane
UPDATE outbox SET due = :now
WHERE n = (SELECT min(n) FROM outbox WHERE target = :target AND lane = :lane) AND due IS NULL;

-- name: ready
-- Chosen by places and lengths first, so that what is read is bounded in bytes.
WITH chosen AS (
    SELECT n, due, length(body) AS size FROM outbox
    WHERE target = (SELECT id FROM targets WHERE name = :target) AND due IS NOT NULL AND due <= :now
        AND n NOT IN (SELECT value FROM json_each(:without))
    ORDER BY due, n LIMIT :limit
), room AS (SELECT n, due, sum(size) OVER (ORDER BY due, n) - size AS before FROM chosen)
SELECT o.n, o.attempts, t.name, o.lane, o.due, o.failed, o.reason, o.id, o.profile, o.sum, o.body
FROM room CROSS JOIN outbox AS o ON o.n = room.n CROSS JOIN targets AS t ON t.id = o.target
WHERE room.before < :most ORDER BY room.due, room.n;

-- name: lane
WITH chosen AS (
    SELECT n, length(body) AS size FROM outbox
    WHERE target = (SELECT id FROM targets WHERE name = :target) AND lane = :lane AND n > :after
    ORDER BY n LIMIT :limit
), room AS (SELECT n, sum(size) OVER (ORDER BY n) - size AS before FROM chosen)
SELECT o.n, o.attempts, t.name, o.lane, o.due, o.failed, o.reason, o.id, o.profile, o.sum, o.body
FROM room CROSS JOIN outbox AS o ON o.n = room.n CROSS JOIN targets AS t ON t.id = o.target
WHERE room.before < :most ORDER BY room.n;

-- name: waiting
-- For a target of its own time. What is retried is in no lane, and it may have been sent to by lanes before.
WITH strict AS (
    SELECT n, length(body) AS size FROM outbox
    WHERE target = (SELECT id FROM targets WHERE name = :target) AND lane = 0 AND n > :after ORDER BY n LIMIT :limit
), alone AS (
    SELECT n, length(body) AS size FROM outbox
    WHERE target = (SELECT id FROM targets WHERE name = :target) AND due IS NOT NULL AND lane IS NULL AND n > :after
    ORDER BY n LIMIT :limit
), others AS (
    SELECT n, length(body) AS size FROM outbox
    WHERE target = (SELECT id FROM targets WHERE name = :target) AND lane > 0 AND n > :after ORDER BY n LIMIT :limit
), chosen AS (
    SELECT n, size FROM strict UNION ALL SELECT n, size FROM alone UNION ALL SELECT n, size FROM others ORDER BY n LIMIT :limit
), room AS (SELECT n, sum(size) OVER (ORDER BY n) - size AS before FROM chosen)
SELECT o.n, o.attempts, t.name, o.lane, o.due, o.failed, o.reason, o.id, o.profile, o.sum, o.body
FROM room CROSS JOIN outbox AS o ON o.n = room.n CROSS JOIN targets AS t ON t.id = o.target
WHERE room.before < :most ORDER BY room.n;

-- name: next_due
SELECT due FROM outbox WHERE target = (SELECT id FROM targets WHERE name = ?) AND due IS NOT NULL ORDER BY due LIMIT 1;

-- name: listed_waiting
SELECT o.n, o.attempts, t.name, o.lane, o.due, o.failed, o.reason, o.id, o.profile, o.sum, o.body
FROM outbox AS o CROSS JOIN targets AS t ON t.id = o.target
WHERE (:target IS NULL OR t.name = :target) AND o.failed IS NULL ORDER BY o.n LIMIT :limit;

-- name: listed_failed
SELECT o.n, o.attempts, t.name, o.lane, o.due, o.failed, o.reason, o.id, o.profile, o.sum, o.body
FROM outbox AS o CROSS JOIN targets AS t ON t.id = o.target
WHERE (:target IS NULL OR t.name = :target) AND o.failed IS NOT NULL ORDER BY o.n LIMIT :limit;

-- name: queued_between
SELECT o.n, o.attempts, t.name, o.lane, o.due, o.failed, o.reason, o.id, o.profile, o.sum, o.body
FROM outbox AS o CROSS JOIN targets AS t ON t.id = o.target WHERE o.id >= ? AND o.id <= ? ORDER BY o.n LIMIT 1000;

-- name: all_outbox
SELECT o.n, o.attempts, t.name, o.lane, o.due, o.failed, o.reason, o.id, o.profile, o.sum, o.body
FROM outbox AS o LEFT JOIN targets AS t ON t.id = o.target;

-- name: to_retry_failed
SELECT n, target, length(body) FROM outbox
WHERE failed IS NOT NULL AND (:target IS NULL OR target = (SELECT id FROM targets WHERE name = :target))
    AND (:id IS NULL OR id = :id) ORDER BY n LIMIT :limit;

-- name: to_retry_waiting
SELECT n FROM outbox
WHERE due > :now AND (:target IS NULL OR target = (SELECT id FROM targets WHERE name = :target))
    AND (:id IS NULL OR id = :id) LIMIT :limit;

-- name: retry
UPDATE outbox SET due = ?, attempts = 0 WHERE n = ?;

-- name: wait_anew
INSERT INTO outbox (target, due, id, profile, sum, body) SELECT target, ?, id, profile, sum, body FROM outbox WHERE n = ?;

-- name: target_retried
UPDATE targets SET failed = failed - ?, waiting = waiting + ?, bytes = bytes + ? WHERE id = ?;

-- name: targets
SELECT name, waiting, bytes, failed, delivered, never, attempts, dropped, full_since, untold, fault FROM targets ORDER BY name;

-- name: target_notes
SELECT name, note FROM targets WHERE note IS NOT NULL;

-- name: note_target
INSERT INTO targets (name, note) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET note = excluded.note;

-- name: attempts
SELECT a.at, t.name, a.id, a.type, a.attempt, a.outcome, a.profile, a.seq, a.seconds, a.status, a.reason, a.body, a.answer
FROM attempts AS a CROSS JOIN targets AS t ON t.id = a.target
WHERE (:target IS NULL OR t.name = :target) AND (:outcome IS NULL OR a.outcome = :outcome) ORDER BY a.n DESC LIMIT :limit;

-- name: attempts_between
SELECT a.at, t.name, a.id, a.type, a.attempt, a.outcome, a.profile, a.seq, a.seconds, a.status, a.reason, a.body, a.answer
FROM attempts AS a CROSS JOIN targets AS t ON t.id = a.target
WHERE a.id >= :first AND a.id <= :last AND (:target IS NULL OR t.name = :target)
    AND (:outcome IS NULL OR a.outcome = :outcome) ORDER BY a.n DESC LIMIT :limit;

-- name: old_attempts
DELETE FROM attempts WHERE n IN (SELECT n FROM (SELECT n, at FROM attempts ORDER BY n LIMIT :limit) WHERE at < :before);

-- name: old_failed
SELECT n, target FROM outbox WHERE failed IS NOT NULL AND failed < :before LIMIT :limit;

-- name: target_unfailed
UPDATE targets SET failed = failed - ? WHERE id = ?;

-- name: some_of_target
SELECT n FROM outbox WHERE target = (SELECT id FROM targets WHERE name = ?) LIMIT ?;

-- name: drop_attempts
DELETE FROM attempts WHERE target = (SELECT id FROM targets WHERE name = ?);

-- name: drop_target
DELETE FROM targets WHERE name = ?;

-- name: miscounted_targets
SELECT t.name, t.waiting, (SELECT count(*) FROM outbox AS o WHERE o.target = t.id AND o.failed IS NULL) AS really
FROM targets AS t WHERE t.waiting <> really;

-- name: outbox_about
SELECT n, target, lane, failed, length(body) FROM outbox WHERE profile IN ({});

-- name: outbox_at
SELECT n, target, lane, failed, length(body) FROM outbox WHERE n IN ({});

-- name: outbox_after
SELECT o.n, o.attempts, t.name, o.lane, o.due, o.failed, o.reason, o.id, o.profile, o.sum, o.body
FROM outbox AS o CROSS JOIN targets AS t ON t.id = o.target WHERE o.n > ? ORDER BY o.n LIMIT ?;

-- name: target_erased
UPDATE targets SET waiting = waiting - ?, bytes = bytes - ?, failed = failed - ? WHERE id = ?;

-- name: blank_attempts
-- The figures stay; whom they were about does not.
UPDATE attempts SET id = '', profile = NULL, seq = NULL, body = NULL, answer = NULL WHERE profile IN ({});

-- name: blank_attempts_at
UPDATE attempts SET id = '', profile = NULL, seq = NULL, body = NULL, answer = NULL WHERE n IN ({});

-- name: attempts_after
SELECT a.n, a.at, t.name, a.id, a.type, a.attempt, a.outcome, a.profile, a.seq, a.seconds, a.status, a.reason, a.body, a.answer
FROM attempts AS a CROSS JOIN targets AS t ON t.id = a.target WHERE a.n > ? ORDER BY a.n LIMIT ?;

-- name: activities_after
SELECT seq, profile, time, sum, body FROM activities WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: of_the_hidden
SELECT profile FROM outbox WHERE profile IS NOT NULL AND profile NOT IN (SELECT id FROM profiles)
UNION SELECT profile FROM attempts WHERE profile IS NOT NULL AND profile NOT IN (SELECT id FROM profiles);
