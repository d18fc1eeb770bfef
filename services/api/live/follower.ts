/**
 * One who follows: an async iterator that is handed batches and gives them out as they are asked for. It holds what was not taken as one batch, and is cut where that grows too large;
 * whoever hands it batches never waits for it.
 */
import { TributaryError, type Viewer } from "../../core/index.ts";
import type { Limits } from "./limits.ts";
import { type Batch, joined, sizeOf } from "./pending.ts";

/** Who follows, asked again and again; `null`: nobody who may. */
export type Who = () => Promise<Viewer | null>;

export interface Follower<T> {
  readonly iterator: AsyncIterator<Batch<T>, undefined>;
  take(batch: Batch<T>): void;
  /** Ends it: the next that is asked for fails, or where there is no error, there is none. */
  end(error?: unknown): void;
  hasEnded(): boolean;
}

type Given<T> = IteratorResult<Batch<T>, undefined>;

/** `onEnd`: it has ended, for whatever reason. `nowMs`: a clock that is never set. */
export function openFollower<T>(
  { untaken, restMs }: Limits,
  { onEnd, nowMs }: { readonly onEnd: () => void; readonly nowMs: () => number },
): Follower<T> {
  const waiting: PromiseWithResolvers<Given<T>>[] = [];
  let pending: Batch<T> | null = null;
  let ended: { error: unknown } | null = null;
  let givenAtMs: number | null = null;
  const done: Given<T> = { done: true, value: undefined };
  const end = (error: unknown = null): void => {
    if (ended !== null) return;
    pending = null;
    const [first, ...others] = waiting.splice(0);
    // Where nobody waits, whoever asks next is told.
    ended = { error: first === undefined ? error : null };
    if (error === null) first?.resolve(done);
    else first?.reject(error);
    for (const each of others) each.resolve(done);
    onEnd();
  };
  return {
    end,
    hasEnded: () => ended !== null,
    take(batch) {
      if (ended !== null) return;
      const isNews = batch.found.kind === "reset" || sizeOf(batch) > 0;
      // Now and then it is told that nothing has changed, so that its resume position is never far behind.
      if (!isNews && givenAtMs !== null && pending === null && nowMs() - givenAtMs < restMs) return;
      const all = joined(pending, batch);
      if (pending !== null && sizeOf(all) > untaken) return end(tooSlow(untaken));
      const next = waiting.shift();
      if (next === undefined) {
        pending = all;
        return;
      }
      givenAtMs = nowMs();
      next.resolve({ done: false, value: all });
    },
    iterator: {
      next() {
        if (ended !== null) {
          const { error } = ended;
          ended = { error: null };
          return error === null ? Promise.resolve(done) : Promise.reject(error);
        }
        if (pending !== null) {
          const value = pending;
          pending = null;
          givenAtMs = nowMs();
          return Promise.resolve({ done: false, value });
        }
        const next = Promise.withResolvers<Given<T>>();
        waiting.push(next);
        return next.promise;
      },
      return() {
        end();
        return Promise.resolve(done);
      },
    },
  };
}

const tooSlow = (untaken: number): TributaryError =>
  new TributaryError(
    "too-slow",
    `more than ${untaken} changes were left untaken, so this subscription was ended (setting \`untaken\`)`,
    "Take changes faster, or ask for fewer. Connect again with the last resume position: nothing is lost.",
  );
