import { describe, expect, it } from "vitest";
import type { JsonObject, LogEntry } from "../../services/core/index.ts";
import type { Totals } from "../../services/merge/engine.ts";
import { defineProjection, defineTotals, integer, manual, set, text } from "../../services/merge/index.ts";
import { type FoldTarget, foldView, type Held, type KnownStates } from "../../services/projector/fold-view.ts";
import { fakeLog } from "../support/fake-log.ts";
import { type OldEvent, oldWriter } from "../support/oldlog.ts";

const people = defineProjection({
  name: "people",
  entity: "person",
  columns: { name: text(), phone: text(), age: integer() },
  resolve: { name: manual },
  events: { "person.named": set() },
  invariants: {
    phone: { atMost: 1, says: "one phone, one person", key: ({ phone }) => phone },
    age: { problem: ({ age }) => (age !== null && age < 0 ? "younger than a newborn" : null) },
  },
});
const ages = defineTotals({
  name: "ages",
  keys: { phone: text() },
  sums: { years: integer() },
  from: { people: ({ phone, age }) => ({ phone: phone as string, years: age as number }) },
}) as unknown as Totals;
const target: FoldTarget = { projection: people, generation: 1, namespace: "views", totals: [ages], pins: {} };
const gate = { openAs: (_: unknown, data: JsonObject) => ({ data, withheld: [] }) } as never; // data is read as it is written

const named = (id: string, data: JsonObject, more: Partial<OldEvent> = {}): OldEvent => ({
  type: "person.named",
  entity: { type: "person", id },
  data,
  ...more,
});
/** The entries of a log after sites have written, each without knowing of the others. */
async function written(...sites: readonly (readonly OldEvent[])[]): Promise<LogEntry[]> {
  const { log, entries } = fakeLog();
  for (const [i, events] of sites.entries()) await oldWriter(log, `site${i}`).append(...events);
  return [...entries];
}
const known = (states: ReadonlyMap<string, Held> = new Map(), parked: readonly string[] = []): KnownStates => ({
  get: (id) => states.get(id),
  isParked: (id) => parked.includes(id),
});
const folded = (entries: readonly LogEntry[], states = known()) =>
  foldView({ target, states, gate, entries: entries.map((entry, index) => ({ entry, index })) });

describe("folding entries into a view", () => {
  it("gives rows, their past, claims, totals and new states, and changes nothing that it was handed", async () => {
    const entries = await written([named("a", { name: "Awɛŋ", phone: "0912", age: 30 }), named("a", { age: 31 })]);
    const before = new Map<string, Held>();
    const { changes, moved, errors } = folded(entries, known(before));
    expect(changes.rows).toMatchObject([
      { id: "a", isNew: true, row: { values: { name: "Awɛŋ", phone: "0912", age: 31 } }, firstPosition: 10n, lastPosition: 20n },
    ]);
    expect(changes.history.map(({ position, row }) => [position, row.values.age])).toEqual([
      [10n, 30],
      [20n, 31],
    ]);
    expect(changes.claims).toEqual([{ invariant: "phone", entityId: "a", before: null, after: '"0912"' }]);
    expect(changes.checks).toEqual([{ invariant: "age", entityId: "a", problem: null }]);
    expect(changes.additions.get(ages)).toMatchObject([{ sign: 1, values: { years: 31 } }]);
    expect([moved.states.get("a")?.firstPosition, moved.parked.size, errors, before.size]).toEqual([10n, 0, [], 0]);
  });

  it("gives the same result however the log is cut into pages", async () => {
    const entries = await written(
      [named("a", { name: "Awɛŋ", age: 3 }), named("b", { name: "Deng" }), named("a", { age: 4 })],
      [named("a", { name: "Nyibol" }), named("b", { phone: "0912" })],
    );
    const last = (cuts: readonly number[]): unknown => {
      const states = new Map<string, Held>();
      const rows = new Map<string, unknown>();
      for (const [i, from] of [0, ...cuts].entries()) {
        const { moved, changes } = folded(entries.slice(from, [...cuts, entries.length][i]), known(states));
        for (const [id, held] of moved.states) states.set(id, held);
        for (const { id, row, state, lastPosition } of changes.rows) rows.set(id, { row, state, lastPosition });
      }
      return rows;
    };
    const whole = last([]);
    for (const cuts of [[1], [2, 3], [1, 2, 3, 4], [4]]) expect(last(cuts)).toEqual(whole);
  });

  it("takes back from totals and claims what a row added before", async () => {
    const [first, second] = (await written([named("a", { phone: "0912", age: 30 }), named("a", { phone: "0913" })])) as [
      LogEntry,
      LogEntry,
    ];
    const { moved } = folded([first]);
    const { changes } = folded([second], known(moved.states));
    expect(changes.rows).toMatchObject([{ isNew: false }]);
    expect(changes.claims).toEqual([{ invariant: "phone", entityId: "a", before: '"0912"', after: '"0913"' }]);
    expect(changes.additions.get(ages)).toMatchObject([
      { sign: -1, values: { phone: "0912", years: 30 } },
      { sign: 1, values: { phone: "0913", years: 30 } },
    ]);
  });

  it("parks an entity, as it was, at an event that does not fit, and lets its later events wait; others go on", async () => {
    const entries = await written([
      named("a", { name: "Awɛŋ" }),
      named("a", { age: "old" }),
      named("b", { name: "Deng" }),
      named("a", { age: 31 }),
    ]);
    const { changes, moved, errors } = folded(entries);
    expect(changes.parked).toMatchObject([{ entityId: "a", entry: { position: 20n } }]);
    expect(changes.waiting).toEqual(["a"]);
    expect(errors).toMatchObject([{ index: 1, error: expect.stringMatching(/^people: /) }]);
    expect([...moved.parked]).toEqual(["a"]);
    expect(changes.rows.map(({ id, row }) => [id, row.values.name])).toEqual([
      ["a", "Awɛŋ"],
      ["b", "Deng"],
    ]);
    const later = folded(entries.slice(3), known(moved.states, ["a"]));
    expect([later.changes.rows, later.changes.waiting, later.moved.states.size]).toEqual([[], ["a"], 0]);
  });

  it("notes what is contested, and what ends that on a later page", async () => {
    const [one, other] = (await written([named("a", { name: "Awɛŋ" })], [named("a", { name: "Nyibol" })])) as [
      LogEntry,
      LogEntry,
    ];
    const { changes, moved } = folded([one, other]);
    expect(changes.decisions).toMatchObject([{ entityId: "a", position: 20n, endedAt: null, decision: { isOpen: true } }]);
    const both = { [one.head.origin]: 0, [other.head.origin]: 0 };
    const [word] = (await written([], [], [named("a", { name: "Deng" }, { basis: both as never })])) as [LogEntry];
    const decided = folded([{ ...word, position: 30n as never }], known(moved.states)).changes;
    expect(decided.ended).toMatchObject([{ entityId: "a", register: "name", position: 30n }]);
    expect(decided.rows).toMatchObject([{ row: { values: { name: "Deng" }, conflicts: 0 } }]);
  });

  it("replaces what is shown of an entity that is folded again: what it added before is taken back", async () => {
    const entries = (await written([named("a", { age: "old" }), named("a", { phone: "0913", age: 31 })])).map((entry, index) => ({
      entry,
      index,
    }));
    const shown = { values: { name: null, phone: "0912", age: 30 }, deleted: false, conflicts: 0, tables: {} };
    const { changes } = foldView({ target, gate, entries, states: known(), replaces: { id: "a", shown } });
    expect(changes.passedOver).toMatchObject([{ entry: { position: 10n } }]);
    expect(changes.claims).toEqual([{ invariant: "phone", entityId: "a", before: '"0912"', after: '"0913"' }]);
    expect(changes.additions.get(ages)!.map(({ sign, values }) => [sign, values.years])).toEqual([
      [-1, 30],
      [1, 31],
    ]);
  });
});
