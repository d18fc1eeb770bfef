import type { Position } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { commonPosition } from "../shard-positions.ts";

/** How far the views are, and who folds what. */
export interface Lag {
  /** How far all shards have folded the log; `null`: some have not begun. */
  readonly position: Position | null;
  /** The shards that each projector holds, by its name; the shards that nobody holds stand under `null`. */
  readonly shards: ReadonlyMap<string | null, readonly number[]>;
}

/** How far the views are, and who folds what. How far that is behind the log, only a caller who has the log can tell. */
export async function lag(db: Db): Promise<Lag> {
  const { rows } = await db.query<{ shard: number; holder: string | null }>(
    `SELECT s.shard, p.name AS holder
     FROM tributary.shard s LEFT JOIN tributary.projector p ON p.number = s.holder
     ORDER BY s.shard`,
  );
  const shards = new Map<string | null, number[]>();
  for (const { shard, holder } of rows) shards.set(holder, [...(shards.get(holder) ?? []), shard]);
  return { position: await commonPosition(db), shards };
}
