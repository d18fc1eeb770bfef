import { TributaryError } from "../core/index.ts";
import { heapKeeper } from "../core/node.ts";
import {
  balance,
  beginFeed,
  changeLayout,
  type Db,
  dropGeneration,
  generationsOf,
  holdShards,
  inTransaction,
  isBuiltAs,
  isWaitedFor,
  least,
  livePositions,
  noteReconciled,
  type Reconciled,
  tellSwapped,
} from "../views/index.ts";
import { openBuild } from "./build.ts";
import type { Progress, RebuildDeps, RebuildOptions } from "./building.ts";
import { beginBuild, familyOf, pinsFor } from "./builds.ts";
import { unhurried } from "./catch-up.ts";
import { makeFeed } from "./feed-maker.ts";
import { StaleViewError } from "./readable.ts";

/** How many entities of each view are held in memory, and how many events are folded at a time. With a rebuild's 50,000 and 5,000 it took 975 MiB at 300,000 events. */
const HOT_ENTITIES = 2_000;
const BATCH_EVENTS = 1_000;
/** How often we look whether a projector waits. */
const LOOK_MS = 500;
/**
 * Balances the books: folds the log of `names` (and of the views built with them) again beside the live views, and compares both by checksums, from the whole
 * down to the rows that differ. With `repair`, those rows, their rows of many, claims and totals are put right in the transaction that compares.
 * Nothing else of the live views is touched. Projectors wait while checksums are compared; readers never wait.
 */
export async function reconcile(
  deps: RebuildDeps,
  options: Pick<RebuildOptions, "names" | "maxEventsPerSecond" | "onProgress" | "signal"> & { readonly repair: boolean },
): Promise<Reconciled[]> {
  const { db, gate, views } = deps;
  const family = familyOf(views, options.names);
  const standing = await generationsOf(db, "live");
  for (const view of family)
    if (!isBuiltAs(view, standing))
      throw new TributaryError(
        "projection-malformed",
        `${view.name} is declared otherwise than the live view was built`,
        "Run `tributary rebuild`, which brings the view in line with its declaration; then balance the books.",
      );
  // The builds read with the live views' versions: what a newer version would show besides is not a difference.
  const builds = await beginBuild(db, gate, family, {
    fresh: true,
    state: "reconciling",
    pinsOf: (view) => standing.get(view.name)?.readers ?? pinsFor(gate, view),
  });
  try {
    const build = await openBuild({ ...deps, maxHotEntities: HOT_ENTITIES }, family, builds);
    const keepHeap = heapKeeper();
    const giveWay = waysToGive(deps.reader);
    const onProgress = (progress: Progress): void => {
      keepHeap();
      giveWay();
      options.onProgress?.(progress);
    };
    await unhurried(deps, build, { ...options, batchEvents: BATCH_EVENTS, onProgress });
    const books = await inTransaction(db, async () => {
      await holdShards(db);
      const live = await livePositions(db);
      await build.foldRest(live);
      const out: Reconciled[] = [];
      for (const each of builds)
        out.push(
          await balance(db, each, family.find(({ name }) => name === each.view)!, {
            position: least(live),
            repair: options.repair,
          }),
        );
      const repaired = out.flatMap((each) => (each.repaired ? [each.view] : []));
      if (repaired.length > 0) await beginFeed(db, views, new Set(repaired));
      // Projectors may hold states of the wrong rows in memory: they must read them again.
      if (repaired.length > 0) await changeLayout(db);
      for (const each of out) await noteReconciled(db, each);
      if (repaired.length > 0) await tellSwapped(db, repaired);
      return out;
    });
    await makeFeed(deps);
    return books;
  } catch (error) {
    if (!(error instanceof StaleViewError)) throw error;
    throw new TributaryError(
      "schema-incompatible",
      `the live views cannot read what has just been registered: ${error.message}`,
      "A running projector rebuilds them by itself; balance the books after that.",
      { cause: error },
    );
  } finally {
    for (const each of builds) await dropGeneration(db, each).catch(() => {});
  }
}

/** Returns a function that looks now and then whether a projector waits for the lock, and throws `already-running` when one does. Books can be balanced later; until then nothing is folded. */
function waysToGive(db: Db): () => void {
  let lookedAtMs = performance.now();
  let isWaited = false;
  return () => {
    if (isWaited)
      throw new TributaryError(
        "already-running",
        "a projector waits to bring the views in line, and goes first",
        "Balance the books again when `tributary lag` says that the views follow.",
      );
    if (performance.now() - lookedAtMs < LOOK_MS) return;
    lookedAtMs = performance.now();
    isWaitedFor(db).then(
      (waited) => {
        isWaited = waited;
      },
      () => {},
    );
  };
}
