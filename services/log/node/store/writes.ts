import type { DatabaseSync } from "node:sqlite";
import { append } from "./append.ts";
import type { Book } from "./book.ts";
import type { StoredEvent, Write, WriteOutcome } from "./contract.ts";
import { erase } from "./erase.ts";

/** How many writes share one transaction; more wait for the next. */
const MAX_GROUP = 1_000;
const MAX_QUEUED = 10_000;

interface Queued {
  readonly write: Write;
  readonly resolve: (outcome: WriteOutcome) => void;
  readonly reject: (error: unknown) => void;
}

export interface Writes {
  /** Writes in a transaction that all writes asked for at the same time share. The write is durable when this resolves. */
  write(write: Write): Promise<WriteOutcome>;
  /** Writes one transaction of what waits, now. */
  flush(): void;
  flushAll(): void;
  /** While held, only `flush` writes. */
  hold(): void;
  release(): void;
}

/** Opens the queue of writes. All writes asked for at the same time go into one transaction: the disk is flushed once for all. */
export function openWrites(db: DatabaseSync, book: Book, onCommit: (events: readonly StoredEvent[]) => void): Writes {
  let queue: Queued[] = [];
  let isScheduled = false;
  let isHeld = false;

  const flush = (): void => {
    if (queue.length === 0) return;
    const group = queue.slice(0, MAX_GROUP);
    queue = queue.slice(MAX_GROUP);
    const outcomes = commit(group);
    if (outcomes !== null) for (const [i, { resolve }] of group.entries()) resolve(outcomes[i]!);
    const events = book.take();
    if (events.length > 0) onCommit(events);
    if (queue.length > 0) schedule();
  };

  /** Writes a group in one transaction; `null`: it failed, and each caller was told. */
  const commit = (group: readonly Queued[]): WriteOutcome[] | null => {
    const before = book.end();
    try {
      db.exec("BEGIN IMMEDIATE");
      const outcomes = group.map(({ write }) =>
        write.kind === "append"
          ? append(book, write.stream, write.expected, write.events)
          : erase(book, write.kind, write.stream, write.expected),
      );
      db.exec("COMMIT");
      return outcomes;
    } catch (error) {
      if (db.isTransaction) db.exec("ROLLBACK");
      book.undo(before);
      for (const { reject } of group) reject(error);
      return null;
    }
  };

  const schedule = (): void => {
    if (isScheduled || isHeld) return;
    isScheduled = true;
    setImmediate(() => {
      isScheduled = false;
      if (!isHeld) flush();
    });
  };

  return {
    write: (write) =>
      new Promise((resolve, reject) => {
        if (queue.length >= MAX_QUEUED) {
          reject(new Error(`more than ${MAX_QUEUED} writes are waiting`));
          return;
        }
        queue.push({ write, resolve, reject });
        schedule();
      }),
    flush,
    flushAll() {
      while (queue.length > 0) flush();
    },
    hold: () => {
      isHeld = true;
    },
    release: () => {
      isHeld = false;
      if (queue.length > 0) schedule();
    },
  };
}
