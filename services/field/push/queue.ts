import type { TributaryError } from "../../core/index.ts";
import { away } from "../way.ts";
import { courseFrom, nextCut } from "./course.ts";
import { launch, noteTaken } from "./flight.ts";
import type { Pass } from "./pass.ts";

/**
 * Hands the broker all that it was never handed, when nobody can say how far the log is. What was queued before waits there, and is not queued again. Ends
 * with an error, since nothing was confirmed; `tally.waiting` says what waits.
 */
export async function queueAll(pass: Pass, because: TributaryError | null): Promise<void> {
  const { store, pace, options, tally } = pass;
  for (const { id } of store.origins()) {
    for (;;) {
      options.signal?.throwIfAborted();
      const at = pass.origin(id);
      const firstSeq = Math.max(at.queuedThrough, at.syncedThrough) + 1;
      if (firstSeq > at.lastSeq) break;
      const cut = nextCut(pass, at, courseFrom(firstSeq));
      // What becomes of it is decided when the hub answers.
      if (cut.kind === "unfit") break;
      const lastSeq = firstSeq + cut.batch.events.length - 1;
      const flight = launch(pass, id, { frame: cut.frame, first: firstSeq, last: lastSeq, flights: [], wantsReply: false });
      try {
        await flight.taken;
      } catch (error) {
        pace.cut(flight.bytes);
        throw error;
      }
      noteTaken(pass, id, [flight]);
      tally.queued += cut.batch.events.length;
    }
    // Later epochs may build on events of this one that turn out to be a twin's too. They wait until that is known, so that they can still be renamed.
    const { syncedThrough, lastSeq } = pass.origin(id);
    if (syncedThrough < lastSeq) break;
  }
  const events = store.origins().reduce((sum, origin) => sum + Math.max(0, origin.queuedThrough - origin.syncedThrough), 0);
  const pending = store.origins().reduce((sum, origin) => sum + origin.lastSeq - origin.syncedThrough, 0);
  if (pending === 0 && because === null) return;
  const why = because?.message ?? "the hub does not answer";
  if (events === 0) throw away("the hub cannot say where its log stands", because ?? new Error(why));
  tally.waiting = { events, because };
  options.onProgress?.({ kind: "queued", events, because: why });
  throw away(`${events} events are queued at the hub's broker, not confirmed yet`, because ?? new Error(why));
}
