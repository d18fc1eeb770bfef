/**
 * Sealing: the lines up to a position get their digests, each bucket's lines become one segment, and its head, count and fingerprint follow. Pure. A sealed segment never changes: what is decided
 * later about an earlier position is a line of a later segment.
 */
import {
  type BucketHead,
  type BucketId,
  changedBy,
  type Digest,
  entityDigest,
  GENESIS,
  type Hash,
  headAfter,
  NO_ENTITIES,
  type Position,
  partOf,
  segmentDigest,
} from "../../core/index.ts";
import { entityName, type FeedRow } from "./lines.ts";

/** A line that is to be sealed, with its event's hash. */
export interface UnsealedRow extends FeedRow {
  readonly hash: Hash | null;
}

/** A line with the digest of its entity's history after it. */
export interface SealedRow extends FeedRow {
  readonly digest: Hash;
}

/** What is known before sealing of the buckets and entities that the lines name. */
export interface BeforeSealing {
  readonly heads: ReadonlyMap<BucketId, BucketHead>;
  /** The digest of each entity's history, by `entityName`. */
  readonly digests: ReadonlyMap<string, Hash>;
}

/** An entity's history as it stands after sealing, and the bucket that it is in; `null`: none. */
export interface SealedEntity {
  readonly entityType: string;
  readonly entityId: string;
  readonly bucket: BucketId | null;
  readonly digest: Hash;
}

export interface Sealed {
  readonly rows: readonly SealedRow[];
  readonly heads: readonly BucketHead[];
  readonly entities: readonly SealedEntity[];
}

/** What is sealed of a bucket so far. */
interface Open {
  readonly before: BucketHead | null;
  digest: Hash;
  count: number;
  added: bigint;
  removed: bigint;
}

/** Seals lines, which come in the order of their positions and ordinals. */
export function seal(
  rows: readonly UnsealedRow[],
  { heads, digests }: BeforeSealing,
  { number, through }: { readonly number: number; readonly through: Position },
  digest: Digest,
): Sealed {
  const open = new Map<BucketId, Open>();
  const entities = new Map<string, SealedEntity>();
  const bucketOf = (bucket: BucketId): Open => {
    let found = open.get(bucket);
    if (found === undefined) {
      const before = heads.get(bucket) ?? null;
      found = { before, digest: GENESIS, count: before?.count ?? 0, added: 0n, removed: 0n };
      open.set(bucket, found);
    }
    return found;
  };
  const sealed = rows.map((row): SealedRow => {
    const { bucket, kind, position, entityType, entityId, hash } = row;
    const name = entityName(entityType, entityId);
    const old = entities.get(name)?.digest ?? digests.get(name) ?? GENESIS;
    const now = hash === null ? old : entityDigest(old, hash, digest);
    const into = bucketOf(bucket);
    if (kind !== "enter") into.removed += partOf(entityId, old, digest);
    if (kind !== "exit") into.added += partOf(entityId, now, digest);
    into.count += kind === "enter" ? 1 : kind === "exit" ? -1 : 0;
    into.digest = segmentDigest(into.digest, { kind, position, entityId, digest: now }, digest);
    entities.set(name, { entityType, entityId, bucket: kind === "exit" ? null : bucket, digest: now });
    const { hash: _, ...rest } = row;
    return { ...rest, digest: now };
  });
  return {
    rows: sealed,
    heads: [...open].map(([bucket, { before, digest: segment, count, added, removed }]) => ({
      bucket,
      seal: number,
      through,
      head: headAfter(before?.head ?? GENESIS, { seal: number, through, digest: segment }, digest),
      count,
      fingerprint: changedBy(before?.fingerprint ?? NO_ENTITIES, added, removed),
    })),
    entities: [...entities.values()],
  };
}
