import { describe, expect, it } from "vitest";
import { checkViews } from "../../services/merge/engine.ts";
import { date, decimal, defineProjection, set, text } from "../../services/merge/index.ts";
import { bucketOf, scopesOf } from "../../services/merge/scope.ts";

const declare = (name: string, more: object) =>
  defineProjection({
    name,
    entity: "person",
    columns: { district: text(), born_on: date(), weight: decimal() },
    derive: { month: { column: text(), of: ({ born_on }) => (born_on === null ? null : String(born_on).slice(0, 7)) } },
    events: { "person.noted": set() },
    ...more,
  });

describe("the scope of a view", () => {
  const people = declare("people", { scopeBy: ["district", "month"] });

  it("puts an entity into the bucket of its row's values", () => {
    expect(bucketOf(people, { district: "Gulu", born_on: "1990-05-04", month: "1990-05" })).toEqual({
      entityType: "person",
      columns: ["district", "month"],
      values: ["Gulu", "1990-05"],
    });
    expect(bucketOf(people, {})).toEqual({ entityType: "person", columns: ["district", "month"], values: [null, null] });
    expect(bucketOf(declare("all", {}), { district: "Gulu" })).toEqual({ entityType: "person", columns: [], values: [] });
  });

  it("is that of the one view of the type which declares it", () => {
    expect(scopesOf([declare("all", {}), people])).toEqual(new Map([["person", ["district", "month"]]]));
    expect(scopesOf([declare("all", {})])).toEqual(new Map([["person", []]]));
    expect(() => checkViews([people, declare("others", { scopeBy: ["district"] })])).toThrow(
      "people says already which bucket a person is in",
    );
  });

  it.each([
    [["village"], "a column village that is not declared"],
    [["district", "district"], "names a column twice"],
    [[], "it needs 1 to 4"],
    [["weight"], "a scope is made of text, integer, boolean, date columns"],
  ])("is refused if it names %j", (scopeBy, says) => {
    expect(() => declare("people", { scopeBy })).toThrow(says);
  });

  it("is part of what makes a view be built again, and a view without one keeps its build", () => {
    expect(people.shape).not.toEqual(declare("people", {}).shape);
    expect(declare("people", { scopeBy: ["district"] }).shape).not.toEqual(people.shape);
    expect(JSON.stringify(declare("people", {}).shape)).not.toContain("scopeBy");
  });
});
