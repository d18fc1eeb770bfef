/** Tells an app whenever the rows that it asked for have changed. */
import type { LooseRow } from "./ask.ts";

/** How often it looks whether another program wrote into the same database. */
const LOOK_MS = 1_000;

export interface Watches {
  /** Calls the listener with the rows at once, and again with each change of them. Returns what ends it. */
  add(view: string, read: () => readonly LooseRow[], listener: (rows: readonly LooseRow[]) => void): () => void;
  /** The rows of these views may have changed; `null`: of any view. Each listener is called at most once. */
  changed(views: ReadonlySet<string> | null): void;
  close(): void;
}

interface Watch {
  readonly view: string;
  readonly read: () => readonly LooseRow[];
  readonly listener: (rows: readonly LooseRow[]) => void;
  /** The rows as they were told last. */
  told: string | null;
}

/**
 * `version`: a number that changes when another connection has written (SQLite's `data_version`). `warn`: is given what a listener threw: neither the other listeners nor whoever wrote the rows
 * are to suffer from it.
 */
export function openWatches(version: () => number, warn: (error: unknown) => void): Watches {
  const all = new Set<Watch>();
  let timer: NodeJS.Timeout | null = null;
  let seen = 0;

  const tell = (watch: Watch): void => {
    try {
      const rows = watch.read();
      const text = JSON.stringify(rows);
      if (text === watch.told) return;
      watch.told = text;
      watch.listener(rows);
    } catch (error) {
      warn(error);
    }
  };
  const changed = (views: ReadonlySet<string> | null): void => {
    // A listener may end its own watch or another one, or begin one, which is told by itself.
    for (const watch of [...all]) if (all.has(watch) && (views === null || views.has(watch.view))) tell(watch);
  };
  const look = (): void => {
    const now = version();
    if (now === seen) return;
    seen = now;
    changed(null);
  };
  const stop = (): void => {
    if (timer !== null) clearInterval(timer);
    timer = null;
  };
  return {
    add(view, read, listener) {
      // What cannot be asked is told to whoever asks, and not later.
      read();
      const watch: Watch = { view, read, listener, told: null };
      all.add(watch);
      if (timer === null) {
        seen = version();
        timer = setInterval(look, LOOK_MS);
        timer.unref();
      }
      tell(watch);
      return () => {
        all.delete(watch);
        if (all.size === 0) stop();
      };
    },
    changed,
    close() {
      all.clear();
      stop();
    },
  };
}
