/** How a build catches up with the live views, which move on meanwhile. */
import { TributaryError } from "../core/index.ts";
import { least } from "../views/index.ts";
import type { Build, Pace } from "./build.ts";
import { type RebuildDeps, type RebuildOptions, standing } from "./building.ts";

/** Events in one transaction of a rebuild: nobody waits for it, so it may be larger than a page. */
const BATCH_EVENTS = 5_000;
/** The views are swapped once a round had no more events than this to fold. What is left then is folded while the projectors wait. */
const CLOSE_ENOUGH_EVENTS = 2_000;
const MAX_ROUNDS = 50;

/** Folds the log until a build is close behind the live views. Throws `backend-failed` where it does not catch up. */
export async function unhurried(deps: RebuildDeps, build: Build, options: Omit<RebuildOptions, "names">): Promise<void> {
  const pace = paceOf(options);
  const { batchEvents = BATCH_EVENTS, maxEventsPerSecond = BATCH_EVENTS } = options;
  // A throttled build folds at most a second's worth of events at a time.
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
