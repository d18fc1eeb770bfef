import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalize, formatHlc, type JsonObject, type JsonValue } from "../../services/core/index.ts";
import { addWinsSet, counter, listEntries, lwwMap, orderedList, removeWinsSet } from "../../services/merge/crdt/index.ts";
import { MAX_KEYS_PER_WRITE } from "../../services/merge/crdt/keyed.ts";
import { MAX_VALUES_PER_WRITE } from "../../services/merge/crdt/list.ts";
import type { CrdtWrite } from "../../services/merge/crdt.ts";
import { covered, history, joined, type Kind, ORIGINS, play, saw, shown, write } from "../support/crdt.ts";
import { keepsTheLaws } from "../support/crdt-laws.ts";
import { runs } from "../support/runs.ts";

const ELEMENTS = ["water", "food", "1", 1, true, "true", "__proto__", "constructor", 0, ""];
const KEYS = ["head", "phone", "__proto__", "constructor", "10", "2", ""];
const VALUES: readonly JsonValue[] = ["a", "b", 1, null, [], { a: [1] }, false];

const counting: Kind = { crdt: counter, makeValue: ([whole, part]) => ((whole! - 500) * 1000 + part!) / 100 };
const setKind = (crdt: typeof addWinsSet): Kind => ({
  crdt,
  makeValue: ([a, b, c, d]) => {
    const [add, remove] = [ELEMENTS.slice(a! % 10, (a! % 10) + (b! % 3)), ELEMENTS.slice(c! % 10, (c! % 10) + (d! % 3))];
    return d! % 7 === 0 ? add : { add, remove: remove.filter((element) => !add.includes(element)) };
  },
});
const mapping: Kind = {
  crdt: lwwMap,
  makeValue: ([a, b, c, d]) => {
    const set = KEYS.slice(a! % 7, (a! % 7) + (b! % 3));
    const remove = KEYS.slice(c! % 7, (c! % 7) + (d! % 3)).filter((key) => !set.includes(key));
    return { set: Object.fromEntries(set.map((key, i) => [key, VALUES[(b! + i) % 7]!])), remove };
  },
};
/** Inserts values after entries that the author sees, and removes some of those; some writes name entries that nobody has seen. */
const listing: Kind = {
  crdt: orderedList,
  makeValue: ([a, b, c, d, e], seen) => {
    const ids = seen === undefined ? [] : listEntries(seen).map(({ id }) => id);
    const stranger = `${ORIGINS[a! % 3]!}/${b! % 4}/${c! % 3}`;
    const pick = (n: number): string => (ids.length === 0 || n % 5 === 0 ? stranger : ids[n % ids.length]!);
    const insert = [0, 1]
      .slice(0, d! % 3)
      .map((i) => ({ after: (a! + i) % 4 === 0 ? null : pick(b! + i), values: VALUES.slice(0, (c! + i) % 4) }));
    return e! % 9 === 0 ? [a!, b!] : { insert, remove: e! % 2 === 0 ? [pick(c!)] : [] };
  },
};

describe.each([counting, setKind(addWinsSet), setKind(removeWinsSet), mapping, listing])("$crdt.name", keepsTheLaws);

/** The writes that no other known write to the same key covers, computed the slow way. */
const siblingsOf = (writes: readonly CrdtWrite[], names: (write: CrdtWrite) => boolean): CrdtWrite[] => {
  const those = writes.filter(names);
  return those.filter((a) => !those.some((b) => covered(a, b)));
};

describe("a counter", () => {
  it("adds up exactly, whatever the order: a tenth and two tenths are three tenths", () => {
    expect(shown(counter, write(0, 0, 0.1), write(1, 0, 0.2))).toBe(0.3);
    expect(shown(counter, write(0, 0, 1e21), write(1, 0, 1), write(2, 0, -1e21))).toBe(1);
    expect(shown(counter, write(0, 0, 5e-324), write(1, 0, 1e308), write(2, 0, -1e308))).toBe(5e-324);
    expect(shown(counter, write(0, 0, -0.25), write(0, 1, 0.25))).toBe(0);
  });

  it("counts what a slow sum of whole cents counts", () => {
    fc.assert(
      fc.property(history, (steps) => {
        const writes = play(counting, steps);
        if (writes.length === 0) return;
        const cents = writes.reduce((sum, { value }) => sum + BigInt(Math.round((value as number) * 100)), 0n);
        expect(shown(counter, ...writes)).toBe(Number(`${cents}e-2`));
      }),
      { numRuns: runs(500) },
    );
  });

  it("counts a write once, however often and however late it comes, and takes little room", () => {
    const writes = Array.from({ length: 1000 }, (_, seq) => write(0, seq * 3, 1));
    const state = joined(counter, [...writes.slice(500), ...writes, ...writes.slice(0, 500).reverse()])!;
    expect(counter.read(state)).toBe(1000);
    expect(JSON.stringify(state).length).toBeLessThan(2100);
  });

  it("shows the largest number while the sum is beyond what a number can hold, and the sum again afterwards", () => {
    const over = [write(0, 0, 1.7e308), write(0, 1, 1.7e308)];
    expect(shown(counter, ...over)).toBe(Number.MAX_VALUE);
    expect(shown(counter, ...over, write(1, 0, -1.7e308))).toBe(1.7e308);
  });

  it.each([
    ["a text", "1"],
    ["nothing", null],
    ["a list", [1]],
    ["a number that is not finite", Number.POSITIVE_INFINITY],
  ])("refuses %s", (_, value) => {
    expect(counter.problem(value)).toContain("number");
    expect(() => counter.join(undefined, write(0, 0, value))).toThrow("number");
  });
});

describe("sets", () => {
  const first = write(0, 0, { add: ["water"] });
  const again = write(1, 0, { add: ["water"] }, { basis: saw(1) });
  const gone = write(2, 0, { remove: ["water"] }, { basis: saw(1) });

  it("keep or drop what is added while another removes it, as the set was declared", () => {
    expect(shown(addWinsSet, first, again, gone)).toEqual(["water"]);
    expect(shown(removeWinsSet, first, again, gone)).toEqual([]);
  });

  it("remove what the remover had seen, and hold it again when somebody who saw the removal adds it again", () => {
    const back = write(0, 1, ["water"], { basis: saw(1, 0, 1) });
    for (const kind of [addWinsSet, removeWinsSet]) {
      expect(shown(kind, first, gone)).toEqual([]);
      expect(shown(kind, first, gone, back)).toEqual(["water"]);
      expect(shown(kind, gone, first)).toEqual([]);
    }
  });

  it('tell 1 from "1", take any name, and show all in one order', () => {
    const all = [...ELEMENTS].sort((a, b) => (canonicalize(a) < canonicalize(b) ? -1 : 1));
    expect(shown(addWinsSet, write(0, 0, [...ELEMENTS, ...ELEMENTS]))).toEqual(all);
    expect(shown(addWinsSet, write(0, 0, ELEMENTS), write(0, 1, { remove: [1, "__proto__"] }))).toEqual(
      all.filter((element) => element !== 1 && element !== "__proto__"),
    );
    expect(JSON.stringify(shown(addWinsSet, write(0, 0, [-0]), write(1, 0, { remove: [0] })))).toBe("[0]");
  });

  it.each([setKind(addWinsSet), setKind(removeWinsSet)])("$crdt.name holds what a slow reading of all writes gives", (kind) => {
    fc.assert(
      fc.property(history, (steps) => {
        const writes = play(kind, steps);
        if (writes.length === 0) return;
        const added = ({ value }: CrdtWrite) => (Array.isArray(value) ? value : (value as JsonObject).add) as JsonValue[];
        const removed = ({ value }: CrdtWrite) => ((value as JsonObject).remove ?? []) as JsonValue[];
        const expected = ELEMENTS.filter((element) => {
          const siblings = siblingsOf(writes, (each) => added(each).includes(element) || removed(each).includes(element));
          const adds = siblings.filter((each) => added(each).includes(element));
          return kind.crdt === addWinsSet ? adds.length > 0 : siblings.length > 0 && adds.length === siblings.length;
        });
        const state = kind.crdt.read(joined(kind.crdt, writes)!) as JsonValue[];
        expect([...state].map(canonicalize)).toEqual(expected.map(canonicalize).sort());
      }),
      { numRuns: runs(500) },
    );
  });

  it("store once what many elements share", () => {
    const state = joined(addWinsSet, [
      write(
        0,
        0,
        Array.from({ length: 1000 }, (_, i) => i),
      ),
    ])!;
    expect(JSON.stringify(state).length).toBeLessThan(20_000);
  });

  it.each([
    ["an element both added and removed", { add: [1, "a"], remove: ["a"] }, '"a" is both'],
    ["an element that is not a scalar", { add: [{}] }, "element"],
    ["nothing as an element", [null], "element"],
    ["half a character", ["\ud83d"], "element"],
    ["another member", { add: [], plus: [] }, "add"],
    ["a text", "water", "add"],
    ["too many", Array.from({ length: MAX_KEYS_PER_WRITE + 1 }, (_, i) => i), "at most"],
  ])("refuse %s", (_, value, named) => {
    expect(addWinsSet.problem(value)).toContain(named);
    expect(() => addWinsSet.join(undefined, write(0, 0, value))).toThrow(named);
  });
});

describe("a map", () => {
  it("gives each key to the latest of the writes that did not know of each other, never to one of a wrong clock", () => {
    const base = write(0, 0, { set: { head: "Amina", phone: "1" } });
    const early = write(
      1,
      0,
      { set: { phone: "2" } },
      { basis: saw(1), hlc: formatHlc({ wallMs: 1_800_000_000_000, counter: 0 }) },
    );
    const late = write(2, 0, { remove: ["phone"] }, { basis: saw(1), hlc: formatHlc({ wallMs: 1_900_000_000_000, counter: 0 }) });
    expect(shown(lwwMap, base, early)).toEqual({ head: "Amina", phone: "2" });
    expect(shown(lwwMap, base, early, late)).toEqual({ head: "Amina" });
    expect(shown(lwwMap, base, early, { ...late, by: { ...late.by, clockWrong: true } })).toEqual({ head: "Amina", phone: "2" });
  });

  it("puts causes before clocks: whoever saw a value replaces it, however early their stamp (I11)", () => {
    const base = write(0, 0, { set: { head: "Amina" } }, { hlc: formatHlc({ wallMs: 2_000_000_000_000, counter: 0 }) });
    expect(shown(lwwMap, write(1, 0, { set: { head: "Deng" } }, { basis: saw(1) }), base)).toEqual({ head: "Deng" });
  });

  it("takes any key, and shows all keys in one order", () => {
    const all = Object.fromEntries(KEYS.map((key) => [key, key]));
    const map = shown(lwwMap, write(0, 0, { set: all })) as JsonObject;
    expect(Object.getPrototypeOf(map)).toBe(Object.prototype);
    expect(canonicalize(map)).toBe(canonicalize(all));
    expect(Object.keys(map)).toEqual(["2", "10", "", "__proto__", "constructor", "head", "phone"]);
  });

  it("holds what a slow reading of all writes gives", () => {
    fc.assert(
      fc.property(history, (steps) => {
        const writes = play(mapping, steps);
        if (writes.length === 0) return;
        const set = ({ value }: CrdtWrite) => (value as { set: JsonObject }).set;
        const removed = ({ value }: CrdtWrite) => (value as { remove: string[] }).remove;
        const expected = KEYS.flatMap((key) => {
          const rank = ({ by }: CrdtWrite): string => `${by.clockWrong ? 0 : 1} ${by.hlc} ${by.origin}`;
          const [winner] = siblingsOf(writes, (each) => Object.hasOwn(set(each), key) || removed(each).includes(key)).sort(
            (a, b) => (rank(a) < rank(b) ? 1 : -1),
          );
          return winner !== undefined && Object.hasOwn(set(winner), key) ? [[key, set(winner)[key]!]] : [];
        });
        expect(canonicalize(shown(lwwMap, ...writes))).toBe(canonicalize(Object.fromEntries(expected)));
      }),
      { numRuns: runs(500) },
    );
  });

  it.each([
    ["a key both set and removed", { set: { a: 1 }, remove: ["a"] }, '"a" is both'],
    ["a removal that is not a list", { remove: "a" }, "map takes"],
    ["a removed key that is not a text", { remove: [1] }, "map takes"],
    ["a list", [], "map takes"],
    ["another member", { a: 1 }, "map takes"],
    ["half a character", { remove: ["\ude00"] }, "half"],
    ["too many", { remove: Array.from({ length: MAX_KEYS_PER_WRITE + 1 }, (_, i) => `${i}`) }, "at most"],
  ])("refuses %s", (_, value, named) => {
    expect(lwwMap.problem(value)).toContain(named);
    expect(() => lwwMap.join(undefined, write(0, 0, value))).toThrow(named);
  });
});

describe("a list", () => {
  const id = (at: number, seq: number, n: number): string => `${ORIGINS[at]!}/${seq}/${n}`;
  const behind = (id: string | null, ...values: JsonValue[]): JsonValue => ({ insert: [{ after: id, values }] });
  const base = write(0, 0, ["a", "b", "c"]);

  it("keeps each value where its author put it, while other authors insert and remove around it", () => {
    const inserted = write(1, 1, behind(id(0, 0, 1), "x", "y"), { basis: saw(1) });
    const removed = write(2, 2, { remove: [id(0, 0, 1)] }, { basis: saw(1) });
    expect(shown(orderedList, base, inserted, removed)).toEqual(["a", "x", "y", "c"]);
    expect(listEntries(joined(orderedList, [base, inserted])!).map((entry) => entry.id)).toEqual([
      id(0, 0, 0),
      id(0, 0, 1),
      id(1, 1, 0),
      id(1, 1, 1),
      id(0, 0, 2),
    ]);
  });

  it("never mixes what two authors insert after the same value: the newer insertion stands first, that of a wrong clock last", () => {
    const one = write(1, 1, behind(id(0, 0, 0), 1, 2, 3), { basis: saw(1) });
    const two = write(2, 2, behind(id(0, 0, 0), 4, 5, 6), { basis: saw(1) });
    expect(shown(orderedList, base, one, two)).toEqual(["a", 4, 5, 6, 1, 2, 3, "b", "c"]);
    const wrong = { ...two, by: { ...two.by, clockWrong: true } };
    expect(shown(orderedList, base, one, wrong)).toEqual(["a", 1, 2, 3, "b", "c", 4, 5, 6]);
  });

  it("takes a write's insertions one after the other, even after the write's own values", () => {
    const value = {
      insert: [
        { after: null, values: ["a", "b"] },
        { after: null, values: ["c"] },
        { after: id(0, 0, 0), values: ["d"] },
      ],
    };
    expect(shown(orderedList, write(0, 0, value))).toEqual(["c", "a", "d", "b"]);
  });

  it("puts a plain list at the beginning", () => {
    expect(shown(orderedList, base, write(1, 1, ["x", "y"], { basis: saw(1) }))).toEqual(["x", "y", "a", "b", "c"]);
  });

  it("shows a value that came too early once the value before it has come, and remembers a removal that came too early", () => {
    const early = write(1, 1, { insert: [{ after: id(0, 0, 0), values: ["x"] }], remove: [id(0, 0, 1), id(0, 0, 9)] });
    expect(shown(orderedList, early)).toEqual([]);
    expect(shown(orderedList, early, base)).toEqual(["a", "x", "c"]);
  });

  it("forgets the value of what was removed", () => {
    const state = joined(orderedList, [write(0, 0, ["a secret"]), write(1, 0, { remove: [id(0, 0, 0)] })]);
    expect(JSON.stringify(state)).not.toContain("secret");
  });

  it("leaves out what hostile writes put in a circle, each after the other, and shows the rest", () => {
    const circle = [
      write(1, 0, behind(id(2, 0, 0), "x")),
      write(2, 0, behind(id(1, 0, 0), "y")),
      write(1, 1, behind(id(1, 1, 0), "z")),
    ];
    expect(shown(orderedList, base, ...circle)).toEqual(["a", "b", "c"]);
  });

  it("may be as deep as it is long", () => {
    const deep = Array.from({ length: 50_000 }, (_, i) => i);
    expect(shown(orderedList, write(0, 0, deep))).toEqual(deep);
    const chain = Array.from({ length: 3000 }, (_, i) => write(0, i, behind(i === 0 ? null : id(0, i - 1, 0), i)));
    expect(shown(orderedList, ...chain)).toEqual(deep.slice(0, 3000));
  });

  it("shows what a slow walk through the tree shows", () => {
    interface Node {
      readonly id: string;
      readonly after: string | null;
      readonly value: JsonValue;
      readonly rank: string;
      readonly n: number;
    }
    fc.assert(
      fc.property(history, (steps) => {
        const writes = play(listing, steps);
        if (writes.length === 0) return;
        const nodes: Node[] = [];
        const removed = new Set<string>();
        for (const { by, value } of writes) {
          const change = (Array.isArray(value) ? { insert: [{ after: null, values: value }] } : value) as {
            insert?: { after: string | null; values: JsonValue[] }[];
            remove?: string[];
          };
          let n = 0;
          for (const run of change.insert ?? []) {
            let parent = run.after;
            for (const each of run.values) {
              const rank = `${by.clockWrong ? 0 : 1} ${by.hlc} ${by.origin} ${String(by.seq).padStart(5, "0")}`;
              nodes.push({ id: `${by.origin}/${by.seq}/${n}`, after: parent, value: each, rank, n });
              parent = `${by.origin}/${by.seq}/${n++}`;
            }
          }
          for (const each of change.remove ?? []) removed.add(each);
        }
        const walk = (parent: string | null): JsonValue[] =>
          nodes
            .filter(({ after }) => after === parent)
            .sort((a, b) => (a.rank === b.rank ? b.n - a.n : a.rank < b.rank ? 1 : -1))
            .flatMap((node) => [...(removed.has(node.id) ? [] : [node.value]), ...walk(node.id)]);
        expect(shown(orderedList, ...writes)).toEqual(walk(null));
      }),
      { numRuns: runs(500) },
    );
  });

  it.each([
    ["an insertion that does not say after which entry", { insert: [{ values: [1] }] }, "list takes"],
    ["an insertion without values", { insert: [{ after: null }] }, "list takes"],
    ["an insertion after what is not an id", behind("a/01/0", 1), "not an entry id"],
    ["a removal of what is not an id", { remove: ["x"] }, "not an entry id"],
    ["a text", "abc", "list takes"],
    ["another member", { append: [] }, "list takes"],
    ["too many", Array.from({ length: MAX_VALUES_PER_WRITE + 1 }, () => 0), "at most"],
  ])("refuses %s", (_, value, named) => {
    expect(orderedList.problem(value)).toContain(named);
    expect(() => orderedList.join(undefined, write(0, 0, value))).toThrow(named);
  });
});
