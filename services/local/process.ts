import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, dirname, join } from "node:path";
import { TributaryError } from "../core/index.ts";

/** How long a server may take to answer after its start, and to end after being asked to. */
export const START_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 10_000;
const LOG_LINES_SHOWN = 8;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Ports below those that systems hand out to outgoing connections: between choosing one and listening on it, nobody takes it by chance. */
const FIRST_PORT = 20_000;
const LAST_PORT = 32_000;
const MAX_PORT_TRIES = 50;

/** A port of 127.0.0.1 on which nobody listens. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < MAX_PORT_TRIES; tries++) {
    const port = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT));
    if (await isFree(port)) return port;
  }
  throw new TributaryError(
    "port-in-use",
    `no free port was found between ${FIRST_PORT} and ${LAST_PORT}`,
    "Stop some of the programs that listen there.",
  );
}

const isFree = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });

/** The given port, which must be free, or any free one. */
export async function choosePort(port: number | undefined, name: string): Promise<number> {
  if (port === undefined || port === 0) return freePort();
  await new Promise<void>((resolve, reject) => {
    const server = createServer();
    server.once("error", (error) =>
      reject(
        new TributaryError(
          "port-in-use",
          `port ${port}, wanted for ${name}, is in use`,
          "Stop the program that listens there, or choose another port.",
          {
            cause: error,
          },
        ),
      ),
    );
    server.listen(port, "127.0.0.1", () => server.close(() => resolve()));
  });
  return port;
}

/** The first of these programs found on PATH or in `also`; `null` when there is none. */
export function findProgram(name: string, also: readonly string[] = []): string | null {
  for (const dir of [...(process.env.PATH ?? "").split(delimiter), ...also]) {
    if (dir !== "" && existsSync(join(dir, name))) return join(dir, name);
  }
  return null;
}

/** When a process began, in the kernel's ticks: with the pid it names one process for good. `null`: there is none, or no /proc. */
export function startTimeOf(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? null;
  } catch {
    return null;
  }
}

export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
};

export interface Running {
  readonly pid: number;
  /** Resolves when the process has ended. */
  readonly exited: Promise<{ readonly code: number | null; readonly signal: string | null }>;
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** The end of what it wrote, for errors. */
  lastWords(): string;
}

interface PidFile {
  readonly pid: number;
  readonly start: string | null;
}

/**
 * Starts a server that writes into `<dataDir>/logs/<name>.log`. Its pid is kept in `<dataDir>/<name>.pid`, so that one left over
 * by a killed parent is found and ended by the next start.
 */
export async function startProcess(
  dataDir: string,
  name: string,
  command: string,
  args: readonly string[],
  options: SpawnOptions = {},
): Promise<Running> {
  const pidFile = join(dataDir, `${name}.pid`);
  const logFile = join(dataDir, "logs", `${name}.log`);
  mkdirSync(dirname(logFile), { recursive: true });
  const log = openSync(logFile, "a");
  let child: ChildProcess;
  try {
    child = spawn(command, args, { stdio: ["ignore", log, log], ...options });
  } finally {
    closeSync(log);
  }
  const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
    child.once("error", () => resolve({ code: -1, signal: null }));
    child.once("exit", (code, signal) => {
      rmSync(pidFile, { force: true });
      resolve({ code, signal });
    });
  });
  const pid = child.pid ?? 0;
  if (pid > 0) writeFileSync(pidFile, JSON.stringify({ pid, start: startTimeOf(pid) } satisfies PidFile));
  return {
    pid,
    exited,
    async stop(signal = "SIGTERM") {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill(signal);
      const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
      await exited;
      clearTimeout(timer);
    },
    lastWords: () =>
      existsSync(logFile) ? readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-LOG_LINES_SHOWN).join("\n") : "",
  };
}

/** Ends a server that a killed parent left behind: only one whose pid and start time are those we wrote down. */
export async function endLeftover(dataDir: string, name: string): Promise<void> {
  const pidFile = join(dataDir, `${name}.pid`);
  if (!existsSync(pidFile)) return;
  const { pid, start } = JSON.parse(readFileSync(pidFile, "utf8")) as PidFile;
  const isOurs = start !== null && startTimeOf(pid) === start;
  if (isOurs) {
    process.kill(pid, "SIGTERM");
    const until = Date.now() + STOP_TIMEOUT_MS;
    while (startTimeOf(pid) === start && Date.now() < until) await sleep(50);
    if (startTimeOf(pid) === start) {
      process.kill(pid, "SIGKILL");
      await sleep(500);
    }
  }
  rmSync(pidFile, { force: true });
}

/** Sends a signal to a server that a hub of this folder runs, if it does. */
export async function signalServer(dataDir: string, name: string, signal: NodeJS.Signals): Promise<void> {
  const pidFile = join(dataDir, `${name}.pid`);
  if (!existsSync(pidFile)) return;
  const { pid, start } = JSON.parse(readFileSync(pidFile, "utf8")) as PidFile;
  if (start === startTimeOf(pid)) process.kill(pid, signal);
}

/** Removes a data directory whose owner is gone, ending the servers that it left behind. */
export async function removeAbandoned(dataDir: string): Promise<void> {
  for (const name of existsSync(dataDir) ? readdirSync(dataDir) : [])
    if (name.endsWith(".pid")) await endLeftover(dataDir, name.slice(0, -4));
  rmSync(dataDir, { recursive: true, force: true });
}

/** Waits until `probe` succeeds; fails with the process's last words when it ends or takes too long. */
export async function whenReady(name: string, running: Running, probe: () => Promise<void>): Promise<void> {
  let ended: { code: number | null } | null = null;
  void running.exited.then((how) => {
    ended = how;
  });
  let last: unknown;
  for (const until = Date.now() + START_TIMEOUT_MS; Date.now() < until; await sleep(50)) {
    if (ended !== null) break;
    try {
      await probe();
      return;
    } catch (error) {
      last = error;
    }
  }
  if (ended === null) await running.stop("SIGKILL");
  throw new TributaryError(
    "backend-failed",
    `${name} did not start:\n${running.lastWords()}`,
    `See its log in the data directory's logs/ folder.`,
    { cause: last },
  );
}
