import { describe, expect, it } from "vitest";
import type { JsonObject, LogEntry } from "../../services/core/index.ts";
import { packState } from "../../services/merge/engine.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import { counting } from "../../services/projector/index.ts";
import { foldPage, originsOf, type ViewTarget } from "../../services/projector/page.ts";
import { openStates } from "../../services/projector/states.ts";
import { fakeLog } from "../support/fake-log.ts";
import { type OldEvent, oldWriter } from "../support/oldlog.ts";

const people = defineProjection({
  name: "people",
  entity: "person",
  columns: { name: text(), phone: text() },
  events: { "person.named": set() },
});
const named = (id: string, data: JsonObject, more: Partial<OldEvent> = {}): OldEvent => ({
  type: "person.named",
  entity: { type: "person", id },
  data,
  ...more,
});
const gate = {
  openAs: (_: unknown, data: JsonObject) => ({ data, withheld: [] }),
  ensure: async () => {},
  knows: () => false,
} as never; // data is read as it is written

/** A log, a view of it with `kept` rows, and a list of the rows that were asked for. */
async function world(...events: readonly OldEvent[]) {
  const { log, entries } = fakeLog();
  await oldWriter(log, "juba").append(...events);
  const kept = new Map<string, string>();
  const asked: string[][] = [];
  const db = {
    async query(_: string, [ids]: [string[]]) {
      asked.push(ids);
      return { rows: ids.flatMap((id) => (kept.has(id) ? [{ id, state: kept.get(id), first_position: "1" }] : [])) };
    },
  } as never; // only states are asked for
  const states = openStates(db, people, { maxHot: 100 });
  const target: ViewTarget = { projection: people, generation: 1, namespace: "views", totals: [], pins: {}, states };
  const deps = { gate, counts: counting(log) };
  const fold = (some: readonly LogEntry[]) => foldPage(deps, [target], some, some.at(-1)!.position);
  return { entries, states, fold, asked, kept };
}
const shown = (page: Awaited<ReturnType<Awaited<ReturnType<typeof world>>["fold"]>>) =>
  page.views.flatMap(({ rows }) => rows.map(({ id, isNew, row: { values } }) => [id, isNew, values]));

describe("a page of the log", () => {
  it("is folded on top of the page before it while that one is being written", async () => {
    const { entries, fold } = await world(
      named("a", { name: "Awɛŋ" }),
      named("a", { phone: "0912" }),
      named("a", { name: "Nyibol" }),
    );
    const [first, second] = [await fold(entries.slice(0, 1)), await fold(entries.slice(1, 2))];
    expect(shown(second)).toEqual([["a", false, { name: "Awɛŋ", phone: "0912" }]]);
    first.written();
    second.written();
    expect(shown(await fold(entries.slice(2)))).toEqual([["a", false, { name: "Nyibol", phone: "0912" }]]);
  });

  it("that is not written leaves nothing behind, and neither do pages that were folded on top of it", async () => {
    const { entries, fold, states } = await world(
      named("a", { name: "Awɛŋ" }),
      named("a", { phone: "0912" }),
      named("b", { name: "x" }),
    );
    const [first, second] = [await fold(entries.slice(0, 1)), await fold(entries.slice(1, 2))];
    first.dropped();
    second.written();
    expect(states.get("a")).toBeUndefined();
    expect(shown(await fold(entries.slice(1, 2)))).toEqual([["a", true, { name: null, phone: "0912" }]]);
  });

  it("parks an entity for the pages after it, but not if the page is not written", async () => {
    const { entries, fold, states } = await world(named("a", { name: 7 }), named("a", { name: "Awɛŋ" }));
    const first = await fold(entries.slice(0, 1));
    const second = await fold(entries.slice(1));
    expect([...first.projectionErrors.keys()]).toEqual([0]);
    expect([shown(second), second.waiting.map(({ id }) => id)]).toEqual([[], ["a"]]);
    first.dropped();
    expect(states.isParked("a")).toBe(false);
    const again = await fold(entries.slice(0, 1));
    again.written();
    expect([states.isParked("a"), states.parkedCount()]).toEqual([true, 1]);
    states.refolded("a", false);
    expect(states.isParked("a")).toBe(false);
  });

  it("asks the database once for states that are not in memory, and again for entities that were folded again", async () => {
    const { entries, fold, asked, kept, states } = await world(named("a", { name: "Awɛŋ" }), named("a", { phone: "0912" }));
    const first = await fold(entries.slice(0, 1));
    first.written();
    const second = await fold(entries.slice(1));
    expect(asked).toEqual([["a"]]);
    second.written();
    kept.set("a", packState(states.get("a")!.state));
    states.refolded("a", false);
    expect(shown(await fold(entries.slice(1)))).toEqual([["a", false, { name: "Awɛŋ", phone: "0912" }]]);
    expect(asked).toEqual([["a"], ["a"]]);
  });

  it("says how far each origin is, and how many of its events are quarantined or have a wrong clock", async () => {
    const { entries } = await world(
      named("a", {}),
      named("b", {}, { quarantined: "invalid" }),
      named("c", {}, { clockOffsetMs: 9 }),
    );
    expect(originsOf(entries)).toMatchObject([
      { org: "relief", site: "juba", through: 2, position: 30n, events: 3, quarantined: 1, clockWrong: 1 },
    ]);
  });
});
