-- Decisions that were replaced, because their entity was folded again or by a new build, stay, as versions of rows do. superseded_at is the position from which on a decision
-- was no longer known; known_from is the position from which on it was known, where that is not its own.
ALTER TABLE tributary.decision_row
  ADD COLUMN known_from bigint,
  ADD COLUMN superseded_at bigint NOT NULL DEFAULT 9223372036854775807,
  DROP CONSTRAINT decision_row_pkey,
  ADD PRIMARY KEY (view, generation, entity_id, register, position, superseded_at);
DROP INDEX tributary.decision_open;
CREATE INDEX decision_open ON tributary.decision_row (view, generation, entity_id, register)
  WHERE settled_position IS NULL AND superseded_at = 9223372036854775807;

-- The decisions that stand now; and those that stood before, with the positions between which they were known.
CREATE OR REPLACE VIEW tributary.decision AS
  SELECT view, entity_id, register, position, rule, rule_version, reason, winner, losers, settled_position, generation, value, is_open
  FROM tributary.decision_row d JOIN tributary.generation g USING (view, generation)
  WHERE g.state = 'live' AND d.superseded_at = 9223372036854775807;
CREATE VIEW tributary.decision_superseded AS
  SELECT view, entity_id, register, position, rule, rule_version, reason, winner, losers, settled_position, generation, value, is_open,
    greatest(position, known_from) AS known_from, superseded_at
  FROM tributary.decision_row d JOIN tributary.generation g USING (view, generation)
  WHERE g.state = 'live' AND d.superseded_at < 9223372036854775807;
