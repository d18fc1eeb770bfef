import { type EntityRef, type Position, position } from "../core/index.ts";

/**
 * Into how many shards entities are dealt: the most processes that can share the work. Fixed for a database's life, as it decides which shard an entity
 * is in; 004_projections.sql makes as many rows.
 */
export const SHARDS = 16;

/** An entity's shard: FNV-1a over its name. Part of the database's meaning: never change it. */
export function shardOf({ type, id }: EntityRef): number {
  let hash = 0x811c9dc5;
  const name = `${type}/${id}`;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return (hash >>> 0) % SHARDS;
}

/** How far each shard has been folded. */
export type Positions = readonly (Position | null)[];
export const NOWHERE: Positions = Array.from({ length: SHARDS }, () => null);

/** How far all shards have been folded; `null`: some have not begun. */
export const least = (positions: Positions): Position | null =>
  positions.reduce<Position | null>(
    (low, each) => (each === null || low === null ? null : each < low ? each : low),
    positions[0] ?? null,
  );

/** The position of the shard that is furthest; `null`: none has begun. */
export const furthestOf = (positions: Positions): Position | null =>
  positions.reduce<Position | null>((high, each) => (each !== null && (high === null || each > high) ? each : high), null);

/** The position in a text that the driver gives; `null` for none. */
export const asPosition = (text: string | null | undefined): Position | null => (text == null ? null : positionOf(text));

/** The same for a column that has a position in every row. */
export const positionOf = (text: string): Position => position(BigInt(text));
