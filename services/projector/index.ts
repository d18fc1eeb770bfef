/**
 * Folds the log into PostgreSQL. In come pages of the log; out go, in one transaction a page, view rows, audit rows, decisions
 * and the checkpoint. Never two writers, never a page twice, never a page in part.
 */
import { isTributaryError, messageOf, type Position } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import type { Log } from "../log/index.ts";
import type { Projection } from "../merge/index.ts";
import { buildViews } from "./build.ts";
import { becomeWriter, connectViews } from "./connect.ts";
import { migrate } from "./migrate.ts";
import { prepare, type ViewTarget } from "./prepare.ts";
import { settlements } from "./releases.ts";
import { openStates } from "./states.ts";
import { readCheckpoint, settledAt, write } from "./write.ts";

/** Events in one transaction at most: beyond, it gains nothing (500: 44 k/s, 2,000: 45 k/s measured) and is slower to see. */
const PAGE_EVENTS = 500;
const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;

export interface ProjectorOptions {
  readonly postgresUrl: string;
  readonly log: Log;
  readonly gate: Gate;
  readonly projections: readonly Projection[];
  readonly say?: (event: Record<string, unknown>) => void;
  /** Watchdog of the subscription, milliseconds. */
  readonly quietMs?: number;
}

export interface Projector {
  /** Ends when the projector does: with an error only if it cannot go on (another projector writes). */
  readonly done: Promise<void>;
  close(): Promise<void>;
}

/**
 * Starts projecting; resolves when this process is the one writer and the tables stand. Then:
 *
 *   following the log ─▶ folding a page while the page before is being written ─▶ …
 *        ▲    └ database or log away ─▶ pause ─▶ connect, take the lock, read the checkpoint ┐
 *        └──────────────────────────────────────────────────────────────────────────────────┘
 */
export async function startProjector(options: ProjectorOptions): Promise<Projector> {
  const { say = () => {} } = options;
  const stop = new AbortController();
  const session = await openSession(options, say);

  const run = async (): Promise<void> => {
    let current: Session | null = session;
    let pauseMs = MIN_PAUSE_MS;
    while (!stop.signal.aborted) {
      try {
        current ??= await openSession(options, say);
        await follow(options, current, stop.signal, say, () => {
          pauseMs = MIN_PAUSE_MS;
        });
      } catch (error) {
        if (isTributaryError(error) && error.code === "already-running") throw error;
        if (stop.signal.aborted) break;
        say({ event: "projector-interrupted", message: messageOf(error), pauseMs });
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
        pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS);
      } finally {
        await current?.close();
        current = null;
      }
    }
  };
  const done = run();
  done.catch(() => {});
  return {
    done,
    async close() {
      stop.abort();
      await done.catch(() => {});
    },
  };
}

interface Session {
  readonly writer: Awaited<ReturnType<typeof connectViews>>;
  readonly reader: Awaited<ReturnType<typeof connectViews>>;
  readonly targets: readonly ViewTarget[];
  readonly checkpoint: Position | null;
  close(): Promise<void>;
}

/** Connects, takes the writer's lock, and brings tables and views up to date. */
async function openSession(options: ProjectorOptions, say: (event: Record<string, unknown>) => void): Promise<Session> {
  const writer = await connectViews(options.postgresUrl, `tributary-projector pid ${process.pid}`);
  const reader = await connectViews(options.postgresUrl, "tributary-projector reads").catch(async (error: unknown) => {
    await writer.end();
    throw error;
  });
  const close = async (): Promise<void> => {
    await Promise.allSettled([writer.end(), reader.end()]);
  };
  try {
    await becomeWriter(writer);
    await migrate(writer);
    // Safe here: rows and checkpoint are lost or kept together, and what is lost is folded again from the log. Saves a disk flush a page.
    await writer.query("SET synchronous_commit = off");
    const checkpoint = await readCheckpoint(writer);
    const readers = await buildViews(writer, { ...options, say }, checkpoint);
    const targets = options.projections.map((projection) => ({
      projection,
      states: openStates(reader, projection),
      pins: readers.get(projection) ?? {},
    }));
    return { writer, reader, targets, checkpoint, close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function follow(
  { log, gate, quietMs }: ProjectorOptions,
  { writer, reader, targets, checkpoint }: Session,
  signal: AbortSignal,
  say: (event: Record<string, unknown>) => void,
  onProgress: () => void,
): Promise<void> {
  let after = checkpoint;
  const known = settlements((event) => settledAt(reader, event));
  let writing: Promise<void> = Promise.resolve();
  let inFlight: Promise<unknown> | null = null;
  try {
    const pages = log.subscribe({
      after,
      maxPage: PAGE_EVENTS,
      signal,
      // While a page is being written the next one fills: few large transactions instead of many small ones.
      busy: () => inFlight,
      onInterruption: (what) => say({ event: "subscription-interrupted", ...what }),
      ...(quietMs === undefined ? {} : { quietMs }),
    });
    for await (const { entries, through } of pages) {
      if (entries.length === 0) continue;
      const prepared = await prepare({ log, gate, settled: known }, targets, entries, through);
      await writing;
      const from = after;
      const startedMs = performance.now();
      writing = write(writer, prepared, from).then(() => {
        onProgress();
        say({
          event: "page-projected",
          events: entries.length,
          through: through.toString(),
          ms: Math.round(performance.now() - startedMs),
        });
      });
      // Awaited with the next page, or below; a failure must not count as unhandled until then.
      const settled: Promise<unknown> = writing
        .catch(() => {})
        .finally(() => {
          if (inFlight === settled) inFlight = null;
        });
      inFlight = settled;
      after = through;
    }
  } finally {
    await writing;
  }
}

export { connectViews } from "./connect.ts";
export { toFoldEvent } from "./prepare.ts";
export { countedAs, settlements } from "./releases.ts";
