-- Which other hub let an event in (the id of its log's first incarnation), and where that hub's log has it. NULL: this hub did.
ALTER TABLE tributary.audit ADD COLUMN taken_by text, ADD COLUMN taken_at bigint;
ALTER TABLE tributary.audit_beyond ADD COLUMN taken_by text, ADD COLUMN taken_at bigint;
-- What other hubs let in, in the order in which it came: the hub notes its place in its own order.
CREATE INDEX audit_taken ON tributary.audit (position) WHERE taken_by IS NOT NULL;
