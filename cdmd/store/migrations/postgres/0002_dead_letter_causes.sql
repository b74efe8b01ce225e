-- Causes are counted over a million dead letters without reading one of them.
CREATE INDEX dead_letters_by_cause ON dead_letters (connector, type, code, since, seq);
