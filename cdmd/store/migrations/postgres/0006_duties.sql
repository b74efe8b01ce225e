-- What one node at a time does: fetching for a connector, sending to a target. ``token`` grows with each who takes it, ``said`` is
-- how its holder says that it goes.
CREATE TABLE duties (
    kind text NOT NULL,
    name text NOT NULL,
    node bigint,
    token bigint NOT NULL DEFAULT 0,
    said text NOT NULL DEFAULT '',
    PRIMARY KEY (kind, name)
) WITH (fillfactor = 50);
