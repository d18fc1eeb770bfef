/** Each shard's position in the log, and how it is found again where it was lost. */
import type { OriginId, Position, Seq } from "../core/index.ts";
import type { Db } from "./connect.ts";
import { asPosition, type Positions, SHARDS } from "./shards.ts";

/** Whether shards are missing, or stand at the log's beginning although something was folded. */
export async function arePositionsLost(db: Db): Promise<boolean> {
  const { rows } = await db.query<{ shards: number; unmoved: number; audited: boolean }>(
    `SELECT count(*)::int AS shards, (count(*) FILTER (WHERE position IS NULL))::int AS unmoved,
       EXISTS (SELECT 1 FROM tributary.audit) AS audited FROM tributary.shard`,
  );
  const { shards, unmoved, audited } = rows[0]!;
  return shards < SHARDS || (unmoved > 0 && audited);
}

/** Keeps the shards' positions from moving until the caller's transaction ends. */
export async function lockPositions(db: Db): Promise<void> {
  await db.query("LOCK TABLE tributary.shard IN EXCLUSIVE MODE");
}

/** Moves the shards that stand before these positions on to them. A process that holds one of these shards loses it. Returns which shards they are. */
export async function moveLaggingOn(db: Db, positions: Positions): Promise<number[]> {
  // Fences and layouts count up from the clock, so that none comes that was in use before.
  const { rows } = await db.query<{ shard: number }>(
    `INSERT INTO tributary.shard AS s (shard, position, fence, layout)
     SELECT x.shard, x.position, c.now, coalesce((SELECT max(layout) FROM tributary.shard), c.now)
     FROM unnest($1::int[], $2::bigint[]) AS x (shard, position), (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS now) c
     ON CONFLICT (shard) DO UPDATE SET position = excluded.position, fence = greatest(s.fence + 1, excluded.fence), holder = NULL, lease_until = NULL
     WHERE s.position IS NULL OR s.position < excluded.position
     RETURNING shard`,
    [positions.map((_, shard) => shard), positions],
  );
  return rows.map(({ shard }) => shard);
}

/** Takes shards that stand beyond `to` back to it; `null`: to the log's beginning. Returns how many. */
export async function setPositionsBack(db: Db, to: Position | null): Promise<number> {
  const { rowCount } = await db.query(
    `UPDATE tributary.shard SET position = $1::bigint, fence = fence + 1, holder = NULL, lease_until = NULL
     WHERE position > coalesce($1::bigint, -1)`,
    [to],
  );
  return rowCount ?? 0;
}

/** Takes all shards from whoever holds them. */
export async function takeShardsFromAll(db: Db): Promise<void> {
  await db.query("UPDATE tributary.shard SET fence = fence + 1, holder = NULL, lease_until = NULL");
}

/** The position of the shard that is furthest; `null`: none has begun. */
export async function furthest(db: Db): Promise<Position | null> {
  const { rows } = await db.query<{ position: string | null }>("SELECT max(position) AS position FROM tributary.shard");
  return asPosition(rows[0]?.position);
}

/** The position that all shards have reached: the views are complete up to it. `null`: some shards have not begun. */
export async function commonPosition(db: Db): Promise<Position | null> {
  const { rows } = await db.query<{ position: string | null }>("SELECT position FROM tributary.checkpoint");
  return asPosition(rows[0]?.position);
}

/** How far each shard has been folded. */
export async function foldedTo(db: Db): Promise<ReadonlyMap<number, Position | null>> {
  const { rows } = await db.query<{ shard: number; position: string | null }>("SELECT shard, position FROM tributary.shard");
  return new Map(rows.map(({ shard, position }) => [shard, asPosition(position)]));
}

/** The entity of an audited event. */
export interface AuditedEntity {
  readonly origin: OriginId;
  readonly seq: Seq;
  readonly position: Position;
  readonly type: string;
  readonly id: string;
  /** Whether the row stands with placeholders: the audit could not hold all of the event as it is. */
  readonly isPlaceholder: boolean;
}

/** Audited events before a position (`null`: from the end), latest first, with their entities. */
export async function auditedBefore(db: Db, before: Position | null, limit: number): Promise<AuditedEntity[]> {
  const { rows } = await db.query<Omit<AuditedEntity, "seq" | "position"> & { readonly seq: string; readonly position: string }>(
    `SELECT origin, seq, position, entity_type AS type, entity_id AS id, held_otherwise IS NOT NULL AS "isPlaceholder" FROM tributary.audit
     WHERE $1::bigint IS NULL OR position < $1 ORDER BY position DESC LIMIT $2`,
    [before, limit],
  );
  return rows.map((row) => ({ ...row, seq: Number(row.seq) as Seq, position: asPosition(row.position)! }));
}
