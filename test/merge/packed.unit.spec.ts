import { describe, expect, it } from "vitest";
import type { Hlc, OriginId, Seq, Vector } from "../../services/core/index.ts";
import { type Author, type EntityState, packState, unpackState } from "../../services/merge/engine.ts";

const origin = (n: number): OriginId => `relief.kampala.t${n}.abcdefghijkl` as OriginId;
const author = (n: number): Author => ({
  ...{ origin: origin(n), seq: n as Seq, hlc: `2026-05-03T08:00:00.000Z-${String(n).padStart(4, "0")}` as Hlc, actor: "okello" },
  ...{ clockWrong: n % 2 === 1, position: n % 3 === 0 ? null : n },
});
const vector = (n: number): Vector => ({ [origin(n)]: n as Seq });

/** So many writers, each of whom wrote two registers and had seen what the one before had. No two parts of it are one object. */
function stateOf(writers: number): EntityState {
  const all = Array.from({ length: writers }, (_, n) => n);
  const sibling = (n: number) => ({ by: author(n), value: `value ${n}`, basis: vector(n - 1 < 0 ? writers - 1 : n - 1) });
  const context: Vector = Object.fromEntries(all.map((n) => [origin(n), n as Seq]));
  const register = () => ({ context: { ...context }, siblings: all.map(sibling) });
  return {
    registers: { village: register(), phone: register() },
    ...{ merged: {}, seen: { ...context }, referred: { ...context }, dots: null },
  };
}

describe("a packed state", () => {
  it.each([1, 2, 15, 16, 17, 18, 40])(
    "says each author and each vector once, and comes out as it went in: %i writers",
    (writers) => {
      const state = stateOf(writers);
      const packed = packState(state);
      expect(unpackState(packed)).toEqual(state);
      expect(packState(unpackState(packed))).toBe(packed);
      const { a, v } = JSON.parse(packed) as { readonly a: readonly unknown[]; readonly v: readonly unknown[] };
      expect(a).toHaveLength(writers);
      // One that all have seen, and what each had seen: with one writer, these are the same.
      expect(v).toHaveLength(writers === 1 ? 1 : writers + 1);
    },
  );

  it("keeps apart authors of one origin, and vectors that differ in a number only", () => {
    const [one, two] = [author(3), { ...author(3), seq: 4 as Seq }];
    const register = {
      context: { [origin(3)]: 4 as Seq },
      siblings: [
        { by: one, value: 1 },
        { by: two, value: 2 },
      ],
    };
    const state = { registers: { village: register }, merged: {}, seen: vector(3), referred: vector(2), dots: null };
    expect(unpackState(packState(state))).toEqual(state);
  });
});
