import type { OriginId, Seq } from "./ids.ts";
import { isJsonObject } from "./json.ts";
import type { Vector } from "./vector.ts";

/**
 * What the hub's note takes back of an event's basis. An author may claim to have seen any number of another origin's events. Only those that the log holds, or that
 * come with that origin's signed head, can have been seen. The event and its hash stay as they are: the note stands beside it, and whoever folds the event folds it
 * with the clipped basis. So all replicas agree, and a claim that nobody can honestly make mutes nobody.
 */
export type ClipCode =
  /** The log did not hold that event when this one came, and no signed head came with it. */
  | "basis-ahead"
  /** That event is about another entity. */
  | "basis-other-entity";

export interface Clip {
  readonly code: ClipCode;
  /** The last event that counts as seen; `null`: nothing of that origin does. */
  readonly to: Seq | null;
}

/** By the origin that the basis names. */
export type Clips = Readonly<Record<OriginId, Clip>>;

/** The basis that the event is folded with. */
export function clippedBasis(basis: Vector, clips: Clips | undefined): Vector {
  if (clips === undefined) return basis;
  const out: Record<OriginId, Seq> = { ...basis };
  for (const key in clips) {
    const origin = key as OriginId;
    const claimed = out[origin];
    if (claimed === undefined) continue;
    const { to } = clips[origin]!;
    if (to === null) delete out[origin];
    else out[origin] = Math.min(to, claimed) as Seq;
  }
  return out;
}

/** The note in words, a sentence for each origin. */
export function clipWords(basis: Vector, clips: Clips | null | undefined): string[] {
  if (clips == null) return [];
  return Object.entries(clips).map(([origin, { code, to }]) => {
    const claimed = basis[origin as OriginId];
    const counts = to === null ? "nothing of it counts as seen" : `it counts as seen up to event ${to}`;
    return code === "basis-ahead"
      ? `it says that its author had seen event ${claimed} of ${origin}, which the log did not hold and which came without that origin's signed head: ${counts} (basis-ahead)`
      : `it says that its author had seen event ${claimed} of ${origin}, which is about another entity: ${counts} (basis-other-entity)`;
  });
}

/** A note as it is stored: a member for each origin, `[code, to]`, -1 for nothing. Short, as there may be thousands. */
export const clipsToStored = (clips: Clips): Record<string, readonly [ClipCode, number]> =>
  Object.fromEntries(Object.entries(clips).map(([origin, { code, to }]) => [origin, [code, to ?? -1] as const]));

export function clipsFromStored(stored: unknown): Clips | undefined {
  if (!isJsonObject(stored)) return undefined;
  const out: Record<OriginId, Clip> = {};
  for (const [origin, clip] of Object.entries(stored)) {
    if (!Array.isArray(clip)) continue;
    const [code, to] = clip;
    if ((code !== "basis-ahead" && code !== "basis-other-entity") || !Number.isSafeInteger(to)) continue;
    out[origin as OriginId] = { code, to: (to as number) < 0 ? null : (to as Seq) };
  }
  return out;
}
