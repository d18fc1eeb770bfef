/** Takes what was deleted out of the files themselves: overwritten rows leave copies behind, in room that became free and in the write-ahead log. */
import type { ReplicaRows } from "./rows.ts";

/** Writing a file of at most so many bytes anew takes no time that anybody notices. */
const SMALL_BYTES = 16 * 1024 * 1024;
/** A larger one is written anew once in so many milliseconds at most. */
const PAUSE_MS = 10 * 60_000;

export interface Scrubber {
  /** Whether nothing that was deleted stands in the files any more. */
  isClean(): boolean;
  /** Writes the file anew where something was deleted. A large file waits for its turn, unless `isNow`. */
  scrub(isNow: boolean): void;
}

/** `now`: the device's wall clock, milliseconds. */
export function openScrubber(rows: ReplicaRows, now: () => number): Scrubber {
  let lastMs: number | null = null;
  const isDue = (): boolean => lastMs === null || now() < lastMs || now() - lastMs >= PAUSE_MS || rows.fileBytes() <= SMALL_BYTES;
  return {
    isClean: rows.isClean,
    scrub(isNow) {
      try {
        const mark = rows.deletedMark();
        if (mark === null || (!isNow && !isDue())) return;
        lastMs = now();
        rows.vacuum();
        if (rows.truncate()) rows.setClean(mark);
      } catch {
        // All else is durable already: the disk is full, or another program reads. It is tried again after the next page, and when the replica is opened. Until then no purge is confirmed.
      }
    },
  };
}
