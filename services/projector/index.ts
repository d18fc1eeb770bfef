/**
 * Folds the log into PostgreSQL. In come pages of the log; out go, in one transaction a page, view rows, their past, audit rows, decisions, cases
 * and how far it came. Never two writers to a shard, never a page twice, never a page in part.
 */

import { isTributaryError, messageOf, TributaryError } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import type { Log } from "../log/index.ts";
import type { Totals } from "../merge/engine.ts";
import type { Projection, View } from "../merge/index.ts";
import {
  alone,
  arePlacesLost,
  asPageWriter,
  connectViews,
  type Db,
  dropLetGo,
  enroll,
  type Generation,
  generationsOf,
  giveBack,
  isAnyLetGo,
  isAudited,
  isMissing,
  type Lease,
  leave,
  MAX_REPEATS,
  type Member,
  migrate,
  othersAlive,
  sqlState,
  takeShards,
} from "../views/index.ts";
import { differences, isInLine, targetsFor } from "./builds.ts";
import { follow, type Membership, type Session } from "./follow.ts";
import { takeForks } from "./forks.ts";
import { restorePlaces } from "./places.ts";
import { bringUpToDate, type RebuildDeps } from "./rebuild.ts";
import { refold } from "./refold.ts";
import { keepUpWithLog, mayBeSetBack } from "./setback.ts";

const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;
/** How often new forks are looked for, and builds that nothing clings to any more. */
const LOOK_MS = 2_000;
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
  const repeats = repeatsOf();
  const open = async (isStart: boolean): Promise<Session> => {
    const since = { isStart, isPlaceDoubted, insists: repeats.insists(), stop: stop.signal };
    const session = await openSession(options, await enrolled(), say, since);
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
        const { reader } = session;
        await follow(session, {
          ...options,
          signal: stop.signal,
          say,
          insists: repeats.insists(),
          onProgress() {
            pauseMs = MIN_PAUSE_MS;
            repeats.forget();
          },
          onInterruption: async () => !(await mayBeSetBack(reader, options.log)),
        });
      } catch (error) {
        if (isTributaryError(error) && error.code === "projection-malformed") throw error;
        if (stop.signal.aborted) break;
        say({ event: "projector-interrupted", message: messageOf(error), pauseMs });
        repeats.note(error);
        // An event that is in the audit already: shards stand before what was folded, or the log was set back.
        if (isAudited(error)) isPlaceDoubted = true;
        if (isMissing(error)) {
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
  let isLooking = false;
  /** New forks, and builds that were let go. */
  const look = async (): Promise<void> => {
    if (isLooking || session === null) return;
    isLooking = true;
    const { db } = session.membership;
    // Whatever is away is noticed by those who follow the log, and this is tried again.
    await takeForks(db, options.log, false).catch(() => {});
    await letGo(db, options).catch(() => {});
    isLooking = false;
  };
  const looks = setInterval(() => void look(), LOOK_MS);
  const done = run().finally(() => {
    clearInterval(looks);
    return membership?.end();
  });
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

/** Removes builds that were let go, over a connection of its own: others use `db` meanwhile, and would be in the transaction. */
async function letGo(db: Db, { postgresUrl, say }: ProjectorOptions): Promise<void> {
  if (!(await isAnyLetGo(db))) return;
  const own = await connectViews(postgresUrl, "tributary-projector cleans up");
  try {
    const builds = await dropLetGo(own);
    if (builds > 0) say?.({ event: "builds-let-go", builds });
  } finally {
    await own.end();
  }
}

/** Counts an error that comes again and again without a page in between. */
function repeatsOf() {
  let last = "";
  let times = 0;
  return {
    note(error: unknown): void {
      const said = `${sqlState(error)} ${messageOf(error)}`;
      times = said === last ? times + 1 : 1;
      last = said;
    },
    forget(): void {
      times = 0;
    },
    insists: (): boolean => times >= MAX_REPEATS,
  };
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

/** Connects, brings tables and views up to date, takes shards, and folds anew what waits for it. */
async function openSession(
  options: ProjectorOptions,
  membership: Membership,
  say: (event: Record<string, unknown>) => void,
  since: {
    readonly isStart: boolean;
    readonly isPlaceDoubted: boolean;
    readonly insists: boolean;
    readonly stop: AbortSignal;
  },
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
    await asPageWriter(writer);
    const deps: RebuildDeps = { db: writer, reader, log, gate, views, say, unattended: since.stop };
    const rule = mayChange(deps, membership.member, since.isStart);
    await keepUpWithLog({ ...deps, say, isDoubted: since.isPlaceDoubted, mayChange: rule });
    await takeForks(writer, log, true);
    if (since.isPlaceDoubted || (await arePlacesLost(writer))) {
      const shards = await restorePlaces(writer, log);
      if (shards.length > 0) say({ event: "places-restored", shards });
    }
    const taken = await takeInLine(deps, membership.member, rule);
    leases = taken.leases;
    const tabled = views.filter((view): view is Projection | Totals => view.kind !== "sql");
    const targetsNow = (db: Db) => targetsFor(db, tabled, taken.seen);
    const targets = await targetsNow(reader);
    const refolding = { db: writer, reader, log, gate, insists: since.insists };
    const refolded = leases.length === 0 ? 0 : await refold(refolding, targets, leases, taken.layout);
    if (refolded > 0) say({ event: "entities-refolded", entities: refolded });
    say({ event: "shards-taken", shards: leases.map(({ shard }) => shard), projector: membership.member.number });
    return { writer, reader, membership, targets, targetsNow, leases, layout: taken.layout, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * Takes shards of views that stand as they are declared here. Views that do not are built anew first, alone; otherwise a rebuild that takes hours keeps nobody
 * from taking shards.
 */
async function takeInLine(deps: RebuildDeps, member: Member, rule: () => Promise<unknown>) {
  const { db, gate, views } = deps;
  const look = (): Promise<Map<string, Generation>> => generationsOf(db, "live");
  for (let looks = 0; looks < MAX_LOOKS; looks++) {
    if (!isInLine(differences(views, gate, await look()))) await alone(db, true, () => bringUpToDate(deps, rule));
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

/** Returns the views that are declared no more. Throws where some are declared otherwise than they stand, and this process may not build them. */
const mayChange =
  ({ db, reader, gate, views }: RebuildDeps, member: Member, isStart: boolean) =>
  async (): Promise<readonly string[]> => {
    const live = await generationsOf(db, "live");
    const { changed, undeclared, stale } = differences(views, gate, live);
    // Nothing stands: the database is new, or was emptied.
    if (live.size === 0 || changed.length + undeclared.length === 0) return undeclared;
    const others = isStart ? await othersAlive(reader, member) : [];
    if (!isStart || others.length > 0) throw declaredOtherwise({ changed, undeclared, stale }, others);
    return undeclared;
  };

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

export { differences, targetsFor } from "./builds.ts";
export { type Counting, counting, type Judged } from "./counts.ts";
export { toFoldEvent } from "./fold-event.ts";
export { checkFunctions, eventsIn } from "./fold-view.ts";
export { type ProjectorHealth, projectorHealth } from "./health.ts";
export type { ViewTarget } from "./page.ts";
export { type Progress, type RebuildOptions, type Rebuilt, rebuild } from "./rebuild.ts";
export { reconcile } from "./reconcile.ts";
export { eventsOf, type Rehearsed, rehearseRefold } from "./refold.ts";
export { keepUpWithLog, mayBeSetBack } from "./setback.ts";
export { shardOfEntry } from "./shards.ts";
