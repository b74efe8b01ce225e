-- What decides of every stored event, in the order in which the events count; then whose each is.
CREATE TABLE carried (
    time INTEGER NOT NULL,
    source TEXT NOT NULL,
    id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    profile INTEGER NOT NULL,
    forms BLOB NOT NULL,
    person INTEGER,
    rule TEXT,
    PRIMARY KEY (time, source, id, seq)
) WITHOUT ROWID;

-- When each identifier was seen first on events of each profile, as far as they are kept.
CREATE TABLE firsts (pair TEXT NOT NULL, profile INTEGER NOT NULL, time INTEGER NOT NULL, PRIMARY KEY (pair, profile)) WITHOUT ROWID;

-- The stored profiles: what each is part of now, and a digest of all identifiers of those that are part of none.
CREATE TABLE keys (key INTEGER PRIMARY KEY, winner INTEGER NOT NULL, identifiers BLOB);
CREATE INDEX keys_of ON keys (winner);

-- Who comes out.
CREATE TABLE owners (pair TEXT PRIMARY KEY, person INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE persons (id INTEGER PRIMARY KEY, merged_into INTEGER, identifiers BLOB, body BLOB NOT NULL);
CREATE INDEX persons_merged ON persons (merged_into);
CREATE TABLE joins (person INTEGER NOT NULL, body BLOB NOT NULL);

-- Which of the stored profiles have events of which person, and which are not as they were.
CREATE TABLE links (old INTEGER NOT NULL, person INTEGER NOT NULL, PRIMARY KEY (old, person)) WITHOUT ROWID;
CREATE INDEX links_of ON links (person);
CREATE TABLE changed (old INTEGER PRIMARY KEY);
