-- What the hub takes back of what an event says that its author had seen: by origin, why and what counts ([code, seq], -1: nothing). NULL: nothing is taken back.
ALTER TABLE tributary.audit ADD COLUMN clipped json;
ALTER TABLE tributary.audit_beyond ADD COLUMN clipped json;
-- Few rows have one: who looks for forged claims finds them at once.
CREATE INDEX audit_clipped ON tributary.audit (position) WHERE clipped IS NOT NULL;
