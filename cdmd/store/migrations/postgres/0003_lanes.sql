-- Daemons that apply one journal side by side. A node is gone when its time is over; its number is never given again, so whoever
-- wakes up late is nobody any more. ``version`` grows with each of its transactions (as in ``positions`` for one daemon alone).
CREATE TABLE nodes (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    roles text NOT NULL,
    version bigint NOT NULL DEFAULT 0,
    until timestamptz NOT NULL
) WITH (fillfactor = 20);

-- Whose a lane is now. Lane -1 is no lane: what is not a batch of the journal is written by the one node that has it.
ALTER TABLE positions ADD COLUMN node bigint;

-- Numbers for new profiles, given to a node in blocks.
CREATE SEQUENCE profile_numbers INCREMENT 65536;
