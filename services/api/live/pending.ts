/**
 * What a follower has not taken yet, as one batch. In come batches in their order; out goes what they are together: of each key what was last said of it, and the last resume
 * position. Pure.
 */

/** What was found between two resume positions. */
export type Found<T> =
  /** What changed, by key. */
  | { readonly kind: "changes"; readonly entries: ReadonlyMap<string, T> }
  /** Not all of it is known: the follower reads again. */
  | { readonly kind: "reset" };

export interface Batch<T> {
  readonly found: Found<T>;
  /** All up to here is in this batch or in those before it. */
  readonly resume: string;
}

/** What there is for one who follows; `refused`: what it asks cannot be answered. */
export type Answer<T> = Found<T> | { readonly kind: "refused"; readonly error: unknown };

/** Two batches as one; `before`: `null`, or the one that has not been taken. Whoever is still to read again will read later than all of this. */
export function joined<T>(before: Batch<T> | null, { found, resume }: Batch<T>): Batch<T> {
  if (before === null || found.kind === "reset") return { found, resume };
  if (before.found.kind === "reset") return { found: before.found, resume };
  return { found: { kind: "changes", entries: new Map([...before.found.entries, ...found.entries]) }, resume };
}

/** How much a batch holds: rows, cases or origins. */
export const sizeOf = ({ found }: Batch<unknown>): number => (found.kind === "reset" ? 0 : found.entries.size);
