-- An entity's history is read in the order in which its digest counts it, and only as far as a page takes it.
DROP INDEX tributary.feed_of_entity;
CREATE INDEX feed_of_entity ON tributary.feed (entity_type, entity_id, seal, position, ordinal) WHERE seal IS NOT NULL;
-- Who has left a bucket since a replica was told of it.
CREATE INDEX feed_exits ON tributary.feed (bucket, seal, position, ordinal) WHERE seal IS NOT NULL AND kind = 'exit';

-- Which buckets holders of replicas were told that they may hold: a replica that comes with an earlier list deletes what is not given any more, and owes a word about it. n: the order in which a holder was told. buckets:
-- of the list that it was told last; NULL: of an earlier one. That one is told by the next one: gone are the buckets that it had besides, come those that it lacked.
CREATE TABLE tributary.holding (
  n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  holder text NOT NULL,
  digest text NOT NULL,
  buckets text[],
  gone text[],
  come text[],
  at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX holding_now ON tributary.holding (holder) WHERE buckets IS NOT NULL;
CREATE INDEX holding_of ON tributary.holding (holder, n);
