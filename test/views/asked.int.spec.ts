import { afterAll, beforeAll, expect, it } from "vitest";
import { type EntityRef, ORDER_DEVICE, ORDER_ENTITY, ORDER_NOTED, type OriginId, type Seq } from "../../services/core/index.ts";
import type { Projection } from "../../services/merge/engine.ts";
import { defineProjection, logOrder, set, text } from "../../services/merge/index.ts";
import { askAgain, connectViews, type Db, inTransaction, migrate, type PageChanges } from "../../services/views/index.ts";
import { WAIT_MS } from "../support/patience.ts";
import { openPostgres } from "../support/postgres.ts";

const people: Projection = defineProjection({
  name: "people",
  entity: "person",
  columns: { name: text() },
  resolve: { name: logOrder("last", { hub: "coastaaaaaaa" }) },
  events: { "person.registered": set() },
});
const HOUSE = "houses";

let postgres: Awaited<ReturnType<typeof openPostgres>>;
let db: Db;
const open: Db[] = [];
beforeAll(async () => {
  postgres = await openPostgres();
  db = postgres.db;
  await migrate(db);
});
afterAll(async () => {
  await Promise.all(open.map((each) => each.end()));
  await postgres?.close();
});

const another = async (): Promise<Db> => {
  const made = await connectViews(postgres.url, "tributary-test-asked");
  open.push(made);
  return made;
};

const ORIGIN = "relief.nyeri.tablet-1.aaaaaaaa" as OriginId;
const HUB_ORIGIN = `relief.hub.${ORDER_DEVICE}.aaaaaaaa` as OriginId;
const auditRow = (seq: number, position: number, of: { origin?: OriginId; type?: string; entity?: EntityRef; data?: string }) => {
  const { origin = ORIGIN, type = "person.registered", entity = { type: "person", id: "p-1" }, data = "{}" } = of;
  const [org, site, device] = origin.split(".");
  return db.query(
    `INSERT INTO tributary.audit (origin, seq, position, id, type, entity_type, entity_id, actor, org, site, device, occurred_at, recorded_at, hlc,
       schema_subject, schema_version, basis, data, prev, hash)
     VALUES ($1, $2, $3, gen_random_uuid(), $4, $5, $6, 'amina', $7, $8, $9, now(), now(), '', 'person', 1, '{}', $10, '', '')`,
    [origin, seq, position, type, entity.type, entity.id, org, site, device, data],
  );
};

const views = [{ view: "people", entity: "person" }];
const target = (name: string) => ({ projection: { ...people, name }, generation: 1, namespace: "views", totals: [] });
const WAITING =
  "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
const areWaiting = (count: number): Promise<void> =>
  expect.poll(async () => (await db.query(WAITING)).rowCount, { timeout: WAIT_MS, interval: 20 }).toBe(count);
const asked = async (): Promise<string[]> =>
  (await db.query<{ name: string }>("SELECT view || '/' || entity_id AS name FROM tributary.refold ORDER BY 1")).rows.map(
    ({ name }) => name,
  );
const page = (of: Partial<Pick<PageChanges, "waiting" | "ordering">>) => ({ waiting: [], ordering: null, ...of });

it("two processes never wait for each other, of which one writes a note of places and the other events of an entity that it places", async () => {
  await auditRow(0, 10, {});
  await auditRow(0, 20, {
    ...{ origin: HUB_ORIGIN, type: ORDER_NOTED, entity: { type: ORDER_ENTITY, id: ORIGIN } },
    data: JSON.stringify({ origin: ORIGIN, from: 0, through: 0 }),
  });
  const event = { origin: ORIGIN, seq: 0 as Seq };
  const [holder, noting, writing] = [await another(), await another(), await another()];
  await holder.query("BEGIN");
  await holder.query("SELECT pg_advisory_xact_lock(7401117)");
  const noted = page({ ordering: { noted: [{ origin: ORIGIN, from: event.seq, through: event.seq }], unplaced: [], views } });
  const first = inTransaction(noting, () => askAgain(noting, noted, 1));
  first.catch(() => {});
  await areWaiting(1);
  // An entity that is parked, and has an event more that no note places yet.
  const more = page({ waiting: [{ target: target("people"), id: "p-1" }], ordering: { noted: [], unplaced: [event], views } });
  const second = inTransaction(writing, () => askAgain(writing, more, 2));
  second.catch(() => {});
  await areWaiting(2);
  await holder.query("COMMIT");
  await expect(Promise.all([first, second])).resolves.toBeDefined();
  expect(await asked()).toEqual(["people/p-1"]);
});

it("two processes never wait for each other that ask for the same entities, in whatever order these came", async () => {
  const ids = Array.from({ length: 200 }, (_, n) => `p-${n}`);
  const both = [HOUSE, "people"];
  const [one, two] = [await another(), await another()];
  const asking = (by: Db, number: number, some: readonly string[], names: readonly string[]): Promise<void> =>
    inTransaction(by, () =>
      askAgain(by, page({ waiting: some.flatMap((id) => names.map((name) => ({ target: target(name), id }))) }), number),
    );
  for (let turn = 0; turn < 5; turn++)
    await Promise.all([asking(one, 1, ids, both), asking(two, 2, ids.toReversed(), both.toReversed())]);
  expect((await asked()).length).toBe(2 * ids.length);
});
