/** The work of many, in turns: nobody holds up the others. */
import { TributaryError } from "./errors.ts";

/** For somebody who has as much under way as they may have. Nothing is wrong with what they sent. */
export const busy = (what: string): TributaryError =>
  new TributaryError("backend-failed", `the hub is busy: ${what}`, "Nothing was lost. Send it again in a few seconds.");

export interface Turns {
  /** Runs `work` when it is this key's turn. Throws `backend-failed` if too much of this key waits already. */
  run<T>(key: string, work: () => Promise<T>): Promise<T>;
}

/**
 * Runs the work of many, the keys in turn, so that one with a thousand requests costs another with one request only one turn: at most `max` at a time, `maxEach` of one
 * key, and `maxWaitingEach` of one key waiting.
 */
export function turns({ max, maxEach, maxWaitingEach }: { max: number; maxEach: number; maxWaitingEach: number }): Turns {
  // In the order of their turns. A key that is served goes to the end.
  const keys = new Map<string, { running: number; readonly waiting: (() => void)[] }>();
  let running = 0;
  const serve = (): void => {
    for (const [key, of] of keys) {
      if (running >= max) return;
      if (of.waiting.length === 0 || of.running >= maxEach) continue;
      keys.delete(key);
      keys.set(key, of);
      running++;
      of.running++;
      of.waiting.shift()!();
    }
  };
  return {
    async run(key, work) {
      const of = keys.get(key) ?? { running: 0, waiting: [] };
      if (of.waiting.length >= maxWaitingEach) throw busy(`${key} has ${of.waiting.length} requests waiting`);
      keys.set(key, of);
      await new Promise<void>((resolve) => {
        of.waiting.push(resolve);
        serve();
      });
      try {
        return await work();
      } finally {
        running--;
        of.running--;
        if (of.running === 0 && of.waiting.length === 0) keys.delete(key);
        serve();
      }
    },
  };
}
