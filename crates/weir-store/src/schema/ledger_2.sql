-- Deliveries know when they were tried last and how long the answer took, and are found by webhook.

ALTER TABLE delivery ADD COLUMN last_at INTEGER;
ALTER TABLE delivery ADD COLUMN last_ms INTEGER;
DROP INDEX delivery_due;
CREATE INDEX delivery_due ON delivery(webhook, next_at) WHERE state = 'pending';
