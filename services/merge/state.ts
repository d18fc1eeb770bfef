import type { Hlc, JsonValue, OriginId, Seq, Vector } from "../core/index.ts";
import type { EntityState } from "./fold.ts";
import type { Author, Register } from "./register.ts";

/**
 * An entity's state as compact JSON: authors and vectors, which many registers share, stand once.
 * `a`: authors [origin, seq, hlc, actor, clockWrong]; `v`: vectors; `r`: register → [context, [author, value] …].
 */
interface Packed {
  readonly a: [OriginId, Seq, Hlc, string, 0 | 1][];
  readonly v: Vector[];
  readonly r: Record<string, [number, ...[number, JsonValue][]]>;
  readonly s: number;
  readonly f: number;
}

/** Writes a state as JSON text for the database. */
export function packState(state: EntityState): string {
  const authors = new Map<string, number>();
  const packed: Packed = { a: [], v: [], r: {}, s: 0, f: 0 };
  const vectors = new Map<string, number>();
  const byIdentity = new Map<object, number>();
  const vectorAt = (vector: Vector): number => {
    const known = byIdentity.get(vector);
    if (known !== undefined) return known;
    const text = JSON.stringify(vector);
    let at = vectors.get(text);
    if (at === undefined) {
      at = packed.v.push(vector) - 1;
      vectors.set(text, at);
    }
    byIdentity.set(vector, at);
    return at;
  };
  const authorAt = (by: Author): number => {
    const known = byIdentity.get(by);
    if (known !== undefined) return known;
    const key = `${by.origin}/${by.seq}`;
    let at = authors.get(key);
    if (at === undefined) {
      at = packed.a.push([by.origin, by.seq, by.hlc, by.actor, by.clockWrong ? 1 : 0]) - 1;
      authors.set(key, at);
    }
    byIdentity.set(by, at);
    return at;
  };
  for (const name in state.registers) {
    const { context, siblings } = state.registers[name]!;
    packed.r[name] = [vectorAt(context), ...siblings.map(({ by, value }): [number, JsonValue] => [authorAt(by), value])];
  }
  return JSON.stringify({ ...packed, s: vectorAt(state.seen), f: vectorAt(state.referred) });
}

/** Reads what `packState` wrote. */
export function unpackState(text: string): EntityState {
  const { a, v, r, s, f } = JSON.parse(text) as Packed;
  const authors = a.map(([origin, seq, hlc, actor, wrong]): Author => ({ origin, seq, hlc, actor, clockWrong: wrong === 1 }));
  const registers: Record<string, Register> = {};
  for (const name in r) {
    const [context, ...siblings] = r[name]!;
    registers[name] = { context: v[context]!, siblings: siblings.map(([by, value]) => ({ by: authors[by]!, value })) };
  }
  return { registers, seen: v[s]!, referred: v[f]! };
}
