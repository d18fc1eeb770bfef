/** Finds the positions of shards again. That is possible since a page's audit rows and its shards' positions are written in one transaction. */
import { type OriginId, type Position, QUARANTINE_ENTITY, type Seq } from "../core/index.ts";
import type { Log } from "../log/index.ts";
import {
  type AuditedEntity,
  auditedBefore,
  type Db,
  inTransaction,
  lockPositions,
  moveLaggingOn,
  NOWHERE,
  type Positions,
  shardOf,
} from "../views/index.ts";
import { shardOfEntry } from "./shards.ts";

/** How many audit rows are read in one go, from the last one backwards. */
const ROWS_AT_ONCE = 1_000;

/**
 * Finds each shard's position again: the shard was folded up to the last audited event of its entities. A process that holds a shard that is put right loses
 * the shard. Returns the shards that were put right.
 */
export async function restorePositions(db: Db, log: Pick<Log, "readOrigin">): Promise<number[]> {
  return inTransaction(db, async () => {
    await lockPositions(db);
    return moveLaggingOn(db, await lastAudited(db, log));
  });
}

/** The position of each shard's last event in the audit, by shard. */
async function lastAudited(db: Db, log: Pick<Log, "readOrigin">): Promise<Positions> {
  const positions = [...NOWHERE];
  let before: Position | null = null;
  while (positions.includes(null)) {
    const found: AuditedEntity[] = await auditedBefore(db, before, ROWS_AT_ONCE);
    for (const { origin, seq, position, type, id, isPlaceholder } of found) {
      // Where the audit cannot hold the entity's own name, only the log tells its shard.
      const isOther = type === QUARANTINE_ENTITY || isPlaceholder || id.includes("\uFFFD");
      const shard = isOther ? await shardAsLogged(log, origin, seq) : shardOf({ type, id });
      if (shard !== null) positions[shard] ??= position;
    }
    if (found.length < ROWS_AT_ONCE) break;
    before = found.at(-1)!.position;
  }
  return positions;
}

async function shardAsLogged(log: Pick<Log, "readOrigin">, origin: OriginId, seq: Seq): Promise<number | null> {
  let shard: number | null = null;
  for await (const entry of log.readOrigin(origin, { from: seq, maxCount: 1 })) shard = await shardOfEntry(log, entry);
  return shard;
}
