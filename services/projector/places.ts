import type { Client } from "pg";
import { type OriginId, QUARANTINE_ENTITY, type Seq } from "../core/index.ts";
import type { Log } from "../log/index.ts";
import { inTransaction } from "./connect.ts";
import { asPosition, NOWHERE, type Positions, SHARDS, shardOf, shardOfEntry } from "./shards.ts";

/** Audit rows looked at in one go, from the end of the log backwards. */
const ROWS_AT_ONCE = 1_000;

/** Whether shards are missing, or stand at the log's beginning although something was folded. */
export async function arePlacesLost(db: Client): Promise<boolean> {
  const { rows } = await db.query<{ shards: number; unmoved: number; audited: boolean }>(
    `SELECT count(*)::int AS shards, (count(*) FILTER (WHERE position IS NULL))::int AS unmoved,
       EXISTS (SELECT 1 FROM tributary.audit) AS audited FROM tributary.shard`,
  );
  const { shards, unmoved, audited } = rows[0]!;
  return shards < SHARDS || (unmoved > 0 && audited);
}

/**
 * Finds each shard's place again. A page's audit rows and its shards' places are written in one transaction: the last audited event of a shard's entities
 * is as far as the shard was folded. Whoever holds a shard that is put right has lost it. Returns the shards put right.
 */
export async function restorePlaces(db: Client, log: Pick<Log, "readOrigin">): Promise<number[]> {
  return inTransaction(db, async () => {
    await db.query("LOCK TABLE tributary.shard IN EXCLUSIVE MODE");
    const places = await lastAudited(db, log);
    // Fences and layouts count up from the clock: never one that was in use before.
    const { rows } = await db.query<{ shard: number }>(
      `INSERT INTO tributary.shard AS s (shard, position, fence, layout)
       SELECT x.shard, x.position, c.now, coalesce((SELECT max(layout) FROM tributary.shard), c.now)
       FROM unnest($1::int[], $2::bigint[]) AS x (shard, position), (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now) c
       ON CONFLICT (shard) DO UPDATE SET position = excluded.position, fence = greatest(s.fence + 1, excluded.fence), holder = NULL, lease_until = NULL
       WHERE s.position IS NULL OR s.position < excluded.position
       RETURNING shard`,
      [places.map((_, shard) => shard), places.map((position) => position?.toString() ?? null)],
    );
    return rows.map(({ shard }) => shard);
  });
}

interface AuditedEntity {
  readonly origin: OriginId;
  readonly seq: string;
  readonly position: string;
  readonly type: string;
  readonly id: string;
  readonly isPlaceholder: boolean;
}

/** By shard, the position of its last event in the audit. */
async function lastAudited(db: Client, log: Pick<Log, "readOrigin">): Promise<Positions> {
  const places = [...NOWHERE];
  let before: string | null = null;
  while (places.includes(null)) {
    const { rows }: { rows: AuditedEntity[] } = await db.query(
      `SELECT origin, seq, position, entity_type AS type, entity_id AS id, held_otherwise IS NOT NULL AS "isPlaceholder" FROM tributary.audit
       WHERE $1::bigint IS NULL OR position < $1 ORDER BY position DESC LIMIT ${ROWS_AT_ONCE}`,
      [before],
    );
    for (const { origin, seq, position, type, id, isPlaceholder } of rows) {
      // Where the audit cannot hold the entity's own name, only the log tells its shard.
      const isOther = type === QUARANTINE_ENTITY || isPlaceholder || id.includes("\uFFFD");
      const shard = isOther ? await shardAsLogged(log, origin, Number(seq) as Seq) : shardOf({ type, id });
      if (shard !== null) places[shard] ??= asPosition(position);
    }
    if (rows.length < ROWS_AT_ONCE) break;
    before = rows.at(-1)!.position;
  }
  return places;
}

async function shardAsLogged(log: Pick<Log, "readOrigin">, origin: OriginId, seq: Seq): Promise<number | null> {
  let shard: number | null = null;
  for await (const entry of log.readOrigin(origin, { from: seq, maxCount: 1 })) shard = await shardOfEntry(log, entry);
  return shard;
}
