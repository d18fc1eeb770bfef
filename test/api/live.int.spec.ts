import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { type CasesTold, type Live, type LiveOptions, openLive, type RowsTold } from "../../services/api/index.ts";
import { EVERYBODY, type Viewer } from "../../services/core/index.ts";
import { type Field, type NewEvent, openField } from "../../services/field/index.ts";
import { issueToken } from "../../services/http/index.ts";
import { defineProjection, manual, set, text } from "../../services/merge/index.ts";
import { rebuild } from "../../services/projector/index.ts";
import { askRefold, inTransaction, tellSwapped } from "../../services/views/index.ts";
import { gate, number, openTestHub, registration, type TestHub, update } from "../support/hub.ts";
import { type Copy, copyOf, readView } from "../support/live.ts";
import { chooser } from "../support/random.ts";
import { eventually, sleep } from "../support/temp.ts";

const SEED = Number(process.env.TRIBUTARY_TEST_SEED ?? Date.now() % 100_000);
const { int } = chooser(SEED);

const RELIEF: Viewer = { orgs: ["relief"] };
const HEALTH: Viewer = { orgs: ["health"] };
const ORGS = ["relief", "health"] as const;
/** How many people each organisation has. */
const PEOPLE = 20;
const idOf = (org: (typeof ORGS)[number], n: number): string => number((org === "relief" ? 1_000 : 2_000) + n);

const phones = defineProjection({
  name: "phones",
  entity: "beneficiary",
  columns: { phone: text({ index: true }), given_name: text() },
  resolve: { phone: manual },
  events: { "beneficiary.registered": set(), "beneficiary.updated": set() },
  invariants: { not_zero: { problem: ({ phone }) => (phone === "+254700000000" ? "it is not a number" : null) } },
});

let hub: TestHub;
const fields = new Map<string, Field>();
const lives: Live[] = [];
let writes = 0;

const openHere = (more: Partial<LiveOptions> = {}): Live => {
  const live = openLive({
    postgresUrl: hub.backends.postgres.url,
    views: () => hub.projections,
    say: (event) => hub.said.push(event),
    ...more,
  });
  lives.push(live);
  return live;
};
const send = async (org: (typeof ORGS)[number], events: readonly NewEvent[]): Promise<void> => {
  const field = fields.get(org);
  if (field === undefined) throw new Error(`${org} has no device`);
  await field.appendMany(events);
  const token = await issueToken(hub.key, { org, site: "base", lifetimeS: 3600, nowMs: Date.now() });
  await field.sync({ url: hub.backends.nats.url, token, batchEvents: 20 });
};
/** Changes of random people, each to what was nowhere before. */
const changes = (org: (typeof ORGS)[number], count: number): NewEvent[] =>
  Array.from({ length: count }, () => update(idOf(org, int(0, PEOPLE - 1)), { village: `v${++writes}` }));

beforeAll(async () => {
  hub = await openTestHub({ views: [phones] });
  for (const org of ORGS) {
    fields.set(org, openField({ path: join(hub.dir, `${org}.db`), name: { org, site: "base", device: "t1" }, schemas: gate }));
    await send(
      org,
      Array.from({ length: PEOPLE }, (_, n) =>
        registration(idOf(org, n), { given_name: org, phone: `+25470000${idOf(org, n).slice(-4)}` }),
      ),
    );
  }
  await hub.startProjector();
  await hub.projected();
});
afterEach(() => Promise.all(lives.splice(0).map((live) => live.close())));
afterAll(async () => {
  for (const field of fields.values()) field.close();
  await hub?.close();
});

/** Waits until a copy shows what the view shows. */
const abreast = (live: Live, viewer: Viewer, copy: Copy, where: Parameters<typeof readView>[3] = []): Promise<unknown> =>
  eventually("a copy that shows what the view shows", async () => {
    const { rows } = await readView(live, viewer, "beneficiaries", where);
    return JSON.stringify([...rows].sort()) === JSON.stringify([...copy.rows].sort());
  });

/** What a stream tells, as it comes. */
function heard<T>(stream: AsyncIterable<T>): { readonly told: T[]; readonly end: Promise<unknown> } {
  const told: T[] = [];
  const listen = async (): Promise<null> => {
    for await (const each of stream) told.push(each);
    return null;
  };
  return { told, end: listen().catch((error: unknown) => error) };
}
const begun = (of: { readonly told: readonly unknown[] }): Promise<unknown> =>
  eventually("the beginning", async () => of.told.length > 0);
const rowsIn = (told: readonly RowsTold[]) => told.flatMap((each) => (each.kind === "rows" ? each.rows : []));
const goneIn = (told: readonly RowsTold[]) => told.flatMap((each) => (each.kind === "rows" ? each.gone : []));

describe(`whoever follows a view (seed ${SEED})`, () => {
  it("misses nothing and is told nothing twice, however often they connect again, and sees nobody else's rows", async () => {
    let live = openHere();
    const some = [{ column: "village", operator: ">=" as const, value: "v3" }];
    const copies = [
      { viewer: RELIEF, where: [], copy: copyOf(() => live, { viewer: RELIEF, view: "beneficiaries" }) },
      { viewer: HEALTH, where: [], copy: copyOf(() => live, { viewer: HEALTH, view: "beneficiaries" }) },
      { viewer: HEALTH, where: some, copy: copyOf(() => live, { viewer: HEALTH, view: "beneficiaries", where: some }) },
      { viewer: EVERYBODY, where: [], copy: copyOf(() => live, { viewer: EVERYBODY, view: "beneficiaries" }) },
    ];
    for (const { copy } of copies) await copy.connect();
    let isWriting = true;
    const reconnecting = copies.map(async ({ copy }) => {
      while (isWriting) {
        await sleep(int(0, 60));
        await copy.disconnect();
        await sleep(int(0, 60));
        await copy.connect();
      }
    });
    for (let round = 0; round < 12; round++) {
      await Promise.all(ORGS.map((org) => send(org, changes(org, int(1, 40)))));
      if (round === 6) {
        const before = live;
        live = openHere();
        await before.close();
      }
      if (round % 3 === 2)
        await hub.db.query(
          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'tributary-live %'",
        );
    }
    isWriting = false;
    await Promise.all(reconnecting);
    await hub.projected();
    for (const { viewer, where, copy } of copies) await abreast(live, viewer, copy, where);
    for (const { viewer, copy } of copies) {
      expect(copy.twice).toEqual([]);
      expect(copy.told.filter(({ kind }) => kind === "reset")).toEqual([]);
      const ids = [...rowsIn(copy.told).map(({ id }) => id), ...goneIn(copy.told)];
      expect(ids.length).toBeGreaterThan(0);
      const own = ORGS.filter((org) => viewer.orgs?.includes(org) ?? true).flatMap((org) =>
        Array.from({ length: PEOPLE }, (_, n) => idOf(org, n)),
      );
      expect(ids.filter((id) => !own.includes(id))).toEqual([]);
    }
    for (const { copy } of copies) await copy.disconnect();
  });
});
