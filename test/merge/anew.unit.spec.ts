import { describe, expect, it } from "vitest";
import { type FoldEvent, foldAnew } from "../../services/merge/engine.ts";
import { defineProjection, integer, map, text } from "../../services/merge/index.ts";
import { JUBA, personEvent, seen } from "../support/writes.ts";

const people = defineProjection({
  name: "people",
  entity: "person",
  columns: { name: text(), age: integer() },
  events: {
    "person.changed": map(({ data }) => {
      if (data.name === "boom") throw new Error("no such name");
      return data as Record<string, string | number>;
    }),
  },
});

/** Changes by one site, each of which has seen those before it. */
function changes(...data: readonly Record<string, string | number>[]): FoldEvent[] {
  const events: FoldEvent[] = [];
  for (const [seq, each] of data.entries())
    events.push(personEvent(JUBA, "person.changed", each, { seq, hour: 8 + seq, basis: seen(...events) }));
  return events;
}
const anew = (...data: readonly Record<string, string | number>[]) =>
  foldAnew(
    people,
    "p1",
    changes(...data).map((event) => () => event),
  );
const shown = ({ steps, shown, stop }: ReturnType<typeof anew>) => ({
  row: steps.slice(0, shown).findLast(({ row }) => row !== null)?.row?.values,
  stop: stop === null ? null : [stop.at, (stop.error as Error).message.slice(0, 40)],
});

describe("an entity that is folded from all of its events", () => {
  it("is shown with all of them if a later event has corrected what no column could hold", () => {
    const all = anew({ name: "Ayen", age: 1 }, { name: "Ay\0en", age: 2 }, { age: 3 }, { name: "Abuk" });
    expect(shown(all)).toEqual({ row: { name: "Abuk", age: 3 }, stop: null });
    expect(all.steps.map(({ row }) => row !== null)).toEqual([true, false, false, true]);
  });

  it("is shown as it was before the misfits at its end, and stops at the first of them", () => {
    const all = anew({ name: "Ayen" }, { name: "\0" }, { name: "Abuk" }, { age: 1.5 }, { name: "Deng" });
    expect(shown(all)).toEqual({
      row: { name: "Abuk", age: null },
      stop: [3, expect.stringContaining("1.5 does not fit people.age")],
    });
  });

  it("stops at an event that cannot be folded at all, whatever comes after it", () => {
    expect(shown(anew({ name: "Ayen" }, { name: "boom" }, { name: "Deng" }))).toEqual({
      row: { name: "Ayen", age: null },
      stop: [1, "no such name"],
    });
    expect(shown(anew({ name: "boom" }))).toEqual({ row: undefined, stop: [0, "no such name"] });
  });
});
