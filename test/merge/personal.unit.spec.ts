import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadProjections } from "../../services/cli/projections.ts";
import type { JsonObject } from "../../services/core/index.ts";
import { formsOf, type SchemaStore, schemaVersion } from "../../services/gate/index.ts";
import { loadSchemas } from "../../services/gate/node.ts";
import { type EventRule, personalScopes } from "../../services/merge/engine.ts";
import { date, defineProjection, map, set, text } from "../../services/merge/index.ts";

const ROOT = join(import.meta.dirname, "../..");

const FORM: SchemaStore = (() => {
  const schema = {
    tributary: { entity: "visit", events: ["visit.made"], personal: ["name", "born"] },
    type: "object",
    properties: { name: { type: "string" }, born: { type: "string", format: "date" }, district: { type: "string" } },
    additionalProperties: false,
  };
  const version = schemaVersion("visit", 1, { kind: "json", text: JSON.stringify(schema), references: [] }, () => undefined);
  return { subjects: () => ["visit"], versions: (subject) => (subject === "visit" ? [version] : []) };
})();

const view = (scopeBy: readonly string[], rule: EventRule = set()) =>
  defineProjection({
    name: "visits",
    entity: "visit",
    columns: { name: text(), born: date(), district: text() },
    derive: { decade: { column: text(), of: ({ born }) => (born === null ? null : born.slice(0, 3)) } },
    events: { "visit.made": rule },
    scopeBy,
  });
const found = (scopeBy: readonly string[], rule?: EventRule): string[] =>
  personalScopes([view(scopeBy, rule)], formsOf(FORM)).map(({ column, member }) => `${column} follows from ${member}`);

describe("a scope that gives personal data away", () => {
  it("is found where a column takes a personal member", () => {
    expect(found(["district"])).toEqual([]);
    expect(found(["district", "name"])).toEqual(["name follows from name"]);
  });

  it("is found through derived columns, and through what a declaration makes of an event", () => {
    expect(found(["decade"])).toEqual(["decade follows from born"]);
    const initials = map(({ data }: { readonly data: JsonObject }) => ({ district: String(data.name).slice(0, 1) }));
    expect(found(["district"], initials)).toEqual(["district follows from name"]);
  });

  it("is in none of the project's own views", async () => {
    const views = await loadProjections(join(ROOT, "projections"));
    expect(personalScopes(views, formsOf(loadSchemas(join(ROOT, "schemas"))))).toEqual([]);
  });
});
