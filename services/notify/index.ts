/**
 * Tells people about conflicts. In come rows of the outbox table that the projector writes; out go messages to webhooks and mailboxes, and
 * what became of each. No row is ever lost or given up silently, no field value leaves the hub without permission, and no dead target delays the others.
 */
import { messageOf } from "../core/index.ts";
import { listenForNotifications } from "../views/index.ts";
import {
  type DeliverOptions,
  deliverTarget,
  isEmpty,
  QUERY_TIMEOUT_MS,
  readyTargets,
  restoreNamed,
  withConnection,
} from "./deliver.ts";
import type { Target } from "./settings.ts";
import { within } from "./within.ts";

/** How often we look for what is due again. Pauses last seconds at least, so this is often enough; new rows are announced on the channel. */
const POLL_MS = 5_000;
const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 10_000;

export interface NotifierOptions extends DeliverOptions {
  readonly pollMs?: number;
}

export interface Notifier {
  /** Resolves when the notifier ends. Only `close` ends it: it goes on whatever fails. */
  readonly done: Promise<void>;
  /** Takes no more notices, waits until what is being sent is marked, and ends. */
  close(): Promise<void>;
}

/**
 * Starts delivering.
 *
 *   listening ── announced, polled, or a target done ─▶ a lane for each target that is due, rested and not under way ─▶ listening
 *       └ database away ─▶ pause (0.1 s doubling to 10 s) ─▶ connect, listen
 *
 * A lane has its own connection, and ends when nothing is due for its target. If the target takes nothing, the lane leaves it alone for a while.
 */
export function startNotifier(options: NotifierOptions): Notifier {
  const { say = () => {} } = options;
  const stop = new AbortController();
  const bell = openBell();
  stop.signal.addEventListener("abort", bell.ring);
  const lanes = openLanes(options, stop.signal, bell.ring);
  const run = async (): Promise<void> => {
    for (let pauseMs = MIN_PAUSE_MS; !stop.signal.aborted; pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)) {
      try {
        const onProgress = (): void => {
          pauseMs = MIN_PAUSE_MS;
        };
        await listen(options, { lanes, bell, signal: stop.signal, onProgress });
      } catch (error) {
        if (stop.signal.aborted) break;
        say({ event: "notifier-interrupted", message: messageOf(error), pauseMs });
        await pause(pauseMs, stop.signal);
      }
    }
    await lanes.ended();
  };
  const done = run();
  return {
    done,
    async close() {
      stop.abort();
      await done;
    },
  };
}

interface Listening {
  readonly lanes: Lanes;
  readonly bell: Bell;
  readonly signal: AbortSignal;
  /** The outbox was looked at, and lanes were started. */
  readonly onProgress: () => void;
}

/** Starts lanes as the outbox fills, until the connection is lost (then it throws) or `signal` stops it. */
async function listen(options: NotifierOptions, { lanes, bell, signal, onProgress }: Listening): Promise<void> {
  const { pollMs = POLL_MS } = options;
  await withConnection(options, async (db) => {
    const lost = new AbortController();
    const onLost = (): void => {
      lost.abort();
      bell.ring();
    };
    await listenForNotifications(db, bell.ring, onLost);
    await restoreNamed(db, options);
    while (!signal.aborted) {
      const targets = await within(QUERY_TIMEOUT_MS, readyTargets(db, options), "the database did not answer");
      for (const target of targets) lanes.start(target);
      onProgress();
      await bell.rung(pollMs);
      if (lost.signal.aborted) throw new Error("the connection to the database was lost");
    }
  });
}

interface Lanes {
  /** Begins delivery to a target, unless it is under way or resting. */
  start(target: Target): void;
  ended(): Promise<void>;
}

function openLanes(options: NotifierOptions, signal: AbortSignal, onEnd: () => void): Lanes {
  const { say = () => {}, pollMs = POLL_MS } = options;
  const running = new Map<string, Promise<void>>();
  /** When a resting target may be tried again, by the process's own clock, because the wall clock may be set back. */
  const restsUntil = new Map<string, number>();
  const run = async (target: Target): Promise<void> => {
    try {
      const tally = await deliverTarget(target, options, signal);
      // Something is due but nothing was taken: another notifier holds it.
      restsUntil.set(target.name, performance.now() + (isEmpty(tally) ? pollMs : tally.restMs));
    } catch (error) {
      if (!signal.aborted) say({ event: "delivery-interrupted", target: target.name, message: messageOf(error) });
      restsUntil.set(target.name, performance.now() + MIN_PAUSE_MS);
    } finally {
      running.delete(target.name);
      onEnd();
    }
  };
  return {
    start(target) {
      if (running.has(target.name) || performance.now() < (restsUntil.get(target.name) ?? 0)) return;
      running.set(target.name, run(target));
    },
    async ended() {
      await Promise.all(running.values());
    },
  };
}

interface Bell {
  ring(): void;
  /** Waits at most `timeoutMs` for a ring; one that came since the last wait counts too. */
  rung(timeoutMs: number): Promise<void>;
}

function openBell(): Bell {
  let rings = Promise.withResolvers<void>();
  return {
    ring: () => rings.resolve(),
    async rung(timeoutMs) {
      const timer = setTimeout(rings.resolve, timeoutMs);
      await rings.promise;
      clearTimeout(timer);
      rings = Promise.withResolvers<void>();
    },
  };
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  const over = Promise.withResolvers<void>();
  const timer = setTimeout(over.resolve, ms);
  signal.addEventListener("abort", () => over.resolve(), { once: true });
  await over.promise;
  clearTimeout(timer);
}

export { backoffMs, type DeliverOptions, deliverOnce, senderOf, type Tally } from "./deliver.ts";
export { testMessage } from "./message.ts";
export type { Outcome } from "./outcome.ts";
export { NO_TARGETS, parseSettings, readSettings, type Settings, type Target } from "./settings.ts";
export { signature } from "./webhook.ts";
