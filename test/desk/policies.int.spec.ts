import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Holder } from "../../services/core/index.ts";
import {
  type Desk,
  policies,
  policyNamed,
  previewPolicies,
  readPolicy,
  removePolicy,
  setPolicy,
} from "../../services/desk/index.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import { number, openTestHub, registration, SCHEMAS, type TestHub, update } from "../support/hub.ts";

const scoped = defineProjection({
  name: "whereabouts",
  entity: "beneficiary",
  columns: { district: text(), village: text() },
  groups: { location: ["district", "village"] },
  scopeBy: ["district"],
  events: { "beneficiary.registered": set(), "beneficiary.updated": set() },
});

const KAMPALA = {
  name: "kampala",
  for: { sites: ["kampala"] },
  entities: { beneficiary: { where: { district: "Kampala" }, priority: 1 } },
};
const as = (site: string): Holder => ({ kind: "site", org: "relief", site, roles: [] });
const by = { actor: "Rose" };

let hub: TestHub;
let desk: Pick<Desk, "db" | "org" | "projections" | "write">;

beforeAll(async () => {
  hub = await openTestHub({ schemas: SCHEMAS, views: [scoped] });
  const write: Desk["write"] = async (events) => ({ appended: [], sync: await hub.settle(events) });
  desk = { db: hub.db, org: "relief", projections: hub.projections, write };
  const field = hub.field("kampala");
  await field.appendMany([
    registration(number(1), { district: "Kampala", village: "Kisenyi" }),
    registration(number(2), { district: "Kampala", village: "Bwaise" }),
    registration(number(3), { district: "Gulu", village: "Laroo" }),
    update(number(1), { phone: "+256700000001" }),
  ]);
  await field.sync({ url: hub.backends.nats.url, token: await hub.token("kampala") });
  await hub.projected();
});
afterAll(() => hub.close());

describe("a policy", () => {
  it("gives nobody anything before it is set, and can be looked at before", async () => {
    expect(await policies(desk)).toEqual([]);
    const nothing = await previewPolicies(desk, as("kampala"));
    expect(nothing.grants).toEqual([]);
    expect(nothing.withheld).toContain("beneficiary");
    expect(nothing.withheld).not.toContain("case");
    const seen = await previewPolicies(desk, as("kampala"), [readPolicy(KAMPALA)]);
    expect(seen.grants).toMatchObject([{ grant: { policy: "kampala", priority: 1 }, entities: 2, events: 3 }]);
    expect(seen.grants[0]!.bytes).toBeGreaterThan(200);
    expect((await previewPolicies(desk, as("gulu"), [readPolicy(KAMPALA)])).grants).toEqual([]);
  });

  it("holds once it is set, says who set it, and is replaced by one of its name", async () => {
    await setPolicy(desk, KAMPALA, by);
    await hub.projected();
    expect(await policyNamed(desk, "kampala")).toMatchObject({
      policy: { name: "kampala", for: { sites: ["relief.kampala"] }, entities: { beneficiary: { priority: 1 } } },
      setBy: "Rose",
    });
    expect((await previewPolicies(desk, as("kampala"))).grants).toMatchObject([{ entities: 2 }]);
    await setPolicy(desk, { ...KAMPALA, entities: { beneficiary: { where: { district: ["Kampala", "Gulu"] } } } }, by);
    await hub.projected();
    expect((await previewPolicies(desk, as("kampala"))).grants).toMatchObject([{ entities: 3, events: 4 }]);
  });

  it("that names a site without its organisation gives nothing to another organisation's site of that name", async () => {
    const partner: Holder = { kind: "site", org: "msf", site: "kampala", roles: [] };
    expect((await previewPolicies(desk, partner)).grants).toEqual([]);
    expect((await previewPolicies(desk, partner, [readPolicy(KAMPALA)])).grants).toEqual([]);
  });

  it("gives nothing where the views no longer tell entities apart as it does, and says so", async () => {
    const projections = hub.projections
      .filter((view) => view !== scoped)
      .map((view) => (view.kind === "entity" ? { ...view, scopeBy: null } : view));
    const { grants, unfit, withheld } = await previewPolicies({ ...desk, projections }, as("kampala"));
    expect(grants).toEqual([]);
    expect(withheld).toContain("beneficiary");
    expect(unfit).toEqual([
      { policy: "kampala", problem: "the view of beneficiary has no scopeBy, so nothing can be chosen by district" },
    ]);
  });

  it("gives nothing any more once it is taken back", async () => {
    await removePolicy(desk, "kampala", { ...by, note: "the office has closed" });
    await hub.projected();
    expect(await policies(desk)).toEqual([]);
    await expect(removePolicy(desk, "kampala", by)).rejects.toThrow("there is no policy kampala");
  });

  it("that names what no view has is refused, with the columns that there are", async () => {
    const wrong = { ...KAMPALA, entities: { beneficiary: { where: { village: "Kisenyi" } }, bird: {} } };
    await expect(setPolicy(desk, wrong, by)).rejects.toThrow("village is not a scope column of beneficiary: these are district");
    await expect(setPolicy(desk, wrong, by)).rejects.toThrow("no view shows entities of the type bird");
    await expect(setPolicy(desk, { name: "Kampala 1", for: "all" }, by)).rejects.toThrow(
      "this is not a policy: name is a name of small letters",
    );
    await expect(setPolicy(desk, { ...wrong, entities: { bird: {} } }, by)).rejects.toMatchObject({
      hint: expect.stringContaining("beneficiary by district"),
    });
  });

  it("can only be written by the hub's own people: a site's is quarantined", async () => {
    const field = hub.field("kampala", "t9");
    await field.append({
      type: "policy.set",
      entity: { type: "policy", id: "mine" },
      data: { for: "everyone", entities: {} },
      actor: "x",
    });
    const { quarantined } = await field.sync({ url: hub.backends.nats.url, token: await hub.token("kampala") });
    expect(quarantined).toMatchObject([
      { reason: expect.stringContaining("only the hub's operators may say what sites may hold") },
    ]);
    await hub.projected();
    expect(await policies(desk)).toEqual([]);
  });
});
