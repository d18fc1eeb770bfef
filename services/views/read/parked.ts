import type { EntityRef } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { heldIn, seconds } from "./sql.ts";

/** An entity that is parked in a live view. */
export interface ParkedEntity {
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

const TYPE = heldIn("a", "entity_type");

/** What is parked, in the order in which it came to be; of a view, where one is named. */
export async function parkedRows(db: Db, view: string | null = null): Promise<readonly ParkedEntity[]> {
  const { rows } = await db.query<ParkedEntity & Record<string, unknown>>(
    `SELECT p.view, p.entity_id AS entity, ${TYPE} AS "entityType", p.origin || '/' || p.seq AS event, p.type, p.position::text, p.error,
       p.stack, p.state, ${seconds("p.parked_at")} AS "parkedAt",
       (SELECT count(*)::int FROM tributary.audit w
        WHERE w.entity_type = ${TYPE} AND w.entity_id = p.entity_id AND w.position > p.position) AS waiting
     FROM tributary.parked p
     JOIN tributary.generation g USING (view, generation)
     JOIN tributary.audit a ON a.origin = p.origin AND a.seq = p.seq
     WHERE g.state = 'live' AND ($1::text IS NULL OR p.view = $1)
     ORDER BY p.position, p.view`,
    [view],
  );
  return rows;
}

/** Where an entity is parked: the view, and the event that it stopped at. */
export interface ParkedWhere {
  readonly view: string;
  readonly event: string;
  readonly error: string;
}

/** The live views that an entity is parked in. */
export async function whereParked(db: Db, { type, id }: EntityRef): Promise<readonly ParkedWhere[]> {
  const { rows } = await db.query<ParkedWhere & Record<string, unknown>>(
    `SELECT p.view, p.origin || '/' || p.seq AS event, p.error
     FROM tributary.parked p
     JOIN tributary.generation g USING (view, generation)
     JOIN tributary.audit a ON a.origin = p.origin AND a.seq = p.seq
     WHERE g.state = 'live' AND p.entity_id = $2 AND ${TYPE} = $1
     ORDER BY p.view`,
    [type, id],
  );
  return rows;
}

/** A parked entity by the tables alone: also where the audit has lost the event that it stopped at. */
export interface Parked extends ParkedWhere {
  readonly entity: string;
  readonly position: string;
}

/** All that is parked in the live views, whatever the audit has of it. */
export async function parkedMarks(db: Db): Promise<readonly Parked[]> {
  const { rows } = await db.query<Parked & Record<string, unknown>>(
    `SELECT p.view, p.entity_id AS entity, p.origin || '/' || p.seq AS event, p.position::text, p.error
     FROM tributary.parked p JOIN tributary.generation g USING (view, generation)
     WHERE g.state = 'live'
     ORDER BY p.position, p.view`,
  );
  return rows;
}

/** That an entity be folded anew. */
export interface Asked {
  readonly shard: number;
  /** Of just now: a running hub has not had the time for it. */
  readonly isFresh: boolean;
}

/** What waits to be folded anew, by `view/entity`. `freshS`: how long ago, in seconds, still counts as just now. */
export async function refoldsAsked(db: Db, freshS: number): Promise<ReadonlyMap<string, Asked>> {
  // The transaction's own time is of before it had the tables, for which it may have waited.
  const { rows } = await db.query<Asked & { readonly name: string }>(
    `SELECT view || '/' || entity_id AS name, shard,
       asked_at BETWEEN clock_timestamp() - make_interval(secs => $1) AND clock_timestamp() AS "isFresh"
     FROM tributary.refold`,
    [freshS],
  );
  return new Map(rows.map(({ name, shard, isFresh }) => [name, { shard, isFresh }]));
}
