import { type ChildProcess, execFile, type SpawnOptions, spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";
import { ERROR_CODES, type ErrorCode, isTributaryError, listenFailure, TributaryError } from "../core/index.ts";
import { ownFolder } from "../core/node.ts";
import type { Ended } from "./backend.ts";
import { boundLog, LOG_LOOK_MS, lastLines, MAX_LOG_BYTES } from "./logs.ts";

const run = promisify(execFile);

/** How long a server may take to answer after its start, and to end after being asked to. */
export const START_TIMEOUT_MS = 90_000;
/** How long a server may take that says it is recovering from a crash. */
const BUSY_TIMEOUT_MS = 15 * 60_000;
const STOP_TIMEOUT_MS = 10_000;
const LOG_LINES_SHOWN = 8;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Ports below those that systems hand out to outgoing connections: between choosing one and listening on it, nobody takes it by chance. */
const FIRST_PORT = 20_000;
const LAST_PORT = 32_000;
const MAX_PORT_TRIES = 50;

/** Finds a free port of 127.0.0.1. */
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

/** Why nobody can listen on a port of an address of this machine; `null`: it is free. */
const portProblem = (port: number, host: string): Promise<NodeJS.ErrnoException | null> =>
  new Promise((resolve) => {
    const server = createServer();
    server.once("error", resolve);
    server.listen(port, host, () => server.close(() => resolve(null)));
  });

/** Whether a port of an address of this machine is free. */
export const isFree = async (port: number, host = "127.0.0.1"): Promise<boolean> => (await portProblem(port, host)) === null;

/** The port that was asked for, which must be free; or else the port of the last run, if nobody has taken it meanwhile; or else any free one. */
export async function choosePort(
  {
    port,
    lastPort,
    option,
    host = "127.0.0.1",
    say = () => {},
  }: {
    readonly port?: number;
    readonly lastPort?: number;
    /** The option that names the port. */
    readonly option: string;
    readonly host?: string;
    readonly say?: (line: string) => void;
  },
  title: string,
): Promise<number> {
  if (port !== undefined && port !== 0) {
    const problem = await portProblem(port, host);
    if (problem === null) return port;
    throw listenFailure(problem, { host, port, title, option });
  }
  if (lastPort !== undefined && lastPort !== 0 && (await isFree(lastPort, host))) return lastPort;
  const chosen = await freePort();
  if (lastPort !== undefined && lastPort !== 0)
    say(
      `Another program listens on port ${lastPort}, where ${title} was before. It is on port ${chosen} now: whoever knows the old port needs the new one.`,
    );
  return chosen;
}

/** The first of these programs found on PATH or in `also`; `null` when there is none. */
export function findProgram(name: string, also: readonly string[] = []): string | null {
  for (const dir of [...(process.env.PATH ?? "").split(delimiter), ...also]) {
    if (dir !== "" && existsSync(join(dir, name))) return join(dir, name);
  }
  return null;
}

/** When a process began, in the kernel's ticks: together with the pid, this names one process for good. `null`: there is no such process, or no /proc. */
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
  readonly exited: Promise<Ended>;
  stop(signal?: NodeJS.Signals): Promise<void>;
  /** The end of what it wrote, for errors. */
  lastWords(): string;
}

/** Names a process, so that a later one with the same pid is not taken for it. */
interface ProcessName {
  readonly pid: number;
  readonly start: string | null;
}

/** What stands in `<dataDir>/<name>.pid`: a server, and the process that started it. */
type PidFile = (ProcessName | { readonly container: string; readonly engine: string }) & { readonly owner?: ProcessName };

const nameOfProcess = (pid: number): ProcessName => ({ pid, start: startTimeOf(pid) });
/** Whether exactly this process is alive. */
export const isSame = ({ pid, start }: ProcessName): boolean =>
  pid > 0 && isAlive(pid) && (start === null || startTimeOf(pid) === start);

/** Writes down a server and who started it. Returns a function that removes the note. */
export function noteOwner(
  dataDir: string,
  name: string,
  server: ProcessName | { readonly container: string; readonly engine: string },
): () => void {
  const file = join(dataDir, `${name}.pid`);
  writeFileSync(file, JSON.stringify({ ...server, owner: nameOfProcess(process.pid) } satisfies PidFile), { mode: 0o600 });
  return () => rmSync(file, { force: true });
}

export interface ProcessOptions extends SpawnOptions {
  /** How large its log may grow before it is put aside, and how often that is checked. */
  readonly maxLogBytes?: number;
  readonly logLookMs?: number;
}

/**
 * Starts a server that writes into `<dataDir>/logs/<name>.log`, which is kept within a bound. Its pid is kept in `<dataDir>/<name>.pid`, so that the next start
 * finds and ends a server that a killed parent left behind.
 */
export async function startProcess(
  dataDir: string,
  name: string,
  [command, ...args]: readonly [command: string, ...args: string[]],
  { maxLogBytes = MAX_LOG_BYTES, logLookMs = LOG_LOOK_MS, ...options }: ProcessOptions = {},
): Promise<Running> {
  const logFile = join(dataDir, "logs", `${name}.log`);
  ownFolder(dirname(logFile));
  boundLog(logFile, maxLogBytes);
  const log = openSync(logFile, "a", 0o600);
  let child: ChildProcess;
  try {
    child = spawn(command, args, { stdio: ["ignore", log, log], ...options });
  } finally {
    closeSync(log);
  }
  const pid = child.pid ?? 0;
  let forget = (): void => {};
  try {
    if (pid > 0) forget = noteOwner(dataDir, name, nameOfProcess(pid));
  } catch (error) {
    // Perhaps the disk is full. A server without a pid file would keep its port and its data, and no later start could find it.
    child.kill("SIGKILL");
    throw error;
  }
  const looks = setInterval(() => boundLog(logFile, maxLogBytes), logLookMs);
  looks.unref();
  const exited = new Promise<Ended>((resolve) => {
    child.once("error", () => {
      clearInterval(looks);
      resolve({ code: -1, signal: null });
    });
    child.once("exit", (code, signal) => {
      clearInterval(looks);
      forget();
      resolve({ code, signal });
    });
  });
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
    lastWords: () => lastLines(logFile, LOG_LINES_SHOWN),
  };
}

/**
 * Ends a server that a killed parent left behind: only one whose pid and start time are those that were written down. Throws `already-running` for one whose
 * parent lives.
 */
export async function endLeftover(dataDir: string, name: string): Promise<void> {
  const pidFile = join(dataDir, `${name}.pid`);
  const noted = readPidFile(pidFile);
  if (noted === null) return;
  const isThere = "container" in noted || (noted.start !== null && startTimeOf(noted.pid) === noted.start);
  if (isThere && noted.owner !== undefined && isSame(noted.owner)) {
    throw new TributaryError(
      "already-running",
      `process ${noted.owner.pid} is using ${join(dataDir, name)} with a server of its own`,
      "Stop it first, or give this one another folder with --data.",
    );
  }
  if ("container" in noted) await run(noted.engine, ["rm", "--force", noted.container]).catch(() => {});
  else if (isThere) await endProcess(noted);
  rmSync(pidFile, { force: true });
}

function readPidFile(file: string): PidFile | null {
  try {
    return JSON.parse(readFileSync(file, "utf8")) as PidFile;
  } catch {
    // There is no file, or its writer was killed while writing it.
    return null;
  }
}

async function endProcess({ pid, start }: ProcessName): Promise<void> {
  // Ends it even if it was suspended.
  for (const signal of ["SIGTERM", "SIGCONT"] as const) signalTo(pid, signal);
  const until = Date.now() + STOP_TIMEOUT_MS;
  while (startTimeOf(pid) === start && Date.now() < until) await sleep(50);
  if (startTimeOf(pid) !== start) return;
  signalTo(pid, "SIGKILL");
  await sleep(500);
}

function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has just ended.
  }
}

/** Sends a signal to a server that a hub of this folder runs, if it does. */
export async function signalServer(dataDir: string, name: string, signal: NodeJS.Signals): Promise<void> {
  const noted = readPidFile(join(dataDir, `${name}.pid`));
  if (noted === null) return;
  if ("container" in noted) await run(noted.engine, ["kill", "--signal", signal, noted.container]).catch(() => {});
  else if (noted.start !== null && startTimeOf(noted.pid) === noted.start) signalTo(noted.pid, signal);
}

/** Removes a data directory whose owner is gone, ending the servers that it left behind. */
export async function removeAbandoned(dataDir: string): Promise<void> {
  for (const name of existsSync(dataDir) ? readdirSync(dataDir) : [])
    if (name.endsWith(".pid")) await endLeftover(dataDir, name.slice(0, -4));
  rmSync(dataDir, { recursive: true, force: true });
}

export interface ReadyOptions {
  readonly signal?: AbortSignal;
  /** Whether a probe's failure shows that the server is still at work on its start: then it gets up to BUSY_TIMEOUT_MS. */
  readonly isBusy?: (error: unknown) => boolean;
}

/** Waits until `probe` succeeds; fails with the process's last words when it ends or takes too long, and when `signal` aborts. Then the process is gone. */
export async function whenReady(
  title: string,
  running: Running,
  probe: () => Promise<void>,
  { signal, isBusy = () => false }: ReadyOptions = {},
): Promise<void> {
  let ended: Ended | null = null;
  void running.exited.then((how) => {
    ended = how;
  });
  let last: unknown;
  const begunMs = Date.now();
  for (let until = begunMs + START_TIMEOUT_MS; Date.now() < until && !signal?.aborted; await sleep(50)) {
    if (ended !== null) break;
    try {
      await probe();
      return;
    } catch (error) {
      last = error;
      // It answers, and waiting does not help.
      if (isTributaryError(error) && error.code === "data-corrupt") {
        await running.stop();
        throw error;
      }
      if (isBusy(error)) until = Math.min(Date.now() + START_TIMEOUT_MS, begunMs + BUSY_TIMEOUT_MS);
    }
  }
  if (ended === null) await running.stop(signal?.aborted ? "SIGTERM" : "SIGKILL");
  if (signal?.aborted) throw interrupted(title);
  const words = running.lastWords();
  throw new TributaryError(
    codeOf(ended, words),
    `${title} did not start:\n${words}`,
    `See its log in the data directory's logs/ folder.`,
    { cause: last },
  );
}

/** The error code of what failed: a program of ours begins its last words with the code of its error, and ends with that code's exit code. */
function codeOf(ended: Ended | null, words: string): ErrorCode {
  const said = words.split("\n").flatMap((line) => ERROR_CODES.find((code) => line.startsWith(`${code}: `)) ?? []);
  const last = said.at(-1);
  return last !== undefined && new TributaryError(last, "", "").exitCode === ended?.code ? last : "backend-failed";
}

/** The error for a start that was called off. */
export const interrupted = (title: string): TributaryError =>
  new TributaryError("backend-failed", `the start of ${title} was interrupted`, "Start it again.");
