-- name: ask
-- A name that was used before belongs to the last one that has it. No name: who leads.
INSERT INTO errands (node, asked)
SELECT id, %(asked)s FROM nodes
WHERE CASE WHEN %(name)s::text IS NULL THEN id = (SELECT node FROM positions WHERE lane = -1) ELSE name = %(name)s END
    AND until > clock_timestamp()
ORDER BY id DESC LIMIT 1 RETURNING id;

-- name: waiting
SELECT EXISTS (SELECT 1 FROM errands WHERE node = %s AND NOT begun);

-- name: take
UPDATE errands SET begun = true WHERE node = %s AND NOT begun RETURNING id, asked;

-- name: answer
UPDATE errands SET answer = %s WHERE id = %s;

-- name: state
SELECT e.answer, e.begun, EXISTS (SELECT 1 FROM nodes WHERE id = e.node) FROM errands AS e WHERE e.id = %s;

-- name: withdraw
DELETE FROM errands WHERE id = %s AND NOT begun;

-- name: done
DELETE FROM errands WHERE id = %s;

-- name: forget
DELETE FROM errands WHERE at < clock_timestamp() - interval '1 hour';
