-- A generation is finished once it says how many blocks it has. AUTOINCREMENT: no number is given twice.
CREATE TABLE generations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    connector TEXT NOT NULL,
    name TEXT NOT NULL,
    blocks INTEGER
);

-- id is generation * 2^24 + number: one integer key keeps large rows cheap.
CREATE TABLE blocks (id INTEGER PRIMARY KEY, sum BLOB NOT NULL, body BLOB NOT NULL);
