-- Looked up by position all over: the last event up to one, the next after one, the event at one. A range that is found block by block is scanned each time; and rows
-- come in this order, so that a btree costs a page's writing next to nothing.
DROP INDEX IF EXISTS tributary.audit_by_position;
CREATE INDEX audit_by_position ON tributary.audit (position);
