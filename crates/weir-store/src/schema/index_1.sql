-- Computed from the ledger; may be deleted whenever the store is closed.

CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO meta VALUES ('identity', ''), ('indexed_seq', 0), ('snapshot_seq', 0);

CREATE TABLE entry_by_account(
  account INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  PRIMARY KEY (account, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE wallet(
  account INTEGER PRIMARY KEY,
  as_of INTEGER NOT NULL,
  state TEXT NOT NULL
) STRICT;
