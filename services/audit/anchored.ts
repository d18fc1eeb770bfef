import type { LogEntry } from "../core/index.ts";
import { type Anchor, type AnchorComparison, incarnations, judge, keyFactsOf, type Log } from "../log/index.ts";

export interface Anchored {
  entry(entry: LogEntry): void;
  /** What the log says of the anchor, once all of it has been read. */
  end(log: Log): Promise<AnchorComparison>;
}

/** Compares the log with an anchor while the log is read: each event that the anchor names is looked at as it comes by. */
export function openAnchored(anchor: Anchor): Anchored {
  const wanted = new Map(Object.entries(anchor.heads));
  return {
    entry({ head }: LogEntry): void {
      const known = wanted.get(head.origin);
      if (known !== undefined && known[0] === head.seq && known[1] === head.hash) wanted.delete(head.origin);
    },
    async end(log: Log): Promise<AnchorComparison> {
      const lacking = [...wanted].map(([origin, [seq]]) => `${origin}/${seq}`);
      return judge(anchor, await incarnations(log.journal), lacking, await keyFactsOf(log));
    },
  };
}
