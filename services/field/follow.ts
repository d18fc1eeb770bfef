import { isTributaryError, type TributaryError } from "../core/index.ts";
import { emptyTally, type PushDeps } from "./push/pass.ts";
import { pushAll } from "./push/push.ts";
import { openWay, pauseMs, type SyncOptions, worthAnotherTry } from "./sync.ts";
import { away, type Transport } from "./way.ts";

/** How often it looks for events that another process wrote into the same database. */
const LOOK_MS = 1_000;
/** How often it asks the hub where it stands, even with nothing to send: the hub's log may have been restored from a backup. */
const ASK_MS = 5 * 60_000;

export interface Follower {
  /** Resolves when `close` is called; rejects with an error that another try would not mend: a refused token is one, an answer that is not the hub's is not. */
  readonly done: Promise<TributaryError | null>;
  close(): Promise<void>;
}

/**
 *   connecting ─▶ pushing ─▶ idle ── written, a second passed with something unsent, or five minutes passed ──▶ pushing
 *        ▲           └── link lost ──▶ pausing (1 s doubling to 5 min, full jitter) ──┐
 *        └───────────────────────────────────────────────────────────────────────────┘
 */
export function follow(deps: PushDeps, listeners: Set<() => void>, options: SyncOptions): Follower {
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

  const hasUnsent = (): boolean => deps.store.origins().some((origin) => origin.syncedThrough < origin.lastSeq);

  const run = async (): Promise<TributaryError | null> => {
    let failures = 0;
    while (!stop.signal.aborted) {
      let transport: Transport | null = null;
      try {
        transport = await openWay(deps, options);
        let askedMs = performance.now();
        while (!stop.signal.aborted) {
          if (!transport.isOpen) throw away("the link was lost", new Error("the connection was closed"));
          if (dirty || hasUnsent() || performance.now() - askedMs > ASK_MS) {
            dirty = false;
            await pushAll(deps, transport, { ...options, signal: stop.signal }, emptyTally());
            askedMs = performance.now();
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
