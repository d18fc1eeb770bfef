/** A file on its way: pieces are made in a transaction of the database, and taken by a connection that may be slow, or gone. */
import { isTributaryError, TributaryError } from "../../core/index.ts";

/** Nobody reads any more: nobody is told. */
const LEFT = new TributaryError("backend-failed", "nobody reads the file any more", "Ask again.");

/**
 * Hands pieces from whoever makes them to whoever reads them, one at a time. `paceMs`: how long a piece waits to be taken.
 * Long because its two sides share what is under way between them; each is short.
 */
export function handover(paceMs: number) {
  const cut = new TributaryError(
    "backend-failed",
    `nobody took the next piece for ${paceMs / 1000} s`,
    "Ask again, and read faster.",
  );
  let waiting: { readonly piece: string | null; taken(isWanted: boolean): void } | null = null;
  let failure: unknown = null;
  let isLeft = false;
  let wake: () => void = () => {};
  const next = async (): Promise<string | null> => {
    while (waiting === null && failure === null) await new Promise<void>((resolve) => (wake = resolve));
    if (waiting === null) throw failure;
    const { piece, taken } = waiting;
    waiting = null;
    taken(true);
    return piece;
  };
  const leave = (): void => {
    isLeft = true;
    waiting?.taken(false);
    waiting = null;
    failure ??= LEFT;
    wake();
  };
  /** Not a generator: one that was never begun would not notice that nobody wants it. */
  const all = (first: string | null): AsyncIterableIterator<string> => {
    let ready: string | null | undefined = first;
    const iterator: AsyncIterableIterator<string> = {
      async next() {
        for (;;) {
          const piece = ready === undefined ? await next() : ready;
          ready = undefined;
          if (piece === null) return { done: true, value: undefined };
          if (piece !== "") return { done: false, value: piece };
        }
      },
      async return() {
        leave();
        return { done: true, value: undefined };
      },
      [Symbol.asyncIterator]: () => iterator,
    };
    return iterator;
  };
  return {
    /** Resolves when the piece was taken; `false`: nobody reads any more. */
    give(piece: string): Promise<boolean> {
      if (isLeft) return Promise.resolve(false);
      return new Promise<boolean>((resolve, reject) => {
        const timer = setTimeout(() => {
          failure = cut;
          waiting = null;
          reject(cut);
        }, paceMs);
        waiting = {
          piece,
          taken(isWanted) {
            clearTimeout(timer);
            resolve(isWanted);
          },
        };
        wake();
      });
    },
    end(): void {
      waiting = { piece: null, taken: () => {} };
      wake();
    },
    fail(error: unknown): void {
      failure ??= isTributaryError(error)
        ? error
        : new TributaryError("backend-failed", "the hub's views cannot be read now", "Ask again in a few seconds.", {
            cause: error,
          });
      waiting = null;
      wake();
    },
    /** All pieces, once the first one is there. Throws where there is none. */
    async begun(): Promise<AsyncIterable<string>> {
      return all(await next());
    },
  };
}
