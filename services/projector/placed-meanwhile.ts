/**
 * Places that became known while a build was stopped. In comes a build that is gone on with; out goes the same build, with the entities folded again that it had folded without these places.
 *
 *   stopped ── notes come ──▶ gone on with ─▶ entities whose folded events these notes place are folded again ─▶ the rest is folded with all notes that are known
 *
 * A build knows all notes from the log that stand before where it has come. Of those after it, it may have known some when it was stopped: folding again gives the same then.
 */
import type { EntityRef, PlacedRun, Position } from "../core/index.ts";
import { entitiesPlaced, furthestOf, least, type Positions, placedRuns, shardOf } from "../views/index.ts";
import type { RebuildDeps } from "./building.ts";
import type { ViewTarget } from "./page.ts";
import { namingHubs } from "./placing.ts";
import { historyOf, refoldOne } from "./refold.ts";

/** So many runs are asked for at a time. */
const RUNS_AT_A_TIME = 500;

/** A build that is gone on with, and how far it has come. */
export interface GoneOn {
  readonly deps: RebuildDeps;
  readonly targets: readonly ViewTarget[];
  readonly positions: Positions;
  /** How far of the notes may be known. */
  readonly placedUpTo: Position | null;
  /** Runs `work` so that either all it writes stays or none of it. */
  readonly write: <T>(work: () => Promise<T>) => Promise<T>;
}

/** Folds again what the build has folded before places of it were known. Returns how many entities that were. */
export async function foldPlacedMeanwhile({ deps, targets, positions, placedUpTo, write }: GoneOn): Promise<number> {
  const naming = new Set(namingHubs(targets.map(({ projection }) => projection)));
  const folded = furthestOf(positions);
  if (naming.size === 0 || folded === null) return 0;
  const types = [...new Set([...naming].map(({ entity }) => entity))];
  const runs = await placedRuns(deps.reader, placedUpTo, least(positions));
  let done = 0;
  for (const entity of await entitiesOf(deps, runs, { types, folded })) {
    const upTo = positions[shardOf(entity)] ?? null;
    if (upTo === null) continue;
    for (const target of targets) {
      if (target.projection.entity !== entity.type || !naming.has(target.projection)) continue;
      const entries = await historyOf({ ...deps, placedUpTo }, target, entity.id, upTo);
      if (entries.length === 0) continue;
      const { keepState } = await write(() => refoldOne(deps, { target, id: entity.id, entries, upTo }, { isLive: false }));
      keepState();
      done++;
    }
  }
  return done;
}

/** The entities that runs concern with events up to where the build has come, each once. */
async function entitiesOf(
  { reader }: RebuildDeps,
  runs: readonly PlacedRun[],
  { types, folded }: { readonly types: readonly string[]; readonly folded: Position },
): Promise<readonly EntityRef[]> {
  const found = new Map<string, EntityRef>();
  for (let at = 0; at < runs.length; at += RUNS_AT_A_TIME)
    for (const entity of await entitiesPlaced(reader, runs.slice(at, at + RUNS_AT_A_TIME), types, folded))
      found.set(`${entity.type}\n${entity.id}`, entity);
  return [...found.values()];
}
