-- Events are looked up by position in many places: the last one up to a position, the next after it, the one at it. A block range index scans its blocks each time, and rows
-- come in this order, so a btree costs next to nothing when a page is written.
DROP INDEX IF EXISTS tributary.audit_by_position;
CREATE INDEX audit_by_position ON tributary.audit (position);
