import { type LogEntry, messageOf, type Position } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import { INCARNATION_STREAM, type Log } from "../log/index.ts";
import {
  askedEntities,
  homeHub,
  inTransaction,
  isAsked,
  least,
  moveShards,
  SHARDS,
  settledAt,
  TEND_MS,
  tend,
  writePage,
} from "../views/index.ts";
import { type Counting, counting } from "./counts.ts";
import { isOfData } from "./failures.ts";
import { type Narrowing, narrow } from "./narrow.ts";
import { type Outcome, outcomeOf } from "./outcome.ts";
import { type FoldedPage, foldPage, type ViewTarget, type Waiting } from "./page.ts";
import { livePlacing, namingHubs, type Placing } from "./placing.ts";
import { StaleViewError } from "./readable.ts";
import { mend } from "./refold.ts";
import type { Session } from "./session.ts";
import { shardOfEntry } from "./shards.ts";

/** The most events in one transaction: more of them gain nothing (measured: 44 k/s with 500, 45 k/s with 2,000) and are seen later. */
const PAGE_EVENTS = 500;
/** The most entities that are folded again right after a page; more of them end the session, and are folded when it is opened again. */
const MAX_ASKED = 10_000;

export interface FollowOptions {
  readonly log: Log;
  readonly gate: Gate;
  readonly quietMs?: number;
  readonly signal: AbortSignal;
  readonly say: (event: Record<string, unknown>) => void;
  /** The same error has ended the same page again and again: the page is narrowed down, whatever kind of error it is. */
  readonly insists: boolean;
  onProgress(): void;
  /** The link to the log was lost, or a life of the log has begun. Returns whether the log still holds what was folded; `false` ends the session. */
  onInterruption(): Promise<boolean>;
}

/**
 * Follows the log with a session's shards. A page is folded while the one before is being written. A page that cannot be written is narrowed down to the events that it
 * fails at (`narrow`), and following goes on. Returns when shards should change hands, views are swapped or the log was set back; throws failures of operation.
 */
export async function follow(session: Session, options: FollowOptions): Promise<void> {
  const { leases } = session;
  const { log, quietMs, signal, say } = options;
  const watch = watchShards(session, signal);
  const line = pipeline(session, { ...options, placing: livePlacing(await homeHub(session.reader)) }, watch.end);
  const interrupted = interruptionWatch(options, watch);
  try {
    // A life may be declared while the link stands: another log may have taken this one's place all the same.
    log.journal.follow({
      prefixes: [INCARNATION_STREAM],
      after: await log.end(),
      signal: watch.signal,
      onFact: interrupted,
      onInterruption: interrupted,
    });
    // A life that began between the session's comparison and now would not be reported.
    interrupted();
    if (leases.length === 0) {
      await watch.ended;
      return;
    }
    // Shards that were taken over from others may stand at different positions: what a shard has folded already is passed over.
    const positions = new Map(leases.map(({ shard, position }) => [shard, position]));
    const pages = log.subscribe({
      after: least(leases.map(({ position }) => position)),
      maxPage: PAGE_EVENTS,
      signal: watch.signal,
      // While a page is being written, the next one fills up: few large transactions instead of many small ones.
      busy: line.busy,
      onInterruption: (what) => {
        say({ event: "subscription-interrupted", ...what });
        if (what.kind === "dropped") interrupted();
      },
      ...(quietMs === undefined ? {} : { quietMs }),
    });
    for await (const { entries, through } of pages) await line.put(await mineOf(log, entries, positions), through);
  } catch (error) {
    // The views are rebuilt when the session is opened again, which is at once.
    if (!(error instanceof StaleViewError)) throw error;
    say({ event: "view-stale", message: error.message });
  } finally {
    watch.end();
    await line.written();
  }
}

/** Folds pages, each while the one before is being written. `onFailure` is called when a page could not be written: no more pages may come. */
function pipeline(session: Session, options: FollowOptions & { readonly placing: Placing }, onFailure: () => void) {
  const { reader } = session;
  const { log, gate, placing } = options;
  const counts = counting(log, (event) => settledAt(reader, event));
  const write = pageWriter(session, options, counts);
  let targets = session.targets;
  let writing: Promise<void> = Promise.resolve();
  let inFlight: Promise<unknown> | null = null;
  const fold = (entries: readonly LogEntry[], through: Position): Promise<Outcome<FoldedPage>> =>
    outcomeOf(foldPage({ gate, counts, placing }, targets, entries, through));
  return {
    /** Folds a page, and begins to write it once the page before is written. Throws why the page before could not be written. */
    async put(entries: readonly LogEntry[], through: Position): Promise<void> {
      const before = targets;
      let folded = await fold(entries, through);
      await writing;
      // The page before was narrowed down: this page was folded on top of states that were not written.
      if (targets !== before) folded = await fold(entries, through);
      writing = write(folded, targets, { entries, through }).then((isWhole) =>
        isWhole
          ? undefined
          : session.targetsNow(reader).then((now) => {
              targets = now;
            }),
      );
      // It is awaited with the next page or at the end; until then a failure must not count as unhandled.
      const finished: Promise<unknown> = writing
        // Perhaps no page comes that would await it: a page that could not be written ends the session at once.
        .catch(onFailure)
        .finally(() => {
          if (inFlight === finished) inFlight = null;
        });
      inFlight = finished;
    },
    busy: () => inFlight,
    written: () => writing,
  };
}

/** The entities of a session's shards that somebody has asked to be folded again. */
async function askedOf({ reader, leases, targets }: Session): Promise<Waiting[]> {
  const waiting: Waiting[] = [];
  for (const { view, id } of await askedEntities(reader, leases, MAX_ASKED)) {
    const target = targets.find(({ projection }) => projection.name === view);
    if (target !== undefined) waiting.push({ target, id });
  }
  return waiting;
}

interface Page {
  readonly entries: readonly LogEntry[];
  readonly through: Position;
}

/** Returns a function that writes a page. It returns whether the page was written as it was folded; `false`: it was narrowed down, or entities were folded again, and their states must be read again. */
function pageWriter(
  session: Session,
  { log, gate, placing, insists, say, onProgress }: FollowOptions & { readonly placing: Placing },
  counts: Counting,
) {
  const { writer, reader, leases, layout, membership } = session;
  const hold = { leases, layout, member: membership.member };
  const standsAt = (through: Position): void => {
    for (const lease of leases) if (lease.position === null || lease.position < through) lease.position = through;
  };
  const refolding = { db: writer, reader, log, gate };
  const isNaming = namingHubs(session.targets.map(({ projection }) => projection)).length > 0;
  /** Returns whether entities were folded again that pages go on folding meanwhile. */
  const mended = async (waiting: readonly Waiting[], through: Position): Promise<boolean> => {
    await mend(refolding, waiting, hold, through);
    const asked = isNaming ? await askedOf(session) : [];
    await mend(refolding, asked, hold, through);
    return asked.length > 0;
  };
  const narrowing: Narrowing = {
    db: writer,
    deps: { gate, counts, placing },
    targets: () => session.targetsNow(writer),
    async scope(_, through, work) {
      const done = await inTransaction(writer, async () => {
        await moveShards(writer, leases, layout, through);
        return work();
      });
      standsAt(through);
      return done;
    },
    async mend(waiting, through) {
      await mended(waiting, through);
    },
    live: { alone: leases.length === SHARDS, by: membership.member.number },
    insists,
    say,
  };
  const writeWhole = async (folded: Outcome<FoldedPage>, through: Position): Promise<FoldedPage> => {
    if ("error" in folded) throw folded.error;
    await writePage(writer, folded.value, hold);
    folded.value.written();
    standsAt(through);
    return folded.value;
  };
  return async (folded: Outcome<FoldedPage>, targets: readonly ViewTarget[], { entries, through }: Page): Promise<boolean> => {
    const startedMs = performance.now();
    let whole: FoldedPage | null = null;
    try {
      whole = await writeWhole(folded, through);
    } catch (error) {
      if ("value" in folded) folded.value.dropped();
      if (!(await isOfData(writer, targets, error, insists))) throw error;
      say({ event: "page-narrowed", events: entries.length, message: messageOf(error) });
      await narrow(narrowing, entries, through);
    }
    const isAnew = whole !== null && (await mended(whole.waiting, through));
    onProgress();
    say({
      event: "page-projected",
      events: entries.length,
      through: through.toString(),
      ms: Math.round(performance.now() - startedMs),
    });
    // If so, the page after this one may have been folded on top of states without the places that have just been noted.
    return whole !== null && !isAnew;
  };
}

/** How long to wait before the log, which did not answer, is compared again with what was folded. */
const ASK_AGAIN_MS = 500;

/** Returns a function to call whenever the link to the log was lost or a life of the log has begun. It asks whether the log is still the one that was followed, and ends the session if not. */
function interruptionWatch(
  { onInterruption, say }: FollowOptions,
  watch: { readonly signal: AbortSignal; end(): void },
): () => void {
  let asking = false;
  let again = false;
  const ask = async (): Promise<void> => {
    asking = true;
    do {
      again = false;
      try {
        if (!(await onInterruption())) watch.end();
      } catch (error) {
        say({ event: "log-not-compared", message: String((error as Error).message ?? error) });
        again = true;
        await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN_MS));
      }
    } while (again && !watch.signal.aborted);
    asking = false;
  };
  return () => {
    again = true;
    if (!asking) void ask();
  };
}
/** The entries that this process is to fold. */
async function mineOf(
  log: Log,
  entries: readonly LogEntry[],
  positions: ReadonlyMap<number, Position | null>,
): Promise<readonly LogEntry[]> {
  const mine: LogEntry[] = [];
  for (const entry of entries) {
    const position = positions.get(await shardOfEntry(log, entry));
    if (position !== undefined && (position === null || entry.position > position)) mine.push(entry);
  }
  return mine;
}

/** Renews the leases, and ends the session where shards should change hands or entities wait to be folded again. */
function watchShards({ reader, membership: { db, member }, leases, layout }: Session, signal: AbortSignal) {
  const ending = new AbortController();
  const ended = Promise.withResolvers<void>();
  const end = (): void => {
    clearInterval(timer);
    signal.removeEventListener("abort", end);
    ending.abort();
    ended.resolve();
  };
  let isLooking = false;
  const look = async (): Promise<void> => {
    if (isLooking) return;
    isLooking = true;
    try {
      if ((await tend(db, member, leases, layout)) !== "fine" || (await isAsked(reader, leases, member))) end();
    } catch {
      // The connection is gone. Following notices that as well; without shards nothing else would.
      end();
    } finally {
      isLooking = false;
    }
  };
  const timer = setInterval(() => void look(), TEND_MS);
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  return { signal: ending.signal, ended: ended.promise, end };
}
