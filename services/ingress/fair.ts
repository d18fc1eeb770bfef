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
