import { EARLIEST_STAMP_MS, formatHlc, type HlcParts, isHlc, observe, parseHlc } from "../core/index.ts";
import type { Store } from "./store.ts";

/** A clock this far from the hub's is wrong. */
export const CLOCK_LIMIT_MS = 10 * 60_000;

/** The last stamp that this device has written or heard of; `null`: none. */
export function lastStamp(store: Store): HlcParts | null {
  const stored = store.meta("hlc");
  return stored !== null && isHlc(stored) ? parseHlc(stored) : null;
}

/** The time that stamps are judged by: this device's, or the hub's if this device's clock has lost the time altogether. */
export const judgedMs = (ownMs: number, hubMs: number): number => (ownMs < EARLIEST_STAMP_MS ? hubMs : ownMs);

/**
 * Moves this device's clock past stamps that it has read, inside the caller's transaction, so that what is written next sorts after them. A stamp that is far ahead of this device's clock
 * and the hub's is not followed.
 */
export function hear(
  store: Store,
  stamps: Iterable<HlcParts>,
  { ownMs, hubMs }: { readonly ownMs: number; readonly hubMs: number },
): void {
  const last = lastStamp(store);
  const nowMs = Math.min(judgedMs(ownMs, hubMs), hubMs);
  let next = last;
  for (const stamp of stamps) next = observe(next, stamp, nowMs, CLOCK_LIMIT_MS);
  if (next !== null && next !== last) store.setMeta("hlc", formatHlc(next));
}
