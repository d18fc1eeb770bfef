import type { Position } from "../core/index.ts";
import type { Db } from "./connect.ts";
import { asPosition } from "./shards.ts";

/** How many entities are parked in each live view; views without any are left out. */
export async function parkedCounts(db: Db): Promise<Record<string, number>> {
  const { rows } = await db.query<{ view: string; count: number }>(
    `SELECT p.view, count(*)::int AS count FROM tributary.parked p JOIN tributary.generation g USING (view, generation)
     WHERE g.state = 'live' GROUP BY p.view ORDER BY p.view`,
  );
  return Object.fromEntries(rows.map(({ view, count }) => [view, count]));
}

/** How the shards stand. */
export interface ShardsNow {
  /** How far all shards have folded the log; `null`: some have not begun. */
  readonly position: Position | null;
  /** How many shards no living projector holds: nobody folds their entities. */
  readonly unheld: number;
}

/** How the shards stand, by one query. */
export async function shardsNow(db: Db): Promise<ShardsNow> {
  const { rows } = await db.query<{ position: string | null; unheld: number }>(
    `SELECT (SELECT position FROM tributary.checkpoint) AS position,
       count(*) FILTER (WHERE holder IS NULL OR lease_until < clock_timestamp())::int AS unheld FROM tributary.shard`,
  );
  return { position: asPosition(rows[0]?.position), unheld: rows[0]?.unheld ?? 0 };
}
