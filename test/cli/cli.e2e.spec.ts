import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { isAlive } from "../../services/local/index.ts";
import { eventually, tempDir } from "../support/temp.ts";

const MAIN = join(import.meta.dirname, "../../services/cli/main.ts");
const SAMPLES = join(import.meta.dirname, "../data");

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const start = (args: readonly string[], env: Record<string, string> = {}): ChildProcess =>
  spawn(process.execPath, ["--disable-warning=ExperimentalWarning", MAIN, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });

/** Runs a command as a user would. */
function tributary(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const child = start(args, env);
    let stdout = "";
    let stderr = "";
    child.stdout!.on("data", (chunk: Buffer) => {
      stdout += chunk;
    });
    child.stderr!.on("data", (chunk: Buffer) => {
      stderr += chunk;
    });
    child.on("close", (code) => resolve({ code: code ?? -1, stdout, stderr }));
  });
}
const json = async (args: readonly string[]): Promise<Record<string, unknown>> => {
  const { stdout, code, stderr } = await tributary([...args, "--json"]);
  expect(`${code} ${stderr}`).toMatch(/^0 /);
  return JSON.parse(stdout);
};

it("the demo ends by itself and proves that nothing acknowledged was lost", async () => {
  const { code, stdout, stderr } = await tributary(["demo", "--json", "--data", tempDirForServers()]);
  expect(`${code} ${code === 0 ? "" : stderr}`).toBe("0 ");
  const facts = JSON.parse(stdout) as Record<string, number & boolean & unknown>;
  expect(facts).toMatchObject({ rows: 3362, imported: 3332, quarantined: 2, chainsIntact: true, viewsMatchLog: true });
  expect(facts.acknowledged).toBe(facts.events);
  expect(facts.inLogExactlyOnce).toBe(facts.acknowledged);
  expect(facts.conflicts).toBeGreaterThanOrEqual(2);
  expect(facts.before).toMatchObject({ phone: null, preferred_language: "sw" });
  expect(facts.after).toMatchObject({ phone: "+254712000023", preferred_language: "sw", household_size: 5 });
  expect(stderr).toContain("SIGKILL");
}, 100_000);

function tempDirForServers(): string {
  const dir = tempDir();
  chmodSync(dir, 0o755);
  return dir;
}

it("a newcomer's way: hub, site, device, import, sync, view, audit, quarantine; then a clean stop", async () => {
  const data = tempDirForServers();
  const db = join(tempDir(), "juba.db");
  const hub = start(["hub", "--data", data, "--org", "relief"]);
  onTestFinished(() => {
    hub.kill("SIGKILL");
  });
  let said = "";
  hub.stdout!.on("data", (chunk: Buffer) => {
    said += chunk;
  });
  await eventually("the hub's start", async () => said.includes("The hub of relief is running."), 40_000);
  const second = await tributary(["hub", "--data", data]);
  expect(second).toMatchObject({ code: 8, stderr: expect.stringContaining(`process ${hub.pid}`) });

  const site = (await json(["site", "add", "juba", "--title", "Juba office", "--data", data])) as {
    token: string;
    natsUrl: string;
    httpUrl: string;
  };
  await json(["field", "init", "--org", "relief", "--site", "juba", "--device", "t1", "--db", db]);
  const [imported] = (await json([
    "field",
    "import",
    join(SAMPLES, "juba/beneficiaries.csv"),
    "--actor",
    "deng",
    "--db",
    db,
  ])) as unknown as { imported: number; misfits: unknown[] }[];
  expect(imported).toMatchObject({ type: "beneficiary.registered", imported: 443, repeated: 4 });
  expect(imported!.misfits).toHaveLength(1);
  const token = join(tempDir(), "token");
  writeFileSync(token, site.token);
  expect(await json(["field", "sync", "--hub", site.httpUrl, "--token", `@${token}`, "--db", db])).toMatchObject({
    confirmed: 443,
    pending: 0,
  });
  const appended = await json([
    "field",
    "append",
    "beneficiary.updated",
    "beneficiary/JUB-000007",
    '{"phone":"+211912345678"}',
    "--actor",
    "deng",
    "--db",
    db,
  ]);
  expect(await json(["field", "sync", "--hub", site.natsUrl, "--token", `@${token}`, "--db", db])).toMatchObject({
    confirmed: 1,
  });
  expect(await json(["field", "status", "--db", db])).toMatchObject({ levels: { LOCAL: 0, QUEUED: 0, SYNCED: 444 } });

  await eventually("the row", async () => {
    const { rows } = (await json(["view", "beneficiaries", "--id", "JUB-000007", "--data", data])) as {
      rows: { phone: string }[];
    };
    return rows[0]?.phone === "+211912345678";
  });
  expect(await json(["audit", "entity", "beneficiary/JUB-000007", "--data", data])).toMatchObject({
    events: [{ type: "beneficiary.registered" }, { type: "beneficiary.updated", actor: "deng" }],
  });
  expect(await json(["audit", "event", String(appended.id), "--data", data])).toMatchObject({
    type: "beneficiary.updated",
    seq: 443,
  });
  expect(await json(["audit", "verify", "--data", data])).toMatchObject({ events: 445, chainsIntact: true, problemCount: 0 });
  const [held] = (await json(["quarantine", "list", "--data", data])) as unknown as { origin: string; seq: number }[];
  expect(await json(["quarantine", "show", `${held!.origin}/${held!.seq}`, "--data", data])).toMatchObject({
    entity: "beneficiary/JUB-000211",
    path: "/birth_date",
    raw: expect.stringContaining("2019-02-30"),
  });
  expect(await json(["site", "list", "--data", data])).toMatchObject([
    { site: "hub" },
    { site: "juba", title: "Juba office", events: 444, quarantined: 1 },
  ]);
  const shown: [string[], string][] = [
    [["view", "beneficiaries", "--where", "status=idp"], "registration_no"],
    [["site", "list"], "Juba office"],
    [["quarantine", "list"], "2019-02-30"],
    [["audit", "entity", "beneficiary/JUB-000007"], "+211912345678"],
  ];
  for (const [args, text] of shown)
    expect(await tributary([...args, "--data", data])).toMatchObject({ code: 0, stdout: expect.stringContaining(text) });

  const pids = ["nats", "eventstore", "postgres"].map(
    (name) => (JSON.parse(readFileSync(join(data, `${name}.pid`), "utf8")) as { pid: number }).pid,
  );
  hub.kill("SIGTERM");
  const code = await new Promise((resolve) => hub.on("exit", resolve));
  expect(code).toBe(0);
  for (const pid of pids) expect(isAlive(pid)).toBe(false);
}, 100_000);

describe("a mistake", () => {
  it.each([
    ["no such command", ["fly"], 2, /no command fly/],
    ["an unknown option", ["field", "status", "--fast"], 2, /fast/],
    ["a missing option", ["field", "init", "--org", "relief"], 2, /--site is missing/],
    [
      "a name that is none",
      ["field", "init", "--org", "Relief Org", "--site", "a", "--device", "b", "--db", ":memory:"],
      3,
      /is not a name/,
    ],
    ["a database that is not there", ["field", "status", "--db", "/nonexistent/f.db"], 4, /no field database/],
    [
      "data that are no JSON",
      ["field", "append", "beneficiary.updated", "beneficiary/A", "{oops", "--db", ":memory:"],
      3,
      /no JSON/,
    ],
    ["a file that is not there", ["field", "import", "nowhere.csv", "--db", ":memory:"], 3, /cannot be read/],
    ["no hub", ["view", "beneficiaries", "--data", "/nonexistent"], 4, /no hub/],
    ["an entity that is none", ["audit", "entity", "beneficiary", "--data", "/nonexistent"], 2, /no entity/],
    ["no token", ["field", "sync", "--hub", "nats://127.0.0.1:1", "--db", "DB"], 5, /no token/],
  ])("(%s) gets a sentence, what to do, and an exit code", async (_, args, code, message) => {
    const db = join(tempDir(), "f.db");
    if (args.includes("DB")) await json(["field", "init", "--org", "relief", "--site", "a", "--device", "b", "--db", db]);
    const ended = await tributary(
      args.map((arg) => (arg === "DB" ? db : arg)),
      { TRIBUTARY_TOKEN: "", TRIBUTARY_NATS_URL: "", TRIBUTARY_POSTGRES_URL: "", TRIBUTARY_EVENTSTORE_URL: "" },
    );
    expect(ended.stderr).toMatch(message);
    expect(ended.stderr.trim().split("\n").length).toBeGreaterThanOrEqual(2);
    expect(ended.stderr).not.toMatch(/\n\s+at /);
    expect(ended.code).toBe(code);
  });

  it("with --json is one document too", async () => {
    const { stdout, code } = await tributary(["fly", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: "usage", hint: expect.any(String) } });
    expect(code).toBe(2);
  });

  it("(a port in use) is told, and nothing is left running", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    const ended = await tributary(["hub", "--data", tempDirForServers(), "--listen", `127.0.0.1:${port}`]);
    server.close();
    expect(ended.stderr).toContain(`port ${port}`);
    expect(ended.code).toBe(8);
  }, 60_000);

  it("(a server named in the environment that does not answer) is told by its variable", async () => {
    const ended = await tributary(["hub", "--data", tempDirForServers()], { TRIBUTARY_NATS_URL: "nats://127.0.0.1:1" });
    expect(ended).toMatchObject({ code: 7, stderr: expect.stringContaining("TRIBUTARY_NATS_URL") });
  }, 60_000);
});

it("--help teaches every command", async () => {
  const { stdout } = await tributary(["--help"]);
  const names = [...stdout.matchAll(/^tributary ((?:[a-z]+ ?)+?)\s{2,}/gm)].map(([, name]) => name!);
  expect(names.length).toBeGreaterThanOrEqual(16);
  for (const name of ["hub", "field sync", "audit verify"]) {
    const help = await tributary([...name.split(" "), "--help"]);
    expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining(`tributary ${name}`) });
    expect(help.stdout).toContain("Exit codes");
  }
}, 30_000);
