import { TributaryError } from "../core/index.ts";

/** For a sender whose site has as much under way as it may have. Nothing is wrong with what it sent. */
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

/**
 * Shares the processor: long work stops now and then and waits here until it is its key's turn. Between two turns of one key every other that waits has one,
 * and timers and sockets are served.
 */
export function breaths(): (key: string) => Promise<void> {
  const waiting = new Map<string, (() => void)[]>();
  let isPumping = false;
  const pump = (): void => {
    const next = waiting.entries().next();
    if (next.done === true) {
      isPumping = false;
      return;
    }
    const [key, queue] = next.value;
    waiting.delete(key);
    queue.shift()?.();
    if (queue.length > 0) waiting.set(key, queue);
    setImmediate(pump);
  };
  return (key) =>
    new Promise((resolve) => {
      const queue = waiting.get(key);
      if (queue === undefined) waiting.set(key, [resolve]);
      else queue.push(resolve);
      if (isPumping) return;
      isPumping = true;
      setImmediate(pump);
    });
}

/** A batch is worked on for so long before others have a turn. */
export const SLICE_MS = 4;

/** For long work of one key. It calls this often, and waits here whenever it has gone on for `sliceMs`. */
export function paced(breathe: (key: string) => Promise<void>, key: string, sliceMs: number): () => Promise<void> {
  let sinceMs = performance.now();
  return async () => {
    if (performance.now() - sinceMs < sliceMs) return;
    await breathe(key);
    sinceMs = performance.now();
  };
}

/**
 * Reports what repeats only now and then: the first of a kind at once, then how often it came again, at most every `everyMs`. Whoever sends garbage must not
 * fill the log's disk.
 */
export function sparing(
  say: (event: Record<string, unknown>) => void,
  { everyMs, maxKinds, now = Date.now }: { everyMs: number; maxKinds: number; now?: () => number },
): (kind: string, event: Record<string, unknown>) => void {
  const kinds = new Map<string, { saidMs: number; since: number }>();
  return (kind, event) => {
    const known = kinds.get(kind);
    const atMs = now();
    if (known !== undefined && atMs - known.saidMs < everyMs) {
      known.since++;
      return;
    }
    kinds.delete(kind);
    if (kinds.size >= maxKinds) kinds.delete(kinds.keys().next().value!);
    kinds.set(kind, { saidMs: atMs, since: 0 });
    say(known === undefined || known.since === 0 ? event : { ...event, notSaid: known.since });
  };
}
