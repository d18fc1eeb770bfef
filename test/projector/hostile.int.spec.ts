import { afterAll, beforeAll, expect, it } from "vitest";
import { verify } from "../../services/audit/index.ts";
import type { Column } from "../../services/merge/engine.ts";
import { date, decimal, defineProjection, integer, map, set, text, timestamp } from "../../services/merge/index.ts";
import { number, openTestHub, registration, SCHEMAS, type TestHub, update } from "../support/hub.ts";

let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub({ schemas: SCHEMAS });
});
afterAll(() => hub?.close());

const send = async (field: ReturnType<TestHub["field"]>): Promise<void> => {
  await field.sync({ url: hub.backends.nats.url, token: await hub.token(field.status().site) });
  await hub.projected();
};
const one = async (sql: string, ...values: unknown[]): Promise<Record<string, unknown>> =>
  (await hub.db.query(sql, values)).rows[0];
it("a voucher's number of any length is taken, and two hand-outs on it are still found", async () => {
  const field = hub.field("long");
  // Texts that no compressor makes shorter: an entry of an index must not grow with them.
  const voucher = Array.from({ length: 900 }, (_, i) => Math.sin(i).toString(36).slice(3, 13)).join("");
  for (const n of [1, 2]) {
    await field.append({
      type: "distribution.recorded",
      entity: { type: "distribution", id: `LONG-${n}` },
      actor: "clerk",
      data: {
        distribution_no: `LONG-${n}`,
        registration_no: number(n),
        item: "RICE",
        quantity: 1,
        unit: "KG",
        distributed_on: "2026-03-02",
        voucher_no: voucher,
      },
    });
  }
  await send(field);
  expect(await one("SELECT count(*)::int AS n FROM views.distributions WHERE voucher_no = $1", voucher)).toEqual({ n: 2 });
  expect(await one("SELECT state FROM tributary.case WHERE rule = 'voucher_once'")).toEqual({ state: "open" });
});

it("a value that an index or a column cannot take parks its entity, and nothing else", async () => {
  const field = hub.field("wide");
  await field.append(registration("WID-000001"));
  await field.append({
    type: "distribution.recorded",
    entity: { type: "distribution", id: "WIDE-1" },
    actor: "clerk",
    data: {
      distribution_no: "WIDE-1",
      registration_no: "x".repeat(5_000),
      item: "RICE",
      quantity: 1e300,
      unit: "KG",
      distributed_on: "2026-03-02",
      voucher_no: null,
    },
  });
  await field.append(update("WID-000001", { phone: "+254700000001" }));
  await send(field);
  expect(await one("SELECT phone FROM views.beneficiaries WHERE id = 'WID-000001'")).toEqual({ phone: "+254700000001" });
  expect(await one("SELECT error FROM tributary.parked WHERE entity_id = 'WIDE-1'")).toMatchObject({
    error: expect.stringContaining("distributions"),
  });
});

it("what only the database refuses is found event by event, and its entity parked", async () => {
  // A column whose check lets through what PostgreSQL's type does not.
  const day: Column<string> = { ...date(), fits: () => true };
  const careless = defineProjection({
    name: "careless",
    entity: "beneficiary",
    columns: { day, phone: text() },
    events: {
      "beneficiary.registered": map(({ data }) => ({ day: data.given_name === "Nobody" ? "no day" : "2026-01-01" })),
      "beneficiary.updated": set("phone"),
    },
  });
  await hub.projector.close();
  hub.projector = await hub.startProjector([...hub.projections, careless]);
  const field = hub.field("careless");
  await field.appendMany([
    ...Array.from({ length: 40 }, (_, i) => registration(`CAR-${String(i).padStart(6, "0")}`)),
    registration("CAR-999999", { given_name: "Nobody" }),
    update("CAR-000001", { phone: "+254700000001" }),
    update("CAR-999999", { phone: "+254700000002" }),
  ]);
  await send(field);
  expect(await one("SELECT count(*)::int AS n FROM views.careless WHERE id LIKE 'CAR%'")).toEqual({ n: 40 });
  expect(await one("SELECT phone FROM views.careless WHERE id = 'CAR-000001'")).toEqual({ phone: "+254700000001" });
  expect(await one("SELECT error FROM tributary.parked WHERE view = 'careless'")).toMatchObject({
    error: expect.stringContaining("PostgreSQL cannot hold it"),
  });
  expect(await one("SELECT count(*)::int AS n FROM tributary.audit WHERE site = 'careless'")).toEqual({ n: 43 });
  await hub.projector.close();
  hub.projector = await hub.startProjector();
});

it("a decision must fit the entity's own forms, wherever it comes from", async () => {
  const field = hub.field("judge", "t1", { schemas: SCHEMAS });
  const entity = { type: "beneficiary", id: number(7) };
  await field.append(registration(number(7), { household_size: 2 }));
  const decide = (values: Record<string, string | number | null>) =>
    field.append({ type: "conflict.resolved", entity, actor: "judge", data: { values } });
  await decide({ sex: "banana" });
  await decide({ household_size: -999 });
  await decide({ conflicts: 7 });
  await decide({ household_size: 4, family_name: null });
  await send(field);
  const { rows } = await hub.db.query("SELECT reason FROM tributary.quarantine WHERE site = 'judge' ORDER BY position");
  expect(rows.map(({ reason }) => reason)).toEqual([
    expect.stringContaining("sex"),
    expect.stringContaining("household_size"),
    expect.stringContaining("conflicts is not a field"),
  ]);
  expect(await one("SELECT sex, household_size::int FROM views.beneficiaries WHERE id = $1", number(7))).toEqual({
    sex: "female",
    household_size: 4,
  });
  const site = { type: "distribution", id: "LONG-1" };
  await field.append({ type: "conflict.resolved", entity: site, actor: "judge", data: { values: { site: "atlantis" } } });
  await send(field);
  expect(await one("SELECT site FROM views.distributions WHERE id = 'LONG-1'")).toEqual({ site: "long" });
});

it("a projector that is started again does not build a declaration that somebody is just editing, and says so", async () => {
  const draft = defineProjection({
    name: "assessments",
    entity: "assessment",
    columns: { severity: text(), households: integer(), seen_at: timestamp(), amount: decimal() },
    events: { "assessment.submitted": set() },
  });
  const views = [...hub.projections.filter(({ name }) => name !== "assessments"), draft];
  await hub.projector.close();
  const before = await one("SELECT generation FROM tributary.view WHERE name = 'assessments'");
  await expect(hub.startProjector(views, { mayBuild: false })).rejects.toMatchObject({
    code: "projection-malformed",
    message: expect.stringContaining("assessments"),
    hint: expect.stringContaining("tributary rebuild"),
  });
  expect(await one("SELECT generation FROM tributary.view WHERE name = 'assessments'")).toEqual(before);
  hub.projector = await hub.startProjector(hub.projections, { mayBuild: false });
});

it("log and views agree in the end; parked entities are reported, and are not a problem", async () => {
  const { problems, parked } = await verify({
    log: hub.log,
    views: { db: hub.db, gate: hub.gate, projections: hub.projections },
  });
  expect(problems).toEqual([]);
  expect(parked).toMatchObject([{ view: "distributions", entity: "WIDE-1", error: expect.stringContaining("distributions") }]);
});
