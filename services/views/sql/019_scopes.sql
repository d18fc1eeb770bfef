-- What the values of a bucket are called, in their order: a part of what it is. NULL: no view's columns give them.
ALTER TABLE tributary.bucket ADD COLUMN columns json;

-- What is still to be done to an entity type's lines, which is done in parts: new (it has none), moved (they are of other columns), same (rows may have changed otherwise than by events), gone (no view
-- shows the type any more). NULL: nothing. done_to: the entities up to this one are done.
ALTER TABLE tributary.feed_scope ADD COLUMN due text;
ALTER TABLE tributary.feed_scope ADD COLUMN done_to text;

-- The id of a bucket tells its columns now: entities whose view has a scope move to buckets of another id.
UPDATE tributary.feed_scope SET columns = 'null' WHERE columns::text <> '[]';

-- A row: replicas are told nothing, since the feed is being made for other columns, or after the log's heads. through: until all lines up to here are sealed; NULL: that is not known before all are made.
CREATE TABLE tributary.feed_shut (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  through bigint
);
