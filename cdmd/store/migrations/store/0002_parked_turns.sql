-- Whom a parked event waits for, so that those of one slow extension do not stand in front of all others.
ALTER TABLE parked ADD COLUMN extension TEXT NOT NULL DEFAULT '';
CREATE INDEX parked_turns ON parked (extension, due);
