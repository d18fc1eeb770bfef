import { spawn } from "node:child_process";
import { chmodSync, existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { withoutLogin } from "../../services/core/index.ts";
import { withCluster } from "../support/cluster.ts";
import { runHere } from "../support/here.ts";
import { eventually, tempDir } from "../support/temp.ts";

const MAIN = join(import.meta.dirname, "../../services/cli/main.ts");
const NODE = ["--disable-warning=ExperimentalWarning", MAIN];

interface Ended {
  readonly code: number;
  readonly result: Record<string, unknown>;
}

/** Runs a command as a program would; the result or the error, as JSON. */
async function run(...args: readonly string[]): Promise<Ended> {
  const { code, stdout } = await runHere(...args, "--json");
  // A command that fails after its result has printed both: the result comes first.
  const [line = ""] = stdout.split("\n");
  const first = line.length > 1 ? line : (/^[[{]$.*?^[\]}]/ms.exec(stdout)?.[0] ?? "{}");
  return { code, result: JSON.parse(first) as Record<string, unknown> };
}

async function startHub(dir: string): Promise<{ natsUrl: string; httpUrl: string }> {
  withCluster(dir);
  const hub = spawn(process.execPath, [...NODE, "hub", "--data", dir, "--org", "relief"], { stdio: ["ignore", "pipe", "pipe"] });
  onTestFinished(async () => {
    const gone = new Promise((resolve) => hub.once("exit", resolve));
    hub.kill("SIGINT");
    await gone;
  });
  let out = "";
  hub.stdout.on("data", (chunk: Buffer) => {
    out += chunk;
  });
  await eventually("the hub", async () => out.includes("is running"));
  const { natsUrl, httpUrl } = JSON.parse(readFileSync(join(dir, "hub.json"), "utf8")) as { natsUrl: string; httpUrl: string };
  // As devices have it: the hub's own login stays at the hub.
  return { natsUrl: withoutLogin(natsUrl), httpUrl };
}

it("a coordinator lets a tablet in by a code, rotates the hub's key and the tablet's, and shuts the tablet out; every step by commands", async () => {
  const dir = tempDir();
  chmodSync(dir, 0o755);
  const data = join(dir, "hub");
  const db = join(dir, "t1.db");
  const { natsUrl, httpUrl } = await startHub(data);
  const hub = (...args: string[]) => run(...args, "--data", data);
  const field = (...args: string[]) => run("field", ...args, "--db", db);
  const write = (n: number) =>
    field("append", "beneficiary.updated", "beneficiary/TST-000001", JSON.stringify({ phone: `+25470000000${n}` }));

  const added = await hub("site", "add", "juba", "--device", "t1");
  expect(added.code).toBe(0);
  const code = String(added.result.code);
  expect(await field("init", "--org", "relief", "--site", "juba", "--device", "t1")).toMatchObject({ code: 0 });
  expect(await field("sync", "--hub", natsUrl, "--tries", "1")).toMatchObject({
    code: 5,
    result: { error: { code: "token-missing" } },
  });
  expect(await field("enrol", "--hub", httpUrl, "--code", code)).toMatchObject({ code: 0, result: { device: "relief.juba.t1" } });
  expect(await field("enrol", "--hub", natsUrl, "--code", "abcd")).toMatchObject({
    code: 5,
    result: { error: { code: "code-invalid" } },
  });
  await write(1);
  expect(await field("sync", "--hub", natsUrl)).toMatchObject({ code: 0, result: { confirmed: 1, pending: 0 } });

  const before = (await field("status")).result.keys as { device: string; hub: string[] };
  expect((await hub("key", "rotate", "--after", "0")).code).toBe(0);
  expect(statSync(join(data, "signing-key.json")).mode & 0o777).toBe(0o600);
  const keys = (await hub("key", "list")).result as unknown as { kid: string; name: string; state: string }[];
  expect(keys.map(({ state }) => state)).toEqual(["verifies", "signs"]);
  expect((await hub("key", "retire", keys[1]!.name)).code).toBe(2);
  expect((await hub("key", "retire", keys[0]!.name)).code).toBe(0);
  // The door looks at its keys once a second; a sync that is under way just then has to be tried again.
  await write(2);
  await eventually("the device to take the hub's new key", async () => (await field("sync", "--hub", httpUrl)).code === 0);
  expect((await field("status")).result.levels).toMatchObject({ LOCAL: 0, QUEUED: 0 });
  expect((await field("rotate-key", "--hub", natsUrl)).code).toBe(0);
  await write(3);
  expect(await field("sync", "--hub", natsUrl)).toMatchObject({ code: 0, result: { confirmed: 1 } });
  // The hub's door looks at its keys once a second; the device hears of them whenever it asks.
  const after = await eventually("word of the hub's new key", async () => {
    expect((await field("sync", "--hub", natsUrl)).code).toBe(0);
    const known = (await field("status")).result.keys as { device: string; hub: string[] };
    expect(known.hub).toEqual([keys[1]!.kid]);
    return known;
  });
  expect(after.device).not.toBe(before.device);
  expect(JSON.stringify(after)).not.toContain('"d"');

  const devices = (await hub("device", "list")).result as unknown as {
    device: string;
    state: string;
    key: string;
    earlierKeys: number;
  }[];
  expect(devices.find(({ device }) => device === "relief.juba.t1")).toMatchObject({
    state: "enrolled",
    key: after.device,
    earlierKeys: 1,
  });
  expect((await hub("device", "revoke", "juba/t1", "--reason", "lost")).code).toBe(0);
  await write(4);
  await eventually("the refusal", async () => (await field("sync", "--hub", natsUrl, "--tries", "1")).code === 5);
  expect((await field("status")).result.levels).toMatchObject({ SYNCED: 3 });

  expect((await hub("token", "revoke", String(added.result.token))).code).toBe(0);
  expect((await hub("site", "revoke", "juba")).code).toBe(0);
  const again = await hub("site", "add", "juba");
  // The tablet itself was revoked, not only its site: a code has to name it.
  expect(await field("enrol", "--hub", natsUrl, "--code", String(again.result.code))).toMatchObject({
    code: 5,
    result: { error: { code: "code-invalid", message: expect.stringContaining("was revoked") } },
  });
  const named = await hub("site", "add", "juba", "--device", "t1");
  expect(await field("enrol", "--hub", natsUrl, "--code", String(named.result.code))).toMatchObject({ code: 0 });
  expect(await field("sync", "--hub", natsUrl)).toMatchObject({ code: 0, result: { pending: 0 } });
  // A partner that may write about hand-outs alone.
  expect((await hub("site", "add", "gulu", "--types", "site")).code).toBe(2);
  const bound = await hub("site", "add", "gulu", "--device", "t1", "--types", "distribution,beneficary");
  expect(bound.result).toMatchObject({ types: ["distribution", "beneficary"], typesWithoutSchema: ["beneficary"] });
  const gulu = (...args: string[]) => run("field", ...args, "--db", join(dir, "gulu.db"));
  await gulu("init", "--org", "relief", "--site", "gulu", "--device", "t1");
  await gulu("enrol", "--hub", natsUrl, "--code", String(bound.result.code));
  await gulu("append", "beneficiary.updated", "beneficiary/TST-000001", '{"phone":"+254700000005"}');
  expect(await gulu("sync", "--hub", natsUrl)).toMatchObject({
    code: 0,
    result: { confirmed: 1, quarantined: [{ seq: 0, code: "entity-not-allowed" }] },
  });
  // What the hub's people decide about it reaches the tablet with a later sync.
  const [held] = (await gulu("status")).result.quarantined as { origin: string; seq: number }[];
  const name = `${held?.origin}/${held?.seq}`;
  const reject = async () => (await hub("quarantine", "reject", name, "--reason", "Juba writes these")).code === 0;
  await eventually("the event in quarantine to be rejected", reject);
  await eventually("the tablet to hear of it", async () => {
    const { released, rejected } = (await gulu("sync", "--hub", natsUrl)).result;
    expect(released).toBe(0);
    return Array.isArray(rejected) && rejected.length === 1;
  });
  const { stdout } = await runHere("field", "status", "--db", join(dir, "gulu.db"));
  expect(stdout).toContain("rejected: beneficiary/TST-000001: Juba writes these (it was quarantined: ");
  const listed = (await hub("device", "list")).result as unknown as { device: string; types: string[] | null }[];
  expect(listed.map(({ device, types }) => [device, types])).toContainEqual(["relief.gulu.t1", ["distribution", "beneficary"]]);
  expect(listed.find(({ device }) => device === "relief.juba.t1")!.types).toBeNull();
  const verified = await hub("audit", "verify", "--log-only");
  expect(verified).toMatchObject({ code: 0, result: { problemCount: 0, signatures: { unsigned: 0 } } });
  expect((verified.result.signatures as { facts: number }).facts).toBeGreaterThan(8);
  expect(existsSync(join(data, "signing-key.json.new"))).toBe(false);
});
