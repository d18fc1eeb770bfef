/** What the parts of a device that pull, query and explain ask of its replica. Plain data. */
import type { BucketId, EntityRef, Hash, OriginId, ScopeValue, Seq, Vector } from "../../core/index.ts";
import type { BucketAsk, Page, Purge } from "../../exchange/protocol/index.ts";
import type { EntityState, Withheld } from "../../merge/engine.ts";
import type { EventHead } from "../reading.ts";
import type { HubNote, OwnState } from "./event-rows.ts";
import type { Written } from "./own.ts";
import type { Phase } from "./rows.ts";
import type { StoredRow } from "./view-rows.ts";

/** A section that was not kept. */
export interface Refused {
  readonly bucket: BucketId;
  /** What does not come out, in words. The bucket is compared next. */
  readonly why: string;
}

/** What a page has changed. */
export interface Taken {
  /** Events that were not here before; entities that came or got events. */
  readonly events: number;
  readonly entities: number;
  readonly purged: readonly Purge[];
  readonly refused: readonly Refused[];
  /** Buckets that the device may hold from now on, and those that it may not any more. */
  readonly added: readonly BucketId[];
  readonly withdrawn: readonly { readonly bucket: BucketId; readonly why: string }[];
  /** Whether own events were written since the page before that are to be sent: confirmations of purges. */
  readonly hasWritten: boolean;
  /** Whether there is more to ask for at once. */
  readonly hasMore: boolean;
}

/** A bucket that this device holds. */
export interface BucketStatus {
  readonly bucket: BucketId;
  readonly entityType: string;
  readonly values: readonly ScopeValue[];
  readonly priority: number;
  readonly statesOnly: boolean;
  readonly phase: Phase;
  readonly seal: number;
  readonly head: Hash;
  readonly entities: number;
  /** Whether all that the hub has told of is here. */
  readonly isCurrent: boolean;
}

/** A view that this device folds. */
export interface ViewStatus {
  readonly view: string;
  readonly rows: number;
  /** It is folded by another declaration than the hub's: the hub may show something else. */
  readonly olderRules: boolean;
}

/** An event of an entity, as this device has it. */
export interface HistoryEvent {
  readonly head: EventHead;
  readonly hash: Hash | null;
  /** The text of its data. */
  readonly text: string;
  /** `null`: an own event that the hub's feed has not brought yet; then there is no note either. */
  readonly position: bigint | null;
  readonly recordedAtMs: number | null;
  readonly note: HubNote | null;
  /** What became of an own event; `null`: another device's. */
  readonly own: OwnState | null;
}

export interface Replica {
  /** The hub, by the id of its log's first incarnation; `null`: no page has come yet. */
  hub(): string | null;
  /** What to ask of each bucket next, in the order in which it is wanted. `take` then expects the answer. At most `limit` buckets. */
  asks(limit?: number): Readonly<Record<BucketId, BucketAsk>>;
  /** What a request says of the replica beside that. */
  summary(): { readonly holding: string | null; readonly summary?: string };
  /** The newest seal that a page has told of; 0: none has. */
  seal(): number;
  /** The device's own origins with the last event whose content is here. */
  own(): Readonly<Record<OriginId, Seq>>;
  /**
   * Takes the answer to what was asked last, in one transaction: it is durable when this returns, and if it throws, nothing of it was kept. Each section is checked first, and kept or
   * refused as a whole; what was not asked for is passed over. The schemas that the page brings must have been learnt before.
   */
  take(page: Page): Taken;
  /** Brings what is shown of own events up to date with receipts and marks: after each push. */
  refresh(): void;
  /** Deletes all that came from the hub, and the content of own events that the hub has; after a revocation, of all that it ever confirmed. Own events without a receipt stay until they have one. */
  purgeAll(reason: Purge["reason"]): readonly Purge[];
  /** Takes out of the files what was deleted, and confirms it, where that had to wait: before the database is closed. */
  close(): void;
  /** The ids of entities whose rows have changed since this was called last, by view. */
  changes(): ReadonlyMap<string, ReadonlySet<string>>;
  buckets(): readonly BucketStatus[];
  views(): readonly ViewStatus[];
  row(view: string, id: string): StoredRow | null;
  /** The state that a row shows; `null`: there is none. */
  state(view: string, id: string): EntityState | null;
  /** Whether a row stands on what the hub has sent, be it a state or events. Otherwise all of it comes from this device's own events. */
  isSent(view: string, id: string): boolean;
  /** An entity's events, in the hub's order; own ones that it has not placed come last. */
  history(entity: EntityRef): readonly HistoryEvent[];
  /**
   * A hash over what a view shows of a bucket's entities, without own events that the feed has not brought yet: equal to the hub's for the same events. `null`: it cannot be compared, since the
   * view is folded by other rules, or the bucket is not current. What is withheld here, or at the hub (`there`, by id), is left out.
   */
  rowsHash(view: string, bucket: BucketId, there?: ReadonlyMap<string, Withheld>): string | null;
  /** The hash of each row by itself, by id. */
  rowHashes(view: string, bucket: BucketId, there?: ReadonlyMap<string, Withheld>): ReadonlyMap<string, string>;
  /** What is withheld from this device of the rows of a bucket, by id. Rows of which it may see all are not in it. */
  withheld(view: string, bucket: BucketId): ReadonlyMap<string, Withheld>;
  /** Makes an index over columns in quotes (or expressions over them, each with its direction) of a view's rows; `true`: it is new. */
  index(view: string, columns: readonly string[]): boolean;
  /** What the outbox calls in the transaction that writes an own event. */
  written(event: Written): void;
  /** What the replica holds of an entity: what is written next builds on it. */
  seen(entity: EntityRef): Vector;
}
