/**
 * A hub as it is run, of real processes, and tablets that write and sync, while faults of every kind befall both sides, drawn from a seed. At the end all is
 * quiet, every tablet syncs, and the books are balanced: what was written and not destroyed by the run itself is in the log once, and in the views.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Client } from "pg";
import type { HubState } from "../../services/cli/state.ts";
import { messageOf, withoutLogin } from "../../services/core/index.ts";
import { type NewEvent, openField } from "../../services/field/index.ts";
import { openLog } from "../../services/log/index.ts";
import { connectViews } from "../../services/views/index.ts";
import { connectAs } from "./broker.ts";
import { random } from "./random.ts";
import { sleep } from "./temp.ts";

const ROOT = join(import.meta.dirname, "../..");
const MAIN = join(ROOT, "services/cli/main.ts");
const START_TIMEOUT_MS = 300_000;
const STOP_TIMEOUT_MS = 30_000;
const SYNC_TIMEOUT_MS = 20_000;
/** How long the hub may take to be well again after the last fault, and tablets to have all their receipts. */
const QUIET_TIMEOUT_MS = 180_000;
const MAX_EVENTS_A_ROUND = 40;
const PEOPLE = 12;
/** Room for the log of a run: some ten times what it writes. */
const SMALL_BYTES = 64 * 1024 * 1024;

export interface FaultOptions {
  readonly seed: number;
  readonly rounds?: number;
  /** Only these faults; default all. */
  readonly only?: readonly FaultName[];
  readonly say?: (line: string) => void;
  /** Keeps the folder of a run that found something. */
  readonly keep?: boolean;
}

export interface FaultRun {
  readonly seed: number;
  readonly faults: readonly string[];
  /** Writes that an app was told are durable, and those of them that the run itself destroyed. */
  readonly written: number;
  readonly destroyed: number;
  readonly inLog: number;
  readonly seconds: number;
  readonly problems: readonly string[];
  /** Where a run that found something left its folder. */
  readonly dir: string | null;
}

const PROCESSES = ["eventstore", "nats", "postgres", "ingress", "projector"] as const;
type Process = (typeof PROCESSES)[number];

export const FAULTS = [
  ...PROCESSES.map((name) => `kill-${name}` as const),
  ...PROCESSES.map((name) => `stop-${name}` as const),
  "kill-hub",
  "restart-hub",
  "delete-streams",
  "delete-consumer",
  "empty-broker",
  "restore-log",
  "restore-hub",
  "restore-tablet",
  "restore-tablet-in-place",
  "clone-tablet",
  "kill-sync",
  "disk-full-tablet",
  "disk-full-log",
] as const;
export type FaultName = (typeof FAULTS)[number];

interface Tablet {
  readonly site: string;
  readonly device: string;
  readonly path: string;
}

interface World {
  readonly dir: string;
  readonly data: string;
  readonly next: () => number;
  readonly say: (line: string) => void;
  readonly tablets: Tablet[];
  readonly tokens: Map<string, string>;
  /** Writes that must be in the log at the end, once. */
  readonly due: Set<string>;
  /** Writes whose every copy the run has destroyed, as far as it knows: in the log at most once. */
  readonly destroyed: Set<string>;
  /** Copies made on the way, to be put back later. */
  readonly tabletCopies: Map<string, string>;
  /** Where the log has a small file system of its own, so that it can be filled. */
  small: string | null;
  logCopy: string | null;
  backup: string | null;
  hub: ChildProcess | null;
  count: number;
}

const pick = <T>(next: () => number, list: readonly T[]): T => list[Math.floor(next() * list.length)]!;

/** Runs one seed to its end. Never throws for what it finds: that is in `problems`. */
export async function runFaults({
  seed,
  rounds = 8,
  only = FAULTS,
  say = () => {},
  keep = true,
}: FaultOptions): Promise<FaultRun> {
  const startedMs = performance.now();
  const dir = mkdtempSync(join(tmpdir(), `tributary-faults-${seed}-`));
  chmodSync(dir, 0o755);
  const world: World = {
    dir,
    data: join(dir, "hub"),
    // Spread out: neighbouring seeds would begin alike.
    next: random(Math.imul(seed, 2_654_435_761)),
    say,
    tablets: [],
    tokens: new Map(),
    due: new Set(),
    destroyed: new Set(),
    tabletCopies: new Map(),
    small: null,
    logCopy: null,
    backup: null,
    hub: null,
    count: 0,
  };
  const faults: string[] = [];
  let problems: string[] = [];
  let inLog = 0;
  try {
    if (only.includes("disk-full-log")) mountSmall(world);
    await startHub(world);
    for (const site of ["juba", "kampala", "nairobi"]) {
      world.tokens.set(site, await addSite(world, site));
      world.tablets.push(newTablet(world, site, "t1"));
    }
    for (let round = 0; round < rounds; round++) {
      const fault = pick(world.next, only);
      faults.push(await playRound(world, fault));
      say(`seed ${seed} round ${round + 1}: ${faults.at(-1)}`);
    }
    await beQuiet(world);
    ({ problems, inLog } = await balance(world));
  } catch (error) {
    problems = [`the run itself failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`];
  } finally {
    await endAll(world);
  }
  if (world.small !== null) spawnSync("umount", ["-l", world.small]);
  const isClean = problems.length === 0;
  if (isClean || !keep) rmSync(dir, { recursive: true, force: true });
  return {
    seed,
    faults,
    written: world.due.size + world.destroyed.size,
    destroyed: world.destroyed.size,
    inLog,
    seconds: Math.round((performance.now() - startedMs) / 1000),
    problems,
    dir: isClean || !keep ? null : dir,
  };
}

/** Tablets write, then sync, all at once; meanwhile the fault comes. */
async function playRound(world: World, fault: FaultName): Promise<string> {
  for (const tablet of world.tablets) await write(world, tablet, 1 + Math.floor(world.next() * MAX_EVENTS_A_ROUND));
  if (world.next() < 0.5) copyTablet(world, pick(world.next, world.tablets));
  const delayMs = world.next() * 400;
  if (!NEEDS_QUIET.has(fault)) {
    const syncs = world.tablets.map((tablet) => syncOnce(world, tablet, SYNC_TIMEOUT_MS));
    await sleep(delayMs);
    const what = await befall(world, fault);
    await Promise.all(syncs);
    return what;
  }
  if (world.next() < 0.6) await Promise.all(world.tablets.map((tablet) => syncOnce(world, tablet, SYNC_TIMEOUT_MS)));
  return befall(world, fault);
}

/** Faults that put other files under a tablet or the log: nobody may have them open. */
const NEEDS_QUIET: ReadonlySet<FaultName> = new Set([
  "restore-log",
  "restore-hub",
  "restore-tablet",
  "restore-tablet-in-place",
  "clone-tablet",
  "disk-full-tablet",
]);

async function befall(world: World, fault: FaultName): Promise<string> {
  const [kind, name] = [fault.slice(0, fault.indexOf("-")), fault.slice(fault.indexOf("-") + 1)];
  if ((kind === "kill" || kind === "stop") && (PROCESSES as readonly string[]).includes(name)) {
    const pid = pidOf(world, name as Process);
    if (pid === null) return `${fault} (it was not there)`;
    if (kind === "kill") {
      signal(pid, "SIGKILL");
      return fault;
    }
    const ms = Math.round(1_500 + world.next() * 6_000);
    signal(pid, "SIGSTOP");
    await sleep(ms);
    signal(pid, "SIGCONT");
    return `${fault} for ${ms} ms`;
  }
  switch (fault) {
    case "kill-hub":
      signal(world.hub!.pid!, "SIGKILL");
      await gone(world.hub!);
      await sleep(world.next() * 1_000);
      await startHub(world);
      return fault;
    case "restart-hub":
      await stopHub(world);
      rememberLog(world);
      await startHub(world);
      return fault;
    case "delete-streams":
    case "delete-consumer":
      return `${fault}${await onBroker(world, fault)}`;
    case "empty-broker": {
      const pid = pidOf(world, "nats");
      rmSync(join(world.data, "nats"), { recursive: true, force: true });
      if (pid !== null) signal(pid, "SIGKILL");
      return fault;
    }
    case "restore-log":
      return restoreLog(world);
    case "restore-hub":
      return restoreHub(world);
    case "restore-tablet":
      return restoreTablet(world, false);
    case "restore-tablet-in-place":
      return restoreTablet(world, true);
    case "clone-tablet":
      return cloneTablet(world);
    case "kill-sync":
      return killSync(world);
    case "disk-full-tablet":
      return fillTablet(world);
    case "disk-full-log":
      return fillLog(world);
    default:
      throw new Error(`there is no fault ${fault}`);
  }
}

// ---- the hub ----

async function startHub(world: World): Promise<void> {
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", MAIN, "hub", "--data", world.data, "--org", "relief"],
    {
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  world.hub = child;
  let said = "";
  for (const stream of [child.stdout, child.stderr])
    stream!.on("data", (chunk: Buffer) => {
      said = (said + chunk.toString()).slice(-20_000);
      writeFileSync(join(world.dir, "hub.said"), chunk, { flag: "a" });
    });
  for (const until = Date.now() + START_TIMEOUT_MS; Date.now() < until; await sleep(100)) {
    if (said.includes("is running")) return;
    if (child.exitCode !== null || child.signalCode !== null) throw new Error(`the hub did not start:\n${said}`);
  }
  throw new Error(`the hub was not running after ${START_TIMEOUT_MS} ms:\n${said}`);
}

async function stopHub(world: World): Promise<void> {
  const hub = world.hub;
  if (hub === null || hub.exitCode !== null || hub.signalCode !== null) return;
  hub.kill("SIGTERM");
  if (!(await gone(hub, STOP_TIMEOUT_MS))) {
    hub.kill("SIGKILL");
    await gone(hub);
    throw new Error(`the hub did not stop in ${STOP_TIMEOUT_MS} ms`);
  }
}

async function gone(child: ChildProcess, timeoutMs = 10_000): Promise<boolean> {
  for (const until = Date.now() + timeoutMs; Date.now() < until; await sleep(20))
    if (child.exitCode !== null || child.signalCode !== null) return true;
  return false;
}

const stateOf = ({ data }: World): HubState => JSON.parse(readFileSync(join(data, "hub.json"), "utf8")) as HubState;

/** The pid of a process of the hub: of a server by its file, of a worker among the hub's children. */
function pidOf({ data, hub }: World, name: Process): number | null {
  if (name === "ingress" || name === "projector") {
    for (const entry of readdirSync("/proc").filter((each) => /^\d+$/.test(each))) {
      try {
        const args = readFileSync(`/proc/${entry}/cmdline`, "utf8").split("\0");
        if (args.includes(MAIN) && args.includes(name) && args.includes(data) && Number(entry) !== hub?.pid) return Number(entry);
      } catch {
        // It has ended meanwhile.
      }
    }
    return null;
  }
  const file = join(data, `${name}.pid`);
  return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as { pid: number }).pid : null;
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended meanwhile.
  }
}

async function endAll(world: World): Promise<void> {
  await stopHub(world).catch(() => {});
  for (const name of PROCESSES) {
    const pid = existsSync(world.data) ? pidOf(world, name) : null;
    if (pid !== null) signal(pid, "SIGKILL");
  }
}

function command(args: readonly string[], timeoutMs = 120_000): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", MAIN, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
    let [stdout, stderr] = ["", ""];
    child.stdout!.on("data", (chunk: Buffer) => {
      stdout += chunk;
    });
    child.stderr!.on("data", (chunk: Buffer) => {
      stderr += chunk;
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code: code ?? -1, stdout, stderr });
    });
  });
}

async function addSite({ data }: World, site: string): Promise<string> {
  const { code, stdout, stderr } = await command(["site", "add", site, "--days", "400", "--data", data, "--json"]);
  if (code !== 0) throw new Error(`site add ${site} ended with ${code}: ${stderr}`);
  return (JSON.parse(stdout) as { token: string }).token;
}

async function onBroker(world: World, fault: "delete-streams" | "delete-consumer"): Promise<string> {
  try {
    const nc = await connectAs(stateOf(world).natsUrl, {}, { timeout: 2_000 });
    try {
      const manager = await nc.jetstreamManager();
      if (fault === "delete-consumer") await manager.consumers.delete("INGRESS", "ingress");
      else for (const stream of ["INGRESS", "DEAD"]) await manager.streams.delete(stream);
      return "";
    } finally {
      await nc.close();
    }
  } catch (error) {
    return ` (it was not there: ${messageOf(error)})`;
  }
}

// ---- tablets ----

function newTablet({ dir }: World, site: string, device: string): Tablet {
  return { site, device, path: join(dir, `${site}-${device}.db`) };
}

const open = (tablet: Tablet, more: { readonly maxPages?: number } = {}) =>
  openField({
    path: tablet.path,
    name: { org: "relief", site: tablet.site, device: tablet.device },
    schemas: join(ROOT, "schemas"),
    ...more,
  });

/** Something that has happened once, and says so: its key is found again in the log. */
function nextWrite(world: World): NewEvent {
  const n = world.count++;
  if (n % 4 === 3) {
    const id = `FLT-${String(Math.floor(world.next() * PEOPLE)).padStart(6, "0")}`;
    return {
      type: "beneficiary.updated",
      entity: { type: "beneficiary", id },
      data: { phone: `+2119${String(n).padStart(8, "0")}` },
      actor: "soak",
    };
  }
  const movement = `M-${n}`;
  return {
    type: "stock.received",
    entity: { type: "stock-movement", id: movement },
    data: { movement_no: movement, item: "RICE", quantity: 1, unit: "KG", moved_on: "2026-05-03" },
    actor: "soak",
  };
}

/** What tells a write from all others, from its data. */
function keyOf(data: { readonly [name: string]: unknown }): string | null {
  const key = data.movement_no ?? data.phone;
  return typeof key === "string" ? key : null;
}

async function write(world: World, tablet: Tablet, count: number): Promise<void> {
  const field = open(tablet);
  try {
    for (let i = 0; i < count; i++) {
      const event = nextWrite(world);
      await field.append(event);
      world.due.add(keyOf(event.data)!);
    }
  } finally {
    field.close();
  }
}

/** One sync, as an app makes it: what fails is tried again some other time. */
async function syncOnce(world: World, tablet: Tablet, timeoutMs: number): Promise<boolean> {
  const field = open(tablet);
  try {
    const { natsUrl: hubsOwn, httpUrl } = stateOf(world);
    const natsUrl = withoutLogin(hubsOwn);
    const { pending } = await field.sync({
      url: world.count % 3 === 0 && httpUrl !== "" ? httpUrl : natsUrl,
      token: world.tokens.get(tablet.site)!,
      replyTimeoutMs: 5_000,
      batchEvents: 10,
      maxTries: 6,
      signal: AbortSignal.timeout(timeoutMs),
      sleep: (ms) => sleep(Math.min(ms, 500)),
    });
    return pending === 0;
  } catch (error) {
    world.say(`  ${tablet.site}-${tablet.device}: ${messageOf(error)}`);
    return false;
  } finally {
    field.close();
  }
}

function keysOn(path: string): Set<string> {
  const keys = new Set<string>();
  const field = openField({ path, schemas: join(ROOT, "schemas") });
  try {
    for (const { data } of field.events()) keys.add(keyOf(JSON.parse(data) as Record<string, unknown>) ?? "");
  } finally {
    field.close();
  }
  return keys;
}

function copyTablet(world: World, { path }: Tablet): void {
  const copy = `${path}.copy`;
  copyFileSync(path, copy);
  world.tabletCopies.set(path, copy);
}

/** A tablet's database is put back as it was at some time before; what stood in it alone since is destroyed. */
async function restoreTablet(world: World, inPlace: boolean): Promise<string> {
  const tablet = pick(world.next, world.tablets);
  const copy = world.tabletCopies.get(tablet.path);
  if (copy === undefined) {
    copyTablet(world, tablet);
    return `restore-tablet ${tablet.site}-${tablet.device} (no copy yet: one was made)`;
  }
  const before = keysOn(tablet.path);
  if (!inPlace) rmSync(tablet.path);
  for (const more of ["-wal", "-shm"]) rmSync(tablet.path + more, { force: true });
  const inode = inPlace ? statSync(tablet.path).ino : 0;
  writeFileSync(tablet.path, readFileSync(copy));
  if (inPlace && statSync(tablet.path).ino !== inode) throw new Error("the file's place has changed");
  await destroy(world, before);
  return `restore-tablet ${tablet.site}-${tablet.device}${inPlace ? " in place" : ""}`;
}

function cloneTablet(world: World): string {
  const from = pick(world.next, world.tablets);
  if (world.tablets.length > 6) return "clone-tablet (there are enough)";
  const clone = { ...from, path: join(world.dir, `${from.site}-${from.device}-clone${world.tablets.length}.db`) };
  copyFileSync(from.path, clone.path);
  world.tablets.push(clone);
  return `clone-tablet ${from.site}-${from.device}`;
}

/** A sync of its own process, killed on the way. */
async function killSync(world: World): Promise<string> {
  const tablet = pick(world.next, world.tablets);
  await write(world, tablet, 30);
  const child = spawn(
    process.execPath,
    [
      ...["--disable-warning=ExperimentalWarning", MAIN, "field", "sync", "--db", tablet.path, "--batch", "5"],
      ...["--hub", withoutLogin(stateOf(world).natsUrl), "--token", world.tokens.get(tablet.site)!],
    ],
    { stdio: "ignore" },
  );
  const ms = Math.round(300 + world.next() * 900);
  await sleep(ms);
  child.kill("SIGKILL");
  await gone(child);
  return `kill-sync ${tablet.site} after ${ms} ms`;
}

/** A tablet's disk is full: writing is refused with words, and what was written stays. */
async function fillTablet(world: World): Promise<string> {
  const tablet = pick(world.next, world.tablets);
  const pages = Math.ceil(statSync(tablet.path).size / 4096);
  const field = open(tablet, { maxPages: pages + 2 });
  let refused = "";
  try {
    for (let i = 0; i < 400 && refused === ""; i++) {
      const event = nextWrite(world);
      try {
        await field.append(event);
        world.due.add(keyOf(event.data)!);
      } catch (error) {
        refused = (error as { code?: string }).code ?? messageOf(error);
      }
    }
  } finally {
    field.close();
  }
  if (refused !== "disk-full") throw new Error(`a tablet with a full disk said ${refused || "nothing"}, not disk-full`);
  return `disk-full-tablet ${tablet.site}-${tablet.device}`;
}

// ---- restored sides ----

async function keysInLog(world: World): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  const log = openLog(stateOf(world).eventstoreUrl);
  try {
    for await (const { head, content } of log.readAll()) {
      const data = content.kind === "accepted" ? content.data : (JSON.parse(content.text) as Record<string, unknown>);
      const key = head.actor === "soak" ? keyOf(data) : null;
      if (key !== null) found.set(key, [...(found.get(key) ?? []), `${head.origin}/${head.seq}`]);
    }
  } finally {
    await log.close();
  }
  return found;
}

/** Of what stood in a place that is no more, what stands nowhere else is destroyed, by the run and not by the program. */
async function destroy(world: World, lost: Iterable<string>): Promise<void> {
  const elsewhere = new Set<string>();
  for (const { path } of world.tablets) for (const key of keysOn(path)) elsewhere.add(key);
  const inLog = await whenTheLogAnswers(world);
  for (const key of lost) {
    if (elsewhere.has(key) || inLog.has(key) || !world.due.delete(key)) continue;
    world.destroyed.add(key);
  }
}

async function whenTheLogAnswers(world: World): Promise<Map<string, string[]>> {
  for (let tries = 0; ; tries++) {
    try {
      return await keysInLog(world);
    } catch (error) {
      if (tries > 60) throw error;
      await sleep(500);
    }
  }
}

/** Copies the log of a hub that stands still. */
function rememberLog(world: World): void {
  if (world.logCopy !== null && world.next() < 0.5) return;
  const copy = join(world.dir, "log-copy");
  rmSync(copy, { recursive: true, force: true });
  cpSync(realpathSync(join(world.data, "eventstore")), copy, { recursive: true });
  world.logCopy = copy;
}

/** The log alone is set back; PostgreSQL remembers more. */
async function restoreLog(world: World): Promise<string> {
  const before = await whenTheLogAnswers(world);
  await stopHub(world);
  if (world.logCopy === null) {
    rememberLog(world);
    await startHub(world);
    return "restore-log (no copy yet: one was made)";
  }
  const log = join(world.data, "eventstore");
  for (const name of readdirSync(log)) rmSync(join(log, name), { recursive: true });
  cpSync(world.logCopy, realpathSync(log), { recursive: true });
  await startHub(world);
  await destroy(world, before.keys());
  return "restore-log";
}

/** The hub's folder is lost, and restored from a backup that was made while it ran. */
async function restoreHub(world: World): Promise<string> {
  if (world.backup === null || world.next() < 0.3) {
    const dir = join(world.dir, `backup-${world.count}`);
    const { code, stderr } = await command(["backup", dir, "--data", world.data]);
    if (code !== 0) throw new Error(`backup ended with ${code}: ${stderr}`);
    world.backup = dir;
    return "backup";
  }
  const before = await whenTheLogAnswers(world);
  await stopHub(world);
  rmSync(world.data, { recursive: true, force: true });
  const { code, stderr } = await command(["restore", world.backup, "--data", world.data]);
  if (code !== 0) throw new Error(`restore ended with ${code}: ${stderr}`);
  await startHub(world);
  await destroy(world, before.keys());
  return "restore-hub";
}

/** Gives the log a file system of its own, where this user may mount one. */
function mountSmall(world: World): void {
  const small = join(world.dir, "small");
  mkdirSync(small);
  if (spawnSync("mount", ["-t", "tmpfs", "-o", `size=${SMALL_BYTES}`, "tmpfs", small]).status !== 0) return;
  world.small = small;
  mkdirSync(join(small, "eventstore"));
  mkdirSync(world.data);
  symlinkSync(join(small, "eventstore"), join(world.data, "eventstore"));
}

/** The log's disk has no room left for a while. */
async function fillLog(world: World): Promise<string> {
  const isThere = world.small !== null && lstatSync(join(world.data, "eventstore")).isSymbolicLink();
  if (!isThere) return "disk-full-log (the log has no file system of its own)";
  const ballast = join(world.small!, "ballast");
  try {
    for (;;) writeFileSync(ballast, Buffer.alloc(65_536), { flag: "a" });
  } catch {
    // Full.
  }
  await sleep(2_000 + world.next() * 3_000);
  rmSync(ballast);
  return "disk-full-log";
}

// ---- the end ----

/** Everybody syncs until all have their receipts. */
async function beQuiet(world: World): Promise<void> {
  const until = Date.now() + QUIET_TIMEOUT_MS;
  let open: Tablet[] = [...world.tablets];
  // Twice: a tablet may owe again what the hub was found to lack meanwhile.
  for (let calm = 0; calm < 2; ) {
    const done = await Promise.all(open.map((tablet) => syncOnce(world, tablet, SYNC_TIMEOUT_MS)));
    open = open.filter((_, i) => !done[i]);
    if (open.length === 0) {
      calm++;
      open = [...world.tablets];
    } else if (Date.now() > until) {
      throw new Error(
        `${open.map(({ site, device }) => `${site}-${device}`).join(", ")} could not sync in ${QUIET_TIMEOUT_MS} ms`,
      );
    }
  }
}

async function balance(world: World): Promise<{ readonly problems: string[]; readonly inLog: number }> {
  const problems: string[] = [];
  for (const tablet of world.tablets) {
    const field = open(tablet);
    const { levels } = field.status();
    if (levels.LOCAL + levels.QUEUED > 0)
      problems.push(`${tablet.path} has ${levels.LOCAL} LOCAL and ${levels.QUEUED} QUEUED events`);
    field.close();
  }
  const found = await keysInLog(world);
  const missing = [...world.due].filter((key) => !found.has(key));
  if (missing.length > 0) problems.push(`${missing.length} writes are lost: ${missing.slice(0, 5).join(", ")} …`);
  const doubled = [...found].filter(([, at]) => at.length > 1);
  if (doubled.length > 0)
    problems.push(
      `${doubled.length} writes are doubled: ${doubled
        .slice(0, 3)
        .map(([key, at]) => `${key} at ${at.join(" and ")}`)
        .join("; ")} …`,
    );
  const unknown = [...found.keys()].filter((key) => !world.due.has(key) && !world.destroyed.has(key));
  if (unknown.length > 0) problems.push(`${unknown.length} writes in the log were never made: ${unknown.slice(0, 5).join(", ")}`);
  problems.push(...(await balanceViews(world, found)));
  return { problems, inLog: found.size };
}

async function balanceViews(world: World, found: ReadonlyMap<string, string[]>): Promise<string[]> {
  const problems: string[] = [];
  const verified = await untilZero(() => command(["audit", "verify", "--data", world.data]));
  if (verified.code !== 0) problems.push(`audit verify ended with ${verified.code}:\n${verified.stdout}${verified.stderr}`);
  const db = await connectViews(stateOf(world).postgresUrl, "tributary-soak");
  try {
    const movements = [...found.keys()].filter((key) => key.startsWith("M-")).length;
    const shown = await untilShown(db, movements);
    if (shown !== null) problems.push(`the log has ${movements} movements, ${shown}`);
    const { rows: parked } = await db.query<{ count: string }>("SELECT count(*) FROM tributary.parked");
    if (Number(parked[0]!.count) > 0) problems.push(`${parked[0]!.count} entities are parked`);
  } finally {
    await db.end();
  }
  return problems;
}

/** What the views show instead of so many movements; `null` once it is they. Views that agree with a log may still be on their way to its end, as after a kill of PostgreSQL. */
async function untilShown(db: Client, movements: number): Promise<string | null> {
  for (const until = Date.now() + QUIET_TIMEOUT_MS / 2; ; await sleep(1_000)) {
    const { rows } = await db.query<{ rows: string; received: string }>(
      "SELECT (SELECT count(*) FROM views.stock_movements) AS rows, (SELECT coalesce(sum(received), 0) FROM views.stock_ledger) AS received",
    );
    const { rows: shown, received } = rows[0]!;
    if (Number(shown) === movements && Number(received) === movements) return null;
    if (Date.now() > until) return `the view ${shown}, and the ledger adds up ${received}`;
  }
}

/** Views follow the log in their own time. */
async function untilZero(
  run: () => Promise<{ code: number; stdout: string; stderr: string }>,
): Promise<Awaited<ReturnType<typeof run>>> {
  for (const until = Date.now() + QUIET_TIMEOUT_MS / 2; ; await sleep(2_000)) {
    const ended = await run();
    if (ended.code === 0 || Date.now() > until) return ended;
  }
}
