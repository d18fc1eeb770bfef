/**
 * Which lines the feeds of buckets get from what happens to entities. Pure: which bucket each entity is in comes in, and lines come out.
 *
 *   no bucket yet ─▶ enter        the same bucket ─▶ event        another bucket ─▶ exit from the old one, enter into the new one        none any more ─▶ exit
 */
import { type Bucket, type BucketId, bucketIdOf, type LineKind, type Position } from "../../core/index.ts";
import type { EventName } from "../events-of.ts";

/** What an entry of the log, or folding an entity again, says of the bucket that an entity is in. */
export interface Placement {
  readonly entityType: string;
  readonly entityId: string;
  readonly position: Position;
  /** The bucket that it is in from now on; `null`: none. */
  readonly bucket: Bucket | null;
  /** It stays in the bucket that it is in, and goes to `bucket` only if it is in none. */
  readonly stays?: boolean;
  /** The events that count for it from here on: one; for a release from quarantine the original and the releasing event; none where it was only folded again. */
  readonly events: readonly EventName[];
}

/** A line as it is written. Lines of one position are numbered, over all buckets. */
export interface FeedRow {
  readonly bucket: BucketId;
  readonly position: Position;
  readonly ordinal: number;
  readonly kind: LineKind;
  readonly entityType: string;
  readonly entityId: string;
  /** `null`: the line comes from no event. */
  readonly event: EventName | null;
}

/** An entity that has changed its bucket. */
export interface Move {
  readonly entityType: string;
  readonly entityId: string;
  readonly position: Position;
  readonly from: BucketId | null;
  readonly to: BucketId | null;
}

/** What is written of placements. */
export interface FeedChanges {
  readonly rows: readonly FeedRow[];
  readonly moves: readonly Move[];
  /** The buckets that entities have moved to, by id. */
  readonly buckets: ReadonlyMap<BucketId, Bucket>;
}

/** The name of an entity in a map. */
export const entityName = (entityType: string, entityId: string): string => `${entityType}\n${entityId}`;

/** Returns a function that gives the ids of buckets. A page has few buckets and many entities, and an id is a digest. */
export function bucketIds(): (bucket: Bucket) => BucketId {
  const known = new Map<string, BucketId>();
  return (bucket) => {
    const name = `${bucket.entityType}\n${JSON.stringify([bucket.columns, bucket.values])}`;
    let id = known.get(name);
    if (id === undefined) {
      id = bucketIdOf(bucket);
      known.set(name, id);
    }
    return id;
  };
}

/**
 * The lines that placements give, in their order. `known`: the bucket that each entity is in so far, by `entityName`. `taken`: how many lines a position has already.
 */
export function feedChanges(
  known: ReadonlyMap<string, BucketId>,
  placements: readonly Placement[],
  taken: ReadonlyMap<Position, number> = new Map(),
): FeedChanges {
  const now = new Map(known);
  const rows: FeedRow[] = [];
  const moves: Move[] = [];
  const buckets = new Map<BucketId, Bucket>();
  const ordinals = new Map(taken);
  const idOf = bucketIds();
  const add = (
    bucket: BucketId,
    kind: LineKind,
    { entityType, entityId, position }: Placement,
    event: EventName | null,
  ): void => {
    const ordinal = ordinals.get(position) ?? 0;
    ordinals.set(position, ordinal + 1);
    rows.push({ bucket, position, ordinal, kind, entityType, entityId, event });
  };
  for (const placement of placements) {
    const { entityType, entityId, position, bucket, stays = false, events } = placement;
    const name = entityName(entityType, entityId);
    const from = now.get(name) ?? null;
    const to = stays && from !== null ? from : bucket === null ? null : idOf(bucket);
    if (bucket !== null && to !== null && to !== from) buckets.set(to, bucket);
    if (from !== null && from !== to) add(from, "exit", placement, null);
    if (to !== null && from !== to) add(to, "enter", placement, events[0] ?? null);
    if (to !== null) for (const event of from === to ? events : events.slice(1)) add(to, "event", placement, event);
    if (from === to) continue;
    moves.push({ entityType, entityId, position, from, to });
    if (to === null) now.delete(name);
    else now.set(name, to);
  }
  return { rows, moves, buckets };
}
