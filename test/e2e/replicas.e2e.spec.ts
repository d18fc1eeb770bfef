import { chmodSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import beneficiaries from "../../projections/beneficiaries.ts";
import policies from "../../projections/policies.ts";
import { viewsOf } from "../../services/cli/folders.ts";
import { ROOT } from "../../services/cli/program.ts";
import { compareReplica } from "../../services/cli/reconcile-replica.ts";
import { isTributaryError, withoutLogin } from "../../services/core/index.ts";
import { type Field, openField, type SyncResult } from "../../services/field/index.ts";
import { addSite, command, endAll, pidOf, signal, startHub, stateOf } from "../support/faults/hub.ts";
import type { World } from "../support/faults/world.ts";
import { newDir } from "../support/home.ts";
import { chooser, SEED } from "../support/random.ts";
import { eventually, sleep } from "../support/temp.ts";

const SITES = ["kampala", "nairobi", "juba"] as const;
const DISTRICTS = ["Makindye", "Kamukunji", "Rejaf"] as const;
const DEVICES = 9;
const ROUNDS = 5;
const VIEWS = [beneficiaries, policies];

const dir = newDir("replicas");
chmodSync(dir, 0o755);
const world: World = {
  ...{ dir, data: join(dir, "hub"), next: Math.random, say: () => {}, tablets: [], tokens: new Map(), due: new Set() },
  ...{ destroyed: new Set(), tabletCopies: new Map(), small: null, logCopy: null, backup: null, hub: null, count: 0 },
};
const fields: Field[] = [];
afterAll(async () => {
  for (const field of fields) field.close();
  await endAll(world);
  rmSync(dir, { recursive: true, force: true });
});

it(`nine devices hold what their sites may hold, although the hub's door and projector are killed while they sync and one of them is away for long (seed ${SEED})`, async () => {
  const choose = chooser(SEED);
  await startHub(world);
  for (const site of SITES) world.tokens.set(site, await addSite(world, site));
  await setPolicies();
  for (let n = 0; n < DEVICES; n++)
    fields.push(
      openField({
        path: join(dir, `${n}.db`),
        name: { org: "relief", site: SITES[n % SITES.length]!, device: `t${n}` },
        schemas: join(ROOT, "schemas"),
        views: VIEWS,
      }),
    );
  let households = 0;
  const writeSome = async (field: Field, n: number): Promise<void> => {
    for (let i = 0; i < 4; i++) {
      const isNew = households === 0 || choose.chance(0.6);
      const id = `HSE-${String(isNew ? households++ : choose.int(0, households - 1)).padStart(6, "0")}`;
      const where = { district: choose.pick(DISTRICTS), village: `Village ${choose.int(1, 9)}` };
      await field.append({
        type: isNew ? "beneficiary.registered" : "beneficiary.updated",
        entity: { type: "beneficiary", id },
        data: isNew ? { registration_no: id, given_name: "Amina", sex: "female", registered_on: "2026-05-03", ...where } : where,
        actor: `device ${n}`,
      });
    }
  };
  for (let round = 0; round < ROUNDS; round++) {
    // The last device is away until the end; it writes all the same.
    for (const [n, field] of fields.entries()) await writeSome(field, n);
    const syncs = fields.slice(0, -1).map((field) => syncNow(field).catch(isOfTheLink));
    await sleep(choose.int(0, 600));
    const victim = pidOf(world, choose.pick(["ingress", "projector"]));
    if (victim !== null) signal(victim, "SIGKILL");
    await Promise.all(syncs);
  }
  let quiet = 0;
  await eventually("all devices have all that they may hold", async () => {
    const results: SyncResult[] = [];
    for (const field of fields) results.push(await syncNow(field));
    // The projector may have been killed a moment ago, and what it folds is sealed a little later.
    const lag = await command(["lag", "--json", "--data", world.data]);
    const isFolded = lag.code === 0 && (JSON.parse(lag.stdout) as { events: number }).events === 0;
    const isStill = results.every(
      ({ pending, pulled, pullProblem }) =>
        pending === 0 && pullProblem === null && pulled?.events === 0 && pulled.purged.entities === 0,
    );
    quiet = isFolded && isStill ? quiet + 1 : 0;
    await sleep(500);
    return quiet >= 3;
  });
  let rows = 0;
  const views = await viewsOf(world.data);
  for (const field of fields) {
    const site = field.store.name.site;
    // What a device wrote itself of others' households it shows as far as it wrote it.
    const others = field.query("beneficiaries").filter(({ _own }) => _own === null);
    expect([...new Set(others.map(({ district }) => district))]).toEqual([
      DISTRICTS[SITES.indexOf(site as (typeof SITES)[number])],
    ]);
    const compared = await compareReplica(field, views, world.data);
    expect(compared.filter(({ rowsEqual }) => rowsEqual !== true)).toEqual([]);
    rows += compared.reduce((sum, each) => sum + each.rows, 0);
  }
  // Each household is on the three devices of one site.
  expect(rows).toBeGreaterThanOrEqual(3 * households);
});

/** Each site may hold one district. */
async function setPolicies(): Promise<void> {
  for (const [n, site] of SITES.entries()) {
    const file = join(dir, `${site}.json`);
    const entities = { beneficiary: { where: { district: [DISTRICTS[n]] } } };
    writeFileSync(file, JSON.stringify({ name: site, for: { sites: [site] }, entities }));
    const { code, stderr } = await command(["policy", "set", file, "--data", world.data]);
    expect(stderr).toBe("");
    expect(code).toBe(0);
  }
}

function syncNow(field: Field): Promise<SyncResult> {
  const token = world.tokens.get(field.store.name.site)!;
  const { natsUrl, httpUrl } = stateOf(world);
  // Some come over HTTP.
  const url = field.store.name.device.endsWith("4") ? httpUrl : withoutLogin(natsUrl);
  return field.sync({ url, token, sleep: () => sleep(200) });
}

/** The hub is being killed: what did not come is asked for again. */
function isOfTheLink(error: unknown): void {
  if (!isTributaryError(error) || !["sync-gave-up", "backend-unreachable", "backend-failed"].includes(error.code)) throw error;
}
