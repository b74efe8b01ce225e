-- Whoever goes takes along what waits about them and what attempts held: nobody waits until a million rows are read.
CREATE INDEX outbox_about ON outbox (profile) WHERE profile IS NOT NULL;
CREATE INDEX attempts_about ON attempts (profile) WHERE profile IS NOT NULL;
