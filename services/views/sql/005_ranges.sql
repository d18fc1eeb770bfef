-- The wire carries versions up to 2^53 - 1, and what the gate holds back of them is kept like everything else. A double holds each of them exactly.
ALTER TABLE tributary.audit ALTER COLUMN schema_version TYPE double precision;
ALTER TABLE tributary.quarantine ALTER COLUMN schema_version TYPE double precision;
