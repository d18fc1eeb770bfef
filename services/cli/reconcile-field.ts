import { seq as seqOf, TributaryError } from "../core/index.ts";
import { type FieldEvent, openField } from "../field/index.ts";
import { createGate } from "../gate/index.ts";
import { openLog } from "../log/index.ts";
import { foldersOf, loadForms, viewsOf } from "./folders.ts";
import { counted, type Output } from "./output.ts";
import { fieldPath } from "./paths.ts";
import { runningHub } from "./reach.ts";
import { compareReplica, tellCompared } from "./reconcile-replica.ts";

/** What a device holds, beside what the hub's log holds of that device. */
interface Report {
  readonly origin: string;
  readonly confirmed: number;
  readonly inLog: number;
  readonly comparisons: number;
  /** The first event that differs; `null`: none does. */
  readonly differsAt: number | null;
}

/**
 * Compares the events that the hub has confirmed to a device with the log. An event's hash covers all events before it, so equal hashes at one seq mean
 * equal histories up to there: the first difference is found by halving.
 */
export async function reconcileField(file: string, data: string | undefined, out: Output): Promise<number> {
  const state = await runningHub(data, ["eventstore"]);
  const views = await viewsOf(data);
  using field = openField({
    path: fieldPath(file),
    schemas: createGate(loadForms(foldersOf(data), { trusted: true })),
    views,
  });
  const byOrigin = new Map<string, FieldEvent[]>();
  for (const event of field.events()) {
    if (event.level !== "SYNCED") continue;
    const events = byOrigin.get(event.origin) ?? [];
    events.push(event);
    byOrigin.set(event.origin, events);
  }
  const log = openLog(state.eventstoreUrl);
  const reports: Report[] = [];
  try {
    for (const [origin, events] of byOrigin) {
      const head = await log.head(origin as never);
      const inLog = head === null ? 0 : head.through + 1;
      let comparisons = 0;
      // Events whose content was purged are not among them, so an event's number in the list is not its seq.
      const agrees = async (at: number): Promise<boolean> => {
        comparisons++;
        const mine = events[at];
        if (mine === undefined || mine.seq >= inLog) return false;
        let hash: string | null = null;
        for await (const entry of log.readOrigin(origin as never, { from: seqOf(mine.seq), maxCount: 1 })) hash = entry.head.hash;
        return hash === mine.hash;
      };
      let differsAt: number | null = null;
      if (events.length > 0 && !(await agrees(events.length - 1))) {
        let [low, high] = [0, events.length - 1];
        while (low < high) {
          const middle = (low + high) >> 1;
          if (await agrees(middle)) low = middle + 1;
          else high = middle;
        }
        differsAt = events[low]?.seq ?? null;
      }
      reports.push({ origin, confirmed: events.length, inLog, comparisons, differsAt });
    }
  } finally {
    await log.close();
  }
  const replica = await compareReplica(field, views, data);
  out.result({ origins: reports, replica });
  for (const { origin, confirmed, inLog, comparisons, differsAt } of reports)
    out.line(
      `${origin}: ${counted(confirmed, "event")} confirmed, ${inLog} in the log; ${differsAt === null ? "the same" : `they differ from event ${differsAt} on`} (${counted(comparisons, "hash", "hashes")} compared).`,
    );
  tellCompared(replica, out);
  const wrong = reports.find(({ differsAt }) => differsAt !== null);
  if (wrong !== undefined)
    throw new TributaryError(
      "verify-failed",
      `the log does not hold what was confirmed to ${wrong.origin}`,
      "The hub's log was lost in part or set back: restore it. The device still has its events; `tributary field sync --again` sends them again.",
    );
  const differing = replica.find(({ rowsEqual }) => rowsEqual === false);
  if (differing !== undefined)
    throw new TributaryError(
      "verify-failed",
      `the device shows other rows than the hub in ${differing.view}: ${differing.differing.join(", ")}`,
      "`tributary explain` at the hub and `tributary field explain` on the device tell how each came to its row.",
    );
  return 0;
}
