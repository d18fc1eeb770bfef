/**
 * A build while it is folded. In come builds that were begun, and the log; out go their tables, and how far the log is folded into them. A batch is folded
 * while the one before is written. A batch is never written in part: its rows and the build's position are written in one transaction.
 */
import { type LogEntry, ORDER_ENTITY, type Position, QUARANTINE_ENTITY } from "../core/index.ts";
import type { Projection, Totals } from "../merge/engine.ts";
import {
  furthestOf,
  type Generation,
  inSavepoint,
  inTransaction,
  least,
  mayBeLost,
  notePositions,
  type Positions,
  settledAt,
} from "../views/index.ts";
import { type Batching, foldBatch, type Scope, writeBatch } from "./batch.ts";
import { type RebuildDeps, standing } from "./building.ts";
import { targetsFor } from "./builds.ts";
import { counting } from "./counts.ts";
import { foldPlacedMeanwhile } from "./placed-meanwhile.ts";
import { fullPlacing, namingHubs } from "./placing.ts";
import { shardOfEntry } from "./shards.ts";

/** How many bytes of the log a batch may span: one event may have a megabyte. */
const MAX_BATCH_BYTES = 16 * 1_048_576;

export interface Build {
  /** Folds the log from where the build is up to `to`. Returns how many events of its views that were. */
  foldTo(to: Position, pace: Pace, batchEvents: number): Promise<number>;
  /** Folds the rest inside the caller's transaction, each shard up to its live position. */
  foldRest(live: Positions): Promise<void>;
  events(): number;
  parked(): number;
  through(): Position | null;
}

/** What a rebuild does after each batch: progress, throttle, and whether to stop. */
export type Pace = (events: number, from: Position | null, at: Position, to: Position) => Promise<void>;

/** A build that is under way. */
interface UnderWay extends Batching {
  readonly builds: readonly Generation[];
  /** The entity types of its views. */
  readonly wanted: ReadonlySet<string>;
  /** How far the build has come, by shard. */
  positions: Positions;
  events: number;
}

/** Opens builds that stand at the same positions, to go on with all of them together. What they folded before it got places that are known now is folded again first. */
export async function openBuild(
  deps: RebuildDeps,
  family: readonly (Projection | Totals)[],
  builds: readonly Generation[],
): Promise<Build> {
  const { reader, log } = deps;
  const generations = new Map(builds.map((build) => [build.view, build]));
  const maxHot = deps.maxHotEntities === undefined ? {} : { maxHot: deps.maxHotEntities };
  const targetsOver: Batching["targetsOver"] = (db) => targetsFor(db, family, generations, maxHot);
  const targets = await targetsOver(reader);
  const known = furthestOf(await standing(deps));
  const build: UnderWay = {
    ...{ deps, builds, targets, targetsOver },
    // The live tables are ahead of the build, so they know which settlement of an event came first.
    counts: counting(log, (event) => settledAt(reader, event)),
    placing: await fullPlacing(reader, known),
    wanted: new Set([
      ...targets.map(({ projection }) => projection.entity),
      ...(namingHubs(targets.map(({ projection }) => projection)).length > 0 ? [ORDER_ENTITY] : []),
    ]),
    positions: builds[0]?.positions ?? [],
    events: builds[0]?.events ?? 0,
  };
  const write = <T>(work: () => Promise<T>): Promise<T> =>
    inTransaction(deps.db, async () => {
      await mayBeLost(deps.db);
      return work();
    });
  const { positions } = build;
  const placed = await foldPlacedMeanwhile({
    deps,
    targets,
    positions,
    placedUpTo: deps.setBack === undefined ? null : known,
    write,
  });
  if (placed > 0) deps.say?.({ event: "build-placed", entities: placed });
  return {
    events: () => build.events,
    parked: () => build.targets.reduce((sum, { states }) => sum + states.parkedCount(), 0),
    through: () => least(build.positions),
    foldTo: (to, pace, batchEvents) => foldTo(build, to, { pace, batchEvents }),
    foldRest: (live) => foldRest(build, live),
  };
}

/** Folds up to `to`, batch by batch, each in a transaction of its own. */
async function foldTo(
  build: UnderWay,
  to: Position,
  { pace, batchEvents }: { readonly pace: Pace; readonly batchEvents: number },
): Promise<number> {
  const from = least(build.positions);
  if (from !== null && from >= to) return 0;
  let page: LogEntry[] = [];
  let folded = 0;
  let writing: Promise<void> = Promise.resolve();
  /** Folds a batch while the one before is being written. */
  const flush = async (through: Position): Promise<void> => {
    const batch = page;
    page = [];
    const before = build.targets;
    let prepared = await foldBatch(build, batch, through);
    await writing;
    if (build.targets !== before) prepared = await foldBatch(build, batch, through);
    writing = writeBatch(build, prepared, moving(build));
    // Awaited with the next batch, or below; a failure must not count as unhandled until then.
    writing.catch(() => {});
    folded += batch.length;
    await pace(batch.length, from, through, to);
  };
  try {
    for await (const { entry } of missing(build, to)) {
      page.push(entry);
      const [first = entry] = page;
      if (page.length >= batchEvents || Number(entry.position - first.position) > MAX_BATCH_BYTES) await flush(entry.position);
    }
    await flush(to);
  } finally {
    await writing;
  }
  return folded;
}

/** Folds what is left, inside the caller's transaction. */
async function foldRest(build: UnderWay, live: Positions): Promise<void> {
  const { db } = build.deps;
  const end = furthestOf(live);
  const page: LogEntry[] = [];
  if (end !== null)
    for await (const { entry, shard } of missing(build, end)) {
      const upTo = live[shard] ?? null;
      if (upTo !== null && entry.position <= upTo) page.push(entry);
    }
  const last = page.at(-1)?.position;
  if (last !== undefined)
    await writeBatch(build, await foldBatch(build, page, last), (_part, _through, work) => inSavepoint(db, work));
  await notePositions(db, build.builds, live, page.length);
  build.positions = live;
  build.events += page.length;
}

/** The entries of the build's views that it has not folded yet, in log order, with their shards. */
async function* missing(
  { deps: { log }, wanted, counts, positions }: UnderWay,
  to: Position,
): AsyncGenerator<{ entry: LogEntry; shard: number }> {
  for await (const entry of log.readAll({ from: least(positions), to })) {
    if (entry.head.entity.type !== QUARANTINE_ENTITY && !wanted.has(entry.head.entity.type)) continue;
    const shard = await shardOfEntry(log, entry);
    const reached = positions[shard] ?? null;
    if (reached !== null && entry.position <= reached) continue;
    if (!wanted.has((await counts.about(entry))?.type ?? "")) continue;
    yield { entry, shard };
  }
}

/** Writes a part and moves the build on in one transaction. */
const moving =
  (build: UnderWay): Scope =>
  async (part, through, work) => {
    const { db } = build.deps;
    const upTo = build.positions.map((each) => (each !== null && each > through ? each : through));
    const done = await inTransaction(db, async () => {
      await mayBeLost(db);
      const result = await work();
      await notePositions(db, build.builds, upTo, part.length);
      return result;
    });
    build.positions = upTo;
    build.events += part.length;
    return done;
  };
