import type { Position } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { seconds } from "./sql.ts";

/** A quarantined event, and whether it was released or rejected. */
export interface QuarantineRow {
  readonly origin: string;
  readonly seq: number;
  readonly position: string;
  readonly id: string;
  readonly type: string;
  readonly entityType: string;
  readonly entityId: string;
  /** `type/id`, and `subject@version`. */
  readonly entity: string;
  readonly schema: string;
  readonly site: string;
  readonly actor: string;
  readonly recordedAt: string;
  readonly subject: string;
  readonly version: number;
  readonly code: string;
  readonly reason: string;
  readonly path: string | null;
  readonly raw: string;
  readonly hash: string;
  readonly state: "held" | "released" | "rejected";
  readonly settledAt: string | null;
  readonly settledBy: string | null;
  readonly settledNote: string | null;
}

const QUARANTINE = `
  SELECT origin, seq::float8 AS seq, position::text, id::text, type, entity_type AS "entityType", entity_id AS "entityId", site, actor,
    ${seconds("recorded_at")} AS "recordedAt", schema_subject AS subject, schema_version AS version, code, reason, path, raw, hash,
    entity_type || '/' || entity_id AS entity, schema_subject || '@' || schema_version AS schema, state,
    ${seconds("settled_at")} AS "settledAt", settled_by AS "settledBy", settled_note AS "settledNote"
  FROM tributary.quarantine`;

/** Which quarantined events are asked for; a member that is left out lets all pass. */
export interface QuarantineFilter {
  readonly state?: QuarantineRow["state"];
  readonly site?: string;
  readonly code?: string;
  readonly subject?: string;
  readonly version?: number;
}

const PASSES = `($1::text IS NULL OR site = $1) AND ($2::text IS NULL OR code = $2) AND ($3::text IS NULL OR schema_subject = $3)
       AND ($4::float8 IS NULL OR schema_version = $4) AND ($5::text IS NULL OR state = $5)`;
const askedOf = ({ site, code, subject, version, state }: QuarantineFilter): unknown[] => [
  ...[site ?? null, code ?? null, subject ?? null, version ?? null, state ?? null],
];

/** Quarantined events, in log order, as they are now: somebody who has just released one must not see it as held. Each belongs to one shard, so none is shown in part. */
export async function quarantine(db: Db, filter: QuarantineFilter): Promise<readonly QuarantineRow[]> {
  const { rows } = await db.query<QuarantineRow & Record<string, unknown>>(
    `${QUARANTINE} WHERE ${PASSES} ORDER BY quarantine.position`,
    askedOf(filter),
  );
  return rows;
}

/** Some of them: at most `limit`, behind a position (`null`: from the first on). */
export async function quarantinePage(
  db: Db,
  filter: QuarantineFilter,
  { behind, limit }: { readonly behind: Position | null; readonly limit: number },
): Promise<readonly QuarantineRow[]> {
  const { rows } = await db.query<QuarantineRow & Record<string, unknown>>(
    `${QUARANTINE} WHERE ${PASSES} AND ($6::bigint IS NULL OR quarantine.position > $6) ORDER BY quarantine.position LIMIT $7`,
    [...askedOf(filter), behind, limit],
  );
  return rows;
}

/** How many there are. */
export async function quarantineCount(db: Db, filter: QuarantineFilter): Promise<number> {
  const { rows } = await db.query<{ count: number }>(
    `SELECT count(*)::float8 AS count FROM tributary.quarantine WHERE ${PASSES}`,
    askedOf(filter),
  );
  return rows[0]?.count ?? 0;
}

/** One quarantined event by its name, `origin/seq`; `null`: no event of this name ever was in quarantine. */
export async function quarantinedEvent(db: Db, name: string): Promise<QuarantineRow | null> {
  const slash = name.lastIndexOf("/");
  const { rows } = await db.query<QuarantineRow & Record<string, unknown>>(`${QUARANTINE} WHERE origin = $1 AND seq::text = $2`, [
    name.slice(0, Math.max(slash, 0)),
    name.slice(slash + 1),
  ]);
  return rows[0] ?? null;
}

/** How much of what a site sends by a schema is quarantined. */
export interface QuarantineRate {
  readonly site: string;
  readonly schema: string;
  readonly events: number;
  readonly quarantined: number;
  readonly held: number;
  readonly percent: number;
}

/** Rates by site and schema, the most quarantined first. `days`: only events recorded in the last so many days count; `null`: all do. */
export async function quarantineRates(db: Db, days: number | null): Promise<readonly QuarantineRate[]> {
  const { rows } = await db.query<QuarantineRate & Record<string, unknown>>(
    `SELECT a.site, a.schema_subject || '@' || a.schema_version AS schema, count(*)::float8 AS events,
       count(a.quarantine_code)::float8 AS quarantined, count(*) FILTER (WHERE q.state = 'held')::float8 AS held,
       round(100.0 * count(a.quarantine_code) / count(*), 1)::float8 AS percent
     FROM tributary.audit a LEFT JOIN tributary.quarantine q ON q.origin = a.origin AND q.seq = a.seq
     WHERE $1::integer IS NULL OR a.recorded_at > now() - make_interval(days => $1)
     GROUP BY 1, 2 ORDER BY quarantined DESC, 1, 2`,
    [days],
  );
  return rows;
}
