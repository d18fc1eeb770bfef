import { ACK_WAIT_MS } from "./broker.ts";
import type { Held } from "./lanes.ts";

/** A site's batches beyond its slots go back to the broker, for about as long as those before them take. */
const MIN_POSTPONE_MS = 250;
const MAX_POSTPONE_MS = 30_000;
/** Half of a site's slots will be free by then. */
const SLOTS_AHEAD = 128;
/** How soon one batch of a site follows another, until we have seen some. */
const FIRST_GUESS_MS = 20;

export type Postponed = ReturnType<typeof postponed>;

/** What was given back to the broker for later, by site and lane. The broker's own bounds limit it. */
export function postponed() {
  const sites = new Map<string, Map<string, Map<number, number>>>();
  let meanMs = FIRST_GUESS_MS;
  let count = 0;
  const ofLane = (site: string, lane: string): Map<number, number> | undefined => {
    const due = sites.get(site)?.get(lane);
    const now = Date.now();
    // Given back long ago and not seen since: another process has it.
    for (const [seq, dueMs] of due ?? []) if (dueMs + ACK_WAIT_MS < now) drop(site, lane, seq);
    return due;
  };
  const drop = (site: string, lane: string, seq: number): void => {
    const ofSite = sites.get(site);
    const due = ofSite?.get(lane);
    if (ofSite === undefined || due?.delete(seq) !== true) return;
    count--;
    if (due.size === 0) ofSite.delete(lane);
    if (ofSite.size === 0) sites.delete(site);
  };
  return {
    /**
     * Notes a batch as given back; for how long, in milliseconds. Those of a site come back in the order in which they went. `isAgain`: it was given back before, and
     * waits for those of its lane that it came before, not for the whole row once more.
     */
    add({ site, seq, lane }: Held, isAgain: boolean): number {
      const ofSite = sites.get(site) ?? new Map<string, Map<number, number>>();
      const due = ofSite.get(lane) ?? new Map<number, number>();
      const nowMs = Date.now();
      let before = SLOTS_AHEAD;
      for (const { size } of ofSite.values()) before += size;
      const earlier = isAgain ? [...due].filter(([other]) => other < seq).map(([, dueMs]) => dueMs - nowMs) : [];
      const wantedMs = earlier.length > 0 ? Math.max(...earlier) : before * meanMs;
      const ms = Math.min(MAX_POSTPONE_MS, Math.max(MIN_POSTPONE_MS, wantedMs));
      sites.set(site, ofSite.set(lane, due.set(seq, nowMs + ms)));
      count++;
      return ms;
    },
    /** The batch was delivered again. Returns whether an earlier one of its lane has still to come back. */
    returned({ site, seq, lane }: Held): boolean {
      drop(site, lane, seq);
      for (const other of ofLane(site, lane)?.keys() ?? []) if (other < seq) return true;
      return false;
    },
    has: (site: string, lane: string): boolean => (ofLane(site, lane)?.size ?? 0) > 0,
    /** Notes how long a batch took, beside so many of its site. */
    took(ms: number, sideBySide: number): void {
      meanMs = meanMs * 0.9 + (ms / sideBySide) * 0.1;
    },
    count: () => count,
  };
}
