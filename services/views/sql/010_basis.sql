-- Which parts of an event's basis the hub does not count: by origin, why, and the seq up to which it does ([code, seq]; -1: nothing counts). NULL: all of it counts.
ALTER TABLE tributary.audit ADD COLUMN clipped json;
ALTER TABLE tributary.audit_beyond ADD COLUMN clipped json;
-- Few rows have such a note, so a search for forged claims finds them at once.
CREATE INDEX audit_clipped ON tributary.audit (position) WHERE clipped IS NOT NULL;
