import { spawn } from "node:child_process";
import { chmodSync, existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { eventually, tempDir } from "../support/temp.ts";

const MAIN = join(import.meta.dirname, "../../services/cli/main.ts");
const NODE = ["--disable-warning=ExperimentalWarning", MAIN];

interface Ended {
  readonly code: number;
  readonly result: Record<string, unknown>;
}

/** Runs a command as a program would; the result or the error, as JSON. */
function run(...args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [...NODE, ...args, "--json"], { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    child.stdout.on("data", (chunk: Buffer) => {
      out += chunk;
    });
    // One that fails after its result has told both: the result comes first.
    child.on("close", (code) => {
      const [line = ""] = out.split("\n");
      const first = line.length > 1 ? line : (/^[[{]$.*?^[\]}]/ms.exec(out)?.[0] ?? "{}");
      resolve({ code: code ?? -1, result: JSON.parse(first) as Record<string, unknown> });
    });
  });
}

async function startHub(dir: string): Promise<{ natsUrl: string; httpUrl: string }> {
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
  await eventually("the hub", async () => out.includes("is running"), 150_000);
  return JSON.parse(readFileSync(join(dir, "hub.json"), "utf8")) as { natsUrl: string; httpUrl: string };
}

it("a coordinator lets a tablet in by a code, turns the hub's key and the tablet's, and shuts the tablet out; every step by commands", async () => {
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
  await write(2);
  expect(await field("sync", "--hub", httpUrl)).toMatchObject({ code: 0, result: { confirmed: 1 } });
  expect((await field("rotate-key", "--hub", natsUrl)).code).toBe(0);
  await write(3);
  expect(await field("sync", "--hub", natsUrl)).toMatchObject({ code: 0, result: { confirmed: 1 } });
  const after = (await field("status")).result.keys as { device: string; hub: string[] };
  expect(after.device).not.toBe(before.device);
  expect(after.hub).toEqual([keys[1]!.kid]);
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
  expect(await field("enrol", "--hub", natsUrl, "--code", String(again.result.code))).toMatchObject({ code: 0 });
  expect(await field("sync", "--hub", natsUrl)).toMatchObject({ code: 0, result: { pending: 0 } });
  const verified = await hub("audit", "verify", "--log-only");
  expect(verified).toMatchObject({ code: 0, result: { problemCount: 0, signatures: { unsigned: 0 } } });
  expect((verified.result.signatures as { facts: number }).facts).toBeGreaterThan(8);
  expect(existsSync(join(data, "signing-key.json.new"))).toBe(false);
}, 400_000);
