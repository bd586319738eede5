-- What may be a second old after a crash.

CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO meta VALUES ('applied_seq', 0);

-- `key` is 0 for the account's own limits. What a, b and c mean is the rule's business.
CREATE TABLE window(
  account INTEGER NOT NULL,
  key INTEGER NOT NULL,
  name TEXT NOT NULL,
  a INTEGER NOT NULL,
  b INTEGER NOT NULL,
  c INTEGER NOT NULL,
  ends_at INTEGER NOT NULL,
  PRIMARY KEY (account, key, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollup(
  account INTEGER NOT NULL,
  grain INTEGER NOT NULL,
  start INTEGER NOT NULL,
  key INTEGER NOT NULL,
  route TEXT NOT NULL,
  class TEXT NOT NULL,
  model TEXT NOT NULL,
  status INTEGER NOT NULL,
  requests INTEGER NOT NULL,
  errors INTEGER NOT NULL,
  limited INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  charged INTEGER NOT NULL,
  l0 INTEGER NOT NULL, l1 INTEGER NOT NULL, l2 INTEGER NOT NULL, l3 INTEGER NOT NULL,
  l4 INTEGER NOT NULL, l5 INTEGER NOT NULL, l6 INTEGER NOT NULL, l7 INTEGER NOT NULL,
  l8 INTEGER NOT NULL, l9 INTEGER NOT NULL, l10 INTEGER NOT NULL, l11 INTEGER NOT NULL,
  l12 INTEGER NOT NULL, l13 INTEGER NOT NULL, l14 INTEGER NOT NULL, l15 INTEGER NOT NULL,
  l16 INTEGER NOT NULL, l17 INTEGER NOT NULL, l18 INTEGER NOT NULL, l19 INTEGER NOT NULL,
  PRIMARY KEY (account, grain, start, key, route, class, model, status)
) STRICT, WITHOUT ROWID;
CREATE INDEX rollup_by_time ON rollup(grain, start);
