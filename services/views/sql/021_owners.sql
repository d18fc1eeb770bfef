-- Whose an entity is: the organisation of the origin of its first admitted event by position, where a released event stands at its release; of a site or replica, the one that its id names (core/whose.ts).
CREATE TABLE tributary.owner (
  entity_type text NOT NULL,
  entity_id text NOT NULL,
  org text NOT NULL,
  position bigint NOT NULL,
  PRIMARY KEY (entity_type, entity_id)
);
INSERT INTO tributary.owner
  SELECT DISTINCT ON (entity_type, entity_id) entity_type, entity_id,
    CASE WHEN entity_type IN ('site', 'replica') AND position('.' IN entity_id) > 1 THEN split_part(entity_id, '.', 1) ELSE split_part(origin, '.', 1) END, position
  FROM (
    SELECT entity_type, entity_id, origin, position FROM tributary.audit WHERE quarantine_code IS NULL
    UNION ALL SELECT entity_type, entity_id, origin, settled_position FROM tributary.quarantine WHERE state = 'released' AND settled_position IS NOT NULL
  ) e ORDER BY entity_type, entity_id, position;

ALTER TABLE tributary.decision_row ADD COLUMN entity_type text;
UPDATE tributary.decision_row d SET entity_type = coalesce(
  (SELECT q.entity_type FROM tributary.quarantine q WHERE q.settled_position = d.position AND q.entity_id = d.entity_id LIMIT 1),
  (SELECT a.entity_type FROM tributary.audit a WHERE a.position = d.position LIMIT 1));
ALTER TABLE tributary.parked ADD COLUMN entity_type text;
UPDATE tributary.parked p SET entity_type = (SELECT a.entity_type FROM tributary.audit a WHERE a.origin = p.origin AND a.seq = p.seq);

-- From here on, nobody but the tables' owner sees rows of an organisation, unless a policy shows them. Builds of views get theirs when a projector of this version starts.
DO $$
DECLARE
  seen CONSTANT text := $s$(SELECT string_to_array(nullif(current_setting('tributary.orgs', true), ''), ','))::text[]$s$;
  owned CONSTANT text := 'EXISTS (SELECT FROM tributary.owner o WHERE o.entity_type = %s AND o.entity_id = %s AND o.org = ANY (' || seen || '))';
  t record;
BEGIN
  FOR t IN
    SELECT name, format(condition, VARIADIC parts) AS condition FROM (VALUES
      ('owner', 'org = ANY (%s)', ARRAY[seen]),
      ('origin', 'org = ANY (%s)', ARRAY[seen]),
      ('audit', 'audit.org = ANY (%s) OR ' || owned, ARRAY[seen, 'audit.entity_type', 'audit.entity_id']),
      ('audit_beyond', 'audit_beyond.org = ANY (%s) OR ' || owned, ARRAY[seen, 'audit_beyond.entity_type', 'audit_beyond.entity_id']),
      ('quarantine', $c$split_part(origin, '.', 1) = ANY (%s)$c$, ARRAY[seen]),
      ('quarantine_beyond', $c$split_part(origin, '.', 1) = ANY (%s)$c$, ARRAY[seen]),
      ('fork_case', $c$split_part(origin, '.', 1) = ANY (%s)$c$, ARRAY[seen]),
      ('decision_row', owned, ARRAY['decision_row.entity_type', 'decision_row.entity_id']),
      ('parked', owned, ARRAY['parked.entity_type', 'parked.entity_id']),
      -- A case of several entities is shown to whoever may see all of them: not only some, and not where the list of them was cut off.
      ('case_row', $c$CASE kind WHEN 'register' THEN $c$ || owned || $c$ ELSE
          coalesce(json_array_length(CASE json_typeof(about -> 'members') WHEN 'array' THEN about -> 'members' END), 0) = coalesce((about ->> 'count')::int, 1)
          AND NOT EXISTS (SELECT FROM json_array_elements(about -> 'members') m WHERE NOT $c$ || owned || ') END',
        ARRAY['case_row.entity_type', 'case_row.subject', 'case_row.entity_type', $c$m ->> 'entity'$c$]),
      ('case_note', 'EXISTS (SELECT FROM tributary.case_row c WHERE c.id = case_note.case_id) OR EXISTS (SELECT FROM tributary.fork_case f WHERE f.id = case_note.case_id)', ARRAY[]::text[]),
      ('case_note_beyond', 'EXISTS (SELECT FROM tributary.case_row c WHERE c.id = case_note_beyond.case_id)', ARRAY[]::text[]),
      ('feed', owned, ARRAY['feed.entity_type', 'feed.entity_id']),
      ('member', owned, ARRAY['member.entity_type', 'member.entity_id']),
      ('held', owned, ARRAY['held.entity_type', 'held.entity_id'])
    ) AS x (name, condition, parts)
  LOOP
    EXECUTE format('ALTER TABLE tributary.%I ENABLE ROW LEVEL SECURITY', t.name);
    EXECUTE format('CREATE POLICY tributary_overseen ON tributary.%I FOR SELECT TO tributary_overseer USING (true)', t.name);
    EXECUTE format('CREATE POLICY tributary_seen ON tributary.%I FOR SELECT TO tributary_reader USING (%s)', t.name, t.condition);
    EXECUTE format('GRANT SELECT ON tributary.%I TO tributary_reader, tributary_overseer', t.name);
  END LOOP;
  -- Rows of several organisations, or that only the hub's own processes read.
  FOR t IN SELECT unnest(ARRAY['bucket', 'segment', 'feed_note', 'debt', 'holding', 'notification', 'refold', 'reconciliation']) AS name LOOP
    EXECUTE format('ALTER TABLE tributary.%I ENABLE ROW LEVEL SECURITY', t.name);
    EXECUTE format('CREATE POLICY tributary_overseen ON tributary.%I FOR SELECT TO tributary_overseer USING (true)', t.name);
    EXECUTE format('GRANT SELECT ON tributary.%I TO tributary_overseer', t.name);
  END LOOP;
  FOR t IN SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND (n.nspname = 'views' OR n.nspname LIKE 'tributary\_g%') LOOP
    EXECUTE 'ALTER TABLE ' || t.name || ' ENABLE ROW LEVEL SECURITY';
  END LOOP;
END $$;

GRANT USAGE ON SCHEMA tributary, views TO tributary_reader, tributary_overseer;
-- What belongs to no organisation, and views that show what their reader may see.
GRANT SELECT ON tributary.generation, tributary.shard, tributary.incarnation, tributary.view, tributary.checkpoint, tributary.decision, tributary.decision_superseded, tributary."case",
  tributary.seal, tributary.projector TO tributary_reader, tributary_overseer;
ALTER VIEW tributary.decision SET (security_invoker = true);
ALTER VIEW tributary.decision_superseded SET (security_invoker = true);
ALTER VIEW tributary."case" SET (security_invoker = true);
