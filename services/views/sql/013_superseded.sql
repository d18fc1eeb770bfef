-- Versions of rows that were replaced, because their entity was folded again or by a new build, stay. superseded_at is the position from which on a version was no longer known;
-- known_from is the position from which on it was known, where that is not its own.
DO $$
DECLARE
  past record;
BEGIN
  FOR past IN
    SELECT g.place, t.name, c.conname FROM tributary.generation g
      CROSS JOIN LATERAL json_array_elements_text(g.tables) AS t (name)
      JOIN pg_constraint c ON c.conrelid = to_regclass(format('%I.%I', g.place, t.name)) AND c.contype = 'p'
      WHERE g.kind = 'entity' AND t.name = g.view || '_history'
  LOOP
    EXECUTE format('ALTER TABLE %I.%I ADD COLUMN known_from bigint, ADD COLUMN superseded_at bigint NOT NULL DEFAULT 9223372036854775807,
      DROP CONSTRAINT %I, ADD PRIMARY KEY (id, position, superseded_at)', past.place, past.name, past.conname);
  END LOOP;
END $$;
