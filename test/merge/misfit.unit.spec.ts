import { describe, expect, it } from "vitest";
import * as Y from "yjs";
import type { JsonObject, JsonValue } from "../../services/core/index.ts";
import { collaborativeText, counter, editText } from "../../services/merge/crdt/index.ts";
import { type Column, misfitIn, normal, type ProjectedEvent } from "../../services/merge/engine.ts";
import {
  boolean,
  date,
  decimal,
  defineProjection,
  integer,
  json,
  map,
  number,
  remove,
  set,
  text,
  timestamp,
} from "../../services/merge/index.ts";
import { COLUMN_VALUES } from "../support/ranges.ts";

const event = (data: JsonObject, type = "visit.made", entity = "visit"): ProjectedEvent => ({
  type,
  data,
  entity: { type: entity, id: "V-1" },
  actor: "deng",
  occurredAt: "2026-05-03T08:00:00.000Z",
  site: "juba",
});
const visits = defineProjection({
  name: "visits",
  entity: "visit",
  columns: {
    a_text: text(),
    key: text({ index: true }),
    whole: integer(),
    real: number(),
    amount: decimal(),
    yes: boolean(),
    day: date(),
    at: timestamp(),
    any: json(),
    given_on: date(),
  },
  groups: { when: ["day", "at"] },
  events: {
    "visit.made": set(),
    "visit.corrected": set("day"),
    "visit.mapped": map(({ data }) => ({ given_on: (data.handed_out as { on: string }).on, day: data.day_given as string })),
    "visit.gone": remove(),
  },
});
const messageOf = (data: JsonObject, type?: string): string | undefined => misfitIn([visits], event(data, type))?.message;

describe("a value that a column cannot hold", () => {
  it.each<[JsonObject, string]>([
    [{ day: "03/05/2026" }, 'day: "03/05/2026" is not a day like 2026-05-03, which the view visits needs'],
    [
      { at: "2016-12-31T23:59:60Z" },
      'at: "2016-12-31T23:59:60Z" is not a time like 2026-05-03T08:00:00Z, which the view visits needs',
    ],
    [{ amount: 1e300 }, "amount: 1e+300 is too large a number for the view visits"],
    [{ whole: 2 ** 53 }, "whole: 9007199254740992 is too large a number for the view visits"],
    [{ whole: 1.5 }, "whole: 1.5 is not a whole number, which the view visits needs"],
    [{ real: "1" }, 'real: "1" is not a number, which the view visits needs'],
    [{ yes: "true" }, 'yes: "true" is neither true nor false, which the view visits needs'],
    [{ a_text: 7 }, "a_text: 7 is not a text, which the view visits needs"],
    [{ a_text: "a\0" }, 'a_text: "a\\u0000" holds the character U+0000, which the view visits cannot hold'],
    [{ any: { a: "\0" } }, 'any: {"a":"\\u0000"} holds the character U+0000, which the view visits cannot hold'],
    [{ key: "x".repeat(601) }, `key: "${"x".repeat(59)}… has 601 characters, and the view visits takes at most 600`],
  ])("is reported in plain words, with its field and view: %#", (data, message) => {
    expect(misfitIn([visits], event(data))).toMatchObject({ view: "visits", column: Object.keys(data)[0], message });
    expect(misfitIn([visits], event(data))?.path).toBe(`/${Object.keys(data)[0]}`);
  });

  it("is reported under the member that it came from, even if the declaration gives it another name", () => {
    expect(misfitIn([visits], event({ day_given: "soon", handed_out: { on: "2026-05-03" } }, "visit.mapped"))).toEqual({
      view: "visits",
      column: "day",
      message: 'day_given: "soon" is not a day like 2026-05-03, which day of the view visits needs',
      path: "/day_given",
    });
    // Where the value comes from within a member, the column names it.
    expect(misfitIn([visits], event({ handed_out: { on: "soon" } }, "visit.mapped"))).toMatchObject({
      message: 'given_on: "soon" is not a day like 2026-05-03, which given_on of the view visits needs',
      path: null,
    });
  });
});

describe("an event that its views can show", () => {
  it.each<[string, JsonObject, string?]>([
    ["empties a column", { day: null, at: null, amount: null }],
    ["has members that are not columns", { whatever: "\0", constructor: 1 }],
    ["writes only the columns that its rule names", { day: "2026-05-03", amount: "much" }, "visit.corrected"],
    ["removes its entity", { day: "03/05/2026" }, "visit.gone"],
    ["is of a type that the view does not take", { day: "03/05/2026" }, "visit.seen"],
    ["makes the declaration throw, so that the fold parks its entity", {}, "visit.mapped"],
  ])("%s", (_, data, type) => {
    expect(misfitIn([visits], event(data, type))).toBeNull();
  });

  it("is of another entity", () => {
    expect(misfitIn([visits], event({ day: "03/05/2026" }, "visit.made", "person"))).toBeNull();
  });
});

describe("a decision of people", () => {
  const decided = (values: JsonValue) => misfitIn([visits, others], event({ values }, "conflict.resolved"));
  const others = defineProjection({
    name: "others",
    entity: "visit",
    columns: { day: text(), amount: decimal() },
    events: { "visit.made": set() },
  });

  it("is a misfit if no view can take it", () => {
    expect(decided({ amount: 1e300 })).toMatchObject({ column: "amount", path: "/values/amount" });
  });

  it("is not a misfit if one view can take it, nor if it empties the column or names no column", () => {
    expect(decided({ day: "soon" })).toBeNull();
    expect(decided({ amount: null, unheard_of: 1 })).toBeNull();
    expect(decided(7)).toBeNull();
  });
});

describe("a write to a register that merges by itself", () => {
  const merging = defineProjection({
    name: "merging",
    entity: "visit",
    columns: { count: integer(), total: decimal(), story: text() },
    resolve: { count: counter, total: counter, story: collaborativeText },
    events: { "visit.made": set() },
  });
  const check = (data: JsonObject) => misfitIn([merging], event(data))?.message;

  it("must show something that the column can hold", () => {
    expect(check({ count: 3, total: -0.5 })).toBeUndefined();
    expect(check({ count: 0.5 })).toBe("count: 0.5 is not a whole number, which the view merging needs");
    expect(check({ total: 1e300 })).toBe("total: 1e+300 is too large a number for the view merging");
    expect(check({ count: "one" })).toBe(
      'count: "one" is not a write that the view merging takes: a counter takes a number to add',
    );
  });

  it("is found to hold U+0000 that hides in a text's edit, even in one that builds on others", () => {
    const first = editText(undefined, (story) => story.insert(0, "Amina"), 1)!;
    expect(check({ story: first })).toBeUndefined();
    const doc = new Y.Doc();
    Y.applyUpdate(doc, Buffer.from(first, "base64"));
    const updates: Uint8Array[] = [];
    doc.on("update", (update: Uint8Array) => updates.push(update));
    doc.getText("text").insert(5, " \0 Deng");
    const second = Buffer.from(updates[0]!).toString("base64");
    expect(check({ story: second })).toContain("U+0000");
  });
});

describe("a column", () => {
  const COLUMNS: readonly Column[] = [text(), integer(), number(), decimal(), boolean(), date(), timestamp(), json()];

  it.each(COLUMNS)("of type $type takes values at its limits, and none beyond them", (column) => {
    for (const value of COLUMN_VALUES[column.type].fits)
      expect([value, value === null || column.fits(value)]).toEqual([value, true]);
    for (const value of COLUMN_VALUES[column.type].beyond) expect([value, column.fits(value)]).toEqual([value, false]);
  });

  it("for times keeps what it takes within the years 1 to 9999, in UTC", () => {
    for (const value of COLUMN_VALUES.instant.fits) expect(normal(timestamp(), value)).toMatch(/^(?!0000)\d{4}-.*Z$/);
  });

  it("for JSON takes no half of a surrogate pair, which PostgreSQL refuses", () => {
    expect(json().fits(["\ud83d"])).toBe(false);
    expect(json().fits("\\ud83d")).toBe(true);
    expect(json().fits("\ud83d\ude00")).toBe(true);
  });

  it("says in words why it does not take a value, for every value that it does not take", () => {
    for (const { type, name } of [
      { type: "text", name: "a_text" },
      { type: "integer", name: "whole" },
      { type: "number", name: "real" },
      { type: "decimal", name: "amount" },
      { type: "boolean", name: "yes" },
      { type: "date", name: "day" },
      { type: "instant", name: "at" },
    ] as const)
      for (const value of COLUMN_VALUES[type].beyond)
        expect(messageOf({ [name]: value })).toMatch(/^[a-z_]+: .+ the view visits/);
  });
});
