import { describe, expect, it } from "vitest";
import type { JsonObject } from "../../services/core/index.ts";
import { openAsker } from "../../services/field/replica/ask.ts";
import { preparer } from "../../services/field/replica/prepared.ts";
import { afterPrefix, type LooseQuery } from "../../services/field/replica/query.ts";
import { addIndex, makeTables, openViewRows } from "../../services/field/replica/view-rows.ts";
import { viewTable } from "../../services/field/replica/view-table.ts";
import { openStore } from "../../services/field/store.ts";
import { boolean, date, defineProjection, integer, json, number, set, text, timestamp } from "../../services/merge/index.ts";
import { chooser } from "../support/random.ts";

const people = defineProjection({
  name: "people",
  entity: "person",
  columns: {
    name: text(),
    size: integer(),
    share: number(),
    born: date(),
    seen_at: timestamp(),
    is_here: boolean(),
    notes: json(),
  },
  events: { "person.changed": set() },
});

interface Given extends JsonObject {
  readonly id: string;
}

/** The view with these rows in it. */
function having(rows: readonly Given[]) {
  const store = openStore({ path: ":memory:", name: { org: "o", site: "s", device: "d" }, create: true, randomEpoch: () => "e" });
  makeTables(store.db, people);
  const into = openViewRows(people, preparer(store.db));
  store.transaction(() => {
    for (const [i, { id, deleted, conflicts, _own, ...values }] of rows.entries())
      into.write(i + 1, id, {
        row: { values, deleted: deleted === true, conflicts: Number(conflicts ?? 0), tables: {} },
        ...{ placed: "{}", shown: null, waitingFor: {}, lastPosition: null, lastChangedMs: null, problem: null },
        own: _own === "pending" || _own === "confirmed" ? _own : null,
      });
  });
  const asker = openAsker(store.db, (view, columns) => addIndex(store.db, view, columns));
  const table = viewTable(people, false);
  return {
    rows: (query: LooseQuery) => asker.rows(table, query),
    ids: (query: LooseQuery) => asker.rows(table, query).map(({ id }) => id),
    plan: (query: LooseQuery) => asker.plan(table, query).join("; "),
  };
}

const FEW: readonly Given[] = [
  {
    id: "a",
    name: "Ana",
    size: 4,
    share: 0.5,
    born: "1990-01-01",
    seen_at: "2026-05-03T08:00:00.000Z",
    is_here: true,
    notes: { x: [1] },
  },
  {
    id: "b",
    name: "Anna",
    size: 2,
    share: null,
    born: "1985-07-09",
    seen_at: "2026-05-03T09:00:00.000Z",
    is_here: false,
    notes: null,
  },
  {
    id: "c",
    name: "Ánna",
    size: null,
    share: 1.5,
    born: null,
    seen_at: null,
    is_here: null,
    notes: null,
    conflicts: 2,
    _own: "pending",
  },
  { id: "d", name: null, size: 7, share: 2, born: "2001-12-31", seen_at: null, is_here: true, notes: null, deleted: true },
];

describe("a question to a view on a device", () => {
  it("gives rows with their values as they were written, and what the device knows of them", () => {
    const { rows } = having(FEW);
    expect(rows({ where: { id: "a" } })).toEqual([
      { ...FEW[0], deleted: false, conflicts: 0, _own: null, _problem: null, _olderRules: false, _withheld: [] },
    ]);
  });

  it("leaves deleted rows out, unless it asks about them", () => {
    const { ids } = having(FEW);
    expect(ids({})).toEqual(["a", "b", "c"]);
    expect(ids({ where: { deleted: true } })).toEqual(["d"]);
    expect(ids({ where: { deleted: [true, false] } })).toEqual(["a", "b", "c", "d"]);
  });

  it("chooses by equality, one of several, ranges, nothing, anything but, and the beginning of a text", () => {
    const { ids } = having(FEW);
    const asks: readonly (readonly [LooseQuery["where"], readonly string[]])[] = [
      [{ size: 2 }, ["b"]],
      [{ size: [2, 4] }, ["a", "b"]],
      [{ size: [] }, []],
      [{ size: [2, null] }, ["b", "c"]],
      [{ size: null }, ["c"]],
      [{ size: { not: null } }, ["a", "b"]],
      [{ size: { not: 2 } }, ["a", "c"]],
      [{ size: { not: [2, null] } }, ["a"]],
      [{ size: { gt: 2 } }, ["a"]],
      [{ size: { gte: 2, lt: 4 } }, ["b"]],
      [{ share: { lte: 0.5 } }, ["a"]],
      [{ born: { gte: "1985-07-09" } }, ["a", "b"]],
      [{ seen_at: { gt: "2026-05-03T10:30:00+02:00" } }, ["b"]],
      [{ seen_at: "2026-05-03T10:00:00+02:00" }, ["a"]],
      [{ is_here: true }, ["a"]],
      [{ name: { prefix: "An" } }, ["a", "b"]],
      [{ name: { prefix: "A\u0301n" } }, ["c"]],
      [{ name: "A\u0301nna" }, ["c"]],
      [{ conflicts: { gt: 0 } }, ["c"]],
      [{ _own: "pending" }, ["c"]],
      [{ notes: null }, ["b", "c"]],
      [{ name: "Ana", is_here: false }, []],
    ];
    for (const [where, expected] of asks) expect(ids({ where }), JSON.stringify(where)).toEqual(expected);
  });

  it("orders by columns either way, with rows without a value last", () => {
    const { ids } = having(FEW);
    expect(ids({ order: "size" })).toEqual(["b", "a", "c"]);
    expect(ids({ order: { column: "size", descending: true } })).toEqual(["a", "b", "c"]);
    expect(ids({ order: ["is_here", { column: "name", descending: true }] })).toEqual(["b", "a", "c"]);
    expect(ids({ order: { column: "id", descending: true }, limit: 2 })).toEqual(["c", "b"]);
  });

  it("refuses what the view does not have, in words that name what there is", () => {
    const { rows } = having(FEW);
    const refused = (query: unknown): string => {
      try {
        rows(query as LooseQuery);
        return "";
      } catch (error) {
        return `${(error as Error).message}. ${(error as { hint: string }).hint}`;
      }
    };
    expect(refused({ where: { surname: "x" } })).toBe(
      'people has no column "surname". Its columns are id, name, size, share, born, seen_at, is_here, notes, deleted, conflicts, _own, _problem.',
    );
    expect(refused({ where: { size: "4" } })).toBe(
      'people.size is an integer column, and "4" does not fit it. Give a whole number.',
    );
    expect(refused({ where: { born: "May" } })).toContain("Give a day like 2026-05-03.");
    expect(refused({ where: { size: { above: 4 } } })).toContain("gt, gte, lt, lte, prefix, not");
    expect(refused({ where: { size: { prefix: "4" } } })).toContain("columns of texts");
    expect(refused({ where: { is_here: { gt: false } } })).toContain("is_here has no order");
    expect(refused({ where: { notes: "x" } })).toContain("people.notes holds JSON");
    expect(refused({ where: { size: {} } })).toContain("says nothing");
    expect(refused({ order: "notes" })).toContain("has no order");
    expect(refused({ limit: 0 })).toContain("limit is 0");
    expect(refused({ sort: "name" })).toContain('no member "sort". It may have where, order, limit, after.');
    expect(refused({ after: "nobody" })).toContain('people has no row "nobody"');
  });

  it("turns pages so that each row comes once and in order, whichever way columns go, with and without values, after a row or its id", () => {
    const { pick: some } = chooser(7);
    const rows = Array.from({ length: 700 }, (_, i) => ({
      id: `p${String(i).padStart(4, "0")}`,
      name: some(["x", "y", "z", null]),
      size: some([1, 2, 3, null]),
      is_here: some([true, false, null]),
    }));
    const view = having(rows);
    const orders: readonly LooseQuery["order"][] = [
      undefined,
      "size",
      { column: "size", descending: true },
      ["name", { column: "size", descending: true }],
      [{ column: "is_here", descending: true }, "name", { column: "id", descending: true }],
    ];
    for (const order of orders)
      for (const where of [{}, { name: "y" }, { size: { gte: 2 } }] as const) {
        const query = { where, ...(order === undefined ? {} : { order }) };
        const all = view.ids(query);
        const paged: string[] = [];
        let after: LooseQuery["after"];
        for (let page = 0; ; page++) {
          const rows = view.rows({ ...query, limit: 97, ...(after === undefined ? {} : { after }) });
          paged.push(...rows.map(({ id }) => id));
          const last = rows.at(-1);
          if (last === undefined) break;
          after = page % 2 === 0 ? last : last.id;
        }
        expect(paged, JSON.stringify(query)).toEqual(all);
        expect(new Set(paged).size).toBe(all.length);
      }
  });

  it("is answered by an index that is made when it is first asked: no other row is read, and nothing is sorted", () => {
    const rows = Array.from({ length: 2_000 }, (_, i) => ({
      id: `p${i}`,
      name: `n${i % 50}`,
      size: i % 7,
      born: i % 3 === 0 ? null : "2000-01-01",
    }));
    const { plan, rows: ask } = having(rows);
    const questions: readonly LooseQuery[] = [
      { where: { name: "n3" } },
      { where: { name: ["n3", "n4"] } },
      { where: { name: { prefix: "n1" } } },
      { where: { size: { gte: 6 } } },
      { where: { name: "n3" }, order: "born", limit: 10 },
      { where: { name: "n3", size: { gt: 2 } }, order: { column: "size", descending: true }, limit: 10 },
      { order: ["size", "name"], limit: 10 },
    ];
    for (const question of questions) {
      const said = plan(question);
      expect(said, JSON.stringify(question)).toMatch(/USING INDEX view_people: /);
      if (question.limit !== undefined) expect(said, JSON.stringify(question)).not.toContain("TEMP B-TREE");
    }
    const last = ask({ order: "size", limit: 1_000 }).at(-1)!;
    expect(plan({ order: "size", limit: 10, after: last })).toMatch(/^SEARCH .*USING INDEX/);
    expect(
      plan({
        where: { name: "n3" },
        order: "born",
        limit: 3,
        after: ask({ where: { name: "n3" }, order: "born", limit: 3 }).at(-1)!,
      }),
    ).toMatch(/^SEARCH .*USING INDEX/);
  });
});

it("the texts after a prefix begin where no text with the prefix can stand", () => {
  expect(afterPrefix("ab")).toBe("ac");
  expect(afterPrefix("\ud7ff")).toBe("\ue000");
  expect(afterPrefix("a\u{10ffff}")).toBe("b");
  expect(afterPrefix("\u{10ffff}")).toBeNull();
  expect(afterPrefix("")).toBeNull();
});
