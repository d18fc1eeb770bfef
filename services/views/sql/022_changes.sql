-- What changed without an event of its own, in the order in which it can be seen: rows that were folded again, released events, builds that were swapped in, cases.
-- Followers of live queries go on from a number. Whoever writes a note raises the number here and so holds this row until its transaction ends: numbers are seen in their order.
CREATE TABLE tributary.change_head (
  is_only boolean PRIMARY KEY DEFAULT true CHECK (is_only),
  -- Names this count: after the tables were lost, numbers begin again.
  life uuid NOT NULL DEFAULT gen_random_uuid(),
  number bigint NOT NULL DEFAULT 0,
  -- Notes up to this number may be gone.
  trimmed bigint NOT NULL DEFAULT 0
);
INSERT INTO tributary.change_head DEFAULT VALUES;
CREATE TABLE tributary.change (
  number bigint PRIMARY KEY,
  -- 'row': an entity's rows, in `view` or in all of its views; 'view': all rows of a view; 'opened', 'case': a case; 'cases': all cases.
  kind text NOT NULL,
  view text,
  entity_type text,
  -- The entity or the case.
  id text,
  noted_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX case_by_id ON tributary.case_row (id);
