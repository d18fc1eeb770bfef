/*
 * The warden of a run of tests. It ends what a file of tests has left, and removes its folder: servers and programs of tests that failed, of workers that
 * were killed, of a whole run that was killed. It looks for homes (`home.ts`) that are left or whose owner is gone, and for processes that have the home's name in their environment.
 *
 *   watching ──(a home is left, or its owner gone)──▶ reaping its home ──▶ watching
 *      └──(the input has ended: the run is over, or was killed)──▶ reaping all homes ──▶ over
 *
 * Without /proc it removes folders only.
 */
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { HOME, isLeft, ownerOf } from "./home.ts";

const LOOK_EVERY_MS = 250;
/** After the run's end: for workers that are about to end by themselves. */
const LEAVE_MS = 3_000;
/** For a hub or a server to end in its own way, before it is killed. */
const END_MS = 10_000;

const [run = ""] = process.argv.slice(2);
let isOver = false;
process.stdin.on("end", () => (isOver = true)).resume();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => (isOver = true));

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const homes = (): string[] =>
  readdirSync(run)
    .map((name) => join(run, name))
    .filter((home) => ownerOf(home) !== null);

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

const read = (pid: number, file: string): string => {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    // It has ended meanwhile, or is somebody else's.
    return "";
  }
};

/** What an owner of this home has started, and is still there. */
const leftOf = (home: string): number[] =>
  !existsSync("/proc/self/environ")
    ? []
    : readdirSync("/proc")
        .map(Number)
        .filter((pid) => pid > 0 && pid !== process.pid && read(pid, "environ").split("\0").includes(`${HOME}=${home}`));

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended meanwhile.
  }
}

/** Whether all of them end within so much time. */
async function areGone(home: string, withinMs: number): Promise<boolean> {
  for (let waitedMs = 0; leftOf(home).length > 0; waitedMs += LOOK_EVERY_MS) {
    if (waitedMs >= withinMs) return false;
    await sleep(LOOK_EVERY_MS);
  }
  return true;
}

async function reap(home: string): Promise<void> {
  for (const pid of leftOf(home)) {
    console.error(`A test left a process, which is ended: ${pid} ${read(pid, "cmdline").split("\0").join(" ").slice(0, 160)}`);
    signal(pid, "SIGTERM");
  }
  // Those that were suspended, or whose supervisor started them again.
  while (!(await areGone(home, END_MS))) for (const pid of leftOf(home)) signal(pid, "SIGKILL");
  rmSync(home, { recursive: true, force: true, maxRetries: 5 });
}

while (!isOver) {
  for (const home of homes()) if (isLeft(home) || !isAlive(ownerOf(home) ?? 0)) await reap(home);
  await sleep(LOOK_EVERY_MS);
}
for (const home of homes()) await areGone(home, LEAVE_MS);
// Each of them: an owner that is still there is among what another has started.
for (const home of homes()) await reap(home);
rmSync(run, { recursive: true, force: true, maxRetries: 5 });
