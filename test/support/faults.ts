/**
 * A hub of real processes, and tablets that write and sync, while faults of every kind, drawn from a seed, befall both sides. At the end all is
 * quiet, every tablet syncs, and the books are balanced: what was written and not destroyed by the run itself is in the log once, and in the views.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";
import { balance, beQuiet } from "./faults/books.ts";
import { addSite, endAll, gone, onBroker, pidOf, signal, startHub, stopHub } from "./faults/hub.ts";
import { fillLog, mountSmall, rememberLog, restoreHub, restoreLog } from "./faults/hub-faults.ts";
import { cloneTablet, copyTablet, fillTablet, killSync, restoreTablet } from "./faults/tablet-faults.ts";
import { newTablet, syncOnce, write } from "./faults/tablets.ts";
import { PROCESSES, type Process, pick, SYNC_TIMEOUT_MS, type World } from "./faults/world.ts";
import { newDir } from "./home.ts";
import { random } from "./random.ts";
import { sleep } from "./temp.ts";

const MAX_EVENTS_A_ROUND = 40;

export interface FaultOptions {
  readonly seed: number;
  readonly rounds?: number;
  /** Only these faults; default all. */
  readonly only?: readonly FaultName[];
  readonly say?: (line: string) => void;
  /** Whether to keep the folder of a run that found something. */
  readonly keep?: boolean;
}

export interface FaultRun {
  readonly seed: number;
  readonly faults: readonly string[];
  /** How many writes an app was told are durable, and how many of these the run itself destroyed. */
  readonly written: number;
  readonly destroyed: number;
  readonly inLog: number;
  readonly seconds: number;
  readonly problems: readonly string[];
  /** Where a run that found something left its folder. */
  readonly dir: string | null;
}

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

/** Runs one seed to its end. It never throws for what it finds: that is in `problems`. */
export async function runFaults({
  seed,
  rounds = 8,
  only = FAULTS,
  say = () => {},
  keep = true,
}: FaultOptions): Promise<FaultRun> {
  const startedMs = performance.now();
  const dir = newDir(`faults-${seed}`);
  chmodSync(dir, 0o755);
  const world: World = {
    dir,
    data: join(dir, "hub"),
    // Seeds are spread out, because neighbouring ones would begin alike.
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
