import { afterAll, beforeAll, expect, it } from "vitest";
import { explainEntity, verify } from "../../services/audit/index.ts";
import { tryRules } from "../../services/desk/index.ts";
import type { Field } from "../../services/field/index.ts";
import type { Declaration } from "../../services/merge/engine.ts";
import { defineProjection, integer, map, set, text } from "../../services/merge/index.ts";
import { gate, number, openTestHub, registration, type TestHub, update } from "../support/hub.ts";

const COLUMNS = { household_size: integer(), phone: text() };
const EVENTS = {
  "beneficiary.registered": set("household_size", "phone"),
  "beneficiary.updated": set("household_size", "phone"),
};
const families = (more: Partial<Declaration<typeof COLUMNS>> = {}) =>
  defineProjection({ name: "families", entity: "beneficiary", columns: COLUMNS, events: EVENTS, ...more });
const phones = defineProjection({
  name: "phones",
  entity: "beneficiary",
  columns: { phone: text() },
  events: { "beneficiary.registered": set("phone"), "beneficiary.updated": map(() => ({})) },
});
const onePhone = { shared: { atMost: 1, key: ({ phone }: { phone: string | null }) => phone, says: "a phone is shared" } };

let hub: TestHub;
let one: Field;

beforeAll(async () => {
  hub = await openTestHub();
  await hub.projector.close();
  hub.projector = await hub.startProjector([families({ invariants: onePhone }), phones]);
  one = hub.field("one");
  for (const n of [1, 2, 3, 4])
    await one.append(registration(number(n), { phone: n < 3 ? "+254700000001" : `+25470000000${n}`, household_size: n }));
  await one.append(update(number(4), { household_size: 9 }));
  await one.sync({ url: hub.backends.nats.url, token: await hub.token("one") });
  await hub.projected();
});
afterAll(() => hub?.close());

const attempt = (view: ReturnType<typeof families>) => tryRules({ db: hub.db, gate }, view, { maxRows: 10 });

it("a trial of rules tells how many cases their invariants would make, beside those that are open", async () => {
  expect((await attempt(families({ invariants: onePhone }))).violations).toEqual({ now: 1, would: 1 });
  const small = {
    ...onePhone,
    small: { problem: ({ household_size }: { household_size: number | null }) => (household_size! > 2 ? "large" : null) },
  };
  expect((await attempt(families({ invariants: small }))).violations).toEqual({ now: 1, would: 3 });
  expect((await attempt(families())).violations).toEqual({ now: 1, would: 0 });
});

it("an invariant that throws would park the entity at that event: its row would stay as before", async () => {
  const view = families({
    invariants: {
      picky: {
        problem: ({ household_size }) => {
          if (household_size === 9) throw new Error("nine is too many");
          return null;
        },
      },
    },
  });
  expect(await attempt(view)).toMatchObject({
    failing: 1,
    problems: [expect.stringContaining("nine is too many")],
    rows: [{ id: number(4), kind: "changed", columns: { household_size: { now: 9, would: 4 } } }],
  });
});

it("a column that changes its type is compared with what the live view holds", async () => {
  const view = defineProjection({
    name: "families",
    entity: "beneficiary",
    columns: { household_size: text(), phone: integer() },
    events: {
      "beneficiary.registered": map(({ data }) => ({ household_size: String(data.household_size), phone: 1 })),
      "beneficiary.updated": map(() => ({})),
    },
  });
  expect((await tryRules({ db: hub.db, gate }, view, { maxRows: 1 })).byColumn).toEqual({ household_size: 4, phone: 4 });
});

it("a view that was built by another declaration is left out of the proof by name, and a story says that it follows the file", async () => {
  const changed = families({ history: false });
  const views = { db: hub.db, gate, projections: [changed, phones] };
  expect(await verify({ log: hub.log, views })).toMatchObject({ notCompared: ["families"], problemCount: 0, rowsCompared: 4 });
  expect(await explainEntity(views, `beneficiary/${number(4)}`, "phone")).toMatchObject([
    { view: "families", builtOtherwise: true },
    { view: "phones", builtOtherwise: false },
  ]);
});

it("an entity that several views show is explained in each, or in those that have the field, or in the one that is named", async () => {
  const deps = { db: hub.db, gate, projections: [families({ invariants: onePhone }), phones] };
  const views = async (field: string | null, view?: string) =>
    (await explainEntity(deps, `beneficiary/${number(1)}`, field, view)).map((told) => told.view);
  expect(await views(null)).toEqual(["families", "phones"]);
  expect(await views("household_size")).toEqual(["families"]);
  expect(await views("phone", "phones")).toEqual(["phones"]);
  await expect(views("household_size", "phones")).rejects.toMatchObject({ code: "not-found" });
  await expect(views(null, "nothing")).rejects.toMatchObject({
    code: "not-found",
    hint: expect.stringContaining("families, phones"),
  });
});
