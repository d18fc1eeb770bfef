import { HUB_SITE, partsOf, releaseOf } from "../core/index.ts";
import type { Log, LogEntry } from "../log/index.ts";

/**
 * The entry as views count it. A release from quarantine stands for the event that it releases: that event's author, stamp and basis, with the data
 * released, so that it takes its own causal place however late it comes. `null`: it counts for no view.
 */
export async function countedAs(log: Pick<Log, "readOrigin">, entry: LogEntry): Promise<LogEntry | null> {
  if (entry.content.kind !== "accepted") return null;
  const release = releaseOf(entry.head.type, entry.content.data);
  if (release === null) return entry;
  if (partsOf(entry.head.origin).site !== HUB_SITE) return null;
  for await (const original of log.readOrigin(release.origin, { from: release.seq, maxCount: 1 })) {
    if (original.head.seq !== release.seq || original.head.hash !== release.hash || original.content.kind !== "quarantined")
      return null;
    return {
      head: { ...original.head, schema: release.schema },
      content: { kind: "accepted", data: release.data },
      clock: original.clock,
      position: entry.position,
      recordedAtMs: entry.recordedAtMs,
    };
  }
  return null;
}
