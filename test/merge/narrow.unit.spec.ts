import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadProjections } from "../../services/cli/projections.ts";
import type { JsonObject } from "../../services/core/index.ts";
import { createGate, formsOf, type SchemaStore, schemaVersion } from "../../services/gate/index.ts";
import { loadSchemas } from "../../services/gate/node.ts";
import { type Columns, type EventRule, misfitIn, narrowColumns, unfedEvents } from "../../services/merge/engine.ts";
import {
  boolean,
  date,
  decimal,
  defineProjection,
  integer,
  json,
  map,
  set,
  text,
  timestamp,
} from "../../services/merge/index.ts";

const ROOT = join(import.meta.dirname, "../..");

/** A form for `visit.made` with these members. */
function formWith(properties: JsonObject, more: JsonObject = {}): SchemaStore {
  const schema = {
    tributary: { entity: "visit", events: ["visit.made"] },
    type: "object",
    properties,
    additionalProperties: false,
    ...more,
  };
  const version = schemaVersion("visit", 1, { kind: "json", text: JSON.stringify(schema), references: [] }, () => undefined);
  return { subjects: () => ["visit"], versions: (subject) => (subject === "visit" ? [version] : []) };
}
const view = (columns: Columns, rule: EventRule = set()) =>
  defineProjection({ name: "visits", entity: "visit", columns, events: { "visit.made": rule } });
const found = (columns: Columns, properties: JsonObject, rule?: EventRule, more?: JsonObject): string[] =>
  narrowColumns([view(columns, rule)], formsOf(formWith(properties, more))).map(({ message }) => message);

describe("the project's own views", () => {
  it("are narrower than their forms where the forms say nothing of the day, the length or the size, and nowhere else", async () => {
    const store = loadSchemas(join(ROOT, "schemas"));
    const views = await loadProjections(join(ROOT, "projections"));
    const findings = narrowColumns(views, formsOf(store));
    expect(findings.map(({ message }) => message)).toEqual([
      "assessments.settlement holds texts of at most 600 characters; the form assessment lets texts of any length",
      "assessments.assessed_on holds days; the form assessment lets any text",
      "distributions.registration_no holds texts of at most 600 characters; the form distribution lets texts of any length",
      "distributions.quantity holds amounts up to 1e30; the form distribution lets any number",
      "distributions.distributed_on holds days; the form distribution lets any text",
      "stock_movements.quantity holds amounts up to 1e30; the form stock-movement lets any number",
    ]);
    // No finding is a false alarm: the form takes the document, and the view does not.
    const gate = createGate(store);
    for (const { subject, version, example, column } of findings) {
      const { annotations } = store.versions(subject)[version - 1]!;
      const [type] = annotations.events as [string];
      expect(gate.check({ subject, version }, type, annotations.entity!, example)).toBeNull();
      const event = {
        type,
        data: example,
        entity: { type: annotations.entity!, id: "x" },
        actor: "a",
        occurredAt: "",
        site: "s",
      };
      expect(misfitIn(views, event)).toMatchObject({ column });
    }
  });
});

describe("a column that holds less than its form lets through is named", () => {
  it.each<[Columns, JsonObject, string]>([
    [{ day: date() }, { day: { type: "string" } }, "visits.day holds days; the form visit lets any text"],
    [
      { day: date() },
      { day: { type: "string", pattern: "^[0-9]{2}/[0-9]{2}/[0-9]{4}$" } },
      'visits.day holds days; the form visit lets texts like "03/05/2026"',
    ],
    [
      { day: date() },
      { day: { type: "string", format: "date-time" } },
      'visits.day holds days; the form visit lets texts like "2026-05-03T08:00:00Z"',
    ],
    [
      { at: timestamp() },
      { at: { type: "string", format: "date" } },
      'visits.at holds times; the form visit lets texts like "2026-05-03"',
    ],
    [
      { day: date() },
      { day: { enum: ["today", "2026-05-03"] } },
      'visits.day holds days; the form visit lets texts like "today"',
    ],
    [
      { n: integer() },
      { n: { type: "number", maximum: 9, minimum: 0 } },
      "visits.n holds whole numbers up to 9007199254740991; the form visit lets numbers",
    ],
    [
      { n: integer() },
      { n: { type: "integer" } },
      "visits.n holds whole numbers up to 9007199254740991; the form visit lets any whole number",
    ],
    [{ n: decimal() }, { n: { type: "number" } }, "visits.n holds amounts up to 1e30; the form visit lets any number"],
    [
      { n: text() },
      { n: { type: ["string", "integer"], maximum: 10 } },
      "visits.n holds texts; the form visit lets whole numbers",
    ],
    [{ yes: boolean() }, { yes: { enum: ["yes", "no"] } }, 'visits.yes holds true or false; the form visit lets texts like "no"'],
    [{ n: text() }, { n: { type: "array", items: { type: "string" } } }, "visits.n holds texts; the form visit lets lists"],
    [
      { key: text({ index: true }) },
      { key: { type: "string", maxLength: 700 } },
      "visits.key holds texts of at most 600 characters; the form visit lets texts of any length",
    ],
  ])("%#", (columns, properties, message) => {
    expect(found(columns, properties, set(), { required: Object.keys(properties) })).toEqual([message]);
  });

  it("even if a function of the declaration writes it, by the documents that show it", () => {
    const rule = map(({ data }) => ({ day: (data.given as string).slice(0, 10), n: data.amount as number }));
    expect(
      found({ day: date(), n: integer() }, { given: { type: "string", format: "date-time" }, amount: { type: "number" } }, rule, {
        required: ["given"],
      }),
    ).toEqual(["visits.n holds whole numbers up to 9007199254740991; the form visit lets any number"]);
    expect(
      found(
        { day: date() },
        { given: { type: "string" } },
        map(({ data }) => ({ day: (data.given as string).trim() })),
      ),
    ).toHaveLength(1);
  });

  it("even if the member stands within another", () => {
    const properties = { address: { type: "object", properties: { since: { type: "string" } }, required: ["since"] } };
    const rule = map(({ data }) => ({ since: (data.address as { since: string }).since }));
    expect(found({ since: date() }, properties, rule, { required: ["address"] })[0]).toMatch(
      /^visits.since holds days; its declaration makes something else of data of the form visit like \{"address":\{"since":.*$/,
    );
  });
});

describe("nothing is said of a column", () => {
  it.each<[string, Columns, JsonObject, EventRule?]>([
    ["for days, if the form has days", { day: date() }, { day: { type: "string", format: "date" } }],
    ["for times, if the form has times", { at: timestamp() }, { at: { type: "string", format: "date-time" } }],
    ["for texts, if the form has any text", { n: text() }, { n: { type: ["string", "null"] } }],
    ["for whole numbers, if the form bounds them", { n: integer() }, { n: { type: "integer", minimum: 0, maximum: 40 } }],
    ["for anything", { n: json() }, { n: true }],
    ["that no member of the form writes", { other: date() }, { n: { type: "string" } }],
    ["that the rule does not name", { day: date(), n: text() }, { day: { type: "string" }, n: { type: "string" } }, set("n")],
    [
      "that is written by a function that throws on all that is tried",
      { day: date() },
      { day: { type: "string" } },
      map(() => {
        throw new Error("no");
      }),
    ],
    [
      "that is written by a function that makes every value fit",
      { n: decimal() },
      { n: { type: "number" } },
      map(({ data }) => ({ n: Math.min(Number(data.n ?? 0), 9) })),
    ],
  ])("%s", (_, columns, properties, rule) => {
    expect(found(columns, properties, rule)).toEqual([]);
  });
});

describe("an event type that a view takes and no form has", () => {
  const visits = [view({ day: date() })];
  const form = { subject: "visit", entity: "visit", events: ["visit.made"] };
  it.each<[string, Parameters<typeof unfedEvents>[1], string[]]>([
    ["is not reported if a form declares it", [form], []],
    ["is not reported if a form for any entity declares it", [{ ...form, entity: "*" }], []],
    ["is named if no form declares it", [{ ...form, events: ["visit.maid"] }], ["visits takes visit.made; no form declares it"]],
    [
      "is named if the form that declares it is for another entity",
      [{ ...form, entity: "call" }],
      ["visits takes visit.made; the form visit declares it for call, not for visit"],
    ],
  ])("%s", (_, forms, says) => expect(unfedEvents(visits, forms).map((each) => each.says)).toEqual(says));

  it("does not occur in the project's own views", async () => {
    const views = await loadProjections(join(ROOT, "projections"));
    expect(unfedEvents(views, formsOf(loadSchemas(join(ROOT, "schemas"))))).toEqual([]);
  });
});
