import { describe, expect, it } from "vitest";
import { checkInvariants, type FullRow, isBroken, problemOfTotal } from "../../services/merge/engine.ts";

const row = (values: FullRow["values"], deleted = false): FullRow => ({ values, deleted, conflicts: 0, tables: {} });
const phone = { atMost: 1, says: "one phone, one person", key: ({ phone }: { phone: string | null }) => phone };
const age = { problem: ({ age }: { age: number }) => (age < 0 ? "younger than a newborn" : null) };
const RULES = { phone, age } as never;

describe("what invariants say of a row", () => {
  it("is the key that it holds and what is wrong with it, by invariant", () => {
    expect(checkInvariants(RULES, "a", row({ phone: "0912", age: -1 }))).toEqual({
      keys: new Map([["phone", '"0912"']]),
      problems: new Map([["age", "younger than a newborn"]]),
    });
  });

  it("is nothing if the row has no key and no problem, is deleted, or does not exist", () => {
    for (const none of [row({ phone: null, age: 3 }), row({ phone: "0912", age: -1 }, true), null]) {
      const { keys, problems } = checkInvariants(RULES, "a", none);
      expect([keys.size, problems.size]).toEqual([0, 0]);
    }
  });

  it("is the same key whatever the order of members, and a rule sees the row's id", () => {
    const both = {
      pair: { atMost: 1, says: "", key: (seen: { a: number; id: string }) => ({ z: seen.a, a: seen.id }) },
    } as never;
    expect(checkInvariants(both, "x", row({ a: 1 })).keys.get("pair")).toBe('{"a":"x","z":1}');
  });

  it("is broken only when more rows than allowed hold one key", () => {
    expect([isBroken(phone as never, 1), isBroken(phone as never, 2), isBroken(age as never, 9)]).toEqual([false, true, false]);
  });

  it("is thrown if a rule throws about a row, and reported for a total", () => {
    const bad = {
      problem: () => {
        throw new Error("no such column");
      },
    };
    expect(() => checkInvariants({ bad } as never, "a", row({}))).toThrow("no such column");
    expect(problemOfTotal(bad as never, {})).toBe("it cannot be checked: no such column");
  });
});
