-- The feeds of buckets: which entities are in which bucket, and the lines that say what came into each. None of it belongs to a build, so it outlives them.

-- Every bucket that an entity was ever in. scope: its values, in the order of the view's scope columns.
CREATE TABLE tributary.bucket (
  id text PRIMARY KEY,
  entity_type text NOT NULL,
  scope jsonb NOT NULL
);

-- In which bucket an entity was from one position on until another. until NULL: it is in it now.
CREATE TABLE tributary.member (
  entity_type text NOT NULL,
  entity_id text NOT NULL,
  bucket text NOT NULL,
  since bigint NOT NULL,
  until bigint
);
CREATE UNIQUE INDEX member_now ON tributary.member (entity_type, entity_id) WHERE until IS NULL;
CREATE INDEX member_past ON tributary.member (entity_type, entity_id) WHERE until IS NOT NULL;

-- The lines. Those of one position are numbered over all buckets: from 0 on what folding that position's event brought, from 1000 on what was written of it later. origin and seq NULL: the line
-- comes from no event.
-- seal NULL: not sealed yet, and nobody reads it. A sealed line never changes.
CREATE TABLE tributary.feed (
  position bigint NOT NULL,
  ordinal integer NOT NULL,
  bucket text NOT NULL,
  kind text NOT NULL,
  entity_type text NOT NULL,
  entity_id text NOT NULL,
  origin text,
  seq bigint,
  seal bigint,
  digest text,
  PRIMARY KEY (position, ordinal)
);
CREATE INDEX feed_unsealed ON tributary.feed (position, ordinal) WHERE seal IS NULL;
-- Readers see sealed lines only, and a line gets into these when it is sealed.
CREATE INDEX feed_of_bucket ON tributary.feed (bucket, seal, position, ordinal) WHERE seal IS NOT NULL;
CREATE INDEX feed_of_entity ON tributary.feed (entity_type, entity_id, position, ordinal) WHERE seal IS NOT NULL;

-- Notes on cases that have no line yet. A case's entity may be folded by another process than its notes, so their lines are made when all have come to their position.
CREATE TABLE tributary.feed_note (
  position bigint PRIMARY KEY,
  case_id text NOT NULL,
  origin text NOT NULL,
  seq bigint NOT NULL
);

-- By which view, and for which scope columns, the lines of an entity type were made. A type that is not here has none yet, as in a database of an earlier version.
CREATE TABLE tributary.feed_scope (
  entity_type text PRIMARY KEY,
  view text NOT NULL,
  columns json NOT NULL
);

-- Entities as of the newest seal. bucket NULL: it is in none, and its digest is kept for when it comes back. key: by which entities are ordered and cut into ranges.
CREATE TABLE tributary.held (
  entity_type text NOT NULL,
  entity_id text NOT NULL,
  bucket text,
  key text NOT NULL,
  digest text NOT NULL,
  PRIMARY KEY (entity_type, entity_id)
);
CREATE INDEX held_in_bucket ON tributary.held (bucket, key);

-- What was sealed of a bucket under one seal, and what the bucket was then.
CREATE TABLE tributary.segment (
  bucket text NOT NULL,
  seal bigint NOT NULL,
  through bigint NOT NULL,
  head text NOT NULL,
  count bigint NOT NULL,
  fingerprint text NOT NULL,
  lines bigint NOT NULL,
  PRIMARY KEY (bucket, seal)
);
CREATE INDEX segment_by_seal ON tributary.segment (seal);

-- Seals are numbered without end: a feed that is made anew goes on with the numbers, so that no head comes twice.
CREATE TABLE tributary.seal (
  number bigint PRIMARY KEY,
  through bigint NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);

-- What a replica was told to delete. entity_id NULL: all that it has of the bucket. position: of the event that says that it did; NULL: it owes it.
CREATE TABLE tributary.debt (
  device text NOT NULL,
  bucket text NOT NULL,
  seal bigint NOT NULL,
  entity_id text,
  since timestamptz NOT NULL DEFAULT now(),
  position bigint
);
CREATE UNIQUE INDEX debt_once ON tributary.debt (device, bucket, seal, coalesce(entity_id, ''));
CREATE INDEX debt_open ON tributary.debt (since) WHERE position IS NULL;
