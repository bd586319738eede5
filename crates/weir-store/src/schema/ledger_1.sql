-- The truth of a store. Times are microseconds since the Unix epoch, amounts are nano units.

CREATE TABLE meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
INSERT INTO meta VALUES ('identity', lower(hex(randomblob(16)))), ('idempotency_bytes', 0);

-- No other index here: this is what an acknowledgement waits for. See index_1.sql.
CREATE TABLE entry(
  seq INTEGER PRIMARY KEY,
  account INTEGER NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  amount INTEGER NOT NULL,
  balance INTEGER NOT NULL,
  policy INTEGER NOT NULL,
  reference TEXT NOT NULL,
  note TEXT,
  terms TEXT,
  draws TEXT,
  call TEXT
) STRICT;

CREATE TABLE resource(
  kind TEXT NOT NULL,
  id INTEGER NOT NULL,
  account INTEGER,
  revision INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX resource_by_account ON resource(kind, account, id);

CREATE TABLE event(
  id INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  account INTEGER,
  type TEXT NOT NULL,
  body TEXT NOT NULL
) STRICT;
CREATE INDEX event_by_account ON event(account, id);

CREATE TABLE delivery(
  webhook INTEGER NOT NULL,
  event INTEGER NOT NULL,
  state TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  next_at INTEGER NOT NULL,
  last_status INTEGER,
  last_error TEXT,
  PRIMARY KEY (webhook, event)
) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_due ON delivery(next_at) WHERE state = 'pending';
CREATE INDEX delivery_by_event ON delivery(event);

CREATE TABLE idempotency(
  id INTEGER PRIMARY KEY,
  account INTEGER NOT NULL,
  key TEXT NOT NULL,
  fingerprint BLOB NOT NULL,
  status INTEGER,
  bytes INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  headers TEXT NOT NULL,
  body BLOB,
  UNIQUE (account, key)
) STRICT;

CREATE TABLE checkpoint(
  call INTEGER PRIMARY KEY,
  account INTEGER NOT NULL,
  at INTEGER NOT NULL,
  body TEXT NOT NULL
) STRICT;

CREATE TABLE once(
  source TEXT NOT NULL,
  id TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (source, id)
) STRICT, WITHOUT ROWID;
