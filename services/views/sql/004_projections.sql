-- The projectors at work. A process holds an advisory lock with its number, so that all see at once when its connection is gone.
CREATE SEQUENCE tributary.projector_number AS integer;
CREATE TABLE tributary.projector (
  number integer PRIMARY KEY,
  name text NOT NULL,
  heartbeat_at timestamptz NOT NULL
);

-- Entities are dealt out to shards by hash; each shard is folded by one process at a time, and has its own position in the log.
-- fence: grows with every change of hands, and is checked in every transaction. layout: grows when views are swapped.
CREATE TABLE tributary.shard (
  shard integer PRIMARY KEY,
  position bigint,
  holder integer,
  fence bigint NOT NULL DEFAULT 0,
  lease_until timestamptz,
  layout bigint NOT NULL DEFAULT 0
);
INSERT INTO tributary.shard (shard, position)
  SELECT n, (SELECT position FROM tributary.checkpoint WHERE name = 'main') FROM generate_series(0, 15) n;

-- How far all of the log has been projected.
DROP TABLE tributary.checkpoint;
CREATE VIEW tributary.checkpoint AS
  SELECT 'main'::text AS name, CASE WHEN bool_or(position IS NULL) THEN NULL ELSE min(position) END AS position FROM tributary.shard;

-- A build of a view's tables. state: building | live | previous. Tables stand in `place`: 'views' while live.
CREATE SEQUENCE tributary.generation_number AS integer;
CREATE TABLE tributary.generation (
  view text NOT NULL,
  generation integer NOT NULL,
  state text NOT NULL,
  place text NOT NULL,
  kind text NOT NULL,
  shape text NOT NULL,
  readers json,
  tables json NOT NULL DEFAULT '[]',
  -- How far the build has been folded, by shard, while it is not live.
  positions json,
  events bigint NOT NULL DEFAULT 0,
  started_at timestamptz NOT NULL DEFAULT now(),
  live_at timestamptz,
  PRIMARY KEY (view, generation)
);
CREATE UNIQUE INDEX generation_live ON tributary.generation (view) WHERE state = 'live';

-- Views built by an earlier version are shown until they have been rebuilt with all that is kept for them now.
INSERT INTO tributary.generation (view, generation, state, place, kind, shape, tables, live_at)
  SELECT name, 0, 'live', 'views', 'entity', '', json_build_array(name), now() FROM tributary.view;
DROP TABLE tributary.view;
CREATE VIEW tributary.view AS
  SELECT view AS name, generation, kind, shape, readers FROM tributary.generation WHERE state = 'live';

ALTER TABLE tributary.decision RENAME TO decision_row;
ALTER TABLE tributary.decision_row
  ADD COLUMN generation integer NOT NULL DEFAULT 0,
  ADD COLUMN value json,
  ADD COLUMN is_open boolean NOT NULL DEFAULT false,
  DROP CONSTRAINT decision_pkey,
  ADD PRIMARY KEY (view, generation, entity_id, register, position);
DROP INDEX tributary.decision_open;
CREATE INDEX decision_open ON tributary.decision_row (view, generation, entity_id, register) WHERE settled_position IS NULL;
CREATE VIEW tributary.decision AS
  SELECT d.* FROM tributary.decision_row d JOIN tributary.generation g USING (view, generation) WHERE g.state = 'live';

-- What people are to decide: registers under a manual rule, and violated invariants. What they do about it are events, noted in case_note.
CREATE TABLE tributary.case_row (
  generation integer NOT NULL,
  view text NOT NULL,
  id text NOT NULL,
  kind text NOT NULL,
  entity_type text NOT NULL,
  -- The entity, or the key that entities share, and the register or the invariant.
  subject text NOT NULL,
  rule text NOT NULL,
  says text NOT NULL,
  -- What the case is about at present: siblings, or entities with their events. A person's decision holds for exactly this.
  about json NOT NULL,
  mark text NOT NULL,
  opened_position bigint NOT NULL,
  opened_at timestamptz NOT NULL,
  changed_position bigint NOT NULL,
  closed_position bigint,
  PRIMARY KEY (view, generation, id)
);
CREATE INDEX case_open ON tributary.case_row (view, generation) WHERE closed_position IS NULL;
CREATE TABLE tributary.case_note (
  case_id text NOT NULL,
  position bigint NOT NULL,
  kind text NOT NULL,
  actor text NOT NULL,
  origin text NOT NULL,
  recorded_at timestamptz NOT NULL,
  assignee text,
  mark text,
  text text,
  PRIMARY KEY (case_id, position)
);
CREATE VIEW tributary.case AS
  SELECT c.*, n.assignee, a.position AS accepted_position, a.actor AS accepted_by, a.text AS accepted_note,
    CASE WHEN c.closed_position IS NOT NULL THEN 'closed' WHEN a.position IS NOT NULL THEN 'accepted' ELSE 'open' END AS state
  FROM tributary.case_row c JOIN tributary.generation g USING (view, generation)
  LEFT JOIN LATERAL (SELECT assignee FROM tributary.case_note n WHERE n.case_id = c.id AND n.kind = 'assigned' ORDER BY position DESC LIMIT 1) n ON true
  LEFT JOIN LATERAL (SELECT position, actor, text FROM tributary.case_note n
    WHERE n.case_id = c.id AND n.kind = 'accepted' AND n.mark = c.mark ORDER BY position LIMIT 1) a ON true
  WHERE g.state = 'live';

-- Entities whose fold stopped at an event that made the view's declaration throw.
CREATE TABLE tributary.parked (
  view text NOT NULL,
  generation integer NOT NULL,
  entity_id text NOT NULL,
  position bigint NOT NULL,
  origin text NOT NULL,
  seq bigint NOT NULL,
  type text NOT NULL,
  error text NOT NULL,
  stack text NOT NULL,
  state text,
  parked_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (view, generation, entity_id)
);

-- Entities to fold again, by whoever holds their shard.
CREATE TABLE tributary.refold (
  view text NOT NULL,
  entity_id text NOT NULL,
  shard integer NOT NULL,
  asked_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (view, entity_id)
);

-- What reconciling found, each time it ran.
CREATE TABLE tributary.reconciliation (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at timestamptz NOT NULL DEFAULT now(),
  position bigint,
  view text NOT NULL,
  rows bigint NOT NULL,
  comparisons bigint NOT NULL,
  differing json NOT NULL,
  repaired boolean NOT NULL
);
