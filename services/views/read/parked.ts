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
  /** How many later events of the entity wait with it. */
  readonly waiting: number;
}

const TYPE = heldIn("a", "entity_type");

/** The parked entities, in the order of the events that they are parked at; of one view, where one is named. */
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

/** Where an entity is parked: the view, and the event that its fold stopped at. */
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

/** A parked entity as `tributary.parked` has it: also where the audit has lost the event that the fold stopped at. */
export interface Parked extends ParkedWhere {
  readonly entity: string;
  readonly position: string;
}

/** All entities that are parked in the live views, whatever the audit has of them. */
export async function parkedMarks(db: Db): Promise<readonly Parked[]> {
  const { rows } = await db.query<Parked & Record<string, unknown>>(
    `SELECT p.view, p.entity_id AS entity, p.origin || '/' || p.seq AS event, p.position::text, p.error
     FROM tributary.parked p JOIN tributary.generation g USING (view, generation)
     WHERE g.state = 'live'
     ORDER BY p.position, p.view`,
  );
  return rows;
}

/** A request that an entity be folded again. */
export interface Asked {
  readonly shard: number;
  /** Whether it was made just now: a running hub has not had the time for it yet. */
  readonly isFresh: boolean;
}

/** The entities that wait to be folded again, by `view/entity`. `freshS`: how long ago, in seconds, still counts as just now. */
export async function refoldsAsked(db: Db, freshS: number): Promise<ReadonlyMap<string, Asked>> {
  // Not `now()`: the transaction began before it had locked the tables, and may have waited for them.
  const { rows } = await db.query<Asked & { readonly name: string }>(
    `SELECT view || '/' || entity_id AS name, shard,
       asked_at BETWEEN clock_timestamp() - make_interval(secs => $1) AND clock_timestamp() AS "isFresh"
     FROM tributary.refold`,
    [freshS],
  );
  return new Map(rows.map(({ name, shard, isFresh }) => [name, { shard, isFresh }]));
}
