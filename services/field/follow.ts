import { isTributaryError, type TributaryError } from "../core/index.ts";
import { emptyTally, openWay, pauseMs, pushAll, type SyncDeps, type SyncOptions } from "./sync.ts";
import type { Transport } from "./transport.ts";

/** Looks for events that another process wrote into the same database this often. */
const LOOK_MS = 1_000;

export interface Follower {
  /** Ends with the error that another try would not mend (a refused token), or with `close`. */
  readonly done: Promise<TributaryError | null>;
  close(): Promise<void>;
}

/**
 *   connecting ─▶ pushing ─▶ idle ── written, or a second passed with something unsent ──▶ pushing
 *        ▲           └── link lost ──▶ pausing (1 s doubling to 5 min, full jitter) ──┐
 *        └───────────────────────────────────────────────────────────────────────────┘
 */
export function follow(deps: SyncDeps, listeners: Set<() => void>, options: SyncOptions): Follower {
  const { random = Math.random, onProgress } = options;
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

  const hasUnsent = (): boolean => deps.store.origins().some((origin) => origin.syncedThrough < origin.nextSeq - 1);

  const run = async (): Promise<TributaryError | null> => {
    let failures = 0;
    while (!stop.signal.aborted) {
      let transport: Transport | null = null;
      try {
        transport = await openWay(deps, options);
        while (!stop.signal.aborted) {
          if (dirty || hasUnsent()) {
            dirty = false;
            await pushAll(deps, transport, { ...options, signal: stop.signal }, emptyTally());
            failures = 0;
          }
          if (!dirty) await wakened(LOOK_MS);
        }
      } catch (error) {
        if (stop.signal.aborted) return null;
        const known = isTributaryError(error) ? error : null;
        if (known !== null && !["backend-unreachable", "backend-failed", "internal"].includes(known.code)) return known;
        if (known === null) throw error;
        dirty = true;
        const ms = pauseMs(++failures, random);
        onProgress?.({ kind: "waiting", tries: failures, pauseMs: ms, because: known.message });
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
