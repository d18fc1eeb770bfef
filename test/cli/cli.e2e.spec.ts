import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { chmodSync, cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import type { AgencyFacts } from "../../services/cli/demo-agencies.ts";
import type { FormFacts } from "../../services/cli/demo-form.ts";
import type { RestoreFacts } from "../../services/cli/demo-restore.ts";
import { loadSchemas } from "../../services/gate/node.ts";
import { isAlive } from "../../services/local/index.ts";
import { withCluster } from "../support/cluster.ts";
import { type Ended, runHere } from "../support/here.ts";
import { isHere } from "../support/hub-process.ts";
import { eventually, tempDir } from "../support/temp.ts";

const MAIN = join(import.meta.dirname, "../../services/cli/main.ts");
const SCHEMAS = join(import.meta.dirname, "../../schemas");
const forms = loadSchemas(SCHEMAS);
const schemaVersions = forms.subjects().reduce((sum, subject) => sum + forms.versions(subject).length, 0);
const SAMPLES = join(import.meta.dirname, "../data");

const start = (args: readonly string[], env: Record<string, string> = {}): ChildProcess =>
  spawn(process.execPath, ["--disable-warning=ExperimentalWarning", MAIN, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });

/** Runs a command to its end: in this process if that makes no difference, else as `inProcess` does. */
const tributary = (args: readonly string[]): Promise<Ended> => (isHere(args) ? runHere(...args) : inProcess(args));

/** Runs a command as a user would, in a process of its own. */
function inProcess(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
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

/** One run of the demo serves the tests that look at it. */
let run: Promise<{ readonly facts: Record<string, unknown>; readonly stderr: string }> | undefined;
const demoRun = (): NonNullable<typeof run> => {
  run ??= (async () => {
    const { code, stdout, stderr } = await tributary(["demo", "--json", "--data", tempDirForServers()]);
    expect(`${code} ${code === 0 ? "" : stderr}`).toBe("0 ");
    return { facts: JSON.parse(stdout) as Record<string, unknown>, stderr };
  })();
  return run;
};
const demo = async (): Promise<Record<string, unknown>> => (await demoRun()).facts;

it("the demo ends by itself and proves that nothing acknowledged was lost", async () => {
  const { facts, stderr } = await demoRun();
  expect(facts).toMatchObject({ rows: 3362, imported: 3332, quarantined: 2, chainsIntact: true, viewsMatchLog: true });
  expect(facts.acknowledged).toBe(facts.events);
  expect(facts.inLogExactlyOnce).toBe(facts.acknowledged);
  expect(facts.conflicts).toBeGreaterThanOrEqual(2);
  expect(facts.before).toMatchObject({ phone: null, preferred_language: "sw" });
  expect(facts.after).toMatchObject({ phone: "+254712000023", preferred_language: "sw", household_size: 5 });
  expect(stderr).toContain("SIGKILL");
  expect(stderr, "a line that frightens, in a run that went well").not.toMatch(
    /ended \(|exit \d|starting it again|were built by other/,
  );
  const { decisions } = facts as { decisions: { entity: string; register: string; reason: string }[] };
  // By the tablets' clocks, which the story sets: the same in each run.
  expect(decisions.map(({ entity, register, reason }) => `${entity} ${register} ${reason}`)).toEqual([
    "JUB-000007 deleted later-stamp",
    "NBO-000023 household_size clock-trusted",
    "JUB-000005 registered_on later-stamp",
    "JUB-000250 registered_on later-stamp",
    ...["KLA-000042", "KLA-000111", "KLA-000390", "NBO-000017", "NBO-000058", "NBO-000203"].map(
      (entity) => `${entity} registered_on clock-trusted`,
    ),
  ]);
});

it("three agencies share a person: changes to different fields survive, the contested one is explained, the double ration caught, a rule changed unnoticed", async () => {
  const { agencies } = (await demo()) as { agencies: AgencyFacts };
  expect(agencies.row).toMatchObject({
    village: "Hai Referendum",
    preferred_language: "nus",
    household_size: 5,
    phone: "+211920000002",
    conflicts: 2,
  });
  expect(agencies.contested).toEqual([
    { register: "household_size", rule: "authority", reason: "authority", shown: 5 },
    { register: "phone", rule: "lastWriteWins", reason: "later-stamp", shown: "+211920000002" },
  ]);
  expect(agencies.doubleRation).toMatchObject({ entities: ["FOODAID-D-1", "SHELTER-D-1"], events: 2 });
  expect(agencies.tried).toMatchObject({
    changed: 1,
    columns: { phone: { now: "+211920000002", would: "+211920000001", because: "sitePriority: site-priority" } },
  });
  expect(agencies.reader).toMatchObject({ failures: 0, empty: 0, phones: ["+211920000002", "+211920000001"] });
  expect(agencies.reader.reads).toBeGreaterThan(50);
  expect(agencies.after).toMatchObject({ phone: "+211920000001", household_size: 5, village: "Hai Referendum" });
});

it("a form changes while sites are away: form, update form, column, rebuild, and the new value at the desk", async () => {
  const { form } = (await demo()) as { form: FormFacts };
  expect(form).toEqual({
    refused: true,
    registered: ["beneficiary@3", "beneficiary-update@2"],
    oldFormConfirmed: 1,
    learnt: 2,
    tried: { changed: 0, equal: expect.any(Number) },
    rebuilt: { events: expect.any(Number) },
    row: { given_name: "Abuk", household_size: 6, shelter: "tent" },
  });
});

it("a hub that is lost comes back from its backup, and a device gives it what the backup lacks", async () => {
  const { restore, booksBalance } = (await demo()) as { restore: RestoreFacts; booksBalance: boolean };
  expect(restore).toEqual({ events: 65, inLogExactlyOnce: 65, lost: 25, sentAgain: 25 });
  expect(booksBalance).toBe(true);
});

it("the demo tells the chapters that are asked for, and names those that there are", async () => {
  const wrong = await runHere("demo", "--chapters", "agencies,nowhere");
  expect(wrong.code).toBe(2);
  expect(wrong.stderr).toMatch(/no chapter nowhere[\s\S]*sites, replicas, agencies, form, restore/);
});

function tempDirForServers(): string {
  const dir = tempDir();
  chmodSync(dir, 0o755);
  return dir;
}

it("a newcomer's way: hub, site, device, import, sync, view, audit, quarantine; then a clean stop", async () => {
  const data = tempDirForServers();
  const db = join(tempDir(), "juba.db");
  withCluster(data);
  const hub = start(["hub", "--data", data, "--org", "relief"]);
  onTestFinished(() => {
    hub.kill("SIGKILL");
  });
  let said = "";
  hub.stdout!.on("data", (chunk: Buffer) => {
    said += chunk;
  });
  await eventually("the hub's start", async () => said.includes("The hub of relief is running."));
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
  expect(await json(["audit", "verify", "--data", data])).toMatchObject({
    // With one for each schema that the hub has registered.
    events: 445 + schemaVersions,
    chainsIntact: true,
    notCompared: [],
    problemCount: 0,
  });
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

  // What was held back is corrected and counts; the form gets a field while the hub runs.
  const name = `${held!.origin}/${held!.seq}`;
  expect(await tributary(["quarantine", "release", name, "--data", data])).toMatchObject({
    code: 3,
    stdout: expect.stringContaining("birth_date '2019-02-30' is not a date"),
  });
  expect(
    await json(["quarantine", "release", name, "--set", "birth_date=2019-02-28", "--note", "asked", "--data", data]),
  ).toMatchObject({
    released: [name],
    held: [],
  });
  await eventually("the released row", async () => {
    const { rows } = (await json(["view", "beneficiaries", "--id", "JUB-000211", "--data", data])) as {
      rows: { birth_date: string }[];
    };
    return rows[0]?.birth_date === "2019-02-28";
  });
  expect(await tributary(["quarantine", "reject", name, "--reason", "no", "--data", data])).toMatchObject({ code: 2 });
  expect(await json(["quarantine", "rates", "--data", data])).toContainEqual(
    expect.objectContaining({ site: "juba", schema: "beneficiary@2", quarantined: 1, held: 0 }),
  );
  const v2 = JSON.parse(readFileSync(join(SCHEMAS, "beneficiary/v2.schema.json"), "utf8")) as {
    properties: object;
    required: string[];
  };
  const draft = join(tempDir(), "draft.schema.json");
  const grown = { ...v2, properties: { ...v2.properties, shelter: { type: "string", maxLength: 40 } } };
  writeFileSync(draft, JSON.stringify({ ...grown, required: [...v2.required, "shelter"] }));
  expect(await tributary(["schema", "register", "beneficiary", draft, "--data", data])).toMatchObject({
    code: 3,
    stdout: expect.stringMatching(
      /cannot read what version 1 writes[\s\S]*example[\s\S]*shelter is missing[\s\S]*Make the field optional/,
    ),
  });
  writeFileSync(draft, JSON.stringify(grown));
  expect(await json(["schema", "register", "beneficiary", draft, "--data", data])).toMatchObject({
    registered: "beneficiary@3",
    isNew: true,
  });
  expect(await json(["schema", "show", "beneficiary", "--data", data])).toMatchObject({ version: 3, kind: "json" });
  expect(await json(["schema", "list", "--data", data])).toMatchObject({ level: "FULL_TRANSITIVE" });
  // What was registered is an event of the hub's own as well, from which devices learn of it.
  expect(await json(["audit", "entity", "schema/beneficiary", "--data", data])).toMatchObject({
    events: [1, 2, 3].map((version) => ({ type: "schema.registered", data: { version, authority: "relief" } })),
  });
  expect(await tributary(["schema", "check", SCHEMAS, "--against", "hub", "--data", data])).toMatchObject({ code: 0 });
  expect(await json(["field", "sync", "--hub", site.httpUrl, "--token", `@${token}`, "--db", db])).toMatchObject({
    schemasLearnt: 1,
    quarantined: [],
  });
  expect(await json(["audit", "verify", "--data", data])).toMatchObject({ chainsIntact: true, problemCount: 0 });

  const pids = ["nats", "eventstore", "postgres"].map(
    (name) => (JSON.parse(readFileSync(join(data, `${name}.pid`), "utf8")) as { pid: number }).pid,
  );
  hub.kill("SIGTERM");
  const code = await new Promise((resolve) => hub.on("exit", resolve));
  expect(code).toBe(0);
  for (const pid of pids) expect(isAlive(pid)).toBe(false);
});

describe("schemas in a folder, for a team's CI", () => {
  const copy = (): string => {
    const dir = tempDir();
    cpSync(SCHEMAS, dir, { recursive: true });
    return dir;
  };
  const git = (dir: string, ...args: string[]): void => {
    execFileSync("git", ["-C", dir, "-c", "user.name=t", "-c", "user.email=t@example.org", ...args], { stdio: "ignore" });
  };

  it("pass as they are, and against the commit that they are at", async () => {
    const dir = copy();
    git(dir, "init", "-q");
    git(dir, "add", ".");
    git(dir, "commit", "-qm", "schemas");
    expect(await runHere("schema", "check", dir)).toMatchObject({ code: 0 });
    expect(await runHere("schema", "check", dir, "--against", "HEAD")).toMatchObject({ code: 0 });
    expect(await runHere("schema", "lint", dir)).toMatchObject({ code: 0, stdout: "There is nothing to report.\n" });
    // A version that tablets may hold is neither changed nor removed.
    const file = join(dir, "stock-movement/v1.schema.json");
    writeFileSync(file, readFileSync(file, "utf8").replaceAll('"quantity"', '"amount"'));
    rmSync(join(dir, "beneficiary/v2.schema.json"));
    const { code, stdout } = await runHere("schema", "check", dir, "--against", "HEAD", "--json");
    expect(code).toBe(9);
    expect((JSON.parse(stdout) as { results: { rule: string }[] }).results.map(({ rule }) => rule)).toEqual(
      expect.arrayContaining(["changed", "removed"]),
    );
    expect(await runHere("schema", "check", dir, "--against", "no-such-ref")).toMatchObject({
      code: 4,
      stderr: expect.stringContaining("no-such-ref"),
    });
  });

  it("fail with an example for each change that would break a site, in words, JSON and SARIF", async () => {
    const dir = copy();
    const avro = JSON.parse(readFileSync(join(dir, "distribution/v2.avsc"), "utf8")) as {
      fields: { name: string; type: unknown }[];
    };
    writeFileSync(
      join(dir, "distribution/v3.avsc"),
      JSON.stringify(
        { ...avro, fields: avro.fields.map((field) => (field.name === "quantity" ? { ...field, type: "string" } : field)) },
        null,
        2,
      ),
    );
    const sarif = join(dir, "out.sarif");
    const { code, stdout } = await runHere("schema", "check", dir, "--sarif", sarif);
    expect(code).toBe(9);
    expect(stdout).toMatch(
      /cannot read what version 1 writes[\s\S]*type_mismatch, at \/fields\/\d\/type[\s\S]*double cannot be read as string/,
    );
    const report = JSON.parse(readFileSync(sarif, "utf8")) as {
      version: string;
      runs: {
        results: {
          ruleId: string;
          level: string;
          locations: { physicalLocation: { artifactLocation: { uri: string }; region: { startLine: number } } }[];
        }[];
      }[];
    };
    expect(report.version).toBe("2.1.0");
    const [result] = report.runs[0]!.results;
    expect(result).toMatchObject({ ruleId: "type_mismatch", level: "error" });
    expect(result!.locations[0]!.physicalLocation.artifactLocation.uri).toMatch(/distribution\/v3\.avsc$/);
    expect(await runHere("schema", "diff", "distribution@2", join(dir, "distribution/v3.avsc"), "--from", dir)).toMatchObject({
      code: 0,
      stdout: expect.stringContaining("~ quantity"),
    });
  });

  it("name the columns that hold less than their form, and pass all the same", async () => {
    const sarif = join(tempDir(), "report.sarif");
    const { code, stdout } = await runHere("schema", "check", copy(), "--sarif", sarif);
    expect(code).toBe(0);
    expect(stdout).toContain("· distributions.distributed_on holds days; the form distribution lets any text");
    const report = JSON.parse(readFileSync(sarif, "utf8")) as {
      runs: { results: { ruleId: string; level: string; message: { text: string } }[] }[];
    };
    const found = report.runs[0]!.results.filter(({ ruleId }) => ruleId === "narrow-column");
    expect(found.map(({ level }) => level)).toEqual(found.map(() => "warning"));
    expect(found.some(({ message }) => message.text.includes('distributed_on: "03/05/2026" is not a day like 2026-05-03'))).toBe(
      true,
    );
  });

  it("fail when a file is not a schema, and name it", async () => {
    const dir = copy();
    writeFileSync(join(dir, "site/v2.schema.json"), '{"type":"objekt"}');
    expect(await runHere("schema", "check", dir)).toMatchObject({
      code: 3,
      stdout: expect.stringContaining("site/v2.schema.json"),
    });
    expect(await runHere("schema", "lint", dir)).toMatchObject({
      code: 3,
      stderr: expect.stringContaining("site/v2.schema.json"),
    });
  });
});

describe("a mistake", () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  it.each([
    ["no such command", ["fly"], 2, /no command fly/],
    ["an unknown option", ["field", "status", "--fast"], 2, /fast/],
    ["a missing option", ["field", "init", "--org", "relief"], 2, /--site is missing/],
    [
      "a name that is not allowed",
      ["field", "init", "--org", "Relief Org", "--site", "a", "--device", "b", "--db", ":memory:"],
      3,
      /is not a name/,
    ],
    ["a database that is not there", ["field", "status", "--db", "/nonexistent/f.db"], 4, /no field database/],
    [
      "data that are not JSON",
      ["field", "append", "beneficiary.updated", "beneficiary/A", "{oops", "--db", ":memory:"],
      3,
      /is not JSON/,
    ],
    ["a file that is not there", ["field", "import", "nowhere.csv", "--db", ":memory:"], 3, /cannot be read/],
    ["no hub", ["view", "beneficiaries", "--data", "/nonexistent"], 4, /no hub/],
    ["an entity without an id", ["audit", "entity", "beneficiary", "--data", "/nonexistent"], 2, /the entity's id is missing/],
    ["no token", ["field", "sync", "--hub", "nats://127.0.0.1:1", "--db", "DB"], 5, /no token/],
  ])("(%s) gets a sentence, what to do, and an exit code", async (_, args, code, message) => {
    const db = join(tempDir(), "f.db");
    if (args.includes("DB")) await json(["field", "init", "--org", "relief", "--site", "a", "--device", "b", "--db", db]);
    for (const name of ["TOKEN", "NATS_URL", "POSTGRES_URL", "EVENTSTORE_URL"]) vi.stubEnv(`TRIBUTARY_${name}`, "");
    const ended = await tributary(args.map((arg) => (arg === "DB" ? db : arg)));
    expect(ended.stderr).toMatch(message);
    expect(ended.stderr.trim().split("\n").length).toBeGreaterThanOrEqual(2);
    expect(ended.stderr).not.toMatch(/\n\s+at /);
    expect(ended.code).toBe(code);
  });

  it("with --json is one document too", async () => {
    const { stdout, code } = await inProcess(["fly", "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: "usage", hint: expect.any(String) } });
    expect(code).toBe(2);
  });

  it("(a port in use) is reported, and nothing is left running", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as { port: number };
    const data = tempDirForServers();
    withCluster(data);
    const ended = await tributary(["hub", "--data", data, "--listen", `127.0.0.1:${port}`]);
    server.close();
    expect(ended.stderr).toContain(`port ${port}`);
    expect(ended.code).toBe(8);
  });

  it("(a server named in the environment that does not answer) is reported by its variable", async () => {
    const ended = await inProcess(["hub", "--data", tempDirForServers()], { TRIBUTARY_NATS_URL: "nats://127.0.0.1:1" });
    expect(ended).toMatchObject({ code: 7, stderr: expect.stringContaining("TRIBUTARY_NATS_URL") });
  });
});

it("--help explains every command", async () => {
  const { stdout } = await runHere("--help");
  const names = [...stdout.matchAll(/^tributary ((?:[a-z]+ ?)+?)\s{2,}/gm)].map(([, name]) => name!);
  expect(names.length).toBeGreaterThanOrEqual(16);
  for (const name of ["hub", "field sync", "audit verify"]) {
    const help = await tributary([...name.split(" "), "--help"]);
    expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining(`tributary ${name}`) });
    expect(help.stdout).toContain("Exit codes");
  }
});
