import { isTributaryError, type TributaryError } from "../core/index.ts";
import { emptyTally } from "./push/pass.ts";
import { emptyPull } from "./replica/pull.ts";
import { openWay, pauseMs, pullOver, pushOver, type SyncDeps, type SyncOptions, worthAnotherTry } from "./sync.ts";
import { away, type Transport } from "./way.ts";

/** How often it looks for events that another process wrote into the same database. */
const LOOK_MS = 1_000;
/** How often it asks the hub where it stands, even with nothing to send: the hub's log may have been restored from a backup. */
const ASK_MS = 5 * 60_000;
/** How often it asks what the hub has for this device, unless the app chooses. While nothing changes, that is a few hundred bytes each way. */
const PULL_MS = 30_000;

export interface Follower {
  /** Resolves when `close` is called; rejects with an error that another try would not mend: a refused token is one, an answer that is not the hub's is not. */
  readonly done: Promise<TributaryError | null>;
  close(): Promise<void>;
}

export interface FollowOptions extends SyncOptions {
  /** How often it asks what the hub has for this device, milliseconds; default 30 s. */
  readonly pullEveryMs?: number;
}

/**
 *   connecting ─▶ pushing ─▶ pulling ─▶ idle ─┬─ written, a second passed with something unsent, or five minutes passed ──▶ pushing
 *        ▲           │           │            └─ half a minute passed ──▶ pulling
 *        │           └───────────┴── link lost ──▶ pausing (1 s doubling to 5 min, full jitter) ──┐
 *        └────────────────────────────────────────────────────────────────────────────────────────┘
 */
// Long because the states that the picture shows share the link, the pauses and what wakes them.
export function follow(deps: SyncDeps, listeners: Set<() => void>, options: FollowOptions): Follower {
  const { random = Math.random, onProgress, pullEveryMs = PULL_MS } = options;
  const stop = new AbortController();
  let ring: () => void = () => {};
  const wakened = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      ring = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  let dirty = true;
  const onWritten = (): void => {
    dirty = true;
    ring();
  };
  listeners.add(onWritten);

  const hasUnsent = (): boolean => deps.store.origins().some((origin) => origin.syncedThrough < origin.lastSeq);

  /** What a hub does not serve, or refuses to this device, does not end the sending. */
  const pulls = async (transport: Transport): Promise<void> => {
    const pulled = emptyPull();
    try {
      await pullOver(deps, transport, { signal: stop.signal, ...(onProgress === undefined ? {} : { onProgress }) }, pulled);
    } catch (error) {
      if (!isTributaryError(error) || worthAnotherTry(error)) throw error;
    }
    // Confirmations of what was deleted are to be sent.
    if (pulled.hasWritten) dirty = true;
  };

  const run = async (): Promise<TributaryError | null> => {
    let failures = 0;
    while (!stop.signal.aborted) {
      let transport: Transport | null = null;
      try {
        transport = await openWay(deps, options);
        let askedMs = performance.now();
        let pulledMs = Number.NEGATIVE_INFINITY;
        while (!stop.signal.aborted) {
          if (!transport.isOpen) throw away("the link was lost", new Error("the connection was closed"));
          if (dirty || hasUnsent() || performance.now() - askedMs > ASK_MS) {
            dirty = false;
            const tally = emptyTally();
            await pushOver(deps, transport, { ...options, signal: stop.signal }, tally);
            askedMs = performance.now();
            failures = 0;
            // What was confirmed comes back with its place.
            if (tally.confirmed > 0) pulledMs = Number.NEGATIVE_INFINITY;
          }
          if (!dirty && deps.replica !== null && performance.now() - pulledMs > pullEveryMs) {
            await pulls(transport);
            pulledMs = performance.now();
            failures = 0;
          }
          if (!dirty) await wakened(LOOK_MS);
        }
      } catch (error) {
        if (stop.signal.aborted) return null;
        // What answers in the hub's place on the way, such as a sign-in page, goes away by itself: a follower waits for that.
        const isUnproven = isTributaryError(error) && error.code === "hub-unproven";
        if (!worthAnotherTry(error) && !isUnproven) {
          if (isTributaryError(error)) return error;
          throw error;
        }
        dirty = true;
        const ms = pauseMs(++failures, random);
        onProgress?.({ kind: "waiting", tries: failures, pauseMs: ms, because: error.message });
        const until = performance.now() + ms;
        while (!stop.signal.aborted && performance.now() < until) await wakened(until - performance.now());
      } finally {
        await transport?.close();
      }
    }
    return null;
  };
  const done = run().finally(() => listeners.delete(onWritten));
  return {
    done,
    async close() {
      stop.abort();
      ring();
      await done;
    },
  };
}
