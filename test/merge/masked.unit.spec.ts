import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ALL_WITHHELD, isJsonObject, type JsonObject, type JsonValue, RESOLVED } from "../../services/core/index.ts";
import { counter } from "../../services/merge/crdt/index.ts";
import {
  type EntityState,
  type FoldEvent,
  fold,
  maskedState,
  maskOf,
  type Projection,
  packState,
  rowText,
  rowWith,
  unpackState,
} from "../../services/merge/engine.ts";
import { byField, defineProjection, integer, map, remove, set, text } from "../../services/merge/index.ts";
import { type History, histories, play, projectionOf, SPECS } from "../support/histories.ts";
import { runs } from "../support/runs.ts";

const SEED = Number(process.env.TRIBUTARY_TEST_SEED ?? Date.now() % 2 ** 31);

const objectIn = (value: JsonValue | undefined): JsonObject => (isJsonObject(value ?? null) ? (value as JsonObject) : {});

/** An event as a replica sees it that may not see some members; of a decision: some of its values. */
function without(event: FoldEvent, hidden: readonly string[]): FoldEvent {
  const isDecision = event.type === RESOLVED;
  const given = isDecision ? objectIn(event.data.values) : event.data;
  const withheld = Object.keys(given).filter((name) => hidden.includes(name));
  const open = Object.fromEntries(Object.entries(given).filter(([name]) => !hidden.includes(name)));
  return withheld.length === 0 ? event : { ...event, data: isDecision ? { ...event.data, values: open } : open, withheld };
}

function foldAll(projection: Projection, events: readonly FoldEvent[]): ReadonlyMap<string, EntityState> {
  const states = new Map<string, EntityState>();
  for (const event of events) {
    const folded = fold(projection, states.get(event.entity.id), event);
    if (folded !== null) states.set(event.entity.id, folded.state);
  }
  return states;
}

describe("what is masked in the states of a view (I40)", () => {
  const view = (events: Parameters<typeof defineProjection>[0]["events"]): Projection =>
    defineProjection({
      name: "things",
      entity: "thing",
      columns: { name: text(), phone: text(), place: text(), street: text() },
      groups: { where: ["place", "street"] },
      events,
    });
  const maskedBy = (events: Parameters<typeof view>[0], ...members: readonly string[]): readonly string[] | null => {
    const mask = maskOf(view(events), (type) => (type === "thing.noted" ? members : []));
    return mask === null ? null : [...mask.registers];
  };

  it.each<[string, Parameters<typeof view>[0], readonly string[], readonly string[] | null]>([
    ["nothing", { "thing.noted": set() }, [], null],
    ["the column of a member", { "thing.noted": set() }, ["phone"], ["phone"]],
    ["a group as a whole", { "thing.noted": set() }, ["street"], ["where"]],
    ["no column that the event does not set", { "thing.noted": set("name") }, ["phone"], []],
    ["no column of a removal", { "thing.noted": remove() }, [ALL_WITHHELD], []],
    [
      "all that an event sets, where any member may be withheld",
      { "thing.noted": set("name", "phone") },
      [ALL_WITHHELD],
      ["name", "phone"],
    ],
    [
      "what a map copies, under its other name",
      { "thing.noted": map(({ data: { tel } }) => ({ phone: tel })) },
      ["tel"],
      ["phone"],
    ],
    [
      "what a map copies with all the rest",
      { "thing.noted": map(({ data, site }) => ({ ...data, name: site })) },
      ["phone"],
      ["phone"],
    ],
    [
      "no more of a map that only copies other members",
      { "thing.noted": map(({ data: { name } }) => ({ name })) },
      ["phone"],
      [],
    ],
    [
      "everything, where a map does more than copy",
      { "thing.noted": map(({ data }) => ({ name: data.phone === null ? "none" : "some" })) },
      ["phone"],
      ["where", "name", "phone"],
    ],
    [
      "everything, where a map takes apart what is not at hand",
      { "thing.noted": map(({ data }) => ({ name: (data.at as JsonObject).name })) },
      ["phone"],
      ["where", "name", "phone"],
    ],
  ])("is %s", (_, events, members, registers) => {
    expect(maskedBy(events, ...members)?.toSorted() ?? null).toEqual(registers?.toSorted() ?? null);
  });

  it("is what a rule looks at, and a field that merges by itself as a whole; what is open stays as it was", () => {
    const things = defineProjection({
      name: "things",
      entity: "thing",
      columns: { name: text(), phone: text(), visits: integer() },
      resolve: { name: byField("quality", "max"), visits: counter },
      authority: { phone: { sites: ["juba"] } },
      events: { "thing.noted": set() },
    });
    const noted = (site: string, data: JsonObject): FoldEvent => ({
      ...{ type: "thing.noted", data, entity: { type: "thing", id: "t" }, actor: "a", occurredAt: "2026-01-01T00:00:00.000Z" },
      ...{ site, origin: `relief.${site}.t1.a` as never, seq: 0 as never, hlc: "2026-01-01T00:00:00.000Z-0000" as never },
      ...{ clockWrong: false, position: 1, basis: {} },
    });
    const full = [
      noted("juba", { name: "Deng", quality: 5, phone: "0912", visits: 2 }),
      noted("yei", { name: "Awel", quality: 3, phone: "0977", visits: 1 }),
    ].reduce<EntityState | undefined>((state, event) => fold(things, state, event)?.state, undefined);
    assert(full !== undefined);
    const around = (...members: readonly string[]) => {
      const mask = maskOf(things, () => members);
      assert(mask !== null);
      const state = unpackState(packState(maskedState(things, full, mask)));
      return { text: packState(state), row: rowWith(things, "t", state), state };
    };
    expect(rowWith(things, "t", full)).toMatchObject({ values: { name: "Deng", phone: "0912", visits: 3 } });
    expect(around("phone").row).toMatchObject({ values: { name: "Deng", phone: null, visits: 3 }, withheld: ["phone"] });
    expect(around("phone").text).not.toMatch(/0912|0977/);
    expect(around("quality").row).toMatchObject({ values: { name: null, phone: "0912" }, withheld: ["name"] });
    expect(around("quality").text).not.toMatch(/"quality":[35]/);
    expect(around("visits").row).toMatchObject({ values: { visits: null, name: "Deng" }, withheld: ["visits"] });
    expect(around("visits").state.merged).toEqual({});
    // What it does not know of the field stays so, whatever is written after.
    const more = fold(things, around("visits").state, { ...noted("wau", { visits: 4 }), seq: 1 as never });
    assert(more !== null);
    expect(rowWith(things, "t", more.state).withheld).toEqual(["visits"]);
    expect(around(ALL_WITHHELD).row).toMatchObject({ values: { name: null, phone: null, visits: null } });
    expect(around(ALL_WITHHELD).text).not.toMatch(/Deng|Awel|0912|0977|:[35]/);
  });
});

interface Met {
  open: number;
  masked: number;
}

function checkHistory(history: History, met: Met): void {
  const { events } = play(history);
  const names = new Set(events.flatMap(({ type, data }) => Object.keys(type === RESOLVED ? objectIn(data.values) : data)));
  const hidden = [...names].filter((_, i) => (history.shuffle >> (i % 16)) % 3 === 0);
  for (const projection of SPECS.map(projectionOf)) {
    const mask = maskOf(projection, () => hidden);
    if (mask === null) continue;
    const [all, some] = [events, events.map((event) => without(event, hidden))].map((each) => foldAll(projection, each));
    for (const [id, full] of all ?? []) {
      const mine = rowWith(projection, id, unpackState(packState(maskedState(projection, full, mask))));
      const theirs = rowWith(projection, id, full);
      const byEvents = rowWith(projection, id, some!.get(id)!);
      const isOpen = (column: string): boolean => !(mine.withheld ?? []).includes(column);
      assert.deepStrictEqual((byEvents.withheld ?? []).filter(isOpen), [], `${projection.name}/${id}`);
      const expected = Object.entries(theirs.values).map(([name, value]) => [name, isOpen(name) ? value : null]);
      assert.deepStrictEqual([mine.values, mine.deleted], [Object.fromEntries(expected), theirs.deleted]);
      assert.equal(rowText(id, theirs, {}, mine), rowText(id, mine, {}), "both sides compare the same");
      met.masked += mine.withheld?.length ?? 0;
      met.open += Object.keys(mine.values).filter(isOpen).length;
    }
  }
}

it(`a masked state hides all that its events would, and shows nothing else than who sees all (I40, seed ${SEED})`, () => {
  const met: Met = { open: 0, masked: 0 };
  fc.assert(
    fc.property(histories, (history) => checkHistory(history, met)),
    { seed: SEED, numRuns: runs(200), endOnFailure: false },
  );
  expect(Math.min(met.open, met.masked)).toBeGreaterThan(0);
});
