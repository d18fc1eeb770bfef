/**
 * What serving reads of a hub's feed. PostgreSQL is behind it (`views/read/feed.ts`); a test puts a hub in memory behind it. All of it is as of the newest seal: nobody reads what is not
 * sealed yet.
 */
import type {
  Bucket,
  BucketHead,
  BucketId,
  Fingerprint,
  Hash,
  KeyRange,
  LineKind,
  OriginId,
  Policy,
  Position,
  Seq,
} from "../core/index.ts";
import type { PagedEvent } from "./protocol/index.ts";

export interface Seal {
  /** 0: nothing is sealed yet. */
  readonly number: number;
  readonly through: Position | null;
  /** The scope columns for which the feed of each entity type is made. Left out: those of the views that it is served by. */
  readonly scopes?: Readonly<Record<string, readonly string[]>>;
}

/** A line as the hub keeps it. */
export interface StoredLine {
  readonly kind: LineKind;
  readonly position: Position;
  readonly entityId: string;
  readonly digest: Hash;
  /** The seal of its segment, and the position that this seal goes to. */
  readonly seal: number;
  readonly through: Position;
  /** The events that are sent with it: for an `enter` the entity's history up to this line. */
  readonly events: readonly EventRef[];
}

/** An event by name. */
export interface EventRef {
  readonly origin: OriginId;
  readonly seq: Seq;
}

export interface Member {
  readonly entityId: string;
  readonly key: string;
  readonly digest: Hash;
}

/** What a replica was told to delete. */
export interface Debt {
  /** `org.site.device`. */
  readonly device: string;
  readonly bucket: BucketId;
  readonly seal: number;
  /** The entities that left; `null`: all that it has of the bucket, since it may no longer hold it. */
  readonly entityIds: readonly string[] | null;
}

export interface FeedStore {
  /** The newest seal. Called for each pull: it must cost nothing while nothing changes (the implementation looks at most every 250 ms, or is told). */
  newest(): Promise<Seal>;
  /** Buckets whose last segment was sealed after a seal, with their ends. */
  headsAfter(seal: number): Promise<readonly (BucketHead & { readonly of: Bucket })[]>;
  /** Whether the bucket had this head at the end of the segment of this seal. */
  hasHead(bucket: BucketId, seal: number, head: Hash): Promise<boolean>;
  /** The lines after the segment of a seal, without the first `skip` of them, at most `limit`, in order. */
  lines(bucket: BucketId, after: { readonly seal: number; readonly skip: number }, limit: number): Promise<readonly StoredLine[]>;
  /** Entities of a bucket by range key, after one (`null`: from the first), whose key begins with `prefix`; at most `limit`. */
  members(
    bucket: BucketId,
    of: { readonly prefix: string; readonly after: string | null },
    limit: number,
  ): Promise<readonly Member[]>;
  /** Those of the named entities that are in the bucket. */
  named(bucket: BucketId, entityIds: readonly string[]): Promise<readonly Member[]>;
  /** The 16 parts of a range. */
  parts(bucket: BucketId, prefix: string): Promise<readonly KeyRange[]>;
  /** A range: how many entities, and their fingerprint. */
  range(bucket: BucketId, prefix: string): Promise<{ readonly count: number; readonly fingerprint: Fingerprint }>;
  /** The histories of entities, as of the newest seal, each in the order in which its digest counts them. */
  histories(bucket: BucketId, entityIds: readonly string[]): Promise<ReadonlyMap<string, readonly EventRef[]>>;
  /** Packed states of entities, by entity and view. */
  states(entityType: string, entityIds: readonly string[]): Promise<ReadonlyMap<string, Readonly<Record<string, string>>>>;
  /** The events by name, in the given order. */
  events(refs: readonly EventRef[]): Promise<readonly PagedEvent[]>;
  /** The policies that hold. */
  policies(): Promise<readonly Policy[]>;
  /** The roles of sites, by `org.site`. A site without roles may be left out. */
  roles(): Promise<ReadonlyMap<string, readonly string[]>>;
  /**
   * Runs `work` with a store that shows one moment throughout: digests, histories, heads and `newest` belong together there, however much is sealed meanwhile. A store that does not have it
   * does not change while it is read. Policies, roles, states and `owes` are as without it.
   */
  atOnce?<T>(work: (store: FeedStore) => Promise<T>): Promise<T>;
  /** Notes that a replica was told to delete entities of a bucket, as of a seal: it owes a `replica.purged` for them. */
  owes(debt: Debt): Promise<void>;
}
