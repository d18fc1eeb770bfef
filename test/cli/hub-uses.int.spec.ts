import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hubOrg } from "../../services/cli/config.ts";
import { writeHubKeys } from "../../services/cli/keys.ts";
import { writeState } from "../../services/cli/state.ts";
import { startIngress } from "../../services/ingress/index.ts";
import { type Ended, runHere } from "../support/here.ts";
import { newDir } from "../support/home.ts";
import { number, openTestHub, registration, SCHEMAS, stateOf, type TestHub, update } from "../support/hub.ts";

let hub: TestHub;
let httpUrl: string;
const dir = newDir("uses");
const db = join(dir, "juba.db");
const file = join(dir, "a-file");

beforeAll(async () => {
  hub = await openTestHub({ schemas: SCHEMAS });
  hubOrg(hub.dir, "relief");
  // Commands that sign for the hub do it with its key.
  writeHubKeys(hub.dir, [...hub.keys]);
  await hub.ingress.close();
  hub.ingress = await startIngress({
    org: "relief",
    natsUrl: hub.backends.nats.url,
    log: hub.log,
    gate: hub.gate,
    registry: hub.registry!,
    keys: { keys: [...hub.keys] },
    listen: { host: "127.0.0.1", port: 0 },
    say: () => {},
  });
  httpUrl = hub.ingress.http?.url ?? "";
  writeState(hub.dir, stateOf(hub.backends, httpUrl));
  writeFileSync(file, "some text");
  using field = hub.field("juba");
  await field.append(registration(number(1)));
  await field.append(update(number(1), { village: "Gumbo" }));
  await field.sync({ url: hub.backends.nats.url, token: await hub.token("juba") });
  await hub.projected();
  expect((await runHere("field", "init", "--org", "relief", "--site", "juba", "--device", "t9", "--db", db)).code).toBe(0);
});
afterAll(async () => {
  await hub?.ingress.close();
  await hub?.close();
  rmSync(dir, { recursive: true, force: true });
});

const run = (...args: readonly string[]): Promise<Ended> => runHere(...args, "--data", hub.dir);

/** Wrong uses of a hub that runs: arguments, exit code, what is said. */
const USES: readonly [args: readonly string[], code: number, says: RegExp][] = [
  [["view", "nosuch"], 4, /there is no view nosuch\nThere are: /],
  [["view", "beneficiaries", "--where", "shoe_size=44"], 2, /beneficiaries has no column .*shoe_size/],
  [["view", "beneficiaries", "--where", "household_size>many"], 2, /household_size/],
  [["view", "beneficiaries", "--where", "registered_on>03/05/2026"], 2, /registered_on/],
  [["view", "beneficiaries", "--where", "nothing"], 2, /nothing/],
  [["view", "beneficiaries", "--sort", "shoe_size"], 2, /no column .*shoe_size/],
  [["view", "beneficiaries", "--columns", "id,shoe_size"], 2, /no column .*shoe_size/],
  [["view", "beneficiaries", "--sort", "phone", "--after", "nobody"], 2, /--after nobody: there is no row of this id/],
  [["view", "beneficiaries", "--as-of", "soon"], 2, /soon/],
  [["view", "beneficiaries", "--at", "yesterday"], 2, /--at yesterday is not a time/],
  [["audit", "entity", "beneficiary/nobody"], 4, /beneficiary\/nobody/],
  [["explain", "beneficiary", "nobody"], 4, /nobody/],
  [["explain", "beneficiary", number(1), "shoe_size"], 4, /shoe_size/],
  [["case", "show", "nosuch"], 4, /nosuch/],
  [["case", "accept", "nosuch", "--note", "x"], 4, /nosuch/],
  [["case", "list", "--view", "nosuch"], 4, /there is no view nosuch/],
  [["quarantine", "show", "relief.juba.t1.abc/1"], 4, /relief\.juba\.t1\.abc\/1/],
  [["quarantine", "show", "gibberish"], 4, /gibberish is not in quarantine/],
  [["quarantine", "release", "relief.juba.t1.abc/1", "--note", "x"], 4, /relief\.juba\.t1\.abc\/1/],
  [["parked", "retry", "beneficiaries", "nobody"], 4, /these are not parked: beneficiaries, nobody/],
  [["parked", "show", "beneficiaries/nobody"], 4, /nobody/],
  [["site", "list", "--silent", "0"], 2, /--silent "0" is not a whole number from 1 to 3650/],
  [["rebuild", "nosuch"], 4, /there is no view nosuch/],
  [["token", "revoke", "a.b.c"], 3, /that is not a token of this hub/],
  [["token", "revoke", "garbage"], 3, /that is not a token of this hub/],
  [["dead", "show", "nosuch"], 2, /"nosuch" is not a letter's number/],
  [["schema", "register", "beneficiary", "/nowhere/v9.schema.json"], 3, /\/nowhere\/v9\.schema\.json/],
  [["schema", "level", "nosuch", "FULL"], 4, /nosuch/],
];

describe("of a hub that runs", () => {
  it.each(USES)("a wrong use says what happened and what to do: %j ends with %i", async (args, code, says) => {
    const { code: ended, stdout, stderr } = await run(...args);
    expect({ ended, stderr }).toEqual({ ended: code, stderr: expect.stringMatching(says) });
    expect(stdout).toBe("");
    expect(stderr.trim().split("\n").length, stderr).toBeGreaterThanOrEqual(2);
    expect(stderr).not.toMatch(/\n\s+at |node:internal|\bE[A-Z]{4,}:|syscall|undefined|\[object|NaN/);
  });

  it.each(["http", "nats"])("a garbled token is called one, over %s, and nothing is lost on the device", async (way) => {
    const url = way === "http" ? httpUrl : hub.backends.nats.url;
    const { code, stderr } = await runHere("field", "sync", "--hub", url, "--token", "garbage", "--db", db);
    expect(code).toBeGreaterThan(0);
    expect(stderr).toMatch(/token/);
    expect(stderr).not.toMatch(/no token came|there is no token/);
  });

  it("an address of another kind of server is reported at once: https and NATS at a port of HTTP, HTTP at NATS's", async () => {
    const host = httpUrl.slice("http://".length);
    const sync = (url: string) => runHere("field", "sync", "--hub", url, "--token", "garbage", "--db", db);
    expect((await sync(`https://${host}`)).stderr).toContain(`Write http://${host}`);
    const nats = new URL(hub.backends.nats.url).host;
    expect((await sync(`http://${nats}`)).stderr).toContain(`Write nats://${nats}`);
  });

  it("rules for an entity that no form is about are refused by name; for one without events yet, that is said", async () => {
    const rulesOf = (name: string, entity: string): string => {
      const path = join(dir, `${name}.ts`);
      writeFileSync(
        path,
        `import { defineProjection, set, text } from ${JSON.stringify(join(import.meta.dirname, "../../services/merge/index.ts"))};
export default defineProjection({ name: "${name}", entity: "${entity}", columns: { a: text() }, events: { "x.made": set() } });`,
      );
      return path;
    };
    const { code, stderr } = await run("rules", "try", rulesOf("wrong_rules", "benefciary"));
    expect(code).toBe(4);
    expect(stderr).toMatch(/"benefciary", and there is no such entity: no form is about it/);
    expect(stderr).toMatch(/Correct `entity` in the file.*beneficiary/);
    const empty = await run("rules", "try", rulesOf("empty_rules", "assessment"));
    expect(empty.code).toBe(0);
    expect(empty.stdout).toContain("The log has no event about assessment yet");
  });

  it("`site list --silent` lists only sites without an event for so long", async () => {
    expect(JSON.parse((await run("site", "list", "--silent", "7", "--json")).stdout)).toEqual([]);
    expect((await run("site", "list", "--silent", "1")).stdout).toBe("The hub has recorded events of every site within 1 day.\n");
    expect((await run("site", "list")).stdout).toContain("juba");
  });

  it("nothing of all that changed what the hub holds", async () => {
    const { stdout } = await run("view", "beneficiaries", "--json");
    expect(JSON.parse(stdout)).toMatchObject({ total: 1, rows: [{ id: number(1), village: "Gumbo" }] });
    expect((await run("audit", "verify")).code).toBe(0);
  });
});

describe("a device's events", () => {
  it("are listed in their order, from a seq on, of one entity, or some of them", async () => {
    for (const [n, village] of [
      [2, "Gumbo"],
      [3, "Kator"],
    ] as const)
      expect(
        (
          await runHere(
            "field",
            "append",
            "beneficiary.updated",
            `beneficiary/${number(n)}`,
            JSON.stringify({ village }),
            "--actor",
            "deng",
            "--db",
            db,
          )
        ).code,
      ).toBe(0);
    const log = async (...args: readonly string[]) =>
      JSON.parse((await runHere("field", "log", ...args, "--db", db, "--json")).stdout);
    const all = await log();
    const events = Array.isArray(all) ? all : all.events;
    expect(events).toMatchObject([
      { seq: 0, type: "beneficiary.updated", level: "LOCAL" },
      { seq: 1, type: "beneficiary.updated", level: "LOCAL" },
    ]);
    const some = async (...args: readonly string[]): Promise<number[]> => {
      const found = await log(...args);
      return (Array.isArray(found) ? found : found.events).map(({ seq }: { seq: number }) => seq);
    };
    expect(await some("--since", "1")).toEqual([1]);
    expect(await some("--limit", "1")).toHaveLength(1);
    expect(await some("--entity", `beneficiary/${number(3)}`)).toEqual([1]);
  });
});
