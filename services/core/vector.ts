import type { OriginId, Seq } from "./ids.ts";

/** A version vector: for each origin the last `seq` known. An absent origin: nothing known of it. */
export type Vector = Readonly<Record<OriginId, Seq>>;

/** Where one event stands: its origin and seq. */
export interface Dot {
  readonly origin: OriginId;
  readonly seq: Seq;
}

export const EMPTY_VECTOR: Vector = Object.freeze({});

/** Whether everything up to and with this event is known to `vector`. */
export const covers = (vector: Vector, { origin, seq }: Dot): boolean => (vector[origin] ?? -1) >= seq;

/** Whether `a` knows all that `b` knows. */
export function includes(a: Vector, b: Vector): boolean {
  for (const origin in b) if ((a[origin as OriginId] ?? -1) < b[origin as OriginId]!) return false;
  return true;
}

/** The least vector that knows what both know. Returns one of its arguments where that is the answer. */
export function join(a: Vector, b: Vector): Vector {
  let out: Record<OriginId, Seq> | null = null;
  for (const key in b) {
    const origin = key as OriginId;
    const seq = b[origin]!;
    if ((a[origin] ?? -1) < seq) {
      out ??= { ...a };
      out[origin] = seq;
    }
  }
  return out ?? a;
}

export const withDot = (vector: Vector, dot: Dot): Vector =>
  covers(vector, dot) ? vector : { ...vector, [dot.origin]: dot.seq };

/** How two vectors stand: one before the other, the same, or concurrent. */
export function compareVectors(a: Vector, b: Vector): "equal" | "before" | "after" | "concurrent" {
  const aKnowsB = includes(a, b);
  const bKnowsA = includes(b, a);
  if (aKnowsB && bKnowsA) return "equal";
  return aKnowsB ? "after" : bKnowsA ? "before" : "concurrent";
}
