/** The last step of a rebuild: the shards are held still, what is left is folded, and the builds take the place of the live views. */
import { TributaryError } from "../core/index.ts";
import type { Projection, Totals } from "../merge/engine.ts";
import {
  beginFeed,
  clingingSays,
  clingingToOld,
  type Db,
  type Generation,
  generationsOf,
  holdShards,
  inTransaction,
  isLockedOut,
  prepareSwap,
  swap,
  tellSwapped,
  waitAtMost,
} from "../views/index.ts";
import { type Build, openBuild } from "./build.ts";
import { type RebuildDeps, standing } from "./building.ts";
import { makeFeed } from "./feed-maker.ts";

const SWAP_TRIES = 60;
/** How long the swap may hold up new readers while it waits for earlier ones. */
const LOCK_TIMEOUT_MS = 500;
const SWAP_PAUSE_MS = 250;
/** The pause after `SWAP_TRIES` tries, where nobody waits for the swap: somebody reads for a long time, perhaps `audit verify`. */
const LONG_PAUSE_MS = 5_000;

/** What is ready to take the place of the live views. */
export interface Ready {
  /** Views that are no longer declared. */
  readonly retired: readonly string[];
  readonly family: readonly (Projection | Totals)[];
  readonly builds: readonly Generation[];
  /** Folds what is left; `null`: there is nothing to fold. */
  readonly begun: Build | null;
}

/**
 * Holds the shards still, folds what is left, and swaps: all in one transaction. It is tried again where readers are in the way for long. Readers who come meanwhile wait for
 * `LOCK_TIMEOUT_MS` at a time, and no longer.
 */
export async function swapIn(deps: RebuildDeps, { retired, family, builds, begun }: Ready): Promise<void> {
  const { db, views, unattended, say = () => {} } = deps;
  // Where the log was set back, nobody knows any more what the live views have beyond: nothing is prepared, and all is compared in the swap.
  const preparedAt = deps.setBack === undefined && begun !== null ? await prepareSwap(db, builds, begun.through()) : null;
  for (let attempt = 1, build = begun; ; attempt++) {
    try {
      const folded = build;
      await inTransaction(db, async () => {
        await holdShards(db);
        const live = await standing(deps);
        await folded?.foldRest(live);
        await waitAtMost(db, LOCK_TIMEOUT_MS);
        await swap(db, { builds, retired, views, preparedAt, leaves: unattended !== undefined }, live);
        await deps.setBack?.cut(db);
        await beginFeed(db, views, new Set(builds.map(({ view }) => view)));
        await tellSwapped(db, [...builds.map(({ view }) => view), ...retired]);
      });
      const message = clingingSays(await clingingToOld(db));
      if (message !== null) say({ event: "view-clung-to", message });
      // Where nobody waits for the rebuild, a projector makes the lines beside the folding.
      if (unattended === undefined) await makeFeed({ db, views, say });
      return;
    } catch (error) {
      // Somebody has been reading for longer than the readers behind us should wait.
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
    "readers have held on to the live views all the time, so the new ones could not replace them",
    "End transactions that stay open (pg_stat_activity shows them). Then run the same command again: it continues where it stopped.",
    { cause },
  );

async function currentOf(db: Db, builds: readonly Generation[]): Promise<Generation[]> {
  const building = await generationsOf(db, "building");
  return builds.map(({ view }) => building.get(view)!);
}
