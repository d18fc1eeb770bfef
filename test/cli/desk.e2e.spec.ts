import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { writeState } from "../../services/cli/state.ts";
import type { Field } from "../../services/field/index.ts";
import { type Ended, runHere } from "../support/here.ts";
import { newDir } from "../support/home.ts";
import { number, openTestHub, registration, SCHEMAS, stateOf, type TestHub, update } from "../support/hub.ts";
import { eventually } from "../support/temp.ts";

const ROOT = join(import.meta.dirname, "../..");
const MAIN = join(ROOT, "services/cli/main.ts");

/** Where this test's views are declared. */
const projections = newDir("desk");

let hub: TestHub;
let one: Field;
let two: Field;
let projector: ChildProcess;

/** The shipped projections in a folder of their own, with changes to beneficiaries. */
function writeProjections(changes: readonly [string, string][]): void {
  mkdirSync(projections, { recursive: true });
  for (const name of readdirSync(join(ROOT, "projections"))) {
    let text = readFileSync(join(ROOT, "projections", name), "utf8").replace("../services/", `${ROOT}/services/`);
    if (name === "beneficiaries.ts")
      for (const [from, to] of changes) {
        expect(text).toContain(from);
        text = text.replace(from, to);
      }
    writeFileSync(join(projections, name), text);
  }
}
const MANUAL: [string, string][] = [
  [
    "resolve: { others: lastWriteWins }",
    'resolve: { others: lastWriteWins, birth_date: manual, phone: manual }, authority: { status: { orgs: ["unhcr"] } }, notify: { phone: ["desk"] }',
  ],
  ["lastWriteWins, remove", "lastWriteWins, manual, remove"],
];

const start = (args: readonly string[]): ChildProcess =>
  spawn(process.execPath, ["--disable-warning=ExperimentalWarning", MAIN, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
  });

const run = runHere;
/** The same in a process of its own, which reads the declarations as they are at that time. */
async function runAnew(...args: string[]): Promise<Ended> {
  const child = start(args);
  let [stdout, stderr] = ["", ""];
  child.stdout!.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr!.on("data", (chunk) => {
    stderr += chunk;
  });
  const [code] = (await once(child, "close")) as [number];
  return { code, stdout, stderr };
}
/** What a command that succeeds prints with --json. */
const jsonBy =
  (runIt: typeof runHere) =>
  async <T>(...args: string[]): Promise<T> => {
    const { code, stdout, stderr } = await runIt(...args, "--json");
    expect(`${code} ${code === 0 ? "" : stderr}`).toBe("0 ");
    return JSON.parse(stdout) as T;
  };
const json = jsonBy(run);
const send = async (...fields: Field[]): Promise<void> => {
  for (const field of fields) await field.sync({ url: hub.backends.nats.url, token: await hub.token(field.status().site) });
  await hub.projected();
};

interface Case {
  readonly id: string;
  readonly state: string;
  readonly rule: string;
  readonly subject: string;
  readonly assignee: string | null;
}
const cases = async (...args: string[]): Promise<Case[]> =>
  (await json<{ readonly cases: Case[] }>("case", "list", ...args)).cases;

beforeAll(async () => {
  hub = await openTestHub({ schemas: SCHEMAS });
  process.env.TRIBUTARY_DATA = hub.dir;
  process.env.TRIBUTARY_PROJECTIONS = projections;
  writeProjections(MANUAL);
  await hub.projector.close();
  writeFileSync(join(hub.dir, "signing-key.json"), JSON.stringify(hub.key));
  writeState(hub.dir, stateOf(hub.backends));
  projector = await startProjector();
  [one, two] = [hub.field("one"), hub.field("two")];
  const entity = { type: "beneficiary", id: number(1) };
  await one.append(registration(number(1), { phone: "+254700000000", household_size: 2 }));
  two.noteSeen(entity, one.seen(entity));
  await one.append(update(number(1), { phone: "+254700000001" }));
  await two.append(update(number(1), { phone: "+254700000002" }));
  await send(one, two);
});
afterAll(async () => {
  projector?.kill("SIGTERM");
  await hub?.close();
  rmSync(projections, { recursive: true, force: true });
});

/** A projector as the hub runs it; resolves when it folds. */
async function startProjector(): Promise<ChildProcess> {
  const child = start(["projector"]);
  await once(child.stdout!, "data");
  return child;
}

it("a conflict under a manual rule is a case: shown, assigned, commented, decided, and open again when somebody writes without having seen that", async () => {
  const [found] = await cases();
  expect(found).toMatchObject({ state: "open", rule: "phone", subject: number(1), assignee: null });
  const { stdout } = await run("case", "show", found!.id);
  const codeOf = (phone: string): string => new RegExp(`([0-9a-f]{4,}) +“\\${phone}”`).exec(stdout)![1]!;
  const code = codeOf("+254700000002");
  expect(codeOf("+254700000001")).not.toBe(code);

  await json("case", "assign", found!.id, "maria", "--actor", "boss");
  await json("case", "comment", found!.id, "asked her sister", "--actor", "maria");
  await hub.projected();
  expect(await cases("--assignee", "maria")).toHaveLength(1);
  // The list says how far it is complete.
  const { through } = await json<{ readonly through: string }>("case", "list");
  expect(through).toMatch(/^\d+$/);
  expect((await run("case", "list")).stdout).toContain(`As of position ${through}:`);
  expect(await cases("--assignee", "nobody")).toHaveLength(0);
  expect((await run("case", "show", found!.id)).stdout).toContain("maria commented: asked her sister");

  expect(await run("case", "resolve", found!.id)).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("--pick or --value"),
  });
  expect(await run("case", "resolve", found!.id, "--pick", "2")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining(`${code} “+254700000002” by tester`),
  });
  expect(await run("case", "show", found!.id, "phone")).toMatchObject({ code: 2, stderr: expect.stringContaining("too many") });
  expect(await run("case", "resolve", found!.id, "--value", "none")).toMatchObject({
    code: 3,
    stderr: expect.stringContaining("phone"),
  });
  await json("case", "resolve", found!.id, "--pick", code, "--note", "she answered", "--actor", "maria");
  await hub.projected();
  expect(await cases()).toEqual([]);
  const told = (await run("explain", "beneficiary", number(1), "phone")).stdout;
  expect(told).toContain("maria at the hub decided on “+254700000002”");
  expect(told).toContain("having seen “+254700000001” by tester at one (relief) and “+254700000002” by tester at two (relief)");

  await one.append(update(number(1), { phone: "+254700000003" }));
  await send(one);
  expect(await cases()).toMatchObject([{ id: found!.id, state: "open" }]);
  await json("case", "resolve", `beneficiary/${number(1)}`, "phone", "--value", "+254700000009", "--actor", "maria");
  await hub.projected();
  expect(await json("view", "beneficiaries", "--id", number(1))).toMatchObject({
    rows: [{ phone: "+254700000009", conflicts: 0 }],
  });
});

it("a register that a rule decided shows its values with codes, and a decision that cannot be made is refused with a sentence", async () => {
  const person = `beneficiary/${number(1)}`;
  const entity = { type: "beneficiary", id: number(1) };
  two.noteSeen(entity, one.seen(entity));
  await one.append(update(number(1), { village: "Kakuma 1" }));
  await two.append(update(number(1), { village: "Kakuma 2" }));
  await send(one, two);
  const row = async () => (await json<{ rows: unknown[] }>("view", "beneficiaries", "--id", number(1))).rows[0];
  const shown = await json<{ siblings: { event: string; value: object }[] }>("case", "show", person, "location");
  expect(shown.siblings).toHaveLength(2);
  const [first] = shown.siblings;
  await json("case", "resolve", person, "location", "--pick", first!.event);
  await hub.projected();
  expect(await row()).toMatchObject({ ...first!.value, conflicts: 0 });
  await json("case", "resolve", person, "location", "--value", "null");
  await hub.projected();
  expect(await row()).toMatchObject({ district: null, village: null, conflicts: 0 });

  const refused: [string[], number, string][] = [
    [["case", "resolve", person, "deleted", "--value", "yes"], 2, "true (deleted) or --value false"],
    [["case", "resolve", person, "phone", "extra", "--value", "x"], 2, "one argument too many"],
    [["case", "resolve", person, "--value", "x"], 2, "the register is missing"],
    [["case", "resolve", person, "shoes", "--value", "x"], 4, "no register shoes"],
    [["case", "resolve", "beneficiary/", "phone", "--value", "x"], 2, "is not an entity"],
    [["case", "resolve", person, "phone", "--value", "12"], 3, "quote it"],
    [["case", "resolve", person, "location", "--value", "12"], 2, "JSON object of district, village"],
    [["case", "resolve", person, "location", "--value", '{"village":"x"}'], 2, "leaves out district"],
    [
      ["case", "resolve", person, "location", "--value", '{"district":"d","village":"v","phone":"1"}'],
      2,
      "phone is not in location",
    ],
    [["case", "comment", "none", ""], 2, "the text is missing"],
    [["explain", person, "phone", "extra"], 2, "one argument too many"],
    [["explain", person, "shoes"], 4, "has no field shoes"],
    [["explain", person, "--view", "shoes"], 4, "is not a view of entities"],
    [["audit", "entity", person, "extra"], 2, "one argument too many"],
    [["audit", "verify", "extra"], 2, "one argument too many"],
  ];
  for (const [args, code, words] of refused)
    expect([args, await run(...args)]).toEqual([args, { code, stdout: "", stderr: expect.stringContaining(words) }]);
});

/** How commands end in a process of its own whose time zone is `zone`. */
async function runIn(zone: string, commands: readonly (readonly string[])[]): Promise<Ended[]> {
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", join(import.meta.dirname, "child-commands.ts"), JSON.stringify(commands)],
    { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, TZ: zone } },
  );
  let stdout = "";
  child.stdout.on("data", (chunk) => {
    stdout += chunk;
  });
  await once(child, "close");
  return JSON.parse(stdout) as Ended[];
}

it("a day is the same day at a desk in any time zone: the year 1, times before zones, days without a midnight, a day that a zone skipped", async () => {
  // Midnight did not exist in Juba on 2000-01-15 and in Cairo on 2024-04-26; Kiritimati had no 1994-12-31.
  const days = ["0001-01-01", "1900-01-01", "1994-12-31", "2000-01-15", "2024-04-26"];
  const people = days.map((day, i) => registration(number(20 + i), { birth_date: day, registered_on: day }));
  const contested = number(30);
  await one.appendMany([...people, registration(contested, { village: "Days" })]);
  await send(one);
  await one.append(update(contested, { birth_date: "2000-01-15" }));
  await two.append(update(contested, { birth_date: "2024-04-26" }));
  await send(one, two);
  const columns = ["--columns", "birth_date,registered_on"];
  const all = ["view", "beneficiaries", ...columns, "--where", "birth_date<=2024-04-26", "--where", "registered_on<=2024-04-26"];
  const commands = [
    [...all, "--sort", "birth_date", "--json"],
    [...all, "--sort", "registered_on:desc", "--csv"],
    [...all, "--sort", "birth_date"],
    ...days.map((day) => ["view", "beneficiaries", "--columns", "birth_date", "--where", `registered_on=${day}`, "--csv"]),
    ["view", "beneficiaries", "--id", number(20), "--at", new Date().toISOString(), "--columns", "birth_date", "--csv"],
    ["explain", `beneficiary/${contested}`, "birth_date"],
    ["case", "show", `beneficiary/${contested}`, "birth_date"],
    ["case", "show", `beneficiary/${contested}`, "birth_date", "--json"],
    ["audit", "entity", `beneficiary/${contested}`],
  ];
  const said = await runIn("UTC", commands);
  expect(said.map(({ code, stderr }) => [code, stderr])).toEqual(commands.map(() => [0, ""]));
  const [json, csv, table, ...more] = said.map(({ stdout }) => stdout);
  expect(JSON.parse(json!).rows).toEqual(days.map((day) => ({ birth_date: day, registered_on: day })));
  expect(csv).toBe(
    `birth_date,registered_on\r\n${days
      .toReversed()
      .map((day) => `${day},${day}\r\n`)
      .join("")}`,
  );
  expect(table!.match(/\d{4}-\d\d-\d\d/g)).toEqual(days.flatMap((day) => [day, day]));
  expect(more.slice(0, 6)).toEqual([...days, days[0]].map((day) => `birth_date\r\n${day}\r\n`));
  for (const told of more.slice(6)) for (const day of days.slice(3)) expect(told).toContain(day);
  const zones = ["Africa/Juba", "Africa/Cairo", "Pacific/Kiritimati"];
  const elsewhere = await Promise.all(zones.map(async (zone) => [zone, await runIn(zone, commands)]));
  expect(elsewhere).toEqual(zones.map((zone) => [zone, said]));
});

it("a reader who closes the pipe early ends the output, not the command", async () => {
  for (const args of [["--help"], ["view", "beneficiaries"], ["case", "show", `beneficiary/${number(1)}`, "phone", "--json"]]) {
    const child = start(args);
    let stderr = "";
    child.stderr!.on("data", (chunk) => {
      stderr += chunk;
    });
    child.stdout!.destroy();
    const [code] = (await once(child, "close")) as [number];
    expect([args, code, stderr]).toEqual([args, 0, ""]);
  }
});

it("a decision on what only others have the say over is refused, and names them", async () => {
  expect(await run("case", "resolve", `beneficiary/${number(1)}`, "status", "--value", "idp")).toMatchObject({
    code: 5,
    stderr: expect.stringContaining("orgs unhcr"),
  });
});

it("a ration that two sites handed out is a case with both events, accepted for what it is, and open again with a third", async () => {
  const handOut = (site: string, n: number) => ({
    type: "distribution.recorded",
    entity: { type: "distribution", id: `${site}-${n}` },
    actor: `clerk-${site}`,
    data: {
      distribution_no: `${site}-${n}`,
      registration_no: number(1),
      item: "RICE",
      quantity: 12.5,
      unit: "KG",
      distributed_on: "2026-03-02",
      voucher_no: null,
    },
  });
  await one.append(handOut("one", 1));
  await two.append(handOut("two", 1));
  await send(one, two);
  const [found] = await cases("--rule", "ration_once");
  const shown = await run("case", "show", found!.id);
  expect(shown.stdout).toContain("clerk-one");
  expect(shown.stdout).toContain("clerk-two");
  expect(await run("case", "resolve", found!.id, "--pick", "1")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("invariant"),
  });
  expect(await run("case", "accept", found!.id)).toMatchObject({ code: 2, stderr: expect.stringContaining("--note") });
  await json("case", "accept", found!.id, "--note", "two families share the number", "--actor", "maria");
  await hub.projected();
  expect(await cases("--rule", "ration_once")).toEqual([]);
  const accepted = { id: found!.id, state: "accepted", acceptedBy: "maria", acceptedNote: "two families share the number" };
  expect(await cases("--state", "accepted")).toMatchObject([accepted]);
  // Whoever looks at the case or at one of its entities reads that it was accepted, by whom and why.
  const entity = ["distribution", "one-1"] as const;
  expect(await json("case", "show", found!.id)).toMatchObject(accepted);
  expect(await json("audit", "entity", ...entity)).toMatchObject({ cases: [accepted] });
  expect(await json("explain", ...entity)).toMatchObject({ cases: [accepted] });
  for (const args of [
    ["case", "list", "--state", "accepted"],
    ["case", "list", "--state", "all"],
    ["case", "show", found!.id],
    ["audit", "entity", ...entity],
    ["explain", ...entity],
  ]) {
    const { stdout } = await run(...args);
    expect(stdout, args.join(" ")).toMatch(/left as it is by maria on \d{4}-\d\d-\d\dT[\d:]+Z: two families share the number/);
    expect(stdout, args.join(" ")).not.toContain("`tributary case accept");
  }
  await one.append(handOut("one", 2));
  await send(one);
  expect(await cases("--rule", "ration_once")).toMatchObject([{ id: found!.id, state: "open" }]);
});

it("people are told of a case once, at the webhook that the settings name, without field values", async () => {
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (chunk) => {
      body += chunk;
    });
    request.on("end", () => {
      bodies.push(body);
      response.end();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  const settings = { targets: { desk: { webhook: { url, secret: "0123456789abcdef0123456789abcdef" } } } };
  writeFileSync(join(hub.dir, "notifications.json"), JSON.stringify(settings));
  const notifier = start(["notifier"]);
  onTestFinished(async () => {
    notifier.kill("SIGTERM");
    await once(notifier, "exit");
    server.close();
  });
  await eventually("both openings of the case to be told", async () => bodies.length >= 2);
  const [found] = await cases("--state", "all", "--rule", "phone");
  for (const body of bodies) {
    expect(body).toContain(found!.id);
    expect(body).not.toContain("+2547");
  }
  const { rows } = await hub.db.query("SELECT state, count(*)::int AS n FROM tributary.notification GROUP BY state");
  expect(rows).toEqual([{ state: "sent", n: bodies.length }]);
});

it("changed rules are tried without changing anything, then rebuilt; the old build can be gone back to; the books balance", async () => {
  const [run, json] = [runAnew, jsonBy(runAnew)];
  const entity = { type: "beneficiary", id: number(1) };
  two.noteSeen(entity, one.seen(entity));
  await one.append(update(number(1), { household_size: 7 }));
  await two.append(update(number(1), { household_size: 4 }));
  await send(one, two);
  expect((await json<{ notCompared: string[] }>("audit", "verify")).notCompared).toEqual([]);
  writeProjections([
    ...MANUAL,
    ["phone: manual }", "phone: manual, household_size: max }"],
    ["manual, remove", "manual, max, remove"],
  ]);
  const file = join(projections, "beneficiaries.ts");
  expect(await json("rules", "try", file)).toMatchObject({
    changed: 1,
    byColumn: { household_size: 1 },
    violations: { now: 0, would: 0 },
    rows: [{ id: number(1), columns: { household_size: { now: 4, would: 7, because: "max: greater" } } }],
  });
  expect(await json("view", "beneficiaries", "--id", number(1))).toMatchObject({ rows: [{ household_size: 4 }] });

  expect(await json("audit", "verify")).toMatchObject({
    problemCount: 0,
    notCompared: ["beneficiaries"],
  });
  expect((await run("audit", "verify")).stdout).toContain(
    "beneficiaries was not compared: its declaration differs from the one that it was built by",
  );
  expect((await run("explain", `beneficiary/${number(1)}`, "household_size")).stdout).toContain(
    "told by the file in projections/",
  );
  expect((await run("audit", "entity", `beneficiary/${number(1)}`, "--as-of", "999999999")).stdout).toContain(
    "told by the file in projections/",
  );

  expect(await json("rebuild", "beneficiaries", "--no-swap")).toMatchObject({
    swapped: false,
    comparisons: [{ differing: 1, named: [number(1)] }],
  });
  expect(await run("rebuild", "distributions")).toMatchObject({ code: 2, stderr: expect.stringContaining("beneficiaries") });
  // A name that no view has is reported first, not the views that were changed.
  expect(await run("rebuild", "beneficiary")).toMatchObject({
    code: 4,
    stderr: expect.stringContaining("there is no view beneficiary\n"),
  });
  expect(await json("schema", "check")).toMatchObject({ unfed: [] });
  const ended = once(projector, "exit");
  await json("rebuild", "beneficiaries");
  expect((await ended)[0]).toBe(3);
  projector = await startProjector();
  expect(await json("view", "beneficiaries", "--id", number(1))).toMatchObject({ rows: [{ household_size: 7 }] });

  const { rows } = await hub.db.query<{ position: string }>(
    "SELECT position FROM tributary.audit WHERE site = 'one' ORDER BY position LIMIT 1",
  );
  expect(await json("view", "beneficiaries", "--as-of", rows[0]!.position)).toMatchObject({
    rows: [{ household_size: 2, phone: "+254700000000" }],
  });

  await hub.db.query("UPDATE views.beneficiaries SET household_size = 70 WHERE id = $1", [number(1)]);
  const found = await run("reconcile", "beneficiaries");
  expect(found).toMatchObject({ code: 6, stderr: expect.stringContaining("1 rows of beneficiaries") });
  expect(found.stdout).toContain(number(1));
  await json("reconcile", "beneficiaries", "--repair");
  expect(await json("view", "beneficiaries", "--id", number(1))).toMatchObject({ rows: [{ household_size: 7 }] });
  expect(await json("reconcile", "--field", join(hub.dir, "one-t1.db"))).toMatchObject({
    origins: [{ differsAt: null, comparisons: 1 }],
  });
  expect(await json("lag")).toMatchObject({ events: 0, parked: 0 });
});
