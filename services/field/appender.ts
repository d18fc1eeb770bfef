import type { Appended, AppendOptions, NewEvent, Outbox } from "./outbox.ts";

/** Gathers events that are written at the same time, so that one disk flush does for all of them. */
export interface Appender {
  append(event: NewEvent, options?: AppendOptions): Promise<Appended>;
  /** Writes at once what waits. */
  flush(): void;
}

interface Waiting {
  readonly event: NewEvent;
  readonly options: AppendOptions;
  readonly resolve: (appended: Appended) => void;
  readonly reject: (error: unknown) => void;
}

/** `onWritten`: called once for each group. */
export function openAppender(outbox: Pick<Outbox, "appendNow">, onWritten: () => void): Appender {
  let queue: Waiting[] = [];
  const flush = (): void => {
    if (queue.length === 0) return;
    const group = queue;
    queue = [];
    // When one event of several is refused, each gets a transaction of its own, so that only that one fails.
    if (group.length === 1 || !writeTogether(outbox, group)) for (const waiting of group) writeAlone(outbox, waiting);
    onWritten();
  };
  return {
    append: (event, options = {}) =>
      new Promise((resolve, reject) => {
        queue.push({ event, options, resolve, reject });
        if (queue.length === 1) setImmediate(flush);
      }),
    flush,
  };
}

/** Writes a group in one transaction. `false`: nothing was written. */
function writeTogether(outbox: Pick<Outbox, "appendNow">, group: readonly Waiting[]): boolean {
  const [first] = group;
  if (first === undefined || group.some(({ options }) => options.onInvalid !== first.options.onInvalid)) return false;
  try {
    const appended = outbox.appendNow(
      group.map(({ event }) => event),
      first.options,
    );
    for (const [i, { resolve }] of group.entries()) resolve(appended[i]!);
    return true;
  } catch {
    // Each caller is told its own reason.
    return false;
  }
}

function writeAlone(outbox: Pick<Outbox, "appendNow">, { event, options, resolve, reject }: Waiting): void {
  try {
    resolve(outbox.appendNow([event], options)[0]!);
  } catch (error) {
    reject(error);
  }
}
