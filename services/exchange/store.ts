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
import type { AfterLine, LinePlace } from "../views/index.ts";
import type { PagedEvent } from "./protocol/index.ts";

export type { AfterLine, LinePlace };

export interface Seal {
  /** 0: nothing is sealed yet. */
  readonly number: number;
  readonly through: Position | null;
  /** The scope columns for which the feed of each entity type is made. Left out: those of the views that it is served by. */
  readonly scopes?: Readonly<Record<string, readonly string[]>>;
  /** Changes whenever policies or sites' roles may have, also where no line tells of it: a row that was folded again, balanced books. Left out: they change with lines only. */
  readonly reach?: string;
}

/** A line as the hub keeps it. */
export interface StoredLine extends LinePlace {
  readonly kind: LineKind;
  readonly entityId: string;
  readonly digest: Hash;
  /** The position that its seal goes to. */
  readonly through: Position;
  /** The event that it comes from; `null`: none. With an `enter`, the entity's history up to this line is sent (`historiesUpTo`). */
  readonly event: EventRef | null;
  /** Whether its entity is in the bucket as of the newest seal. Told of an `enter`; of others it is `true`. */
  readonly isHere: boolean;
}

/** An entity that has left a bucket, and where its line stands that says so. */
export interface LeftEntity extends LinePlace {
  readonly entityId: string;
}

/** An event by name. */
export interface EventRef {
  readonly origin: OriginId;
  readonly seq: Seq;
}

/** Whose history is asked for, and how many of its first events are not. */
export interface HistoryAsk {
  readonly entityId: string;
  readonly skip: number;
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

/** What a holder is told that it may hold. */
export interface ToldHolding {
  /** The holder's name. */
  readonly holder: string;
  readonly digest: string;
  readonly buckets: readonly BucketId[];
}

export interface FeedStore {
  /**
   * The newest seal. Called for each pull: it must cost nothing while nothing changes (the implementation looks at most every 250 ms, or is told). `told`: a seal that the asker knows of. Where what is
   * remembered is earlier, it is looked up now.
   */
  newest(told?: number): Promise<Seal>;
  /** Buckets whose last segment was sealed after a seal, with their ends. */
  headsAfter(seal: number): Promise<readonly (BucketHead & { readonly of: Bucket })[]>;
  /** Whether the bucket had this head at the end of the segment of this seal. */
  hasHead(bucket: BucketId, seal: number, head: Hash): Promise<boolean>;
  /** Where the line stands that was read last of a segment: `line`: how many of the first segment after a seal were read, at least one. `null`: it has no line after these, so nobody stands there. */
  placeOf(bucket: BucketId, at: { readonly seal: number; readonly line: number }): Promise<LinePlace | null>;
  /** The lines after a place, at most `limit`, in order. Fewer: there are no more. */
  lines(bucket: BucketId, after: AfterLine, limit: number): Promise<readonly StoredLine[]>;
  /** The entities that were in a bucket at `had`, and are in it no more, in the order in which they left; at most `limit`, after a place. Who came after `had`, and left again, is not among them. */
  left(
    bucket: BucketId,
    of: { readonly had: AfterLine; readonly after: AfterLine },
    limit: number,
  ): Promise<readonly LeftEntity[]>;
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
  /** The histories of entities, as of the newest seal, in the order in which their digests count them; of each at most `most` events, without its first `skip` ones. They come in the order of the entities. */
  histories(bucket: BucketId, entities: readonly HistoryAsk[], most: number): Promise<readonly (readonly EventRef[])[]>;
  /** The same of the entities of lines, each up to its line, from its first event on. */
  historiesUpTo(bucket: BucketId, lines: readonly StoredLine[], most: number): Promise<readonly (readonly EventRef[])[]>;
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
  owes(debts: readonly Debt[]): Promise<void>;
  /** Notes which buckets a holder is told that it may hold, in place of what it was told before. `false`: somebody else noted another list at the same time. */
  noteHolding(told: ToldHolding): Promise<boolean>;
  /** The buckets of a list that a holder was told once, by its digest; `null`: none of the last ones has it. */
  holdingOf(holder: string, digest: string): Promise<readonly BucketId[] | null>;
}
