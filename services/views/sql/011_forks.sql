-- Forks of an origin: two histories under one name. What people do about them are notes on the case, as on any other.
CREATE TABLE tributary.fork_case (
  id text PRIMARY KEY,
  -- The revision of the fact in the log's stream about forks.
  revision bigint NOT NULL,
  device text NOT NULL,
  origin text NOT NULL,
  says text NOT NULL,
  about json NOT NULL,
  mark text NOT NULL,
  opened_position bigint NOT NULL,
  opened_at timestamptz NOT NULL
);

DROP VIEW tributary.case;
CREATE VIEW tributary.case AS
  SELECT c.*, n.assignee, a.position AS accepted_position, a.actor AS accepted_by, a.text AS accepted_note,
    CASE WHEN c.closed_position IS NOT NULL THEN 'closed' WHEN a.position IS NOT NULL THEN 'accepted' ELSE 'open' END AS state
  FROM (
    SELECT r.generation, r.view, r.id, r.kind, r.entity_type, r.subject, r.rule, r.says, r.about, r.mark, r.opened_position, r.opened_at,
      r.changed_position, r.closed_position
    FROM tributary.case_row r JOIN tributary.generation g USING (view, generation) WHERE g.state = 'live'
    UNION ALL
    SELECT 0, 'devices', id, 'fork', 'device', device, origin, says, about, mark, opened_position, opened_at, opened_position, NULL
    FROM tributary.fork_case
  ) c
  LEFT JOIN LATERAL (SELECT assignee FROM tributary.case_note n WHERE n.case_id = c.id AND n.kind = 'assigned' ORDER BY position DESC LIMIT 1) n ON true
  LEFT JOIN LATERAL (SELECT position, actor, text FROM tributary.case_note n
    WHERE n.case_id = c.id AND n.kind = 'accepted' AND n.mark = c.mark ORDER BY position LIMIT 1) a ON true;
