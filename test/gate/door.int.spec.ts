import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { entityTrail, rowAsOf, verify } from "../../services/audit/index.ts";
import { type JsonObject, type Position, QUARANTINE_ENTITY, REJECTED, RELEASED } from "../../services/core/index.ts";
import type { Field, NewEvent } from "../../services/field/index.ts";
import { openTestHub, registration, SCHEMAS, type TestHub, update } from "../support/hub.ts";
import { eventually, tempDir } from "../support/temp.ts";

let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub({ schemas: SCHEMAS });
});
afterAll(() => hub.close());

const sync = async (field: Field, site: string, url = hub.backends.nats.url) => field.sync({ url, token: await hub.token(site) });
const rowOf = async (id: string): Promise<Record<string, unknown> | undefined> =>
  (await hub.db.query<Record<string, unknown>>("SELECT * FROM views.beneficiaries WHERE id = $1", [id])).rows[0];
interface Held {
  readonly origin: string;
  readonly seq: number;
  readonly hash: string;
  readonly code: string;
  readonly reason: string;
  readonly state: string;
  readonly type: string;
  readonly raw: string;
  readonly subject: string;
  readonly version: number;
}
const quarantined = async (id: string): Promise<Held[]> =>
  (
    await hub.db.query<Held & Record<string, unknown>>(
      "SELECT origin, seq::float8, hash, code, reason, state, type, raw, schema_subject AS subject, schema_version AS version FROM tributary.quarantine WHERE entity_id = $1 ORDER BY position",
      [id],
    )
  ).rows;
const release = (row: Held, id: string, data: JsonObject, over: { entityType?: string } = {}): NewEvent => ({
  type: RELEASED,
  entity: { type: QUARANTINE_ENTITY, id: `${row.origin}/${row.seq}` },
  actor: "operator",
  data: {
    origin: row.origin,
    seq: row.seq,
    hash: row.hash,
    type: row.type,
    entity: { type: over.entityType ?? "beneficiary", id },
    schema: { subject: row.subject, version: row.version },
    data,
  },
});

/** A folder of schemas as an app ships it, with one more version of a subject. */
function folderWith(subject: string, change: (newest: Record<string, JsonObject>) => void): string {
  const dir = tempDir();
  cpSync(SCHEMAS, dir, { recursive: true });
  const newest = subject === "beneficiary" ? 2 : 1;
  const schema = JSON.parse(readFileSync(join(dir, subject, `v${newest}.schema.json`), "utf8")) as Record<string, JsonObject>;
  change(schema);
  mkdirSync(join(dir, subject), { recursive: true });
  writeFileSync(join(dir, subject, `v${newest + 1}.schema.json`), JSON.stringify(schema));
  return dir;
}

it("releases a corrected event at its own point of the causal order: what its author wrote later still holds", async () => {
  const field = hub.field("juba");
  const id = "JUB-100001";
  await field.append(registration(id, { district: "Munuki" }));
  await field.append(update(id, { birth_date: "2019-02-30", village: "Gudele" }), { onInvalid: "keep" });
  await field.append(update(id, { village: "Khor Romla" }));
  await sync(field, "juba");
  await hub.projected();
  expect(await rowOf(id)).toMatchObject({ birth_date: null, village: "Khor Romla" });
  const [row] = await quarantined(id);
  expect(row).toMatchObject({
    code: "invalid",
    reason: "birth_date '2019-02-30' is not a date; write YYYY-MM-DD",
    state: "held",
  });

  await hub.settle([release(row!, id, { birth_date: "2019-02-28", village: "Gudele" })]);
  await hub.projected();
  // The birth date counts now; the village that the author wrote afterwards, knowing of the quarantined event, is not undone.
  expect(await rowOf(id)).toMatchObject({ village: "Khor Romla", conflicts: 0, waiting_for: null });
  const { rows } = await hub.db.query("SELECT birth_date::text FROM views.beneficiaries WHERE id = $1", [id]);
  expect(rows).toEqual([{ birth_date: "2019-02-28" }]);
  expect(await quarantined(id)).toMatchObject([{ state: "released" }]);

  const trail = await entityTrail(hub.db, `beneficiary/${id}`);
  expect(trail.events.map(({ settled }) => settled?.state ?? null)).toEqual([null, "released", null]);
  expect(trail.events[1]!.settled).toMatchObject({ by: "operator", data: { birth_date: "2019-02-28" } });
  // Recorded time: before the release, the hub did not know.
  const deps = { db: hub.db, gate: hub.gate, projections: hub.projections };
  const before = BigInt(trail.events[1]!.settled!.position!) - 1n;
  expect((await rowAsOf(deps, `beneficiary/${id}`, before as Position)).values.birth_date).toBeNull();
  expect((await rowAsOf(deps, `beneficiary/${id}`, null)).values.birth_date).toBe("2019-02-28");
});

it("a release that makes a conflict tells of it in the history of the entity that the released event is about", async () => {
  const id = "JUB-100002";
  const juba = hub.field("juba");
  await juba.append(registration(id, { village: "Munuki" }));
  await sync(juba, "juba");
  const bor = hub.field("bor");
  await bor.append(update(id, { birth_date: "2019-02-30", village: "Gudele" }), { onInvalid: "keep" });
  await sync(bor, "bor");
  await hub.projected();
  const [row] = await quarantined(id);
  await hub.settle([release(row!, id, { birth_date: "2019-02-28", village: "Gudele" })]);
  await hub.projected();
  const { decisions } = await entityTrail(hub.db, `beneficiary/${id}`);
  expect(decisions.map(({ register }) => register)).toContain("location");
});

it("refuses a release whose data still does not fit, and a release that a site sends", async () => {
  const field = hub.field("bor");
  const id = "BOR-100001";
  await field.append(registration(id));
  await field.append(update(id, { phone: "0712" }), { onInvalid: "keep" });
  await sync(field, "bor");
  await hub.projected();
  const [row] = await quarantined(id);
  const still = await hub.settle([release(row!, id, { phone: "0713" })]);
  expect(still.quarantined).toMatchObject([
    { code: "invalid", reason: expect.stringContaining("still does not fit: phone '0713'") },
  ]);
  await field.append(release(row!, id, { phone: "+211912345678" }));
  expect((await sync(field, "bor")).quarantined).toMatchObject([
    { reason: "only the hub's operators may settle what is in quarantine" },
  ]);
  await hub.projected();
  expect(await rowOf(id)).toMatchObject({ phone: null });
  expect(await quarantined(id)).toMatchObject([{ state: "held" }]);
});

it("rejects for good with a reason; the event stays in log and audit, and counts for nothing", async () => {
  const field = hub.field("wau");
  const id = "WAU-100001";
  await field.append(registration(id));
  await field.append(update(id, { household_size: 400 }), { onInvalid: "keep" });
  await sync(field, "wau");
  await hub.projected();
  const [row] = await quarantined(id);
  const { origin, seq, hash } = row!;
  const reject: NewEvent = {
    type: REJECTED,
    entity: { type: QUARANTINE_ENTITY, id: `${origin}/${seq}` },
    actor: "operator",
    data: { origin, seq, hash, reason: "a test" },
  };
  await hub.settle([reject]);
  // The first settlement holds: what is rejected cannot be released by a later event.
  await hub.settle([release(row!, id, { household_size: 4 })]);
  await hub.projected();
  expect(await quarantined(id)).toMatchObject([{ state: "rejected" }]);
  expect(await rowOf(id)).toMatchObject({ household_size: null });
  const trail = await entityTrail(hub.db, `beneficiary/${id}`);
  expect(trail.events[1]).toMatchObject({ settled: { state: "rejected", note: "a test" } });
});

it("lets the first of several settlements count, and none that names another event", async () => {
  const field = hub.field("aweil");
  const id = "AWE-100001";
  await field.append(registration(id));
  await field.append(update(id, { phone: "0712" }), { onInvalid: "keep" });
  await sync(field, "aweil");
  await hub.projected();
  const [row] = await quarantined(id);
  const elsewhere = release(row!, "AWE-999999", { phone: "+211911111111" });
  await hub.settle([
    elsewhere,
    release(row!, id, { phone: "+211922222222" }),
    release(row!, id, { phone: "+211933333333", village: "Gudele" }),
  ]);
  await hub.projected();
  expect(await rowOf(id)).toMatchObject({ phone: "+211922222222", village: null });
  expect(await rowOf("AWE-999999")).toBeUndefined();
  expect(await quarantined(id)).toMatchObject([{ state: "released" }]);
});

it("tells a device which versions were registered since, and takes old and new versions at the same time", async () => {
  const [old, fresh] = [hub.field("torit", "old"), hub.field("torit", "new", { schemas: SCHEMAS })];
  const before = fresh.gate.newest("beneficiary")!.version;
  const next = JSON.parse(fresh.gate.newest("beneficiary")!.text) as Record<string, JsonObject>;
  next.properties = { ...next.properties, shelter: { type: "string", maxLength: 40 } };
  const outcome = await hub.registry!.register(
    "beneficiary",
    { kind: "json", text: JSON.stringify(next), references: [] },
    { actor: "operator" },
  );
  expect(outcome.kind).toBe("registered");

  await expect(fresh.append(registration("TOR-000001", { shelter: "tent" }))).rejects.toThrow(/shelter is not a field/);
  const first = await sync(fresh, "torit");
  expect(first.schemasLearnt).toBe(1);
  expect(fresh.gate.newest("beneficiary")!.version).toBe(before + 1);
  await fresh.append(registration("TOR-000001", { shelter: "tent" }));
  await old.append(registration("TOR-000002"));
  const results = [await sync(fresh, "torit", hub.ingress.http!.url), await sync(old, "torit")];
  expect(results.map(({ quarantined, schemasLearnt }) => [quarantined.length, schemasLearnt])).toEqual([
    [0, 0],
    [0, 0],
  ]);
  await hub.projected();
  expect(await rowOf("TOR-000001")).toMatchObject({ given_name: "Awɛŋ" });
  expect(await rowOf("TOR-000002")).toMatchObject({ given_name: "Awɛŋ" });
  // What the device learnt outlives the app.
  const path = fresh.store.path;
  fresh.close();
  const reopened = hub.field("torit", "new", { path, schemas: SCHEMAS });
  expect(reopened.gate.newest("beneficiary")!.version).toBe(before + 1);
});

it("keeps the events of a schema that the hub does not know, notes the schema, and counts the events once it is registered", async () => {
  const dir = folderWith("stock-movement", (schema) => {
    schema.properties = { ...schema.properties, driver: { type: "string" } };
  });
  const field = hub.field("yei", "ahead", { schemas: dir });
  await field.append({
    type: "stock.received",
    entity: { type: "stock-movement", id: "YEI-1" },
    actor: "deng",
    data: { movement_no: "YEI-1", item: "RICE", quantity: 40, unit: "KG", moved_on: "2026-05-03", driver: "Deng" },
  });
  const result = await sync(field, "yei");
  expect(result).toMatchObject({
    confirmed: 1,
    pending: 0,
    schemasProposed: 1,
    quarantined: [{ code: "schema-unknown", reason: "the hub does not know stock-movement version 2" }],
  });
  await eventually("the proposal", async () => hub.registry!.proposals().length === 1);
  const [proposal] = hub.registry!.proposals();
  expect(proposal).toMatchObject({ subject: "stock-movement", version: 2, by: "relief.yei.ahead" });
  expect((await sync(field, "yei")).schemasProposed).toBe(1);
  expect(hub.registry!.proposals()).toHaveLength(1);

  const { kind, text, references } = proposal!;
  expect(
    (await hub.registry!.register("stock-movement", { kind, text, references }, { actor: "operator", version: 2 })).kind,
  ).toBe("registered");
  expect(hub.registry!.proposals()).toEqual([]);
  await hub.projected();
  const [row] = await quarantined("YEI-1");
  await hub.settle([release(row!, "YEI-1", JSON.parse(row!.raw) as JsonObject, { entityType: "stock-movement" })]);
  await hub.projected();
  const { rows } = await hub.db.query("SELECT site, item FROM views.stock_movements WHERE id = 'YEI-1'");
  expect(rows).toEqual([{ site: "yei", item: "RICE" }]);
});

it("does not read data by another schema of the same name", async () => {
  const dir = folderWith("beneficiary-removal", (schema) => {
    schema.properties = { ...schema.properties, witness: { type: "string" } };
  });
  const field = hub.field("rumbek", "other", { schemas: dir });
  await field.append(registration("RUM-000001"));
  await field.append({
    type: "beneficiary.removed",
    entity: { type: "beneficiary", id: "RUM-000001" },
    actor: "deng",
    data: { reason: "moved" },
  });
  // Meanwhile the hub has registered something else as version 2.
  const mine = JSON.parse(hub.registry!.versions("beneficiary-removal")[0]!.text) as Record<string, JsonObject>;
  mine.properties = { ...mine.properties, referred_to: { type: "string" } };
  expect(
    (
      await hub.registry!.register(
        "beneficiary-removal",
        { kind: "json", text: JSON.stringify(mine), references: [] },
        { actor: "operator" },
      )
    ).kind,
  ).toBe("registered");
  const result = await sync(field, "rumbek");
  // The device had learnt of the hub's version 2 before it sent. What it wrote with its own version 2 is told apart by the fingerprint.
  expect(field.gate.store.versions("beneficiary-removal")[1]!.text).toBe(JSON.stringify(mine));
  expect(result).toMatchObject({
    confirmed: 2,
    quarantined: [
      {
        code: "schema-differs",
        reason: "it was written with another beneficiary-removal version 2 than the one registered here",
      },
    ],
  });
});

it("builds a view again after somebody registered a version that it could not read", async () => {
  const registry = hub.registry!;
  const newest = JSON.parse(registry.versions("beneficiary").at(-1)!.text) as { properties: Record<string, JsonObject> };
  const text = JSON.stringify({
    ...newest,
    properties: { ...newest.properties, sex: { enum: ["female", "male", "other", "unknown", "undisclosed"] } },
  });
  const given = { kind: "json", text, references: [] } as const;
  expect(await registry.register("beneficiary", given, { actor: "operator" })).toMatchObject({
    kind: "incompatible",
    findings: expect.arrayContaining([
      expect.objectContaining({
        direction: "forward",
        rule: "enum",
        counterexample: { document: expect.objectContaining({ sex: "undisclosed" }), problem: expect.any(String) },
      }),
    ]),
  });
  await registry.setLevel("beneficiary", "BACKWARD_TRANSITIVE", "operator");
  expect((await registry.register("beneficiary", given, { actor: "operator" })).kind).toBe("registered");
  const field = hub.field("malakal", "new", { schemas: SCHEMAS });
  await sync(field, "malakal");
  await field.append(registration("MAL-000001", { sex: "undisclosed" }));
  expect((await sync(field, "malakal")).quarantined).toEqual([]);
  await hub.projected();
  expect(await rowOf("MAL-000001")).toMatchObject({ sex: "undisclosed" });
  expect(
    hub.said.filter(({ event, views }) => event === "view-built" && (views as string[]).includes("beneficiaries")).length,
  ).toBeGreaterThan(1);
});

it("builds views of an older program again, because they do not say which versions they read with", async () => {
  await hub.projector.close();
  await hub.db.query("UPDATE tributary.generation SET readers = NULL WHERE view = 'sites' AND state = 'live'");
  const before = hub.said.length;
  hub.projector = await hub.startProjector();
  expect(hub.said.slice(before).filter(({ event }) => event === "view-built")).toMatchObject([{ views: ["sites"] }]);
  const { rows } = await hub.db.query<{ readers: object }>("SELECT readers FROM tributary.view WHERE name = 'sites'");
  expect(rows[0]!.readers).toEqual({ site: 1, "site-roles": 1, "conflict-resolution": 1 });
});

it("agrees with the log in the end, including releases", async () => {
  await hub.projected();
  const report = await verify({ log: hub.log, views: { db: hub.db, gate: hub.gate, projections: hub.projections } });
  expect(report.problems).toEqual([]);
  expect(report.rowsCompared).toBeGreaterThan(5);
});
