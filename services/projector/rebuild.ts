import { TributaryError } from "../core/index.ts";
import { type Comparison, compareBuild, createIndexes, generationsOf } from "../views/index.ts";
import { openBuild } from "./build.ts";
import type { RebuildDeps, RebuildOptions, Rebuilt } from "./building.ts";
import { beginBuild, differences, familyOf } from "./builds.ts";
import { unhurried } from "./catch-up.ts";
import { resumePrevious, unreadable } from "./previous.ts";
import { StaleViewError } from "./readable.ts";
import { swapIn } from "./swap-in.ts";

/** How often a build is begun again because schemas were registered meanwhile. */
const MAX_BEGINNINGS = 5;

/**
 * Rebuilds views beside the live ones and puts the builds in their place:
 *
 *   begin (or go on with) a generation ─▶ fold the log up to where the live views are ─▶ little left? ── no ─▶ fold on
 *      └── its own schema, its own positions in the log                                    └ yes ─▶ compare ─▶ hold the shards ─▶ fold the rest ─▶ swap
 *
 * Reads and projectors go on all the while; the projectors wait only for the last step. A rebuild that is killed at any moment goes on where it was.
 */
export async function rebuild(deps: RebuildDeps, options: RebuildOptions): Promise<Rebuilt> {
  const { say = () => {} } = deps;
  for (let tries = 1; ; tries++) {
    try {
      return await buildAndSwap(deps, options);
    } catch (error) {
      // A schema was registered meanwhile that the build, as it was begun, cannot read: it is begun again with that schema.
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

async function buildAndSwap(deps: RebuildDeps, options: RebuildOptions): Promise<Rebuilt> {
  const { db, gate, views, say = () => {} } = deps;
  const family = familyOf(views, options.names);
  const startedMs = performance.now();
  const builds = options.rollback
    ? await resumePrevious(db, gate, family)
    : await beginBuild(db, gate, family, { fresh: options.fresh === true, state: "building" });
  if (builds.length === 0) return swapOnly(deps, options, startedMs);
  const build = await openBuild(deps, family, builds);
  const resumedAt = builds[0]!.events;
  say({ event: "view-building", views: builds.map(({ view }) => view), generation: builds[0]!.generation, resumedAt });

  await unhurried(deps, build, options);
  for (const { view, namespace } of builds) await createIndexes(db, family.find(({ name }) => name === view)!, namespace);
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

/** Swaps where there is nothing to fold: only SQL views, or only views that are no longer declared. */
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

/** A rebuild that nobody waits for stops with its process. */
export const stopping = ({ unattended }: RebuildDeps): Pick<RebuildOptions, "signal"> =>
  unattended === undefined ? {} : { signal: unattended };

/**
 * Brings the live views in line with the declarations. Views that cannot read the newest schemas are rebuilt in any case; views that are declared otherwise
 * than they were built only where `mayChange` does not throw, since processes with other declarations would undo it.
 */
export async function bringUpToDate(deps: RebuildDeps, mayChange: () => Promise<unknown>): Promise<void> {
  const { db, gate, views } = deps;
  const { changed, undeclared, stale } = differences(views, gate, await generationsOf(db, "live"));
  if (changed.length > 0 || undeclared.length > 0) await mayChange();
  if (changed.length > 0 || undeclared.length > 0 || stale.length > 0)
    await rebuild(deps, { names: [...changed, ...stale], retired: undeclared, ...stopping(deps) });
}
