-- name: carry
INSERT INTO carried (time, source, id, seq, profile, forms) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: first
INSERT INTO firsts (pair, profile, time) VALUES (?, ?, ?) ON CONFLICT (pair, profile) DO UPDATE SET time = min(time, excluded.time);

-- name: firsts
SELECT pair, profile, time FROM firsts WHERE pair IN ({});

-- name: key
INSERT INTO keys (key, winner, identifiers) VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE SET winner = excluded.winner, identifiers = excluded.identifiers;

-- name: next
SELECT time, source, id, seq, profile, forms FROM carried WHERE (time, source, id, seq) > (?, ?, ?, ?)
ORDER BY time, source, id, seq LIMIT ?;

-- name: owners
SELECT pair, person FROM owners WHERE pair IN ({});

-- name: own
INSERT INTO owners (pair, person) VALUES (?, ?) ON CONFLICT (pair) DO UPDATE SET person = excluded.person;

-- name: persons
SELECT id, merged_into, body FROM persons WHERE id IN ({});

-- name: next_person
SELECT coalesce(max(id), 0) + 1 FROM persons;

-- name: person
INSERT INTO persons (id, merged_into, identifiers, body) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET merged_into = excluded.merged_into, identifiers = excluded.identifiers, body = excluded.body;

-- name: place
UPDATE carried SET person = ?, rule = ? WHERE time = ? AND source = ? AND id = ? AND seq = ?;

-- name: join
INSERT INTO joins (person, body) VALUES (?, ?);

-- name: shorten
-- Merges of merges: each step halves what is left of the ways.
UPDATE persons SET merged_into = (SELECT p.merged_into FROM persons AS p WHERE p.id = persons.merged_into)
WHERE merged_into IN (SELECT id FROM persons WHERE merged_into IS NOT NULL);

-- name: shorten_keys
UPDATE keys SET winner = (SELECT k.winner FROM keys AS k WHERE k.key = keys.winner)
WHERE winner IN (SELECT key FROM keys WHERE key <> winner);

-- name: link
INSERT INTO links (old, person)
SELECT k.winner, coalesce(p.merged_into, p.id)
FROM carried AS c CROSS JOIN keys AS k ON k.key = c.profile CROSS JOIN persons AS p ON p.id = c.person
WHERE true
ON CONFLICT DO NOTHING;

-- name: index_carried
CREATE INDEX IF NOT EXISTS carried_by_person ON carried (person);

-- name: index_profile
CREATE INDEX IF NOT EXISTS carried_by_profile ON carried (profile);

-- name: index_joins
CREATE INDEX IF NOT EXISTS joins_of ON joins (person);

-- name: find_split
INSERT INTO changed (old) SELECT old FROM links GROUP BY old HAVING count(*) > 1 ON CONFLICT DO NOTHING;

-- name: find_joined
INSERT INTO changed (old)
SELECT old FROM links WHERE person IN (SELECT person FROM links GROUP BY person HAVING count(*) > 1)
ON CONFLICT DO NOTHING;

-- name: find_otherwise
INSERT INTO changed (old)
SELECT l.old FROM links AS l CROSS JOIN keys AS k ON k.key = l.old CROSS JOIN persons AS p ON p.id = l.person
WHERE k.identifiers <> p.identifiers
ON CONFLICT DO NOTHING;

-- name: figures
SELECT
    (SELECT count(*) FROM carried WHERE seq > 0),
    (SELECT count(*) FROM keys WHERE key = winner),
    (SELECT count(*) FROM persons WHERE merged_into IS NULL)
        + (SELECT count(*) FROM keys WHERE key = winner AND key NOT IN (SELECT old FROM links)),
    (SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM links GROUP BY person HAVING n > 1)),
    (SELECT count(*) FROM (SELECT 1 FROM links GROUP BY person HAVING count(*) > 1)),
    (SELECT count(*) FROM (SELECT 1 FROM links GROUP BY old HAVING count(*) > 1)),
    (SELECT coalesce(sum(n), 0) FROM (SELECT count(*) AS n FROM links GROUP BY old HAVING n > 1)),
    (SELECT count(*) FROM changed);

-- name: largest_joined
SELECT person FROM links GROUP BY person HAVING count(*) > 1 ORDER BY count(*) DESC, person LIMIT ?;

-- name: largest_split
SELECT old FROM links GROUP BY old HAVING count(*) > 1 ORDER BY count(*) DESC, old LIMIT ?;

-- name: olds_of
SELECT DISTINCT old FROM links WHERE person IN ({}) ORDER BY old;

-- name: persons_of
SELECT DISTINCT person FROM links WHERE old IN ({}) ORDER BY person;

-- name: first_changed
SELECT old FROM changed ORDER BY old LIMIT 1;

-- name: count_changed
SELECT count(*) FROM changed;

-- name: done
DELETE FROM changed WHERE old IN ({});

-- name: members
SELECT key FROM keys WHERE winner IN ({}) ORDER BY key;

-- name: whole_persons
SELECT id FROM persons WHERE id IN ({}) OR merged_into IN ({});

-- name: events_of
SELECT time, source, id, seq, profile, forms, rule FROM carried WHERE person IN ({});

-- name: joins_of
SELECT body FROM joins WHERE person IN ({});
