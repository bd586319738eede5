-- Tokens by kind and bytes; and the sums of each interval, so that a year of an account is read
-- without everything that its calls differ in.

ALTER TABLE rollup ADD COLUMN cached_input_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup ADD COLUMN cache_write_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup ADD COLUMN audio_input_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup ADD COLUMN reasoning_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup ADD COLUMN audio_output_tokens INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup ADD COLUMN request_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup ADD COLUMN response_bytes INTEGER NOT NULL DEFAULT 0;

CREATE TABLE total(
  account INTEGER NOT NULL,
  grain INTEGER NOT NULL,
  start INTEGER NOT NULL,
  requests INTEGER NOT NULL,
  errors INTEGER NOT NULL,
  limited INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  cached_input_tokens INTEGER NOT NULL,
  cache_write_tokens INTEGER NOT NULL,
  audio_input_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  reasoning_tokens INTEGER NOT NULL,
  audio_output_tokens INTEGER NOT NULL,
  request_bytes INTEGER NOT NULL,
  response_bytes INTEGER NOT NULL,
  charged INTEGER NOT NULL,
  l0 INTEGER NOT NULL, l1 INTEGER NOT NULL, l2 INTEGER NOT NULL, l3 INTEGER NOT NULL,
  l4 INTEGER NOT NULL, l5 INTEGER NOT NULL, l6 INTEGER NOT NULL, l7 INTEGER NOT NULL,
  l8 INTEGER NOT NULL, l9 INTEGER NOT NULL, l10 INTEGER NOT NULL, l11 INTEGER NOT NULL,
  l12 INTEGER NOT NULL, l13 INTEGER NOT NULL, l14 INTEGER NOT NULL, l15 INTEGER NOT NULL,
  l16 INTEGER NOT NULL, l17 INTEGER NOT NULL, l18 INTEGER NOT NULL, l19 INTEGER NOT NULL,
  PRIMARY KEY (account, grain, start)
) STRICT, WITHOUT ROWID;
CREATE INDEX total_by_time ON total(grain, start);
-- What is old is found by its total; the index was as large as the roll-ups.
DROP INDEX rollup_by_time;

-- A sum that leaves 64 bits ends the statement: what was written saturates far below it.
INSERT INTO total
SELECT account, grain, start, sum(requests), sum(errors), sum(limited), sum(input_tokens), 0, 0, 0,
  sum(output_tokens), 0, 0, 0, 0, sum(charged),
  sum(l0), sum(l1), sum(l2), sum(l3), sum(l4), sum(l5), sum(l6), sum(l7), sum(l8), sum(l9),
  sum(l10), sum(l11), sum(l12), sum(l13), sum(l14), sum(l15), sum(l16), sum(l17), sum(l18), sum(l19)
FROM rollup GROUP BY account, grain, start;
