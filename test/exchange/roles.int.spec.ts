import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { POLICY_ENTITY, POLICY_SET } from "../../services/core/index.ts";
import {
  absentHolders,
  type Desk,
  previewPolicies,
  readPolicy,
  replicas,
  rolesOfSite,
  setPolicy,
  setSiteRoles,
} from "../../services/desk/index.ts";
import { openField } from "../../services/field/index.ts";
import { siteRoles, sites } from "../../services/views/index.ts";
import { gate, number, ORG, openTestHub, registration, type TestHub } from "../support/hub.ts";
import { eventually, tempDir } from "../support/temp.ts";

let hub: TestHub;
let desk: Pick<Desk, "db" | "org" | "projections" | "write">;
const by = { actor: "Rose" };
const SITE = `${ORG}.kampala`;

beforeAll(async () => {
  hub = await openTestHub({ servesPulls: true });
  const write: Desk["write"] = async (events) => ({ appended: [], sync: await hub.settle(events) });
  desk = { db: hub.db, org: ORG, projections: hub.projections, write };
  await hub.settle([
    ...[ORG, "msf"].map((org) => ({
      type: "site.registered",
      entity: { type: "site", id: `${org}.kampala` },
      actor: "Rose",
      data: { org, site: "kampala", title: `Kampala of ${org}` },
    })),
    {
      type: POLICY_SET,
      entity: { type: POLICY_ENTITY, id: "nurses" },
      actor: "Rose",
      data: { for: { roles: ["nurse"] }, entities: { beneficiary: { where: { district: "Kampala" } } } },
    },
  ]);
  const author = hub.field("nairobi");
  await author.appendMany([1, 2].map((n) => registration(number(n), { district: "Kampala" })));
  await author.sync({ url: hub.backends.nats.url, token: await hub.token("nairobi") });
  await hub.projected();
});
afterAll(() => hub?.close());

it("a tablet shows what its site's role gives, deletes it when the site loses the role, and is listed until it has confirmed that", async () => {
  using field = openField({
    ...{ path: join(tempDir(), "tablet.db"), name: { org: ORG, site: "kampala", device: "t1" } },
    ...{ schemas: gate, views: hub.projections },
  });
  const link = { url: hub.backends.nats.url, token: await hub.token("kampala") };
  const shown = async (): Promise<number> => {
    await field.sync(link);
    return field.query("beneficiaries").length;
  };
  expect(await shown()).toBe(0);
  expect(await setSiteRoles(desk, SITE, ["nurse", "clerk", "nurse"], by)).toEqual({
    roles: ["clerk", "nurse"],
    hasChanged: true,
  });
  await eventually("the people whom the role gives", async () => (await shown()) === 2);
  await hub.projected();
  expect(await rolesOfSite(desk, SITE)).toEqual(["clerk", "nurse"]);
  expect((await siteRoles(hub.db)).get("msf.kampala")).toEqual([]);

  expect((await setSiteRoles(desk, SITE, ["clerk"], by)).hasChanged).toBe(true);
  await eventually("the people to be gone", async () => (await shown()) === 0);
  await eventually("the purge to be confirmed", async () => {
    await field.sync(link);
    await hub.projected();
    const [replica] = await replicas(hub);
    return replica?.owes.length === 0 && replica.purges === 1 ? replica : null;
  });
  expect(await setSiteRoles(desk, SITE, ["clerk"], by)).toEqual({ roles: ["clerk"], hasChanged: false });
});

it("a tablet gets what policies and roles give that no line of the feed tells of: their rows were folded again, or put right", async () => {
  using field = openField({
    ...{ path: join(tempDir(), "tablet.db"), name: { org: ORG, site: "kampala", device: "t2" } },
    ...{ schemas: gate, views: hub.projections },
  });
  const link = { url: hub.backends.nats.url, token: await hub.token("kampala") };
  const shows = (count: number) =>
    eventually(`${count} people`, async () => {
      await field.sync(link);
      return field.query("beneficiaries").length === count;
    });
  await shows(0);
  const setRoles = (roles: readonly string[]) =>
    hub.db.query("UPDATE views.sites SET roles = to_jsonb($2::text[]) WHERE id = $1", [SITE, roles]);
  await setRoles(["nurse"]);
  await shows(2);
  await hub.db.query("UPDATE views.policies SET deleted = true WHERE id = 'nurses'");
  await shows(0);
  await hub.db.query("UPDATE views.policies SET deleted = false WHERE id = 'nurses'");
  await shows(2);
  await setRoles(["clerk"]);
  await shows(0);
});

it("sites are listed with their roles, and each organisation's site of a name with its own quarantine", async () => {
  const field = hub.field("kampala", "t7");
  await field.appendMany([registration(number(7), { household_size: 900 })], { onInvalid: "keep" });
  await field.sync({ url: hub.backends.nats.url, token: await hub.token("kampala") });
  await hub.projected();
  const listed = (await sites(hub.db)).filter(({ site }) => site === "kampala");
  expect(listed.map(({ org, roles, quarantined }) => ({ org, roles, quarantined }))).toEqual([
    { org: "msf", roles: [], quarantined: 0 },
    { org: ORG, roles: ["clerk"], quarantined: 1 },
  ]);
});

it("roles that no site can have, and sites that nobody registered, are refused in words; a policy that names them says so", async () => {
  await expect(setSiteRoles(desk, SITE, ["field nurse"], by)).rejects.toThrow('"field nurse" is not a role');
  await expect(setSiteRoles(desk, `${ORG}.gulu`, ["nurse"], by)).rejects.toThrow(`there is no site ${ORG}.gulu`);
  const named = { name: "typo", for: { sites: ["gulu", "kampala"], roles: ["nurses", "clerk"] }, entities: {} };
  expect(await absentHolders(desk, await setPolicy(desk, named, by))).toEqual({ sites: [`${ORG}.gulu`], roles: ["nurses"] });
  expect(() => readPolicy({ ...named, for: { roles: ["a nurse"] } })).toThrow(
    'for.roles names "a nurse", which cannot be a role',
  );
  const holder = { kind: "site", org: ORG, site: "kampala", roles: ["nurse"] } as const;
  expect((await previewPolicies(desk, holder)).grants).toMatchObject([{ entities: 2 }]);
});
