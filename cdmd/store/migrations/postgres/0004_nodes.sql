-- Which settings a node goes by, as a digest: one whose settings are not those of the node that leads applies nothing.
ALTER TABLE nodes ADD COLUMN settings text NOT NULL DEFAULT '';

-- What a node says of itself now and then: beside its row, which is written anew with each of its transactions.
CREATE TABLE reports (
    node bigint PRIMARY KEY,
    report text NOT NULL
);

-- Nodes of which nothing was heard any more, and that had not said that they stop; for a week, or until they are back.
CREATE TABLE lost_nodes (
    name text PRIMARY KEY,
    roles text NOT NULL,
    seen timestamptz NOT NULL
);
