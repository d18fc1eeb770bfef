/** A batch of a build: it is folded and written, and a batch that is refused is narrowed down to the events to blame. */
import { type LogEntry, messageOf, type Position } from "../core/index.ts";
import { type Db, furthestOf, writeViews } from "../views/index.ts";
import { type RebuildDeps, standing } from "./building.ts";
import type { Counting } from "./counts.ts";
import { isOfData } from "./failures.ts";
import { narrow } from "./narrow.ts";
import { type Outcome, outcomeOf } from "./outcome.ts";
import { type FoldedPage, foldPage, type ViewTarget, type Waiting } from "./page.ts";
import type { Placing } from "./placing.ts";
import { historyOf, refoldOne } from "./refold.ts";

/** What batches are folded into. */
export interface Batching {
  readonly deps: RebuildDeps;
  readonly counts: Counting;
  readonly placing: Placing;
  /** The builds, with what is known of their entities; read again after a batch was narrowed down. */
  targets: readonly ViewTarget[];
  /** The builds as the database has them now, read over the connection that is given. */
  readonly targetsOver: (db: Db) => Promise<readonly ViewTarget[]>;
}

/** Runs `work` so that either all it writes stays, with the build moved to `through`, or none of it. */
export type Scope = <T>(part: readonly LogEntry[], through: Position, work: () => Promise<T>) => Promise<T>;

/** A batch with what folding it gave. */
export interface Batch {
  readonly page: readonly LogEntry[];
  readonly through: Position;
  readonly folded: Outcome<FoldedPage>;
}

/** Folds a batch on top of what is known now. Writes nothing. */
export async function foldBatch(
  { deps: { gate }, counts, placing, targets }: Batching,
  page: readonly LogEntry[],
  through: Position,
): Promise<Batch> {
  return { page, through, folded: await outcomeOf(foldPage({ gate, counts, placing }, targets, page, through)) };
}

/** Writes a batch. Where the database refuses it for its data, narrows it down to the events that are to blame. */
export async function writeBatch(build: Batching, { page, through, folded }: Batch, scope: Scope): Promise<void> {
  const { deps, counts, placing, targets } = build;
  const { db, gate, say = () => {} } = deps;
  const mend = (waiting: readonly Waiting[], upTo: Position): Promise<void> => mendWaiting(deps, waiting, upTo, scope);
  try {
    if ("error" in folded) throw folded.error;
    const { views } = folded.value;
    await scope(page, through, () => writeViews(db, views, { tells: false, alone: true }));
    folded.value.written();
  } catch (error) {
    if ("value" in folded) folded.value.dropped();
    if (!(await isOfData(db, targets, error))) throw error;
    say({ event: "batch-narrowed", events: page.length, message: messageOf(error) });
    const io = {
      db,
      deps: { gate, counts, placing },
      targets: () => build.targetsOver(db),
      scope,
      mend,
      live: null,
      insists: false,
      say,
    };
    await narrow(io, page, through);
    build.targets = await build.targetsOver(db);
    return;
  }
  await mend(folded.value.waiting, through);
  // The batch after this one may have been folded on top of states without the places that have just been noted.
  if ((folded.value.ordering?.noted.length ?? 0) > 0) build.targets = await build.targetsOver(db);
}

/** Folds again the parked entities that a batch has brought events for. */
async function mendWaiting(deps: RebuildDeps, waiting: readonly Waiting[], upTo: Position, scope: Scope): Promise<void> {
  if (waiting.length === 0) return;
  const placedUpTo = deps.setBack === undefined ? null : furthestOf(await standing(deps));
  for (const { target, id } of waiting) {
    const entries = await historyOf({ ...deps, placedUpTo }, target, id, upTo);
    const { keepState } = await scope([], upTo, () => refoldOne(deps, { target, id, entries, upTo }, { isLive: false }));
    keepState();
  }
}
