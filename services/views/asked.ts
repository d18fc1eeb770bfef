/** Entities that are to be folded again, by whoever holds their shard. */
import type { EntityRef } from "../core/index.ts";
import type { WaitingEntity } from "./changes.ts";
import type { Db } from "./connect.ts";
import { withoutNul } from "./copy.ts";
import type { Lease, Member } from "./leases.ts";
import { shardOf } from "./shards.ts";

/** How long, in milliseconds, an entity waits for the projector whose page asked for it. After that, whoever holds its shard folds it. */
const OWN_MS = 30_000;

/**
 * Asks whoever holds their shards to fold entities of a view again. `by`: the projector that asks and will do it at once. An entity that is asked for already is asked for later: whoever folds it just now may have read
 * its events before the reason of this request was there, and must not answer it.
 */
export async function askRefold(db: Db, view: string, entities: readonly EntityRef[], by: number | null = null): Promise<void> {
  await db.query(
    `INSERT INTO tributary.refold (view, entity_id, shard, asked_by, asked_at)
     SELECT DISTINCT ON (x.id) $1, x.id, x.shard, $4::integer, clock_timestamp() FROM unnest($2::text[], $3::int[]) AS x (id, shard) ORDER BY x.id
     ON CONFLICT (view, entity_id) DO UPDATE SET asked_by = excluded.asked_by, asked_at = excluded.asked_at`,
    [view, entities.map(({ id }) => withoutNul(id)), entities.map(shardOf), by],
  );
}

/**
 * Asks for entities of several views, each once: view by view in the order of their names, as `askRefold` asks for those of one view in the order of their ids. Two processes that ask for the same ones then never wait
 * for each other.
 */
export async function askInOrder(
  db: Db,
  asked: readonly { readonly view: string; readonly entity: EntityRef }[],
  by: number,
): Promise<void> {
  const byView = [...Map.groupBy(asked, ({ view }) => view)].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [view, of] of byView)
    await askRefold(
      db,
      view,
      of.map(({ entity }) => entity),
      by,
    );
}

/** Asks that the parked entities that a page has events for be folded again right after the page. */
export const askWaiting = (db: Db, waiting: readonly WaitingEntity[], by: number): Promise<void> =>
  askInOrder(
    db,
    waiting.map(({ target: { projection }, id }) => ({ view: projection.name, entity: { type: projection.entity, id } })),
    by,
  );

/** Whether there are entities of these shards that wait to be folded again and that nobody is about to fold. */
export async function isAsked(db: Db, leases: readonly Lease[], { number }: Member): Promise<boolean> {
  const { rows } = await db.query({
    name: "refold-asked",
    text: `SELECT 1 FROM tributary.refold WHERE shard = ANY($1) AND (asked_by IS DISTINCT FROM $2 OR asked_at < now() - $3 * interval '1 ms') LIMIT 1`,
    values: [leases.map(({ shard }) => shard), number, OWN_MS],
  });
  return rows.length > 0;
}

/** An entity that waits to be folded again. */
export interface AskedEntity {
  readonly view: string;
  readonly id: string;
  readonly shard: number;
  /** When it was last asked for, as the database writes it. */
  readonly askedAt: string;
}

/** Entities of these shards that wait to be folded again, longest asked for first. */
export async function askedEntities(db: Db, leases: readonly Lease[], limit: number): Promise<AskedEntity[]> {
  const { rows } = await db.query<AskedEntity>(
    `SELECT view, entity_id AS id, shard, asked_at::text AS "askedAt" FROM tributary.refold WHERE shard = ANY($1) ORDER BY asked_at LIMIT $2`,
    [leases.map(({ shard }) => shard), limit],
  );
  return rows;
}

/** When an entity was last asked for, as the database writes it. `null`: nobody asks. Read it before the events by which the request will be answered. */
export async function askedAtOf(db: Db, view: string, id: string): Promise<string | null> {
  const { rows } = await db.query<{ askedAt: string }>(
    'SELECT asked_at::text AS "askedAt" FROM tributary.refold WHERE view = $1 AND entity_id = $2',
    [view, withoutNul(id)],
  );
  return rows[0]?.askedAt ?? null;
}

/** Takes an entity off the list: it was folded again, or need not be any more. A request that came after `askedAt` stays. */
export async function answerAsked(db: Db, view: string, id: string, askedAt: string | null): Promise<void> {
  await db.query("DELETE FROM tributary.refold WHERE view = $1 AND entity_id = $2 AND asked_at = $3::timestamptz", [
    view,
    withoutNul(id),
    askedAt,
  ]);
}
