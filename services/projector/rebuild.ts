import { type LogEntry, messageOf, type Position, QUARANTINE_ENTITY, TributaryError } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import type { Log } from "../log/index.ts";
import type { Projection, Totals, View } from "../merge/engine.ts";
import {
  areAbreast,
  type Comparison,
  clingingSays,
  clingingToOld,
  compareBuild,
  createIndexes,
  type Db,
  dropGeneration,
  type Generation,
  generationsOf,
  holdShards,
  inSavepoint,
  inTransaction,
  isBuiltAs,
  isLockedOut,
  least,
  livePositions,
  mayBeLost,
  notePositions,
  type Positions,
  settledAt,
  swap,
  takeUp,
  waitAtMost,
  writeViews,
} from "../views/index.ts";
import { beginBuild, differences, familyOf, targetsFor, unreadBy } from "./builds.ts";
import { counting } from "./counts.ts";
import { isOfData } from "./failures.ts";
import { narrow } from "./narrow.ts";
import { type Outcome, outcomeOf } from "./outcome.ts";
import { type FoldedPage, foldPage, type ViewTarget, type Waiting } from "./page.ts";
import { StaleViewError } from "./readable.ts";
import { historyOf, refoldOne } from "./refold.ts";
import { shardOfEntry } from "./shards.ts";

/** Events in one transaction of a rebuild: nobody waits for it, so it may be larger than a page. */
const BATCH_EVENTS = 5_000;
/** Bytes of the log that a batch may span: an event may have a megabyte. */
const MAX_BATCH_BYTES = 16 * 1_048_576;
/** The views are swapped once no more events than this were left to fold in a round: they are folded while the projectors wait. */
const CLOSE_ENOUGH_EVENTS = 2_000;
const MAX_ROUNDS = 50;
const SWAP_TRIES = 60;
/** How often a build is begun anew because schemas were registered under it. */
const MAX_BEGINNINGS = 5;
/** How long the swap may hold up readers who come while it waits for those before them. */
const LOCK_TIMEOUT_MS = 500;
const SWAP_PAUSE_MS = 250;
/** Between tries of one that nobody waits for, after so many: somebody reads for long, a proof of all that agrees perhaps. */
const LONG_PAUSE_MS = 5_000;
export interface RebuildDeps {
  readonly db: Db;
  /** A second connection, to read states while the first writes. */
  readonly reader: Db;
  readonly log: Log;
  readonly gate: Gate;
  /** All views as they are declared. */
  readonly views: readonly View[];
  readonly say?: (event: Record<string, unknown>) => void;
  /** Entities of each view whose states are kept in memory, where memory counts more than time. */
  readonly maxHotEntities?: number;
  /**
   * Nobody waits for it, and nobody is there to be told: it goes on trying until this aborts, and leaves with the old build what others made and what cannot be carried
   * over.
   */
  readonly unattended?: AbortSignal;
  /** The log was set back: how far what was folded of it stands, and what is done in the transaction that swaps. */
  readonly setBack?: {
    readonly atMost: (position: Position | null) => Position | null;
    readonly cut: (db: Db) => Promise<void>;
  };
}

/** Where the live views stand, as far as the log has it. */
async function standing({ db, setBack }: RebuildDeps): Promise<Positions> {
  const live = await livePositions(db);
  return setBack === undefined ? live : live.map(setBack.atMost);
}

export interface RebuildOptions {
  readonly names: readonly string[];
  /** Views that are declared no more, to be taken away in the same swap. */
  readonly retired?: readonly string[];
  /** Go back to the builds before the live ones, brought up to date. Their declarations must be in place again. */
  readonly rollback?: boolean;
  /** Begin at the start, even where a build was interrupted. */
  readonly fresh?: boolean;
  /** Build and compare, but leave the live views as they are. */
  readonly compareOnly?: boolean;
  /** Compare with the live rows before the swap. */
  readonly compare?: boolean;
  /** Events in one transaction; what a build that is interrupted loses at most. */
  readonly batchEvents?: number;
  /** Events a second at most; default: as fast as it goes. */
  readonly maxEventsPerSecond?: number;
  readonly onProgress?: (progress: Progress) => void;
  readonly signal?: AbortSignal;
}

export interface Progress {
  readonly events: number;
  /** Estimated from the positions, which say how far, not how many. */
  readonly share: number;
  readonly etaSeconds: number | null;
}

export interface Rebuilt {
  readonly views: readonly string[];
  readonly generation: number;
  readonly events: number;
  /** Events that an interrupted build had folded already. */
  readonly resumedAt: number;
  readonly swapped: boolean;
  readonly comparisons: readonly Comparison[];
  readonly parked: number;
  readonly seconds: number;
}

/**
 * Builds views anew beside the live ones and puts them in their place:
 *
 *   begin (or go on with) a generation ─▶ fold the log up to where the live views are ─▶ little left? ── no ─▶ fold on
 *      └── its own schema, its own place in the log                                        └ yes ─▶ compare ─▶ hold the shards ─▶ fold the rest ─▶ swap
 *
 * Live reads and the projectors go on all the while; the projectors wait only for the last step. Killed at any moment it goes on where it was.
 */
export async function rebuild(deps: RebuildDeps, options: RebuildOptions): Promise<Rebuilt> {
  const { say = () => {} } = deps;
  for (let tries = 1; ; tries++) {
    try {
      return await buildAndSwap(deps, options);
    } catch (error) {
      // A schema was registered meanwhile that the build, as it was begun, cannot read: it is begun anew with that.
      if (!(error instanceof StaleViewError)) throw error;
      if (options.rollback) throw unreadable(options.names, error.message);
      if (tries >= MAX_BEGINNINGS)
        throw new TributaryError(
          "backend-failed",
          `schemas are registered faster than the views are built: ${error.message}`,
          "Run it again when the schemas are in place.",
          { cause: error },
        );
      say({ event: "view-begun-anew", message: error.message });
    }
  }
}

const unreadable = (names: readonly string[], why: string): TributaryError =>
  new TributaryError(
    "schema-incompatible",
    `the earlier build of ${names.join(", ")} cannot read all that has been registered since: ${why}`,
    `\`tributary rebuild ${names.join(" ")}\` builds it anew, from the file that is in projections/ now. The live views were left as they are.`,
  );

async function buildAndSwap(deps: RebuildDeps, options: RebuildOptions): Promise<Rebuilt> {
  const { db, gate, views, say = () => {} } = deps;
  const family = familyOf(views, options.names);
  const startedMs = performance.now();
  const builds = options.rollback
    ? await resumePrevious(db, gate, family)
    : await beginBuild(db, gate, family, options.fresh === true);
  if (builds.length === 0) return swapOnly(deps, options, startedMs);
  const build = await openBuild(deps, family, builds);
  const resumedAt = builds[0]!.events;
  say({ event: "view-building", views: builds.map(({ view }) => view), generation: builds[0]!.generation, resumedAt });

  await unhurried(deps, build, options);
  for (const { view, place } of builds) await createIndexes(db, family.find(({ name }) => name === view)!, place);
  const comparisons: Comparison[] = [];
  if (options.compare || options.compareOnly)
    for (const each of builds)
      comparisons.push(await compareBuild(deps.reader, each, family.find(({ name }) => name === each.view)!, build.through()));
  const done = (swapped: boolean): Rebuilt => ({
    views: builds.map(({ view }) => view),
    generation: builds[0]!.generation,
    events: build.events(),
    resumedAt,
    swapped,
    comparisons,
    parked: build.parked(),
    seconds: Math.round((performance.now() - startedMs) / 100) / 10,
  });
  if (options.compareOnly) return done(false);
  await swapIn(deps, { retired: options.retired ?? [], family, builds, begun: build });
  say({ event: "view-built", views: builds.map(({ view }) => view), generation: builds[0]!.generation, events: build.events() });
  return done(true);
}

/** Folds the log until a build is close behind the live views, while those go on. */
export async function unhurried(deps: RebuildDeps, build: Build, options: Omit<RebuildOptions, "names">): Promise<void> {
  const pace = paceOf(options);
  const { batchEvents = BATCH_EVENTS, maxEventsPerSecond = BATCH_EVENTS } = options;
  // A throttled build works in strides of a second at most.
  const stride = Math.max(1, Math.min(batchEvents, maxEventsPerSecond));
  for (let round = 0; round < MAX_ROUNDS; round++) {
    const to = least(await standing(deps));
    const events = to === null ? 0 : await build.foldTo(to, pace, stride);
    options.signal?.throwIfAborted();
    if (events <= CLOSE_ENOUGH_EVENTS) return;
  }
  throw new TributaryError(
    "backend-failed",
    "events come in faster than the views are built",
    "Try again in a quieter hour, or without a throttle.",
  );
}

/** Nothing to fold: views of SQL alone, or views that are declared no more. */
async function swapOnly(deps: RebuildDeps, { retired = [], names }: RebuildOptions, startedMs: number): Promise<Rebuilt> {
  await swapIn(deps, { retired, family: [], builds: [], begun: null });
  return {
    views: names,
    generation: 0,
    events: 0,
    resumedAt: 0,
    swapped: true,
    comparisons: [],
    parked: 0,
    seconds: Math.round((performance.now() - startedMs) / 100) / 10,
  };
}

/** Takes up the builds that were live before, or goes on where that was interrupted. */
async function resumePrevious(db: Db, gate: Gate, family: readonly (Projection | Totals)[]): Promise<Generation[]> {
  const previous = await generationsOf(db, "previous");
  const building = await generationsOf(db, "building");
  const found = family.map((view) => {
    const kept = previous.get(view.name) ?? building.get(view.name);
    if (kept === undefined)
      throw new TributaryError(
        "not-found",
        `no earlier build of ${view.name} is kept`,
        "Only the build before the live one can be gone back to.",
      );
    if (!isBuiltAs(view, new Map([[view.name, kept]])))
      throw new TributaryError(
        "projection-malformed",
        `the earlier build of ${view.name} was made by another declaration than the one in projections/`,
        "Put the earlier file back first, for example with git; then run this again.",
      );
    const news = view.kind === "entity" && kept.readers !== null ? unreadBy(gate, view, kept.readers) : null;
    if (news !== null) throw unreadable([view.name], news);
    return kept;
  });
  if (!areAbreast(found))
    throw new TributaryError(
      "usage",
      `the earlier builds of ${found.map(({ view }) => view).join(", ")} were live until different moments`,
      "Go back to them one by one.",
    );
  for (const { view } of found) {
    const begun = building.get(view);
    if (begun !== undefined && previous.has(view)) await dropGeneration(db, begun);
  }
  await takeUp(db, found);
  return found.map((kept) => ({ ...kept, state: "building" }));
}

export interface Build {
  /** Folds what lies between where the build is and `to`; returns how many events of its views that were. */
  foldTo(to: Position, pace: Pace, batchEvents: number): Promise<number>;
  /** Folds the rest inside the caller's transaction, each shard to where it is live. */
  foldRest(live: Positions): Promise<void>;
  events(): number;
  parked(): number;
  through(): Position | null;
}

/** What a rebuild does after each batch: progress, throttle, and whether to stop. */
type Pace = (events: number, from: Position | null, at: Position, to: Position) => Promise<void>;

export async function openBuild(
  deps: RebuildDeps,
  family: readonly (Projection | Totals)[],
  builds: readonly Generation[],
): Promise<Build> {
  const { db, reader, log, gate, say = () => {} } = deps;
  const generations = new Map(builds.map((build) => [build.view, build]));
  const targetsOver = (db: Db): Promise<ViewTarget[]> => targetsFor(db, family, generations, deps.maxHotEntities);
  let targets = await targetsOver(reader);
  const wanted = new Set(targets.map(({ projection }) => projection.entity));
  let positions: Positions = builds[0]!.positions ?? [];
  // The live tables are ahead of the build, so they know who settled what first.
  const counts = counting(log, (event) => settledAt(reader, event));
  let events = builds[0]!.events;

  const fold = (page: readonly LogEntry[], through: Position): Promise<Outcome<FoldedPage>> =>
    outcomeOf(foldPage({ gate, counts }, targets, page, through));
  /** Writes a batch inside the caller's transaction, or whatever `scope` makes of it; what it is refused for is narrowed down to its events. */
  const write = async (
    folded: Outcome<FoldedPage>,
    page: readonly LogEntry[],
    through: Position,
    scope: <T>(part: readonly LogEntry[], through: Position, work: () => Promise<T>) => Promise<T>,
  ): Promise<void> => {
    const mend = async (waiting: readonly Waiting[], upTo: Position): Promise<void> => {
      for (const { target, id } of waiting) {
        const entries = await historyOf({ log, reader }, target, id, upTo);
        const settle = await scope([], upTo, () =>
          refoldOne({ db, reader, log, gate }, target, id, entries, upTo, { isLive: false }),
        );
        settle();
      }
    };
    try {
      if ("error" in folded) throw folded.error;
      const { views } = folded.value;
      await scope(page, through, () => writeViews(db, views, { tells: false, alone: true }));
      folded.value.written();
    } catch (error) {
      if ("value" in folded) folded.value.dropped();
      if (!(await isOfData(db, targets, error))) throw error;
      say({ event: "batch-narrowed", events: page.length, message: messageOf(error) });
      const deps = { gate, counts };
      await narrow({ db, deps, targets: () => targetsOver(db), scope, mend, live: null, insists: false, say }, page, through);
      targets = await targetsOver(db);
      return;
    }
    await mend(folded.value.waiting, through);
  };
  /** Moves the build's place with what is written: each part stands or falls with it. */
  const moving = async <T>(part: readonly LogEntry[], through: Position, work: () => Promise<T>): Promise<T> => {
    const upTo = positions.map((each) => (each !== null && each > through ? each : through));
    const done = await inTransaction(db, async () => {
      await mayBeLost(db);
      const result = await work();
      await notePositions(db, builds, upTo, part.length);
      return result;
    });
    positions = upTo;
    events += part.length;
    return done;
  };
  /** Entries of the build's views after where it is, in order, with their shards. */
  async function* missing(to: Position): AsyncGenerator<{ entry: LogEntry; shard: number }> {
    const from = least(positions);
    for await (const entry of log.readAll({ from, to })) {
      if (entry.head.entity.type !== QUARANTINE_ENTITY && !wanted.has(entry.head.entity.type)) continue;
      const shard = await shardOfEntry(log, entry);
      if (positions[shard] !== null && positions[shard] !== undefined && entry.position <= positions[shard]!) continue;
      if (!wanted.has((await counts.about(entry))?.type ?? "")) continue;
      yield { entry, shard };
    }
  }
  return {
    events: () => events,
    parked: () => targets.reduce((sum, { states }) => sum + states.parkedCount(), 0),
    through: () => least(positions),
    async foldTo(to, pace, batchEvents) {
      const from = least(positions);
      let page: LogEntry[] = [];
      let folded = 0;
      let writing: Promise<void> = Promise.resolve();
      /** Folds a batch while the one before is being written. */
      const flush = async (through: Position): Promise<void> => {
        const batch = page;
        page = [];
        const before = targets;
        let prepared = await fold(batch, through);
        await writing;
        if (targets !== before) prepared = await fold(batch, through);
        writing = write(prepared, batch, through, moving);
        // Awaited with the next batch, or below; a failure must not count as unhandled until then.
        writing.catch(() => {});
        folded += batch.length;
        await pace(batch.length, from, through, to);
      };
      if (from !== null && from >= to) return 0;
      try {
        for await (const { entry } of missing(to)) {
          page.push(entry);
          if (page.length >= batchEvents || Number(entry.position - page[0]!.position) > MAX_BATCH_BYTES)
            await flush(entry.position);
        }
        await flush(to);
      } finally {
        await writing;
      }
      return folded;
    },
    async foldRest(live) {
      const end = live.reduce<Position | null>(
        (high, each) => (each !== null && (high === null || each > high) ? each : high),
        null,
      );
      const page: LogEntry[] = [];
      if (end !== null)
        for await (const { entry, shard } of missing(end)) {
          const upTo = live[shard] ?? null;
          if (upTo !== null && entry.position <= upTo) page.push(entry);
        }
      const last = page.at(-1)?.position;
      if (last !== undefined) await write(await fold(page, last), page, last, (_part, _through, work) => inSavepoint(db, work));
      await notePositions(db, builds, live, page.length);
      positions = live;
      events += page.length;
    },
  };
}

function paceOf({ maxEventsPerSecond, onProgress, signal }: Omit<RebuildOptions, "names">): Pace {
  const startedMs = performance.now();
  let done = 0;
  return async (events, from, at, to) => {
    done += events;
    const seconds = (performance.now() - startedMs) / 1000;
    const begin = from ?? 0n;
    const share = to === begin ? 1 : Number(at - begin) / Number(to - begin);
    onProgress?.({
      events: done,
      share,
      etaSeconds: share > 0.01 ? Math.round((seconds / share) * (1 - share)) : null,
    });
    signal?.throwIfAborted();
    if (maxEventsPerSecond === undefined) return;
    const dueSeconds = done / maxEventsPerSecond;
    if (dueSeconds > seconds) await new Promise((resolve) => setTimeout(resolve, (dueSeconds - seconds) * 1000));
  };
}

/** What is ready to take the place of the live views. */
interface Ready {
  /** Views that are no longer declared. */
  readonly retired: readonly string[];
  readonly family: readonly (Projection | Totals)[];
  readonly builds: readonly Generation[];
  /** Folds what is left; `null`: there is nothing to fold. */
  readonly begun: Build | null;
}

/**
 * Holds the shards still, folds what is left, and swaps: all in one transaction, tried again where readers are in the way for long. Readers who come meanwhile wait for
 * `LOCK_TIMEOUT_MS` at a time, and no longer.
 */
async function swapIn(deps: RebuildDeps, { retired, family, builds, begun }: Ready): Promise<void> {
  const { db, views, unattended, say = () => {} } = deps;
  for (let attempt = 1, build = begun; ; attempt++) {
    try {
      const folded = build;
      await inTransaction(db, async () => {
        await holdShards(db);
        const live = await standing(deps);
        await folded?.foldRest(live);
        await waitAtMost(db, LOCK_TIMEOUT_MS);
        await swap(db, { builds, retired, views, leaves: unattended !== undefined }, live);
        await deps.setBack?.cut(db);
      });
      const message = clingingSays(await clingingToOld(db));
      if (message !== null) say({ event: "view-clung-to", message });
      return;
    } catch (error) {
      // Somebody has been reading for longer than readers behind us should wait.
      if (!isLockedOut(error)) throw error;
      unattended?.throwIfAborted();
      const isLong = attempt >= SWAP_TRIES;
      if (isLong && unattended === undefined) throw heldOn(error);
      say({ event: "swap-waits", attempt, ...(isLong ? { message: heldOn(error).message } : {}) });
      // What was folded in the transaction is undone: go on from what stands.
      if (build !== null) build = await openBuild(deps, family, await currentOf(db, builds));
      await new Promise((resolve) => setTimeout(resolve, isLong ? LONG_PAUSE_MS : SWAP_PAUSE_MS));
    }
  }
}

const heldOn = (cause: unknown): TributaryError =>
  new TributaryError(
    "backend-failed",
    "readers have held on to the live views all the time, so that the new ones could not take their place",
    "End transactions that stay open (pg_stat_activity shows them); then the same command goes on where it was.",
    { cause },
  );

async function currentOf(db: Db, builds: readonly Generation[]): Promise<Generation[]> {
  const building = await generationsOf(db, "building");
  return builds.map(({ view }) => building.get(view)!);
}

/** What nobody waits for ends with its process. */
export const stopping = ({ unattended }: RebuildDeps): Pick<RebuildOptions, "signal"> =>
  unattended === undefined ? {} : { signal: unattended };

/**
 * Brings the views that stand in line with the declarations. What cannot read the newest schemas is built anew in any case; what is declared otherwise
 * than it was built only where `mayChange` says so, since processes with other declarations would undo it.
 */
export async function bringUpToDate(deps: RebuildDeps, mayChange: () => Promise<unknown>): Promise<void> {
  const { db, gate, views } = deps;
  const { changed, undeclared, stale } = differences(views, gate, await generationsOf(db, "live"));
  if (changed.length > 0 || undeclared.length > 0) await mayChange();
  if (changed.length > 0 || undeclared.length > 0 || stale.length > 0)
    await rebuild(deps, { names: [...changed, ...stale], retired: undeclared, ...stopping(deps) });
}
