-- Intervals that are over, each in one row of its own with all that its calls differ in. They are
-- filled from `rollup` behind, also those of an older store; whatever comes late is added there.

CREATE TABLE packed(
  account INTEGER NOT NULL,
  grain INTEGER NOT NULL,
  start INTEGER NOT NULL,
  kinds BLOB NOT NULL,
  PRIMARY KEY (account, grain, start)
) STRICT, WITHOUT ROWID;
