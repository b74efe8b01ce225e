-- What one node asks another one to do, and what came of it: both sealed, because this may name a customer. Rows do not stay.
CREATE TABLE errands (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    node bigint NOT NULL,
    asked bytea NOT NULL,
    begun boolean NOT NULL DEFAULT false,
    answer bytea,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
