import type { EventStoreDBClient } from "@eventstore/db-client";
import type { LogEntry, Position } from "../core/index.ts";
import { type Interruption, spanOf, startFollower, stopFollower, takeFrom } from "./follower.ts";
import { ORIGIN_PREFIX } from "./stored.ts";

/** How many bytes of the log one page may span: one event may have a megabyte. */
const MAX_PAGE_BYTES = 8 * 1_048_576;
const MAX_PAGE = 500;
/** When the server has given no sign for this long, the watchdog looks whether the log has gone on without us. */
const QUIET_MS = 10_000;

/** What has come since the reader last asked: at least one event. */
export interface LogPage {
  readonly entries: readonly LogEntry[];
  /** The position of the last of them. The event there shows later whether the log was set back to a backup meanwhile. */
  readonly through: Position;
}

export interface SubscribeOptions {
  /** Deliver the events after this position; `null`: from the beginning. */
  readonly after: Position | null;
  /** Only streams whose names begin with one of these; default: all origins. */
  readonly prefixes?: readonly string[];
  /** The most events in a page. */
  readonly maxPage?: number;
  readonly quietMs?: number;
  /** What the reader is still busy with, if anything: a page that is not full waits for it, since taking it earlier gains nothing. */
  readonly busy?: () => Promise<unknown> | null;
  readonly signal?: AbortSignal;
  readonly onInterruption?: (what: Interruption) => void;
}

/** How many of these events make a page: at least one. */
function pageOf(entries: readonly LogEntry[], maxPage: number): number {
  let count = Math.min(entries.length, maxPage);
  while (count > 1 && spanOf(entries, count) > MAX_PAGE_BYTES) count = Math.ceil(count / 2);
  return count;
}

/**
 * Follows the log for ever, in order, without gap or repeat.
 *
 *   connecting ── first sign ──▶ following ── error, end, silence while the log grows ──▶ pausing ──▶ connecting
 *                                     ├── too much unread ──▶ full ── half is read ──▶ connecting
 *                                     └── an event that cannot be read ──▶ what came before it is read ──▶ failed
 *
 * A server drops a live reader that falls 32 events behind ("consumer too slow"), restarts, or goes silent. Each time the
 * subscription is made again after the last event *received*, and not after what the filter passed over since: a server that comes back with a backup
 * of its log may end before that, and new events would be missed.
 *
 * Throws `backend-failed` where the last event received is gone from the log: what was read no longer holds. Throws `data-corrupt` for an event that cannot be
 * read, once all events before it were delivered. Ends when `signal` aborts.
 */
export async function* subscribe(client: EventStoreDBClient, options: SubscribeOptions): AsyncGenerator<LogPage> {
  const { prefixes = [ORIGIN_PREFIX], maxPage = MAX_PAGE, quietMs = QUIET_MS, signal, onInterruption = () => {} } = options;
  let ring = (): void => {};
  const news = (): Promise<void> =>
    new Promise((resolve) => {
      ring = resolve;
    });
  const onNews = (): void => ring();
  signal?.addEventListener("abort", onNews, { once: true });
  const follower = startFollower(client, { after: options.after, prefixes, quietMs, onInterruption, onNews });
  try {
    while (!signal?.aborted) {
      const { buffer, failure } = follower;
      // Where the log was set back, what is still unread does not hold either.
      if (failure !== null && (buffer.length === 0 || failure.code !== "data-corrupt")) throw failure;
      if (buffer.length === 0) {
        await news();
        continue;
      }
      const busy = failure === null && buffer.length < maxPage ? options.busy?.() : null;
      if (busy != null) {
        await Promise.race([busy, news()]);
        continue;
      }
      const entries = takeFrom(follower, pageOf(buffer, maxPage));
      const last = entries.at(-1);
      if (last !== undefined) yield { entries, through: last.position };
    }
  } finally {
    signal?.removeEventListener("abort", onNews);
    await stopFollower(follower);
  }
}
