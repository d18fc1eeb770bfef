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

ALTER TABLE tributary.change ENABLE ROW LEVEL SECURITY;
CREATE POLICY tributary_overseen ON tributary.change FOR SELECT TO tributary_overseer USING (true);
-- As in 021_owners.sql. What is noted of a whole view belongs to nobody, and is shown to whoever sees anything.
DO $$
DECLARE
  seen CONSTANT text := $s$(SELECT string_to_array(nullif(current_setting('tributary.orgs', true), ''), ','))::text[]$s$;
BEGIN
  EXECUTE 'CREATE POLICY tributary_seen ON tributary.change FOR SELECT TO tributary_reader USING (CASE
    WHEN kind = ''row'' THEN EXISTS (SELECT FROM tributary.owner o WHERE o.entity_type = change.entity_type AND o.entity_id = change.id AND o.org = ANY (' || seen || '))
    WHEN kind IN (''opened'', ''case'') THEN EXISTS (SELECT FROM tributary.case_row c WHERE c.id = change.id) OR EXISTS (SELECT FROM tributary.fork_case f WHERE f.id = change.id)
    ELSE ' || seen || ' IS NOT NULL END)';
END $$;
GRANT SELECT ON tributary.change, tributary.change_head TO tributary_reader, tributary_overseer;
