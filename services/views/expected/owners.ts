import type { Db } from "../connect.ts";
import { type Differences, MAX_RETURNED } from "./differing.ts";

/** The first admitted event of each entity, as the audit and the list of quarantined events have it. What the audit could not hold as it is, is left out. */
const FIRST = `SELECT DISTINCT ON (entity_type, entity_id) entity_type, entity_id, position,
    CASE WHEN entity_type IN ('site', 'replica') AND position('.' IN entity_id) > 1 THEN split_part(entity_id, '.', 1) ELSE split_part(origin, '.', 1) END AS org
  FROM (
    SELECT entity_type, entity_id, origin, position FROM tributary.audit WHERE quarantine_code IS NULL AND held_otherwise IS NULL
    UNION ALL SELECT entity_type, entity_id, origin, settled_position FROM tributary.quarantine WHERE state = 'released'
  ) e ORDER BY entity_type, entity_id, position`;

/** How the list of whose entities are differs from what their first events say. Call it once audit and quarantine were compared with the log. */
export async function ownerDifferences(db: Db): Promise<Differences> {
  const { rows } = await db.query<{ key: string; what: string; total: string }>(
    `SELECT coalesce(e.entity_type, o.entity_type) || '/' || coalesce(e.entity_id, o.entity_id) AS key, d.what, count(*) OVER () AS total
     FROM (${FIRST}) e FULL JOIN tributary.owner o ON o.entity_type = e.entity_type AND o.entity_id = e.entity_id
     CROSS JOIN LATERAL (SELECT CASE
       WHEN o.org IS NULL THEN 'it is not noted that it belongs to ' || e.org
       WHEN e.org IS NULL THEN CASE WHEN NOT EXISTS (SELECT FROM tributary.audit a WHERE a.held_otherwise IS NOT NULL AND a.position = o.position)
         THEN 'it is noted as belonging to ' || o.org || ', and the log has no event that says so' END
       WHEN o.org <> e.org THEN 'it is noted as belonging to ' || o.org || ', and its first event is of ' || e.org
       WHEN o.position > e.position THEN 'the position since which its owner is noted is not that of its first event' END AS what) d
     WHERE d.what IS NOT NULL ORDER BY 1 LIMIT ${MAX_RETURNED}`,
  );
  return { count: Number(rows[0]?.total ?? 0), named: rows };
}
