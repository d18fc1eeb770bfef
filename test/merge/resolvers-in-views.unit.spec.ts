import { describe, expect, it } from "vitest";
import type { JsonValue } from "../../services/core/index.ts";
import {
  type Decision,
  decisionsOf,
  type EntityState,
  type FoldEvent,
  fold,
  type Projection,
  type Resolver,
  rowOf,
} from "../../services/merge/engine.ts";
import {
  byField,
  defineProjection,
  json,
  lastWriteWins,
  logOrder,
  set,
  text,
  union,
  versionCompare,
} from "../../services/merge/index.ts";
import { ruleOf } from "../support/rules.ts";
import { HUB, JUBA, KAMPALA, NAIROBI, orders, personEvent, seen } from "../support/writes.ts";

const EVENTS = { "person.updated": set() };
const foldAll = (view: Projection, events: readonly FoldEvent[]): EntityState =>
  events.reduce<EntityState | undefined>((state, event) => fold(view, state, event)!.state, undefined)!;
/** The row's value and the decision on it, the same in any order of arrival. */
function shown(view: Projection, events: readonly FoldEvent[]): { value: JsonValue; decision: Decision | undefined } {
  const [state, ...others] = orders(events).map((order) => foldAll(view, order));
  for (const other of others) expect(other).toEqual(state);
  return { value: rowOf(view, state!).values.blood_group!, decision: decisionsOf(view, state!)[0] };
}

describe("a field over which somebody has the say", () => {
  const view = defineProjection({
    name: "people",
    entity: "person",
    columns: { blood_group: text(), name: text() },
    authority: { blood_group: { actors: ["dr-akello"] } },
    events: EVENTS,
  });
  const measured = personEvent(NAIROBI, "person.updated", { blood_group: "A+" }, { actor: "dr-akello" });
  const corrected = personEvent(JUBA, "person.updated", { blood_group: "B+" }, { hour: 9, basis: seen(measured) });

  it("keeps the value of the person who has it, even if another changes it knowingly; the other's value stands as one that lost", () => {
    const { value, decision } = shown(view, [measured, corrected]);
    expect(value).toBe("A+");
    expect(decision).toMatchObject({ reason: "authority", losers: [{ value: "B+" }], isOpen: false });
  });

  it("keeps it through any number of changes by others, of which only the last stands beside it", () => {
    const again = personEvent(KAMPALA, "person.updated", { blood_group: "0" }, { hour: 10, basis: seen(measured, corrected) });
    const { value, decision } = shown(view, [measured, corrected, again]);
    expect(value).toBe("A+");
    expect(decision!.losers.map(({ value }) => value)).toEqual(["0"]);
  });

  it("takes a change by the person who has the say, and drops what that person had seen", () => {
    const decided = personEvent(
      NAIROBI,
      "person.updated",
      { blood_group: "AB" },
      { seq: 1, actor: "dr-akello", basis: seen(corrected) },
    );
    const { value, decision } = shown(view, [measured, corrected, decided]);
    expect(value).toBe("AB");
    expect(decision).toBeUndefined();
  });

  it("holds on one shared tablet: the next person's change does not displace the doctor's", () => {
    const sameTablet = personEvent(NAIROBI, "person.updated", { blood_group: "B+" }, { seq: 1, hour: 9, basis: seen(measured) });
    const { value, decision } = shown(view, [measured, sameTablet]);
    expect(value).toBe("A+");
    expect(decision!.losers.map(({ by }) => by.seq)).toEqual([1]);
  });

  it("takes a decision on the conflict only from a person who has the say", () => {
    const decided = (actor: string): FoldEvent =>
      personEvent(
        HUB,
        "conflict.resolved",
        { values: { blood_group: "B+" } },
        { actor, hour: 10, basis: seen(measured, corrected) },
      );
    expect(shown(view, [measured, corrected, decided("grace")]).value).toBe("A+");
    expect(shown(view, [measured, corrected, decided("dr-akello")])).toMatchObject({ value: "B+", decision: undefined });
  });

  it("leaves the record's other fields to all", () => {
    const named = personEvent(JUBA, "person.updated", { name: "Amina" }, { basis: seen(measured) });
    expect(rowOf(view, foldAll(view, [measured, named])).values).toEqual({ blood_group: "A+", name: "Amina" });
  });
});

describe("a rule in a view", () => {
  const viewOf = (rule: Resolver, column: ReturnType<typeof text> | ReturnType<typeof json> = text()): Projection =>
    defineProjection({
      name: "people",
      entity: "person",
      columns: { blood_group: column },
      resolve: { others: rule },
      events: EVENTS,
    });

  it.each([union, ruleOf((all) => ({ winner: all[0]!, merged: "made up" }))])(
    "is not asked where all wrote the same: what they wrote is shown ($name)",
    (rule) => {
      const events = [NAIROBI, JUBA].map((origin) => personEvent(origin, "person.updated", { blood_group: ["b", "a", "b"] }));
      expect(shown(viewOf(rule, json()), events)).toEqual({ value: ["b", "a", "b"], decision: undefined });
      expect(shown(viewOf(rule, json()), events.slice(1)).value).toEqual(["b", "a", "b"]);
    },
  );

  it("looks at the member that it names in each event", () => {
    const events = [
      personEvent(NAIROBI, "person.updated", { blood_group: "A+", quality: 2 }),
      personEvent(JUBA, "person.updated", { blood_group: "B+", quality: 1 }, { hour: 9 }),
      personEvent(HUB, "person.updated", { blood_group: "0" }, { hour: 10 }),
    ];
    expect(shown(viewOf(byField("quality", "max")), events)).toMatchObject({
      value: "A+",
      decision: { reason: "field-priority" },
    });
    expect(shown(viewOf(byField("quality", "min")), events)).toMatchObject({
      value: "B+",
      decision: { reason: "field-priority" },
    });
  });

  it("counts what each author had seen of the person, including the author's own writes", () => {
    const first = personEvent(NAIROBI, "person.updated", { blood_group: "A" });
    const second = personEvent(NAIROBI, "person.updated", { blood_group: "A+" }, { seq: 4 });
    const third = personEvent(JUBA, "person.updated", { blood_group: "B+" }, { hour: 9, basis: seen(first) });
    const fourth = personEvent(NAIROBI, "person.updated", { blood_group: "A-" }, { seq: 6 });
    expect(shown(viewOf(versionCompare), [first, second, third, fourth])).toMatchObject({
      value: "A-",
      decision: { reason: "longer-history", losers: [{ value: "B+" }] },
    });
  });

  it("orders a device's own value by its position once the hub has told the position, and goes by what the hub found about its clock", () => {
    const other = personEvent(JUBA, "person.updated", { blood_group: "B+" }, { position: 50 });
    const mine = personEvent(NAIROBI, "person.updated", { blood_group: "A+" }, { hour: 9 });
    const receipt = { ...mine, position: 40 };
    expect(shown(viewOf(logOrder()), [other, mine]).value).toBe("A+");
    expect(shown(viewOf(logOrder()), [other, mine, receipt]).value).toBe("B+");
    expect(shown(viewOf(lastWriteWins), [other, mine, { ...receipt, clockWrong: true }])).toMatchObject({
      value: "B+",
      decision: { reason: "clock-trusted" },
    });
  });

  it("that depends on the order stops the fold and is named, rather than show what replicas would not agree on", () => {
    const view = viewOf(ruleOf(([first]) => ({ winner: first! })));
    const state = foldAll(
      view,
      [NAIROBI, JUBA].map((origin) => personEvent(origin, "person.updated", { blood_group: origin })),
    );
    expect(() => rowOf(view, state)).toThrow(/ours depends on the order/);
    expect(() => decisionsOf(view, state)).toThrow(expect.objectContaining({ code: "projection-failed" }));
  });

  it("cannot show what its column cannot hold", () => {
    const view = viewOf(ruleOf((all) => ({ winner: all.find(({ by }) => by.origin === JUBA)!, merged: 7 })));
    const state = foldAll(
      view,
      [NAIROBI, JUBA].map((origin) => personEvent(origin, "person.updated", { blood_group: origin })),
    );
    expect(() => rowOf(view, state)).toThrow(/7 does not fit people\.blood_group, a text column/);
  });
});
