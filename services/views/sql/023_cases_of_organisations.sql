-- Cases of keys that entities share, once for each organisation alone: they are as they would be if the entities of others were not there, and so tell nothing of these. `org`: whose; `of`: the case of the same
-- key across all organisations, which keeps its id and its meaning and has neither.
ALTER TABLE tributary.case_row ADD COLUMN org text, ADD COLUMN of text;
CREATE INDEX case_of ON tributary.case_row (of) WHERE of IS NOT NULL;
-- Whether such cases stand for what a build held when it became live. Builds of earlier versions get them when a projector of this version starts.
ALTER TABLE tributary.generation ADD COLUMN has_org_cases boolean NOT NULL DEFAULT false;

-- All cases of live builds. A case across organisations is accepted too where it is about the same as an organisation's, and that was accepted; never the other way round, which would tell the organisation that there are no others.
CREATE VIEW tributary.case_any WITH (security_invoker = true) AS
  SELECT c.generation, c.view, c.id, c.kind, c.entity_type, c.subject, c.rule, c.says, c.about, c.mark, c.opened_position, c.opened_at, c.changed_position, c.closed_position,
    n.assignee, a.position AS accepted_position, a.actor AS accepted_by, a.text AS accepted_note,
    CASE WHEN c.closed_position IS NOT NULL THEN 'closed' WHEN a.position IS NOT NULL THEN 'accepted' ELSE 'open' END AS state, c.org, a.recorded_at AS accepted_at
  FROM (
    SELECT r.generation, r.view, r.id, r.kind, r.entity_type, r.subject, r.rule, r.says, r.about, r.mark, r.opened_position, r.opened_at,
      r.changed_position, r.closed_position, r.org
    FROM tributary.case_row r JOIN tributary.generation g USING (view, generation) WHERE g.state = 'live'
    UNION ALL
    SELECT 0, 'devices', id, 'fork', 'device', device, origin, says, about, mark, opened_position, opened_at, opened_position, NULL, NULL
    FROM tributary.fork_case
  ) c
  LEFT JOIN LATERAL (SELECT assignee FROM tributary.case_note n WHERE n.case_id = c.id AND n.kind = 'assigned' ORDER BY position DESC LIMIT 1) n ON true
  LEFT JOIN LATERAL (SELECT position, actor, text, recorded_at FROM tributary.case_note n
    WHERE n.case_id = ANY (ARRAY(SELECT o.id FROM tributary.case_row o WHERE o.of = c.id AND o.generation = c.generation) || c.id) AND n.kind = 'accepted' AND n.mark = c.mark
    ORDER BY position LIMIT 1) a ON true;
-- Those that people are shown: of organisations only the ones whose rows the transaction asks for. Who sees everything sees one case for a matter.
CREATE OR REPLACE VIEW tributary."case" WITH (security_invoker = true) AS
  SELECT * FROM tributary.case_any WHERE org IS NULL OR org = ANY ((SELECT string_to_array(nullif(current_setting('tributary.orgs', true), ''), ','))::text[]);
-- Made again by views/owned.ts: earlier it showed a case of several entities to whoever may see all of them.
DROP POLICY IF EXISTS tributary_seen ON tributary.case_row;

-- What position the hub as a whole had come to at a time: rows as of a time stand at it, whoever asks. A reader's own rows of the audit would not say: a release, or a swap, is the hub's.
CREATE FUNCTION tributary.position_at(moment timestamptz) RETURNS bigint
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
  AS 'SELECT position FROM tributary.audit WHERE recorded_at <= moment ORDER BY position DESC LIMIT 1';
REVOKE ALL ON FUNCTION tributary.position_at(timestamptz) FROM PUBLIC;
