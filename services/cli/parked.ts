import type { Client } from "pg";
import type { OriginId, Seq, Vector } from "../core/index.ts";

/** An entity that is parked in a live view. */
export interface ParkedRow extends Record<string, unknown> {
  readonly view: string;
  readonly entity: string;
  readonly entityType: string;
  readonly event: string;
  readonly type: string;
  readonly position: string;
  readonly error: string;
  readonly stack: string;
  readonly state: string | null;
  readonly parkedAt: string;
  /** Events of the entity since, which wait with it. */
  readonly waiting: number;
}

const TYPE = `coalesce(a.held_otherwise ->> 'entity_type', a.entity_type)`;
const SELECT = `SELECT p.view, p.entity_id AS entity, ${TYPE} AS "entityType", p.origin || '/' || p.seq AS event, p.type, p.position::text, p.error, p.stack,
    p.state, to_char(p.parked_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS "parkedAt",
    (SELECT count(*)::int FROM tributary.audit w WHERE w.entity_type = ${TYPE} AND w.entity_id = p.entity_id AND w.position > p.position) AS waiting
  FROM tributary.parked p JOIN tributary.generation g USING (view, generation) JOIN tributary.audit a ON a.origin = p.origin AND a.seq = p.seq
  WHERE g.state = 'live'`;

/** Names that `parked list` prints: `view/entity`, the entity's id, `type/id`, or the event as `origin/seq`. */
const namesOf = ({ view, entity, entityType, event }: ParkedRow): readonly string[] => [
  `${view}/${entity}`,
  entity,
  `${entityType}/${entity}`,
  event,
];

/** What is parked, in the order in which it came to be; of a view, where one is named. */
export async function parkedRows(db: Client, view: string | null = null): Promise<ParkedRow[]> {
  const { rows } = await db.query<ParkedRow>(`${SELECT} AND ($1::text IS NULL OR p.view = $1) ORDER BY p.position, p.view`, [
    view,
  ]);
  return rows;
}

/** Those that names mean, of what is parked; and the names that mean nothing. */
export function namedAmong(
  rows: readonly ParkedRow[],
  names: readonly string[],
): { readonly found: readonly ParkedRow[]; readonly missing: readonly string[] } {
  const found = new Set<ParkedRow>();
  const missing: string[] = [];
  for (const name of names) {
    const meant = rows.filter((row) => namesOf(row).includes(name));
    if (meant.length === 0) missing.push(name);
    for (const row of meant) found.add(row);
  }
  return { found: [...found], missing };
}

/** The last event of an entity that the hub has of each origin: what a correction builds on. */
export async function seenOf(db: Client, { entityType, entity }: ParkedRow): Promise<Vector> {
  const { rows } = await db.query<{ origin: OriginId; seq: string }>(
    `SELECT origin, max(seq) AS seq FROM tributary.audit a WHERE (entity_type = $1 AND entity_id = $2 OR a.held_otherwise ->> 'entity_id' = $2) GROUP BY origin`,
    [entityType, entity],
  );
  return Object.fromEntries(rows.map(({ origin, seq }) => [origin, Number(seq) as Seq]));
}
