import { afterAll, beforeAll, expect, it } from "vitest";
import { csvLine } from "../../services/core/index.ts";
import { type RowsQuestion, rows, withRows } from "../../services/views/index.ts";
import { openTestHub, type TestHub } from "../support/hub.ts";

let hub: TestHub;

/** A view of somebody's own SQL: its columns may have any names. */
const ODD = `CREATE VIEW views.odd AS SELECT * FROM (VALUES
  ('a', 1::bigint, 2.5::numeric, DATE '2026-05-01', TIMESTAMPTZ '2026-05-01T22:30:00Z', true, 'Awɛŋ Deng', '{"x": 1}'::jsonb, 'p'),
  ('b', 12, 10.25, DATE '0001-01-01', TIMESTAMPTZ '2026-05-02T00:00:00Z', false, '', '"word"', NULL),
  ('c', NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'q'),
  ('d', 7, -1, DATE '2026-05-03', TIMESTAMPTZ '2026-05-03T08:00:00.123Z', NULL, 'café', NULL, 'p'))
  v (id, "Total, kg", "a>=b", day, at, "order", "__proto__", "state", "Total")`;

const makeLive = (view: string) =>
  hub.db.query(
    "INSERT INTO tributary.generation (view, generation, state, place, kind, shape) VALUES ($1, 1, 'live', 'views', 'sql', 'of this test')",
    [view],
  );

beforeAll(async () => {
  hub = await openTestHub();
  await hub.db.query(ODD);
  await makeLive("odd");
});
afterAll(() => hub?.close());

const ask = (more: Omit<RowsQuestion, "view" | "page"> & Partial<Pick<RowsQuestion, "page">>): Promise<string> =>
  rows(hub.db, { view: "odd", page: {}, ...more }).then(({ rows: found }) => found.map(({ id }) => id).join(""));

it.each([
  [["Total, kg>=7"], "bd"],
  [["Total, kg != 7"], "abc"],
  [["Total, kg="], "c"],
  [["Total, kg!="], "abd"],
  [["a>=b>2.5"], "b"],
  [["a>=b>=2.5", "Total, kg<12"], "a"],
  [["a>=b=10.250"], "b"],
  [["a>=b<0"], "d"],
  [["day<2026-05-02"], "ab"],
  [["day=0001-01-01"], "b"],
  [["day>=2026-05-01", "day<=2026-05-03"], "ad"],
  [["at=2026-05-01"], "a"],
  [["at>2026-05-01"], "bd"],
  [["at<=2026-05-02"], "ab"],
  [["at=2026-05-03T08:00:00.123Z"], "d"],
  [["at>=2026-05-02T00:00Z"], "bd"],
  [["at=2026-05-03T10:00:00.123+02:00"], "d"],
  [["order=true"], "a"],
  [["order!=true"], "bcd"],
  [["__proto__~DENG"], "a"],
  [["__proto__=cafe\u0301"], "d"],
  [["__proto__~CaFe\u0301"], "d"],
  [["__proto__="], "bc"],
  [['state={"x":1}'], "a"],
  [["state=word"], "b"],
  [["Total=p"], "ad"],
  [["Total==p"], "ad"],
  [["Total<>p"], "bc"],
  [["Total=p", "Total=q"], ""],
])("conditions hold together, each by its column's type: %j", async (where, ids) => {
  expect(await ask({ where })).toBe(ids);
});

it.each([
  ["Total, kg=many", /holds whole numbers, and "many" is not one/],
  ["Total, kg>2.5", /holds whole numbers/],
  ["Total, kg=9223372036854775808", /holds whole numbers/],
  ["a>=b=1e400", /holds numbers/],
  ["day>2026-02-30", /holds days/],
  ["day>03/05/2026", /holds days/],
  ["at>2026-05-03T08:00", /holds times/],
  ["order=yes", /holds true or false/],
  ["order>true", /has no order/],
  ["state>1", /has no order/],
  ["Total>", /has no value/],
  ["Total", /is not a condition/],
  ["nope=1", /has no column "nope"/],
])("what a column cannot be asked is refused, with what to write: %s", async (where, message) => {
  await expect(ask({ where: [where] })).rejects.toMatchObject({
    code: "usage",
    message: expect.stringMatching(message),
    hint: expect.stringMatching(/./),
  });
});

it.each([
  ["Total, kg", "adbc"],
  ["Total, kg:desc", "bdac"],
  ["day:asc", "badc"],
  ["id:desc", "dcba"],
  ["Total:desc", "cadb"],
])("rows come in the order of a column, those without a value last: %s", async (sort, ids) => {
  expect(await ask({ sort })).toBe(ids);
  // Page by page it is the same.
  let paged = "";
  for (let after: string | undefined; paged.length < ids.length; after = paged.at(-1)) {
    const page = await ask({ sort, page: { limit: 1, ...(after === undefined ? {} : { after }) } });
    expect(page).toHaveLength(1);
    paged += page;
  }
  expect(paged).toBe(ids);
});

it.each([
  ["state", /have no order by state/],
  ["Total:up", /up is not a direction/],
  ["nope", /no column "nope"/],
])("an order that there is not is refused: %s", async (sort, message) => {
  await expect(ask({ sort })).rejects.toMatchObject({ code: "usage", message: expect.stringMatching(message) });
});

it("columns are chosen by their names, whatever these hold", async () => {
  const { columns, rows: found } = await rows(hub.db, { view: "odd", id: "a", columns: '"Total, kg",at,day', page: {} });
  expect(columns).toEqual(["Total, kg", "at", "day"]);
  expect(found).toEqual([{ "Total, kg": 1, at: "2026-05-01T22:30:00.000Z", day: "2026-05-01" }]);
  expect((await rows(hub.db, { view: "odd", columns: "Total, kg", page: {} })).columns).toEqual(["Total, kg"]);
  await expect(rows(hub.db, { view: "odd", columns: "id,nope", page: {} })).rejects.toMatchObject({ code: "usage" });
});

it("a page says how many rows there are, and whether others follow", async () => {
  const page = await withRows(
    hub.db,
    { view: "odd", where: ["id!=c"], page: { limit: 2 } },
    async ({ total, shown, hasMore }) => ({ total, shown, hasMore }),
  );
  expect(page).toEqual({ total: 3, shown: 2, hasMore: true });
  const last = await withRows(
    hub.db,
    { view: "odd", where: ["id!=c"], page: { limit: 2, after: "b" } },
    async ({ total, shown, hasMore }) => ({ total, shown, hasMore }),
  );
  expect(last).toEqual({ total: 3, shown: 1, hasMore: false });
});

it("a view of any size comes in pages, and no page holds it all", async () => {
  await hub.db.query(`CREATE VIEW views.long AS SELECT n::text AS id, n FROM generate_series(1, 20000) n`);
  await makeLive("long");
  const sizes = await withRows(hub.db, { view: "long", page: {} }, async ({ pages }) => {
    const found: number[] = [];
    for await (const page of pages) found.push(page.length);
    return found;
  });
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(20_000);
  expect(sizes.reduce((most, size) => Math.max(most, size), 0)).toBeLessThanOrEqual(500);
});

it("a line of CSV is as RFC 4180 has it", () => {
  expect(csvLine(["a", null, "", 'say "so"', "x,y", "two\r\nlines", 1.5, true, { x: 1 }, " edge"])).toBe(
    'a,,"","say ""so""","x,y","two\r\nlines",1.5,true,"{""x"":1}"," edge"\r\n',
  );
});
