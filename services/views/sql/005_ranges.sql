-- The wire carries versions up to 2^53 - 1, and quarantined events with such versions are kept like all others. A double holds each version exactly.
ALTER TABLE tributary.audit ALTER COLUMN schema_version TYPE double precision;
ALTER TABLE tributary.quarantine ALTER COLUMN schema_version TYPE double precision;
