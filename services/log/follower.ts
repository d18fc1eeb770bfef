import {
  type AllStreamResolvedEvent,
  type AllStreamSubscription,
  type EventStoreDBClient,
  START,
  streamNameFilter,
} from "@eventstore/db-client";
import { isTributaryError, type LogEntry, messageOf, type Position, position, TributaryError } from "../core/index.ts";
import { within } from "./client.ts";
import { entryAt, logEnd } from "./read.ts";
import { type Relinking, relink } from "./relink.ts";
import { fromStored } from "./stored.ts";

/**
 * How many events are held for a reader that is busy. Beyond that, the subscription is let go, and made again from there once half of them are read: pausing the
 * client's stream instead can leave its last 16 events unread for ever (seen with client 6.2.1 on Node 24).
 */
const MAX_BUFFERED = 10_000;
/** How many bytes of the log these events may span: one event may have a megabyte. Positions are offsets in the log's bytes. */
const MAX_BUFFERED_BYTES = 64 * 1_048_576;
const MIN_PAUSE_MS = 50;
/** The server reports progress after this many × 32 events that the filter passed over. */
const CHECKPOINT_INTERVAL = 1;

export type Interruption =
  /** The server ended the subscription, or cannot be reached. */
  | { readonly kind: "dropped"; readonly message: string; readonly pauseMs: number }
  /** The subscription was silent while the log grew. */
  | { readonly kind: "quiet"; readonly behind: Position };

/** How many bytes of the log lie between the first and the last of these events. `count`: only the first so many of them. */
export function spanOf(entries: readonly LogEntry[], count = entries.length): number {
  const [first, last] = [entries[0], entries[count - 1]];
  return first === undefined || last === undefined ? 0 : Number(last.position - first.position);
}

export interface FollowerOptions {
  readonly after: Position | null;
  readonly prefixes: readonly string[];
  readonly quietMs: number;
  readonly onInterruption: (what: Interruption) => void;
  /** Called when events have come or the follower has failed. */
  readonly onNews: () => void;
}

/** What one reader of the log has: the events that have come, and the subscription that brings more. */
export interface Follower extends Relinking {
  readonly client: EventStoreDBClient;
  readonly options: FollowerOptions;
  /** Events that have come and were not taken yet. */
  buffer: LogEntry[];
  /** The failure that ends the stream, since no further try would mend it. */
  failure: TributaryError | null;
  /** The position of the last event received, and how far the filter has looked. */
  received: Position | null;
  looked: Position | null;
  last: LogEntry | null;
  /** `null`: between two subscriptions. */
  subscription: AllStreamSubscription | null;
  /** The subscription was let go because too much is unread. */
  isFull: boolean;
  isStopped: boolean;
  isLooking: boolean;
  lastSignMs: number;
  watchdog: NodeJS.Timeout | undefined;
}

/** Begins to follow the log; `stopFollower` ends it. */
export function startFollower(client: EventStoreDBClient, options: FollowerOptions): Follower {
  const follower: Follower = {
    client,
    options,
    buffer: [],
    failure: null,
    received: options.after,
    looked: options.after,
    last: null,
    subscription: null,
    isFull: false,
    isStopped: false,
    isLooking: false,
    pauseMs: MIN_PAUSE_MS,
    lastSignMs: Date.now(),
    retry: undefined,
    watchdog: undefined,
  };
  follower.watchdog = setInterval(() => void look(follower), Math.max(options.quietMs / 4, 20));
  connect(follower);
  return follower;
}

export async function stopFollower(follower: Follower): Promise<void> {
  follower.isStopped = true;
  clearInterval(follower.watchdog);
  clearTimeout(follower.retry);
  const old = follower.subscription;
  follower.subscription = null;
  await old?.unsubscribe().catch(() => {});
}

/** Takes `count` of the events that have come. Where too much was unread, the log is followed again once half of it is taken. */
export function takeFrom(follower: Follower, count: number): readonly LogEntry[] {
  const { buffer } = follower;
  const taken = count === buffer.length ? buffer : buffer.slice(0, count);
  follower.buffer = count === buffer.length ? [] : buffer.slice(count);
  if (follower.isFull && follower.buffer.length <= MAX_BUFFERED / 2 && spanOf(follower.buffer) <= MAX_BUFFERED_BYTES / 2) {
    follower.isFull = false;
    // Meanwhile nobody has watched the server: it may have come back with another log.
    void resume(follower);
  }
  return taken;
}

const later = (a: Position | null, b: Position): Position => (a === null || b > a ? b : a);

function connect(follower: Follower): void {
  if (follower.isStopped) return;
  const { received, options } = follower;
  follower.lastSignMs = Date.now();
  follower.looked = received;
  const subscription = follower.client.subscribeToAll({
    fromPosition: received === null ? START : { commit: received, prepare: received },
    filter: streamNameFilter({
      prefixes: [...options.prefixes],
      checkpointInterval: CHECKPOINT_INTERVAL,
      checkpointReached: async (_, reached) => {
        if (subscription !== follower.subscription) return;
        sign(follower);
        follower.looked = later(follower.looked, position(reached.commit));
      },
    }),
  });
  follower.subscription = subscription;
  subscription.on("data", (resolved: AllStreamResolvedEvent) => {
    if (subscription === follower.subscription) onEvent(follower, resolved);
  });
  subscription.on("caughtUp", () => sign(follower));
  subscription.on("error", (error) => again(follower, subscription, messageOf(error)));
  subscription.on("end", () => again(follower, subscription, "the server ended the subscription"));
  subscription.on("close", () => again(follower, subscription, "the subscription was closed"));
}

/** Takes an event from the client's stream. Whatever is thrown here would end the process. */
function onEvent(follower: Follower, resolved: AllStreamResolvedEvent): void {
  if (resolved.event === undefined) return;
  sign(follower);
  const at = position(resolved.event.position.commit);
  if (follower.received !== null && at <= follower.received) return;
  const entry = readOrFail(follower, resolved);
  if (entry === null) {
    follower.looked = later(follower.looked, at);
    return;
  }
  const { buffer } = follower;
  buffer.push(entry);
  follower.looked = later(follower.looked, at);
  follower.received = at;
  follower.last = entry;
  follower.options.onNews();
  if (buffer.length >= MAX_BUFFERED || spanOf(buffer) > MAX_BUFFERED_BYTES) {
    drop(follower);
    follower.isFull = true;
  }
}

/** Reads an event; `null`: it is not ours, or it cannot be read, which ends the stream there. */
function readOrFail(follower: Follower, resolved: AllStreamResolvedEvent): LogEntry | null {
  try {
    return fromStored(resolved);
  } catch (error) {
    if (!isTributaryError(error)) throw error;
    drop(follower);
    fail(follower, error);
    return null;
  }
}

function fail(follower: Follower, failure: TributaryError): void {
  follower.failure = failure;
  follower.options.onNews();
}

function sign(follower: Follower): void {
  follower.lastSignMs = Date.now();
  follower.pauseMs = MIN_PAUSE_MS;
}

function drop(follower: Follower): void {
  const old = follower.subscription;
  follower.subscription = null;
  old?.unsubscribe().catch(() => {});
}

function again(follower: Follower, from: AllStreamSubscription, message: string): void {
  if (follower.isStopped || from !== follower.subscription) return;
  drop(follower);
  follower.options.onInterruption({ kind: "dropped", message, pauseMs: follower.pauseMs });
  pause(follower);
}

const pause = (follower: Follower): void => relink(follower, () => resume(follower));

/** Follows again after a pause, if the last event received is still there: the log may have been set back, and may since have grown beyond where we are. */
async function resume(follower: Follower): Promise<void> {
  const { client, last, options } = follower;
  try {
    if (last === null || (await within("looking for the last event received", stillStands(client, last), options.quietMs)))
      return connect(follower);
    fail(
      follower,
      new TributaryError(
        "backend-failed",
        `the log no longer holds the event at ${last.position} that was received from it`,
        "The log was set back to a backup, or replaced. What was read of it is compared before it is followed again.",
      ),
    );
  } catch (error) {
    if (follower.isStopped) return;
    // An event that cannot be read will not be readable later, however often it is asked for.
    if (isTributaryError(error) && error.code === "data-corrupt") return fail(follower, error);
    options.onInterruption({ kind: "dropped", message: messageOf(error), pauseMs: follower.pauseMs });
    pause(follower);
  }
}

async function stillStands(client: EventStoreDBClient, { head, position: at }: LogEntry): Promise<boolean> {
  const found = await entryAt(client, head.origin, head.seq);
  return found !== null && found.position === at && found.head.hash === head.hash;
}

/** The watchdog: when the server has given no sign for long, looks whether the log has gone on without us. */
async function look(follower: Follower): Promise<void> {
  const seen = follower.subscription;
  const { quietMs, onInterruption } = follower.options;
  const isQuiet = (): boolean => Date.now() - follower.lastSignMs >= quietMs;
  if (follower.isLooking || seen === null || !isQuiet()) return;
  follower.isLooking = true;
  try {
    const end = await within("the watchdog's look", logEnd(follower.client), quietMs);
    if (seen !== follower.subscription || !isQuiet()) return;
    follower.lastSignMs = Date.now();
    if (end !== null && (follower.looked === null || end > follower.looked)) {
      onInterruption({ kind: "quiet", behind: end });
      drop(follower);
      connect(follower);
    }
  } catch (error) {
    again(follower, seen, messageOf(error));
  } finally {
    follower.isLooking = false;
  }
}
