import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Db, migrate, type PageQuestion, type RowCursor, rowsPage, type Stated } from "../../services/views/index.ts";
import { openPostgres } from "../support/postgres.ts";

let postgres: Awaited<ReturnType<typeof openPostgres>>;
let db: Db;

beforeAll(async () => {
  postgres = await openPostgres();
  db = postgres.db;
  await migrate(db);
  await db.query(`CREATE VIEW views.odd AS SELECT * FROM (VALUES
    ('a', 1::bigint, 2.5::numeric, DATE '2026-05-01', TIMESTAMPTZ '2026-05-01T22:30:00Z', true, 'Awɛŋ Deng', '{"x": 1}'::jsonb),
    ('b', 12, 10.25, DATE '0001-01-01', TIMESTAMPTZ '2026-05-02T00:00:00.000001Z', false, '', '"word"'),
    ('c', NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    ('d', 12, -1, DATE '2026-05-03', TIMESTAMPTZ '2026-05-02T00:00:00Z', NULL, 'café', NULL),
    ('e', NULL, 0.1, NULL, NULL, true, 'b', NULL))
    v (id, whole, amount, day, at, yes, name, more)`);
  await db.query(
    "INSERT INTO tributary.generation (view, generation, state, place, kind, shape) VALUES ('odd', 1, 'live', 'views', 'sql', 'of this test')",
  );
});
afterAll(() => postgres?.close());

const ids = async (stated: readonly Stated[]): Promise<string> =>
  (await rowsPage(db, { view: "odd", stated, limit: 10 })).rows.map(({ id }) => id).join("");

/** All rows, so many at a time. */
async function walked(question: Omit<PageQuestion, "view">): Promise<string> {
  let found = "";
  for (let behind: RowCursor | null | undefined; behind !== null; ) {
    const page = await rowsPage(db, { view: "odd", ...question, ...(behind === undefined ? {} : { behind }) });
    expect(page.rows.length).toBeLessThanOrEqual(question.limit);
    found += page.rows.map(({ id }) => id).join("");
    // A cursor goes through text on its way to a program and back.
    behind = JSON.parse(JSON.stringify(page.next)) as RowCursor | null;
  }
  return found;
}

describe("a page of rows", () => {
  it("goes on where the one before it ended, in every order, whatever the columns hold", async () => {
    for (const column of ["id", "whole", "amount", "day", "at", "yes", "name"])
      for (const direction of ["", ":desc"]) {
        const sort = `${column}${direction}`;
        const { rows } = await rowsPage(db, { view: "odd", sort, limit: 10 });
        const whole = rows.map(({ id }) => id).join("");
        expect(whole).toHaveLength(5);
        for (const limit of [1, 2, 3]) expect([sort, limit, await walked({ sort, limit })]).toEqual([sort, limit, whole]);
      }
  });

  it("neither loses rows nor shows one twice when the row that it ended at is gone", async () => {
    const first = await rowsPage(db, { view: "odd", sort: "whole", limit: 1 });
    expect(first).toMatchObject({ rows: [{ id: "a" }], next: { value: "1", id: "a" }, total: null });
    const after = await rowsPage(db, { view: "odd", sort: "whole", limit: 1, behind: { value: "5", id: "gone" } });
    expect(after.rows).toMatchObject([{ id: "b" }]);
  });

  it("counts what the conditions hold for, where that is asked", async () => {
    const page = await rowsPage(db, {
      view: "odd",
      stated: [{ column: "yes", operator: "=", value: true }],
      limit: 1,
      counts: true,
    });
    expect(page).toMatchObject({ total: 2, rows: [{ id: "a", values: { whole: 1, amount: 2.5, day: "2026-05-01" } }] });
  });
});

it.each<[readonly Stated[], string]>([
  [[{ column: "whole", operator: ">=", value: 12 }], "bd"],
  [[{ column: "whole", operator: "!=", value: 12 }], "ace"],
  [[{ column: "whole", in: [1, 12] }], "abd"],
  [[{ column: "whole", in: [] }], ""],
  [[{ column: "whole", isNull: true }], "ce"],
  [[{ column: "name", isNull: false }], "abde"],
  [[{ column: "name", operator: "=", value: "" }], "b"],
  [[{ column: "name", operator: "=", value: "cafe\u0301" }], "d"],
  [[{ column: "name", operator: "~", value: "DENG" }], "a"],
  [
    [
      { column: "day", operator: "<", value: "2026-05-02" },
      { column: "yes", operator: "=", value: true },
    ],
    "a",
  ],
  [[{ column: "at", operator: ">", value: "2026-05-01T22:30:00Z" }], "bd"],
  [[{ column: "amount", operator: "<=", value: 2.5 }], "ade"],
  [[{ column: "more", operator: "=", value: '{"x":1}' }], "a"],
])("conditions that a program states hold together: %j", async (stated, found) => {
  expect(await ids(stated)).toBe(found);
});

it.each<[Stated, RegExp]>([
  [{ column: "whole", operator: "=", value: "many" }, /holds whole numbers, and "many"/],
  [{ column: "whole", in: [1, 2.5] }, /holds whole numbers, and 2.5/],
  [{ column: "yes", operator: ">", value: true }, /has no order/],
  [{ column: "day", operator: "=", value: "2026-02-30" }, /holds days/],
  [{ column: 'id" OR true --', operator: "=", value: 1 }, /has no column/],
])("what a column cannot be asked is refused: %j", async (stated, message) => {
  await expect(ids([stated])).rejects.toMatchObject({ code: "input-malformed", message: expect.stringMatching(message) });
});
