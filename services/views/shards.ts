import { type EntityRef, type Position, position } from "../core/index.ts";

/**
 * Into how many parts entities are dealt: the most processes that can share the work. Fixed for a database's life, as it says which part an entity
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

/** How far all of them have been folded. */
export const least = (positions: Positions): Position | null =>
  positions.reduce<Position | null>(
    (low, each) => (each === null || low === null ? null : each < low ? each : low),
    positions[0] ?? null,
  );

/** How far the one that is furthest has been folded; `null`: none has begun. */
export const furthestOf = (positions: Positions): Position | null =>
  positions.reduce<Position | null>((high, each) => (each !== null && (high === null || each > high) ? each : high), null);

/** A position as the driver gives it. */
export const asPosition = (text: string | null | undefined): Position | null => (text == null ? null : positionOf(text));

/** The same where the column holds one in every row. */
export const positionOf = (text: string): Position => position(BigInt(text));
