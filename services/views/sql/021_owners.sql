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
-- Where a release made a register contested, it stands at the release's position.
UPDATE tributary.decision_row d SET entity_type = q.entity_type
  FROM (SELECT DISTINCT ON (settled_position) settled_position, entity_type, entity_id FROM tributary.quarantine WHERE settled_position IS NOT NULL) q
  WHERE q.settled_position = d.position AND q.entity_id = d.entity_id;
UPDATE tributary.decision_row d SET entity_type = a.entity_type FROM tributary.audit a WHERE a.position = d.position AND d.entity_type IS NULL;
ALTER TABLE tributary.parked ADD COLUMN entity_type text;
UPDATE tributary.parked p SET entity_type = (SELECT a.entity_type FROM tributary.audit a WHERE a.origin = p.origin AND a.seq = p.seq);

-- Who reads these sees what the tables under them show. The tables get their policies whenever a hub brings its tables up to date (views/owned.ts), since the roles that these name belong to the server.
ALTER VIEW tributary.decision SET (security_invoker = true);
ALTER VIEW tributary.decision_superseded SET (security_invoker = true);
ALTER VIEW tributary."case" SET (security_invoker = true);
