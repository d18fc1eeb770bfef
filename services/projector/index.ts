/**
 * Folds the log into PostgreSQL. In come pages of the log; out go, in one transaction a page, view rows, their past, audit rows, decisions, cases
 * and how far it came. Never two writers to a shard, never a page twice, never a page in part.
 */
import { isTributaryError, messageOf, type Position, TributaryError } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import type { Log, LogEntry } from "../log/index.ts";
import type { Projection, Totals, View } from "../merge/index.ts";
import { connectViews } from "./connect.ts";
import { differences, type Generation, generationsOf, isInLine, targetsFor } from "./generations.ts";
import { enroll, giveBack, type Lease, leave, type Member, othersAlive, TEND_MS, takeShards, tend } from "./leases.ts";
import { migrate } from "./migrate.ts";
import { arePlacesLost, restorePlaces } from "./places.ts";
import { prepare, StaleViewError, type ViewTarget } from "./prepare.ts";
import { alone, bringUpToDate, type RebuildDeps } from "./rebuild.ts";
import { isAsked, refold } from "./refold.ts";
import { settlements } from "./releases.ts";
import { least, shardOfEntry } from "./shards.ts";
import { settledAt, write } from "./write.ts";

/** Events in one transaction at most: beyond, it gains nothing (500: 44 k/s, 2,000: 45 k/s measured) and is slower to see. */
const PAGE_EVENTS = 500;
const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;
/** A process that hangs inside a transaction keeps its shards from others no longer than this: then PostgreSQL ends its connection. */
const IDLE_IN_TRANSACTION_MS = 15_000;
/** How often views may be swapped between looking at them and taking shards before it is no accident any more. */
const MAX_LOOKS = 10;

export interface ProjectorOptions {
  readonly postgresUrl: string;
  readonly log: Log;
  readonly gate: Gate;
  /** All views as they are declared. */
  readonly projections: readonly View[];
  /** Whether views may be built anew at the start where they are declared otherwise than they stand. Default: yes, where no other projector is at work. */
  readonly mayBuild?: boolean;
  /** What this process is called where projectors are listed. Default: its pid. */
  readonly name?: string;
  readonly say?: (event: Record<string, unknown>) => void;
  /** Watchdog of the subscription, milliseconds. */
  readonly quietMs?: number;
}

export interface Projector {
  /** Ends when the projector does: with an error only if it cannot go on (views were built by other declarations than its own). */
  readonly done: Promise<void>;
  /** The shards in hand. */
  shards(): readonly number[];
  close(): Promise<void>;
}

/**
 * Starts projecting; resolves when the views stand as declared and this process shares in folding them. Then:
 *
 *   taking shards ─▶ following the log ─▶ folding a page while the page before is being written ─▶ …
 *        ▲              ├ shards to hand over or to take, entities to fold anew, views swapped ─▶ look again ┐
 *        │              └ database or log away ─▶ pause ─▶ connect anew ────────────────────────────────────┤
 *        └──────────────────────────────────────────────────────────────────────────────────────────────────┘
 */
export async function startProjector(options: ProjectorOptions): Promise<Projector> {
  const { say = () => {} } = options;
  const stop = new AbortController();
  let membership: Membership | null = null;
  /** This process's place among the projectors, kept over sessions, so that others see no coming and going. */
  const enrolled = async (): Promise<Membership> => {
    if (membership !== null && !membership.isLost()) return membership;
    await membership?.end();
    membership = await openMembership(options);
    return membership;
  };
  let isPlaceDoubted = false;
  let care: Care | null = null;
  const open = async (isStart: boolean): Promise<Session> => {
    const session = await openSession(options, await enrolled(), say, { isStart, isPlaceDoubted });
    isPlaceDoubted = false;
    return session;
  };
  let session: Session | null = await open(options.mayBuild !== false).catch(async (error: unknown) => {
    await membership?.end();
    throw error;
  });

  const run = async (): Promise<void> => {
    let pauseMs = MIN_PAUSE_MS;
    while (!stop.signal.aborted) {
      try {
        session ??= await open(false);
        await follow(options, session, care, stop.signal, say, () => {
          pauseMs = MIN_PAUSE_MS;
        });
        if (care !== null && care.left <= 0) care = null;
      } catch (error) {
        if (isTributaryError(error) && error.code === "projection-malformed") throw error;
        if (stop.signal.aborted) break;
        say({ event: "projector-interrupted", message: messageOf(error), pauseMs });
        const { code, constraint } = error as { code?: string; constraint?: string };
        // An event that is in the audit already: shards stand before what was folded.
        if (code === "23505" && constraint === "audit_pkey") isPlaceDoubted = true;
        // Something in the page is what the database cannot hold. Event by event it is found, and its entity is parked.
        if (code !== undefined && isOfData(code)) care ??= { left: CAREFUL_EVENTS, untakable: new Map() };
        if (code !== undefined && IS_MISSING.has(code)) {
          // Tables are gone: a new membership makes them anew.
          await membership?.end();
          membership = null;
        }
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
        pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS);
      } finally {
        await session?.close();
        session = null;
      }
    }
  };
  const done = run().finally(() => membership?.end());
  done.catch(() => {});
  return {
    done,
    shards: () => session?.leases.map(({ shard }) => shard) ?? [],
    async close() {
      stop.abort();
      await done.catch(() => {});
    },
  };
}

/** Following event by event, after a page that the database could not hold. */
interface Care {
  left: number;
  /** By `view/id`: entities with an event that it could not hold, and why. */
  readonly untakable: Map<string, string>;
}
/** Events that are folded one by one before pages are tried again: twice a page. */
const CAREFUL_EVENTS = 2 * PAGE_EVENTS;
/** PostgreSQL's classes of errors that are about the values: 22 data exceptions, 54 limits such as an index entry's. */
const isOfData = (code: string): boolean => code.startsWith("22") || code.startsWith("54");

/** PostgreSQL's codes for a table or a schema that is not there. */
const IS_MISSING = new Set(["42P01", "3F000"]);

type Connection = Awaited<ReturnType<typeof connectViews>>;

interface Membership {
  readonly db: Connection;
  readonly member: Member;
  isLost(): boolean;
  end(): Promise<void>;
}

async function openMembership({ postgresUrl, name = `pid ${process.pid}` }: ProjectorOptions): Promise<Membership> {
  const db = await connectViews(postgresUrl, `tributary-projector ${name}`);
  let isLost = false;
  db.on("end", () => {
    isLost = true;
  });
  try {
    await migrate(db);
    const member = await enroll(db, name);
    return {
      db,
      member,
      isLost: () => isLost,
      async end() {
        if (!isLost) await leave(db, member).catch(() => {});
        await db.end().catch(() => {});
      },
    };
  } catch (error) {
    await db.end();
    throw error;
  }
}

interface Session {
  readonly writer: Connection;
  readonly reader: Connection;
  readonly membership: Membership;
  readonly targets: readonly ViewTarget[];
  readonly leases: Lease[];
  readonly layout: string;
  close(): Promise<void>;
}

/** Connects, brings tables and views up to date, takes shards, and folds anew what waits for it. */
async function openSession(
  options: ProjectorOptions,
  membership: Membership,
  say: (event: Record<string, unknown>) => void,
  since: { readonly isStart: boolean; readonly isPlaceDoubted: boolean },
): Promise<Session> {
  const { postgresUrl, gate, log, projections: views } = options;
  const writer = await connectViews(postgresUrl, "tributary-projector writes");
  const reader = await connectViews(postgresUrl, "tributary-projector reads").catch(async (error: unknown) => {
    await writer.end();
    throw error;
  });
  let leases: Lease[] = [];
  const close = async (): Promise<void> => {
    if (leases.length > 0) await giveBack(writer, leases).catch(() => {});
    await Promise.allSettled([writer.end(), reader.end()]);
  };
  try {
    // Safe here: rows and places in the log are lost or kept together, and what is lost is folded again. Saves a disk flush a page.
    await writer.query("SET synchronous_commit = off");
    await writer.query(`SET idle_in_transaction_session_timeout = ${IDLE_IN_TRANSACTION_MS}`);
    if (since.isPlaceDoubted || (await arePlacesLost(writer))) {
      const shards = await restorePlaces(writer, log);
      if (shards.length > 0) say({ event: "places-restored", shards });
    }
    const taken = await takeInLine({ db: writer, reader, log, gate, views, say }, membership.member, since.isStart);
    leases = taken.leases;
    const tabled = views.filter((view): view is Projection | Totals => view.kind !== "sql");
    const targets = await targetsFor(reader, tabled, taken.seen);
    const refolded = leases.length === 0 ? 0 : await refold({ db: writer, reader, log, gate }, targets, leases, taken.layout);
    if (refolded > 0) say({ event: "entities-refolded", entities: refolded });
    say({ event: "shards-taken", shards: leases.map(({ shard }) => shard), projector: membership.member.number });
    return { writer, reader, membership, targets, leases, layout: taken.layout, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * Takes shards of views that stand as they are declared here. Views that do not are built anew first, alone; otherwise a rebuild that takes hours keeps nobody
 * from taking shards.
 */
async function takeInLine(deps: RebuildDeps, member: Member, isStart: boolean) {
  const { db, reader, gate, views } = deps;
  const look = (): Promise<Map<string, Generation>> => generationsOf(db, "live");
  const mayChange = async (): Promise<void> => {
    const live = await look();
    // Nothing stands: the database is new, or was emptied.
    if (live.size === 0) return;
    const others = isStart ? await othersAlive(reader, member) : [];
    if (!isStart || others.length > 0) throw declaredOtherwise(differences(views, gate, live), others);
  };
  for (let looks = 0; looks < MAX_LOOKS; looks++) {
    if (!isInLine(differences(views, gate, await look()))) await alone(db, true, () => bringUpToDate(deps, mayChange));
    const taken = await takeShards(db, member, look);
    if (isInLine(differences(views, gate, taken.seen))) return taken;
    await giveBack(db, taken.leases);
  }
  throw new TributaryError(
    "backend-failed",
    "views are swapped again and again",
    "See who rebuilds them: `tributary lag` lists the projectors.",
  );
}

const declaredOtherwise = (
  { changed, undeclared }: ReturnType<typeof differences>,
  others: readonly string[] = [],
): TributaryError =>
  new TributaryError(
    "projection-malformed",
    others.length === 0
      ? `${[...changed, ...undeclared].join(", ")}: the views that stand were built by other declarations than this process has`
      : `this process declares ${[...changed, ...undeclared].join(", ")} otherwise than the views that ${others.join(" and ")} keep up to date`,
    others.length === 0
      ? "`tributary rebuild` builds them from the files as they are now; or put back those that they were built with. Until then nothing is folded."
      : "Put the same files in place everywhere; then `tributary rebuild` builds the views anew while the others go on.",
  );

async function follow(
  { log, gate, quietMs }: ProjectorOptions,
  session: Session,
  care: Care | null,
  signal: AbortSignal,
  say: (event: Record<string, unknown>) => void,
  onProgress: () => void,
): Promise<void> {
  const { writer, reader, targets, leases, layout } = session;
  const known = settlements((event) => settledAt(reader, event));
  const watch = watchShards(session, signal);
  let writing: Promise<void> = Promise.resolve();
  let inFlight: Promise<unknown> | null = null;
  try {
    if (leases.length === 0) {
      await watch.ended;
      return;
    }
    // Shards that were taken over from others may stand at different places: what one has folded already is passed over.
    const places = new Map(leases.map(({ shard, position }) => [shard, position]));
    const pages = log.subscribe({
      after: least(leases.map(({ position }) => position)),
      maxPage: care === null ? PAGE_EVENTS : 1,
      signal: watch.signal,
      // While a page is being written the next one fills: few large transactions instead of many small ones.
      busy: () => inFlight,
      onInterruption: (what) => say({ event: "subscription-interrupted", ...what }),
      ...(quietMs === undefined ? {} : { quietMs }),
    });
    for await (const { entries: all, through } of pages) {
      if (all.length === 0) continue;
      const entries = await mineOf(log, all, places);
      const prepared = await prepare(
        { log, gate, settled: known, ...(care === null ? {} : { untakable: care.untakable }) },
        targets,
        entries,
        through,
      );
      await writing;
      const startedMs = performance.now();
      writing = write(writer, prepared, leases, layout).then(() => {
        for (const lease of leases) if (lease.position === null || lease.position < through) lease.position = through;
        onProgress();
        say({
          event: "page-projected",
          events: entries.length,
          through: through.toString(),
          ms: Math.round(performance.now() - startedMs),
        });
        if (care !== null) care.left -= 1;
      });
      if (care !== null) {
        await writing.catch((error: unknown) => {
          if (!isOfData((error as { code?: string }).code ?? "")) return;
          const { view } = error as { view?: string };
          for (const { target, rows } of prepared.views) {
            const { name } = target.projection;
            if (view !== undefined && view !== name) continue;
            for (const { id } of rows) care.untakable.set(`${name}/${id}`, `PostgreSQL cannot hold it: ${messageOf(error)}`);
          }
        });
        if (care.left <= 0) watch.end();
      }
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
      if ((await tend(db, member, leases, layout)) !== "fine" || (await isAsked(reader, leases))) end();
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

export { type Comparison, compareBuild } from "./compare.ts";
export { connectViews } from "./connect.ts";
export { differences, type Generation, generationsOf, isBuiltAs } from "./generations.ts";
export { migrate } from "./migrate.ts";
export { toFoldEvent } from "./prepare.ts";
export { alone, type Progress, type RebuildOptions, type Rebuilt, rebuild } from "./rebuild.ts";
export { type Reconciled, reconcile } from "./reconcile.ts";
export { askRefold, eventsOf } from "./refold.ts";
export { countedAs, settlements } from "./releases.ts";
export { asPosition, SHARDS, shardOf } from "./shards.ts";
export { declaredColumns } from "./tables.ts";
