-- What every hub has besides its views. Positions are the event store's commit positions.
CREATE SCHEMA IF NOT EXISTS tributary;
CREATE SCHEMA IF NOT EXISTS views;

-- How far the log has been projected: one row, moved in the same transaction as everything else.
CREATE TABLE tributary.checkpoint (
  name text PRIMARY KEY,
  position bigint
);

-- The shape that each view was built with; a view whose declaration has changed is rebuilt.
CREATE TABLE tributary.view (
  name text PRIMARY KEY,
  shape text NOT NULL
);

-- Every event of the log, once.
CREATE TABLE tributary.audit (
  origin text NOT NULL,
  seq bigint NOT NULL,
  position bigint NOT NULL,
  id uuid NOT NULL,
  type text NOT NULL,
  entity_type text NOT NULL,
  entity_id text NOT NULL,
  org text NOT NULL,
  site text NOT NULL,
  device text NOT NULL,
  actor text NOT NULL,
  occurred_at timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL,
  hlc text NOT NULL,
  clock_offset_ms bigint,
  schema_subject text NOT NULL,
  schema_version integer NOT NULL,
  basis json NOT NULL,
  data json,
  correlation_id text,
  causation_id text,
  prev text NOT NULL,
  hash text NOT NULL,
  quarantine_code text,
  projection_error text,
  PRIMARY KEY (origin, seq)
);
CREATE INDEX audit_by_entity ON tributary.audit (entity_type, entity_id, position);

-- Every contested register, as it was decided when an event made it so. settled_position: the event that changed it again.
CREATE TABLE tributary.decision (
  view text NOT NULL,
  entity_id text NOT NULL,
  register text NOT NULL,
  position bigint NOT NULL,
  rule text NOT NULL,
  rule_version integer NOT NULL,
  reason text NOT NULL,
  winner json NOT NULL,
  losers json NOT NULL,
  settled_position bigint,
  PRIMARY KEY (view, entity_id, register, position)
);
CREATE INDEX decision_open ON tributary.decision (view, entity_id, register) WHERE settled_position IS NULL;

-- Events that the gate did not admit: they are in the log at their seqs, and wait for a fix.
CREATE TABLE tributary.quarantine (
  origin text NOT NULL,
  seq bigint NOT NULL,
  position bigint NOT NULL,
  id uuid NOT NULL,
  type text NOT NULL,
  entity_type text NOT NULL,
  entity_id text NOT NULL,
  site text NOT NULL,
  actor text NOT NULL,
  recorded_at timestamptz NOT NULL,
  schema_subject text NOT NULL,
  schema_version integer NOT NULL,
  code text NOT NULL,
  reason text NOT NULL,
  path text,
  raw text NOT NULL,
  PRIMARY KEY (origin, seq)
);

-- Where each origin stands, for site status.
CREATE TABLE tributary.origin (
  origin text PRIMARY KEY,
  org text NOT NULL,
  site text NOT NULL,
  device text NOT NULL,
  through bigint NOT NULL,
  position bigint NOT NULL,
  events bigint NOT NULL,
  quarantined bigint NOT NULL,
  clock_wrong bigint NOT NULL,
  first_recorded_at timestamptz NOT NULL,
  last_recorded_at timestamptz NOT NULL
);
