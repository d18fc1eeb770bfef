import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, expect, it } from "vitest";
import { writeState } from "../../services/cli/state.ts";
import { POLICY_ENTITY, POLICY_SET } from "../../services/core/index.ts";
import { type Desk, setSiteRoles } from "../../services/desk/index.ts";
import { runHere } from "../support/here.ts";
import { newDir } from "../support/home.ts";
import { number, ORG, openTestHub, registration, stateOf, type TestHub, update } from "../support/hub.ts";
import { eventually } from "../support/temp.ts";

let hub: TestHub;
const dir = newDir("replica");
const db = join(dir, "kampala.db");
const KEBA = number(1);

beforeAll(async () => {
  hub = await openTestHub({ servesPulls: true });
  writeState(hub.dir, stateOf(hub.backends));
  await hub.settle([
    {
      type: POLICY_SET,
      entity: { type: POLICY_ENTITY, id: "kampala" },
      actor: "coordinator",
      data: { for: { sites: [`${ORG}.kampala`] }, entities: { beneficiary: { where: { district: "Kampala" } } } },
    },
  ]);
  const author = hub.field("nairobi");
  await author.appendMany([
    ...[1, 2, 3].map((n) => registration(number(n), { district: "Kampala", family_name: `F${n}`, household_size: n })),
    registration(number(9), { district: "Gulu" }),
    update(KEBA, { phone: "+256700000001" }),
  ]);
  await author.sync({ url: hub.backends.nats.url, token: await hub.token("nairobi") });
  await hub.projected();
  const made = await runHere("field", "init", "--org", ORG, "--site", "kampala", "--device", "t1", "--db", db);
  expect(made.code, made.stderr).toBe(0);
});
afterAll(() => hub?.close());

const write: Desk["write"] = async (events) => ({ appended: [], sync: await hub.settle(events) });
/** What a command that succeeds prints with --json. */
async function json<T>(...args: string[]): Promise<T> {
  const { code, stdout, stderr } = await runHere(...args, "--json");
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout) as T;
}
const pull = async (): Promise<{ events: number; refused: unknown[] }> =>
  json("field", "pull", "--hub", hub.backends.nats.url, "--token", await hub.token("kampala"), "--db", db);

it("a person at the command line gets what the policy gives the site, and reads it offline: rows, why they are so, the events, and how the device stands", async () => {
  await eventually("the seal of what was written", async () => {
    await pull();
    const { rows } = await json<{ rows: unknown[] }>("field", "view", "beneficiaries", "--db", db);
    return rows.length === 3;
  });
  const asked = ["--where", "household_size>=2", "--where", "district=Kampala", "--order", "family_name:desc", "--limit", "1"];
  const page = await json<{ rows: { id: string }[]; more: boolean; next: string }>(
    "field",
    "view",
    "beneficiaries",
    ...asked,
    "--db",
    db,
  );
  expect(page).toMatchObject({ rows: [{ id: number(3), _own: null }], more: true, next: number(3) });
  const next = await json<{ rows: { id: string }[] }>(
    "field",
    "view",
    "beneficiaries",
    ...asked,
    "--after",
    page.next,
    "--db",
    db,
  );
  expect(next).toMatchObject({ rows: [{ id: number(2) }], more: false, next: null });

  const wrong = await runHere("field", "view", "beneficiaries", "--where", "surname=x", "--db", db);
  expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('beneficiaries has no column "surname"') });
  const hubOnly = await runHere("field", "view", "distribution_summary", "--db", db);
  expect(hubOnly).toMatchObject({ code: 2, stderr: expect.stringContaining("distribution_summary is kept at the hub only") });

  const told = await runHere("field", "explain", "beneficiary", KEBA, "phone", "--db", db);
  expect(told.code, told.stderr).toBe(0);
  expect(told.stdout).toMatch(
    /phone: “\+256700000001”[\s\S]*nairobi \(relief\) wrote “\+256700000001” {2}\(recorded .*, position \d+\)/,
  );

  const log = await json<{ events: { position: string; type: string; entity: string }[] }>(
    ...["field", "log", "--pulled", "--entity", `beneficiary/${KEBA}`, "--db", db],
  );
  expect(log.events.map(({ type }) => type)).toEqual(["beneficiary.registered", "beneficiary.updated"]);
  expect(Number(log.events[0]!.position)).toBeLessThan(Number(log.events[1]!.position));

  const status = await runHere("field", "status", "--db", db);
  expect(status.stdout).toMatch(/from the hub: \d+ entities in \d+ buckets, up to date/);
});

it("a row that differs from the hub's is named, and only that one", async () => {
  const all = await json<{ replica: { view: string; rowsEqual: boolean | null }[] }>(
    "reconcile",
    "--field",
    db,
    "--data",
    hub.dir,
  );
  expect(all.replica.filter(({ view }) => view === "beneficiaries")).toMatchObject([{ rowsEqual: true, rows: 3, differing: [] }]);
  const file = new DatabaseSync(db);
  file.exec(`UPDATE view_beneficiaries SET family_name = 'Somebody' WHERE id = '${number(2)}'`);
  file.close();
  const wrong = await runHere("reconcile", "--field", db, "--data", hub.dir);
  expect(wrong.code).toBe(6);
  expect(wrong.stderr).toContain(`the device shows other rows than the hub in beneficiaries: ${number(2)}`);
});

it("the types of the project are written to a file, and a file that is out of date is told", async () => {
  const file = join(dir, "tributary.d.ts");
  expect((await runHere("types", "--out", file)).code).toBe(0);
  expect(readFileSync(file, "utf8")).toContain("export interface Tributary {");
  expect(await json("types", "--check", "--out", file)).toEqual({ file, isSame: true });
  const other = join(dir, "none.d.ts");
  expect(await runHere("types", "--check", "--out", other)).toMatchObject({ code: 3 });
});

it("a person gives a site roles and takes them, sees them listed, and hears what its tablets have still to delete", async () => {
  await hub.settle([
    { type: "site.registered", entity: { type: "site", id: `${ORG}.gulu` }, actor: "x", data: { org: ORG, site: "gulu" } },
    {
      type: POLICY_SET,
      entity: { type: POLICY_ENTITY, id: "nurses" },
      actor: "coordinator",
      data: { for: { roles: ["nurse"] }, entities: { beneficiary: { where: { district: "Gulu" } } } },
    },
  ]);
  await hub.projected();
  const [at, tablet] = [["--data", hub.dir], join(dir, "gulu.db")];
  const preview = () =>
    json<{ grants: unknown[]; roles: string[]; isRegistered: boolean }>("policy", "preview", "--as", "gulu", ...at);
  expect(await preview()).toMatchObject({ grants: [], roles: [], isRegistered: true });
  expect(await json("policy", "preview", "--as", "gulu", "--role", "nurse", ...at)).toMatchObject({
    roles: ["nurse"],
    grants: [{ entities: 1, grant: { policy: "nurses" } }],
  });
  for (const [args, code, says] of [
    [["gulu", "nurse", "--none"], 2, "--none and roles say two things"],
    [["gulu", "a/b"], 2, '"a/b" is not a role'],
    [["gulo", "nurse"], 4, `there is no site ${ORG}.gulo`],
    [["msf.gulu", "--org", "shelter"], 2, "msf.gulu names another organisation than --org shelter"],
    [[], 2, "the site's name is missing"],
  ] as const)
    expect(await runHere("site", "roles", ...args, ...at)).toMatchObject({ code, stderr: expect.stringContaining(says) });

  const set = (...roles: string[]) => setSiteRoles({ db: hub.db, write }, `${ORG}.gulu`, roles, { actor: "Rose" });
  await set("nurse", "clerk");
  await hub.projected();
  expect((await runHere("site", "roles", "gulu", ...at)).stdout).toBe(`${ORG}.gulu has 2 roles: clerk, nurse.\n`);
  expect((await runHere("site", "list", ...at)).stdout).toMatch(/gulu +– +clerk, nurse /);
  expect((await preview()).grants).toMatchObject([{ entities: 1 }]);

  await runHere("field", "init", "--org", ORG, "--site", "gulu", "--device", "t1", "--db", tablet);
  const link = ["--hub", hub.backends.nats.url, "--token", await hub.token("gulu"), "--db", tablet];
  const pullOf = async (...args: string[]) => (await runHere("field", "pull", ...args)).code === 0;
  await eventually(
    "the person whom the role gives",
    async () =>
      (await pullOf(...link)) &&
      (await json<{ rows: unknown[] }>("field", "view", "beneficiaries", "--db", tablet)).rows.length === 1,
  );
  await set();
  const told = await eventually("the person to be withdrawn", async () => {
    const { stdout } = await runHere("field", "pull", ...link);
    return stdout.includes("withdrawn") ? stdout : null;
  });
  expect(told).toContain("withdrawn: the policies do not give beneficiary of Gulu any more");
  expect(told).toContain(
    "1 entity that this device may not hold any more was deleted, with 1 event; the next `field sync` tells the hub.",
  );
  expect((await runHere("replica", "list", ...at)).stdout).toMatch(/relief\.gulu\.t1 +all of beneficiary, district Gulu/);
  expect((await runHere("field", "sync", ...link)).code).toBe(0);
  await hub.projected();
  expect(await json("replica", "list", ...at)).toMatchObject({ replicas: [{ device: `${ORG}.gulu.t1`, purges: 1, owes: [] }] });
});
