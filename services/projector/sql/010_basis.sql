-- What the hub takes back of what an event says that its author had seen: by origin, why and what counts ([code, seq], -1: nothing). NULL: nothing is taken back.
ALTER TABLE tributary.audit ADD COLUMN clipped json;
ALTER TABLE tributary.audit_beyond ADD COLUMN clipped json;
