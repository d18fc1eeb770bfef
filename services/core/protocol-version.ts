/**
 * The versions of the protocol between field and hub, by number. A hub takes every version from `oldest` on, so a tablet that comes back after a year still syncs.
 * A device sends the newest version that both know. What changes the wire's schema gets a number and a line here; `test/core/wire.unit.spec.ts` holds a hash of that schema against it.
 *
 *   1   frames without a version; hellos that do not say one
 *   2   the frame names its version; a reader passes over columns that it does not know; the run's end may be signed
 *       by its origin; hellos say what each side speaks
 */
export const PROTOCOL = { oldest: 1, newest: 2 } as const;

/** A range of versions that one side speaks, both ends included. */
export interface Spoken {
  readonly oldest: number;
  readonly newest: number;
}

/** What a side speaks that does not say: the version from before there was a number. */
export const UNSAID: Spoken = { oldest: 1, newest: 1 };

/** The newest version that both sides speak; `null` when there is none. */
export function commonVersion(theirs: Spoken, ours: Spoken = PROTOCOL): number | null {
  const newest = Math.min(theirs.newest, ours.newest);
  return newest >= Math.max(theirs.oldest, ours.oldest) ? newest : null;
}
