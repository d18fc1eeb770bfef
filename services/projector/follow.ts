import type { LogEntry, Position } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import { INCARNATION_STREAM, type Log } from "../log/index.ts";
import {
  type Db,
  inTransaction,
  isAsked,
  type Lease,
  least,
  type Member,
  moveShards,
  SHARDS,
  settledAt,
  TEND_MS,
  tend,
  writePage,
} from "../views/index.ts";
import { counting } from "./counts.ts";
import { isOfData } from "./failures.ts";
import { type Narrowing, narrow } from "./narrow.ts";
import { type Outcome, outcomeOf } from "./outcome.ts";
import { type FoldedPage, foldPage, type ViewTarget } from "./page.ts";
import { StaleViewError } from "./readable.ts";
import { mend } from "./refold.ts";
import { shardOfEntry } from "./shards.ts";

/** Events in one transaction at most: beyond, it gains nothing (500: 44 k/s, 2,000: 45 k/s measured) and is slower to see. */
const PAGE_EVENTS = 500;

/** A process's place among the projectors. */
export interface Membership {
  readonly db: Db;
  readonly member: Member;
  isLost(): boolean;
  end(): Promise<void>;
}

/** Shards in hand, and what they are folded into. */
export interface Session {
  readonly writer: Db;
  readonly reader: Db;
  readonly membership: Membership;
  readonly targets: readonly ViewTarget[];
  readonly leases: Lease[];
  readonly layout: string;
  /** Views as they stand now, with nothing in memory; what is read goes over the connection given. */
  targetsNow(db: Db): Promise<readonly ViewTarget[]>;
  close(): Promise<void>;
}

export interface FollowOptions {
  readonly log: Log;
  readonly gate: Gate;
  readonly quietMs?: number;
  readonly signal: AbortSignal;
  readonly say: (event: Record<string, unknown>) => void;
  /** The same error has ended the same page again and again: it is narrowed down whatever it says it is. */
  readonly insists: boolean;
  onProgress(): void;
  /** The link to the log was lost, or a life of it has begun. What it returns says whether the log still holds what was folded; `false` ends the session. */
  onInterruption(): Promise<boolean>;
}

/**
 * Follows the log with a session's shards: a page is folded while the one before is being written. A page that cannot be written is narrowed down to the events that it
 * fails at (`narrow`), and following goes on. Ends when shards should change hands, views are swapped, the log was set back, or with what is of operation.
 */
export async function follow(session: Session, options: FollowOptions): Promise<void> {
  const { writer, reader, leases, layout, membership } = session;
  const { log, gate, quietMs, signal, say, insists, onProgress } = options;
  const counts = counting(log, (event) => settledAt(reader, event));
  const watch = watchShards(session, signal);
  const hold = { leases, layout, member: membership.member };
  let targets = session.targets;
  let writing: Promise<void> = Promise.resolve();
  let inFlight: Promise<unknown> | null = null;
  const standsAt = (through: Position): void => {
    for (const lease of leases) if (lease.position === null || lease.position < through) lease.position = through;
  };
  const fold = (entries: readonly LogEntry[], through: Position): Promise<Outcome<FoldedPage>> =>
    outcomeOf(foldPage({ gate, counts }, targets, entries, through));
  const narrowing: Narrowing = {
    db: writer,
    deps: { gate, counts },
    targets: () => session.targetsNow(writer),
    async scope(_, through, work) {
      const done = await inTransaction(writer, async () => {
        await moveShards(writer, leases, layout, through);
        return work();
      });
      standsAt(through);
      return done;
    },
    mend: (waiting, through) => mend({ db: writer, reader, log, gate }, waiting, hold, through),
    live: { alone: leases.length === SHARDS, by: membership.member.number },
    insists,
    say,
  };
  const writeFolded = async (folded: Outcome<FoldedPage>, entries: readonly LogEntry[], through: Position): Promise<void> => {
    const startedMs = performance.now();
    try {
      if ("error" in folded) throw folded.error;
      await writePage(writer, folded.value, hold);
      folded.value.written();
      standsAt(through);
    } catch (error) {
      if ("value" in folded) folded.value.dropped();
      if (!(await isOfData(writer, targets, error, insists))) throw error;
      say({ event: "page-narrowed", events: entries.length, message: String((error as Error).message ?? error) });
      await narrow(narrowing, entries, through);
      // What was in memory is of the page that was not written.
      targets = await session.targetsNow(reader);
      folded = { error };
    }
    if ("value" in folded) await mend({ db: writer, reader, log, gate }, folded.value.waiting, hold, through);
    onProgress();
    say({
      event: "page-projected",
      events: entries.length,
      through: through.toString(),
      ms: Math.round(performance.now() - startedMs),
    });
  };
  const interrupted = interruptionWatch(options, watch);
  try {
    // A life that is declared while the link stands: a log may have been put in this one's place all the same.
    log.journal.follow({
      prefixes: [INCARNATION_STREAM],
      after: await log.end(),
      signal: watch.signal,
      onFact: interrupted,
      onInterruption: interrupted,
    });
    // One that began since the session compared would not be told of.
    interrupted();
    if (leases.length === 0) {
      await watch.ended;
      return;
    }
    // Shards that were taken over from others may stand at different places: what one has folded already is passed over.
    const places = new Map(leases.map(({ shard, position }) => [shard, position]));
    const pages = log.subscribe({
      after: least(leases.map(({ position }) => position)),
      maxPage: PAGE_EVENTS,
      signal: watch.signal,
      // While a page is being written the next one fills: few large transactions instead of many small ones.
      busy: () => inFlight,
      onInterruption: (what) => {
        say({ event: "subscription-interrupted", ...what });
        if (what.kind === "dropped") interrupted();
      },
      ...(quietMs === undefined ? {} : { quietMs }),
    });
    for await (const { entries: all, through } of pages) {
      const entries = await mineOf(log, all, places);
      const before = targets;
      let folded = await fold(entries, through);
      await writing;
      if (targets !== before) folded = await fold(entries, through);
      writing = writeFolded(folded, entries, through);
      // Awaited with the next page, or below; a failure must not count as unhandled until then.
      const settled: Promise<unknown> = writing
        // Nothing more may come that would await it: a page that could not be written ends the session at once.
        .catch(() => watch.end())
        .finally(() => {
          if (inFlight === settled) inFlight = null;
        });
      inFlight = settled;
    }
  } catch (error) {
    // The views are built anew when the session is opened again, at once.
    if (!(error instanceof StaleViewError)) throw error;
    say({ event: "view-stale", message: error.message });
  } finally {
    watch.end();
    await writing;
  }
}

/** How long to wait before a log that does not answer is asked again whether it holds what was folded. */
const ASK_AGAIN_MS = 500;

/** Asks, each time the link to the log was lost or a life of it has begun, whether the log that answers is the one that was followed; ends the session if not. */
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
  places: ReadonlyMap<number, Position | null>,
): Promise<readonly LogEntry[]> {
  const mine: LogEntry[] = [];
  for (const entry of entries) {
    const place = places.get(await shardOfEntry(log, entry));
    if (place !== undefined && (place === null || entry.position > place)) mine.push(entry);
  }
  return mine;
}

/** Renews the leases, and ends the session where shards should change hands or entities wait to be folded anew. */
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
      // A connection that is gone: following notices it as well; without shards nothing else would.
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
