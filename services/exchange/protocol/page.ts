/** The answer to a pull: plain data. `encode.ts` and `decode.ts` have its form on the wire. */
import type {
  BucketHead,
  BucketId,
  Cursor,
  Hash,
  IncarnationId,
  KeyRange,
  LineKind,
  PagedEvent,
  Position,
  SchemaNews,
  ScopeValue,
} from "../../core/index.ts";

/** A bucket that a replica may hold. */
export interface HeldBucket {
  readonly bucket: BucketId;
  readonly entityType: string;
  readonly values: readonly ScopeValue[];
  /** Lower numbers are asked for first. */
  readonly priority: number;
  /** Only present states are sent. */
  readonly statesOnly: boolean;
}

/** All buckets that a replica may hold now. */
export interface Holding {
  /** SHA-256 over the list; the replica repeats it with each request. */
  readonly digest: string;
  readonly buckets: readonly HeldBucket[];
}

export interface PagedLine {
  readonly kind: LineKind;
  readonly position: Position;
  readonly entityId: string;
  /**
   * `event`: one event. `enter`: the entity's whole history up to here, in the order in which the hub counts it. `exit`: none. A release from quarantine is two lines: the original, then
   * the releasing event. The event of an entity that leaves with a later line of the section may come without its text: its hash is all that the lines need.
   */
  readonly events: readonly PagedEvent[];
  /** Of an exit: the digest that the entity had in the bucket. Of the others `null`: the reader computes it from the events. */
  readonly digest: Hash | null;
}

/** Where a section's lines are sealed: after `lines` lines of it. */
export interface SealMark {
  readonly lines: number;
  readonly seal: number;
  readonly through: Position;
}

/** An entity of a bucket, as of the page's seal. */
export interface PagedMember {
  readonly entityId: string;
  /** Of the whole history. */
  readonly digest: Hash;
  /**
   * The history. One that is longer than a page comes in parts: these are its first events, or those after the ones that the asker said it has, and the digest does not follow from them yet. The asker
   * fetches on (`compare`, with `have`) until it does.
   */
  readonly events: readonly PagedEvent[];
  /** Packed states, by view; only of views whose shape the page names. */
  readonly states: Readonly<Record<string, string>>;
}

export type Section =
  /**
   * What followed the cursor that was asked. `to`: where the reader stands after it; the head there must be what the reader computes. Of a bucket of states only it has no lines: the `members` before it
   * are what the lines up to `to` were about, and the head is the hub's word.
   */
  | {
      readonly kind: "lines";
      readonly bucket: BucketId;
      readonly lines: readonly PagedLine[];
      readonly seals: readonly SealMark[];
      readonly to: Cursor;
    }
  /** Entities in the order of their range keys, or those that were asked for by name. `after`: ask on from here; `null`: that was the last. `gone`: asked for by name, and not in the bucket; in answer to a cursor of states only, those that left. */
  | {
      readonly kind: "members";
      readonly bucket: BucketId;
      readonly members: readonly PagedMember[];
      readonly gone: readonly string[];
      readonly after: string | null;
    }
  /** The parts of ranges that differ. */
  | { readonly kind: "ranges"; readonly bucket: BucketId; readonly ranges: readonly KeyRange[] }
  /** The entities of a range that differs: whatever else the replica has in it is not in the bucket. */
  | {
      readonly kind: "listed";
      readonly bucket: BucketId;
      readonly prefix: string;
      readonly entities: readonly { readonly entityId: string; readonly digest: Hash }[];
    }
  /** The replica holds exactly what the bucket holds as of this head: it follows from here. */
  | { readonly kind: "same"; readonly bucket: BucketId; readonly at: BucketHead }
  /** The hub does not know the cursor that was asked: the replica has to compare. */
  | { readonly kind: "unknown"; readonly bucket: BucketId };

export interface Page {
  /** The hub whose log gives the positions, by the id of its log's first incarnation; and the log's present incarnation. */
  readonly hub: IncarnationId;
  readonly incarnation: IncarnationId;
  /** The hub's clock, milliseconds. */
  readonly nowMs: number;
  /** The newest seal of the hub's feed, and the position up to which it goes. */
  readonly seal: number;
  readonly through: Position | null;
  /** What the replica may hold; `null`: what it was told before still holds. */
  readonly holding: Holding | null;
  /**
   * The first 16 digits of the head of each bucket that the replica may hold, in the order of the holding; empty for a bucket without a segment. `null`: the summary that was asked with is
   * right, so nothing has changed; or none was given.
   */
  readonly ends: readonly string[] | null;
  /** Buckets that were asked for and may not be held, with the reason in words. */
  readonly withdrawn: readonly { readonly bucket: BucketId; readonly why: string }[];
  /** The digest of each view's shape (`shapeDigest`), as the hub folds it. */
  readonly shapes: Readonly<Record<string, string>>;
  /**
   * Where the hub's views read events in an older version of a subject than the newest, because they were built before that was registered: the version, by view and subject. A replica reads in the
   * same versions, or defaults of newer forms would stand in its rows only. Said with `shapes`; left out: all views read in the newest.
   */
  readonly readers?: Readonly<Record<string, Readonly<Record<string, number>>>>;
  /** Schemas that the replica lacks and that events of this page are written in. */
  readonly schemas: readonly SchemaNews[];
  readonly sections: readonly Section[];
  /** Whether there is more to ask for at once. */
  readonly more: boolean;
}

/** A page as it came, with who signed it. */
export interface SignedPage {
  readonly page: Page;
  /** SHA-256 of the body, hexadecimal: what `pageText` covers. */
  readonly digest: string;
  readonly signature: { readonly kid: string; readonly value: string } | null;
}

/** The text that a hub signs for a page: it answers one request, and no other. */
export const pageText = (nonce: string, digest: string): string => `tributary page\n${nonce}\n${digest}`;

/**
 * The digest of all heads that a replica stands at, which it sends instead of them: while nothing changes, a poll says no more. `ends`: of each bucket of its holding, in that order, the
 * first 16 digits of the head; empty where it does not follow the bucket.
 */
export const summaryText = (holding: string, ends: readonly string[]): string =>
  `tributary heads\n${holding}\n${ends.join("\n")}`;

export { type PagedEvent, PURGED, type Purge, REPLICA_ENTITY } from "../../core/index.ts";
