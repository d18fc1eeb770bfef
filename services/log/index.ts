/**
 * The log: EventStoreDB through its official client, for a real server and the embedded node alike. In go runs of an
 * origin's events, each exactly once; out come entries in log order. No event is written twice, and there is never a gap.
 */
import type { Appendable, Journal, LogEntry, OriginHead, OriginId, Position, Seq } from "../core/index.ts";
import { logAddress } from "./address.ts";
import { type AppendOutcome, appendRun, type SignNotes } from "./append.ts";
import { connect, within } from "./client.ts";
import { journalOf } from "./journal.ts";
import { entryAt, logEnd, originHead, readAll, readOrigin } from "./read.ts";
import { type LogPage, type SubscribeOptions, subscribe } from "./subscribe.ts";

export interface Log {
  /** `note`: signs the notes on what is written. */
  append(run: readonly Appendable[], known?: OriginHead | null, note?: SignNotes): Promise<AppendOutcome>;
  head(origin: OriginId): Promise<OriginHead | null>;
  /** One event of an origin; `null` when the log has none at that seq. */
  at(origin: OriginId, seq: Seq): Promise<LogEntry | null>;
  end(): Promise<Position | null>;
  readOrigin(origin: OriginId, options?: { from?: Seq; maxCount?: number }): AsyncGenerator<LogEntry>;
  readAll(options?: { from?: Position | null; to?: Position; maxCount?: number }): AsyncGenerator<LogEntry>;
  subscribe(options: SubscribeOptions): AsyncGenerator<LogPage>;
  /** Facts about the hub itself, beside the origins' events. */
  readonly journal: Journal;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

const CLOSE_TIMEOUT_MS = 500;

/** Opens the log at an `esdb://` or `kurrentdb://` address. Connects on first use. */
export function openLog(url: string): Log {
  const { leader, follower } = logAddress(url);
  const client = connect(leader);
  const reader = follower === null ? client : connect(follower);
  // Not awaited for ever: the client would wait for calls that a dead server never ends.
  const close = async (): Promise<void> => {
    const closed = Promise.all([client, reader].map((each) => each.dispose()));
    await Promise.race([closed, new Promise<void>((resolve) => setTimeout(resolve, CLOSE_TIMEOUT_MS).unref())]);
  };
  return {
    append: (run, known, note) => appendRun(client, run, known, note),
    head: (origin) => within(`reading ${origin}`, originHead(client, origin)),
    at: (origin, seq) => within(`reading ${origin}`, entryAt(client, origin, seq)),
    end: () => within("reading the log's end", logEnd(client)),
    readOrigin: (origin, options) => readOrigin(client, origin, options),
    readAll: (options) => readAll(client, options),
    subscribe: (options) => subscribe(reader, options),
    journal: journalOf(client),
    close,
    [Symbol.asyncDispose]: close,
  };
}

export {
  type Anchor,
  type AnchorComparison,
  type AnchorState,
  anchorText,
  compareWithAnchor,
  followHeads,
  type Heads,
  headsOf,
  judge,
  keyFactsOf,
  parseAnchor,
  type ReadAnchor,
  signAnchor,
} from "./anchor.ts";
export { type AppendOutcome, MAX_APPEND_BYTES, type SignNotes } from "./append.ts";
export { FEED_STREAM, type HeadsSoFar, noteHeads, readHeads, type SealedHeads } from "./feed-heads.ts";
export type { Interruption } from "./follower.ts";
export { type HubOriginDeps, openHubOrigin } from "./hub-origin.ts";
export { beginIncarnation, confirmIncarnation, currentIncarnation, INCARNATION_STREAM, incarnations } from "./incarnation.ts";
export {
  actorOfDevice,
  type Fork,
  forkFacts,
  forksOf,
  isForkKept,
  type KeyBook,
  type KeyBookOptions,
  keepFork,
  openKeyBook,
} from "./keybook.ts";
export { declareHubOrg, hubDeclarations, hubOrgsOf, ORGANISATION_STREAM } from "./organisation.ts";
export { signNotes } from "./sign-notes.ts";
export { fitsStore, ORIGIN_PREFIX, streamOf, textOf } from "./stored.ts";
export type { LogPage, SubscribeOptions } from "./subscribe.ts";
