import { expect, it } from "vitest";
import { defineProjection, defineTotals, integer, set, text } from "../../services/merge/index.ts";

const base = { name: "extents", entity: "beneficiary", events: { "beneficiary.registered": set() } } as const;

it.each(["xmin", "xmax", "cmin", "cmax", "ctid", "tableoid"])(
  "a column that PostgreSQL keeps for itself is refused by name: %s",
  (name) => {
    const refused = expect.objectContaining({ code: "projection-malformed", message: expect.stringContaining(`column ${name}`) });
    expect(() => defineProjection({ ...base, columns: { [name]: text() } })).toThrow(refused);
    expect(() =>
      defineProjection({
        ...base,
        columns: { village: text() },
        tables: { parts: { columns: { [name]: text() }, rows: () => [] } },
      }),
    ).toThrow(refused);
    expect(() =>
      defineTotals({ name: "sums", keys: { [name]: text() }, sums: { count: integer() }, from: { extents: () => null } }),
    ).toThrow(refused);
  },
);

it("a table's name that PostgreSQL would cut is refused, with both names", () => {
  const declare = (table: string) => () =>
    defineProjection({
      ...base,
      name: "household_members_and_their_needs_by_assessment",
      columns: { village: text() },
      tables: { [table]: { columns: { what: text() }, rows: () => [] } },
    });
  expect(declare("vulnerability_of_children")).toThrow(
    expect.objectContaining({
      code: "projection-malformed",
      message: expect.stringContaining("_vulnerability_of_children, which has 73 letters"),
    }),
  );
  expect(declare("needs_of_child")).not.toThrow();
});
