import { afterAll, beforeAll, expect, it } from "vitest";
import {
  type ChangeNote,
  connectViews,
  type Db,
  inTransaction,
  migrate,
  noteChanges,
  presentOf,
} from "../../services/views/index.ts";
import { openPostgres } from "../support/postgres.ts";
import { eventually } from "../support/temp.ts";

let postgres: Awaited<ReturnType<typeof openPostgres>>;
let [db, other]: Db[] = [];
const both = (): readonly [Db, Db] => {
  if (db === undefined || other === undefined) throw new Error("there are no connections");
  return [db, other];
};
beforeAll(async () => {
  postgres = await openPostgres();
  db = postgres.db;
  other = await connectViews(postgres.url, "test-other");
  await migrate(db);
});
afterAll(async () => {
  await other?.end();
  await postgres?.close();
});

const row = (id: string): ChangeNote => ({ kind: "row", view: "people", entity: { type: "person", id } });
const noted = async (): Promise<readonly string[]> =>
  (await both()[0].query("SELECT number || ' ' || id AS text FROM tributary.change ORDER BY number")).rows.map(
    ({ text }) => text,
  );

it("notes get numbers in the order in which they can be seen, whoever writes them", async () => {
  const [one, two] = both();
  await one.query("BEGIN");
  await noteChanges(one, [row("a"), row("b")]);
  const later = inTransaction(two, () => noteChanges(two, [row("c")]));
  // The second waits for the first: nobody sees the third note before the first two.
  await eventually("the waiting", async () => {
    const { rows } = await one.query("SELECT FROM pg_locks WHERE NOT granted");
    return rows.length > 0;
  });
  await one.query("COMMIT");
  await later;
  expect(await noted()).toEqual(["1 a", "2 b", "3 c"]);
  await one.query("BEGIN");
  await noteChanges(one, [row("undone")]);
  await one.query("ROLLBACK");
  await noteChanges(two, [row("d")]);
  expect((await noted()).at(-1)).toBe("4 d");
  expect(await presentOf(one)).toMatchObject({ number: 4n, trimmed: 0n });
});

it("old notes are deleted once in a while, and whoever stands before them is told by a number", async () => {
  const [one] = both();
  await one.query("UPDATE tributary.change_head SET number = 100998");
  await noteChanges(one, [row("e")]);
  expect(await noted()).toHaveLength(5);
  await noteChanges(one, [row("f"), row("g")]);
  expect(await noted()).toEqual(["100999 e", "101000 f", "101001 g"]);
  expect(await presentOf(one)).toMatchObject({ number: 101_001n, trimmed: 4n });
  await one.query("UPDATE tributary.change SET noted_at = now() - interval '8 days' WHERE id = 'f'");
  await one.query("UPDATE tributary.change_head SET number = 101999");
  await noteChanges(one, [row("h")]);
  expect(await noted()).toEqual(["100999 e", "101001 g", "102000 h"]);
  expect(await presentOf(one)).toMatchObject({ trimmed: 101_000n });
});

it("a count that was lost begins again as another one", async () => {
  const [one] = both();
  const before = await presentOf(one);
  await one.query("DELETE FROM tributary.change_head; DELETE FROM tributary.change");
  await noteChanges(one, [row("i")]);
  const now = await presentOf(one);
  expect(now.number).toBe(1n);
  expect(now.life).not.toBe(before.life);
});
