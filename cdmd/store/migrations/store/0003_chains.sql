-- A profile's activities are a chain: the profile names the newest, each names the one before it. An index over them was a random
-- page more for every event, half of what a batch wrote; a chain rides on rows that are written anyway.
ALTER TABLE profiles ADD COLUMN newest INTEGER;
ALTER TABLE activities ADD COLUMN before INTEGER;

UPDATE profiles SET newest = (SELECT max(seq) FROM activities WHERE profile = profiles.id);
UPDATE activities SET before = chain.before
FROM (SELECT seq, lag(seq) OVER (PARTITION BY profile ORDER BY seq) AS before FROM activities WHERE profile IS NOT NULL) AS chain
WHERE chain.seq = activities.seq AND chain.before IS NOT NULL;

DROP INDEX activities_of;
