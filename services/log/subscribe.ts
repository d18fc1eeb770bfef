import {
  type AllStreamResolvedEvent,
  type AllStreamSubscription,
  type EventStoreDBClient,
  START,
  streamNameFilter,
} from "@eventstore/db-client";
import { type LogEntry, messageOf, type Position, position, TributaryError } from "../core/index.ts";
import { within } from "./client.ts";
import { entryAt, logEnd } from "./read.ts";
import { fromStored, ORIGIN_PREFIX } from "./stored.ts";

/**
 * Events held for a reader that is busy. Beyond, the subscription is let go, and made anew from there once half is read: pausing the
 * client's stream instead can leave its last 16 events unread for ever (seen with client 6.2.1 on Node 24).
 */
const MAX_BUFFERED = 10_000;
/** Bytes of the log that the events held may span, and those of one page: an event may have a megabyte. Positions are places in the log's bytes. */
const MAX_BUFFERED_BYTES = 64 * 1_048_576;
const MAX_PAGE_BYTES = 8 * 1_048_576;
/** Without any sign from the server for this long, the watchdog looks whether the log has gone on without us. */
const QUIET_MS = 10_000;
const MIN_PAUSE_MS = 50;
const MAX_PAUSE_MS = 5_000;
/** The server reports progress after this many × 32 events that the filter passed over. */
const CHECKPOINT_INTERVAL = 1;

/** What has come since the reader last asked: at least an event. */
export interface LogPage {
  readonly entries: readonly LogEntry[];
  /** The position of the last of them: a place that can be found again by what stands there, where the log was set back to a backup meanwhile. */
  readonly through: Position;
}

export type Interruption =
  /** The server ended the subscription, or cannot be reached. */
  | { readonly kind: "dropped"; readonly message: string; readonly pauseMs: number }
  /** The subscription was silent while the log grew. */
  | { readonly kind: "quiet"; readonly behind: Position };

export interface SubscribeOptions {
  /** Deliver what comes after this position; `null`: from the beginning. */
  readonly after: Position | null;
  /** Streams whose name begins so; default: all origins. */
  readonly prefixes?: readonly string[];
  /** Events in a page at most. */
  readonly maxPage?: number;
  readonly quietMs?: number;
  /** What the reader is still busy with, if anything: a page that is not full waits for it, since taking it earlier gains nothing. */
  readonly busy?: () => Promise<unknown> | null;
  readonly signal?: AbortSignal;
  readonly onInterruption?: (what: Interruption) => void;
}

/** Bytes of the log between the first and the last of these events, or of so many of them. */
const spanOf = (entries: readonly LogEntry[], count = entries.length): number =>
  count === 0 ? 0 : Number(entries[count - 1]!.position - entries[0]!.position);

/** How many of these events make a page: at least one. */
function pageOf(entries: readonly LogEntry[], maxPage: number): number {
  let count = Math.min(entries.length, maxPage);
  while (count > 1 && spanOf(entries, count) > MAX_PAGE_BYTES) count = Math.ceil(count / 2);
  return count;
}

async function stillStands(client: EventStoreDBClient, { head, position: at }: LogEntry): Promise<boolean> {
  const found = await entryAt(client, head.origin, head.seq);
  return found !== null && found.position === at && found.head.hash === head.hash;
}

const later = (a: Position | null, b: Position): Position => (a === null || b > a ? b : a);

/**
 * Follows the log for ever, in order, without gap or repeat.
 *
 *   connecting ── first sign ──▶ following ── error, end, silence while the log grows ──▶ pausing ──▶ connecting
 *                                     └── too much unread ──▶ full ── half is read ──▶ connecting
 *
 * A server drops a live reader that falls 32 events behind ("consumer too slow"), restarts, or goes silent: each time the
 * subscription is made anew after the last event *received*. Not after what the filter passed over since: a server that comes back with a backup
 * of its log may end before that, and events to come would be missed. Where that event is gone from the log, throws `backend-failed`: what was read does not
 * hold. Ends when `signal` aborts.
 */
export async function* subscribe(client: EventStoreDBClient, options: SubscribeOptions): AsyncGenerator<LogPage> {
  const { prefixes = [ORIGIN_PREFIX], maxPage = 500, quietMs = QUIET_MS, signal, onInterruption } = options;
  /** Where the last event in hand stands, and how far the filter has looked. */
  let received: Position | null = options.after;
  let last: LogEntry | null = null;
  let setBack: TributaryError | null = null;
  let looked: Position | null = options.after;
  let buffer: LogEntry[] = [];
  let wake: (() => void) | null = null;
  const ring = (): void => {
    wake?.();
    wake = null;
  };
  signal?.addEventListener("abort", ring, { once: true });

  const follower = follow();
  try {
    while (!signal?.aborted) {
      if (setBack !== null) throw setBack;
      if (buffer.length === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      const busy = buffer.length < maxPage ? options.busy?.() : null;
      if (busy != null) {
        await Promise.race([
          busy,
          new Promise<void>((resolve) => {
            wake = resolve;
          }),
        ]);
        continue;
      }
      const count = pageOf(buffer, maxPage);
      const entries = count === buffer.length ? buffer : buffer.slice(0, count);
      buffer = count === buffer.length ? [] : buffer.slice(count);
      follower.drained();
      yield { entries, through: entries.at(-1)!.position };
    }
  } finally {
    signal?.removeEventListener("abort", ring);
    await follower.stop();
  }

  /** Keeps one subscription alive, filling `buffer`. */
  function follow(): { drained(): void; stop(): Promise<void> } {
    let current: AllStreamSubscription | null = null;
    let stopped = false;
    let pauseMs = MIN_PAUSE_MS;
    let isFull = false;
    let lastSignMs = Date.now();
    let retry: NodeJS.Timeout | undefined;

    const start = (): void => {
      if (stopped) return;
      lastSignMs = Date.now();
      const from = received;
      looked = received;
      const subscription = client.subscribeToAll({
        fromPosition: from === null ? START : { commit: from, prepare: from },
        filter: streamNameFilter({
          prefixes: [...prefixes],
          checkpointInterval: CHECKPOINT_INTERVAL,
          checkpointReached: async (_, reached) => {
            if (subscription !== current) return;
            sign();
            looked = later(looked, position(reached.commit));
          },
        }),
      });
      current = subscription;
      subscription.on("data", (resolved: AllStreamResolvedEvent) => {
        if (subscription !== current || resolved.event === undefined) return;
        sign();
        const at = position(resolved.event.position.commit);
        if (received !== null && at <= received) return;
        const entry = fromStored(resolved);
        looked = later(looked, at);
        if (entry === null) return;
        buffer.push(entry);
        received = at;
        last = entry;
        ring();
        if (buffer.length >= MAX_BUFFERED || spanOf(buffer) > MAX_BUFFERED_BYTES) {
          drop();
          isFull = true;
        }
      });
      subscription.on("caughtUp", sign);
      subscription.on("error", (error) => again(subscription, messageOf(error)));
      subscription.on("end", () => again(subscription, "the server ended the subscription"));
      subscription.on("close", () => again(subscription, "the subscription was closed"));
    };

    const sign = (): void => {
      lastSignMs = Date.now();
      pauseMs = MIN_PAUSE_MS;
    };
    const again = (from: AllStreamSubscription, message: string): void => {
      if (stopped || from !== current) return;
      drop();
      onInterruption?.({ kind: "dropped", message, pauseMs });
      pause();
    };
    const pause = (): void => {
      retry = setTimeout(() => void resume(), pauseMs);
      pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS);
    };
    /** Whoever answers now may have a log that was set back, and grown again since beyond where we are. */
    const resume = async (): Promise<void> => {
      try {
        if (last === null || (await within("looking for the last event received", stillStands(client, last), quietMs)))
          return start();
        setBack = new TributaryError(
          "backend-failed",
          `the log no longer holds the event at ${last.position} that was received of it`,
          "It was set back to a backup, or replaced. What was read of it is compared before it is followed again.",
        );
        ring();
      } catch (error) {
        if (stopped) return;
        onInterruption?.({ kind: "dropped", message: messageOf(error), pauseMs });
        pause();
      }
    };
    const drop = (): void => {
      const old = current;
      current = null;
      old?.unsubscribe().catch(() => {});
    };

    let looking = false;
    const look = async (): Promise<void> => {
      const seen = current;
      if (looking || seen === null || Date.now() - lastSignMs < quietMs) return;
      looking = true;
      try {
        const end = await within("the watchdog's look", logEnd(client), quietMs);
        if (seen !== current || Date.now() - lastSignMs < quietMs) return;
        lastSignMs = Date.now();
        if (end !== null && (looked === null || end > looked)) {
          onInterruption?.({ kind: "quiet", behind: end });
          drop();
          start();
        }
      } catch (error) {
        if (seen === current) again(seen, messageOf(error));
      } finally {
        looking = false;
      }
    };
    const watchdog = setInterval(() => void look(), Math.max(quietMs / 4, 20));

    start();
    return {
      drained: () => {
        if (!isFull || buffer.length > MAX_BUFFERED / 2 || spanOf(buffer) > MAX_BUFFERED_BYTES / 2) return;
        isFull = false;
        // Nobody looked meanwhile whether the server went, and came back with another log.
        void resume();
      },
      stop: async () => {
        stopped = true;
        clearInterval(watchdog);
        clearTimeout(retry);
        const old = current;
        current = null;
        await old?.unsubscribe().catch(() => {});
      },
    };
  }
}
