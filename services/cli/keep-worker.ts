/** A worker of the hub, kept running: a process of its own that is started again when it ends. */
import { type ChildProcess, spawn } from "node:child_process";
import { TributaryError } from "../core/index.ts";
import { NODE_FLAGS } from "./program.ts";

/** A worker that has reported nothing for this long has hung. A small machine that starts everything at once takes a minute. */
const READY_TIMEOUT_MS = 180_000;
const READY_LOOK_MS = 500;
const FIRST_PAUSE_MS = 200;
const MAX_PAUSE_MS = 10_000;
const STOP_TIMEOUT_MS = 10_000;
/** A worker that ran for this long before it ended is started again at once. */
const HEALTHY_MS = 10_000;
/** The exit code for a problem with a disk, a lock or a port. */
const ALREADY_RUNNING = 8;
/** How much of a worker's last words an error repeats. */
const MAX_WORDS = 2_000;

export interface Worker {
  readonly name: string;
  pid(): number | null;
  /** Resolves when the worker's process is ready. After a restart it waits for the new process. */
  ready(): Promise<void>;
  stop(): Promise<void>;
}

export interface WorkerOptions {
  readonly name: string;
  /** What Node runs, and its arguments. */
  readonly args: readonly string[];
  readonly say: (line: string) => void;
  /** Is told when the worker cannot be kept running. */
  readonly fail: (error: unknown) => void;
}

/**
 *   starting ─▶ ready ── dies ──▶ pausing (0.2 s doubling to 10 s; none after a healthy run) ─▶ starting
 *      └ exits with an operating error before it was ever ready ─▶ failed
 */
export function keepWorker({ name, args, say, fail }: WorkerOptions): Worker {
  let child: ChildProcess | null = null;
  let isStopping = false;
  let wasEverReady = false;
  let pauseMs = FIRST_PAUSE_MS;
  let readiness = Promise.withResolvers<void>();
  /** A worker that reports what it is busy with is given more time. */
  let lastSignMs = Date.now();

  const start = (): void => {
    const startedMs = Date.now();
    // A projector that is started again keeps to the rules that the views have: a file that somebody is just editing must not go live by accident.
    const again = wasEverReady && name.startsWith("projector") ? ["--again"] : [];
    const current = spawn(process.execPath, [...NODE_FLAGS, ...args, ...again], { stdio: ["ignore", "ignore", "pipe", "ipc"] });
    const words = lastWordsOf(current);
    child = current;
    current.on("message", (message: { ready?: boolean; busy?: string }) => {
      if (message.busy !== undefined) {
        lastSignMs = Date.now();
        say(`The ${name} is busy: ${message.busy}.`);
      }
      if (message.ready !== true) return;
      wasEverReady = true;
      readiness.resolve();
    });
    current.on("exit", (code, signal) => {
      child = null;
      if (isStopping) return;
      if (!wasEverReady) return fail(startError(name, code, words()));
      readiness = Promise.withResolvers<void>();
      if (Date.now() - startedMs > HEALTHY_MS) pauseMs = FIRST_PAUSE_MS;
      say(`The ${name} ended (${signal ?? `exit ${code}`})${saidLast(words())}; starting it again.`);
      setTimeout(() => {
        if (!isStopping) start();
      }, pauseMs);
      pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS);
    });
  };
  start();

  return {
    name,
    pid: () => child?.pid ?? null,
    async ready() {
      lastSignMs = Date.now();
      const look = setInterval(() => {
        if (Date.now() - lastSignMs > READY_TIMEOUT_MS)
          fail(new TributaryError("backend-failed", `the ${name} was not ready in ${READY_TIMEOUT_MS / 1000} s`, "See its log."));
      }, READY_LOOK_MS);
      try {
        await readiness.promise;
      } finally {
        clearInterval(look);
      }
    },
    async stop() {
      isStopping = true;
      await ended(child);
    },
  };
}

/** Keeps the end of what a process writes to stderr. */
function lastWordsOf(child: ChildProcess): () => string {
  let words = "";
  child.stderr?.on("data", (chunk: Buffer) => {
    words = (words + chunk.toString()).slice(-MAX_WORDS);
  });
  return () => words.trim();
}

/** A worker's last words in one line, each line of them a sentence. The last sentence has no full stop, so that more can follow. */
export const saidLast = (words: string): string =>
  words === ""
    ? ""
    : `: ${words
        .replaceAll(/([^.:!?])\n/g, "$1. ")
        .replaceAll("\n", " ")
        .replace(/\.$/, "")}`;

/** Why a worker did not start: its own message and hint. */
function startError(name: string, code: number | null, words: string): TributaryError {
  const [problem, ...hint] = words.replace(/^tributary: /, "").split("\n");
  return new TributaryError(
    code === ALREADY_RUNNING ? "already-running" : "backend-failed",
    `the ${name} did not start: ${problem ?? ""}`,
    hint.join(" ") || "See its log.",
  );
}

/** Ends a process: asks first, then kills it. */
async function ended(child: ChildProcess | null): Promise<void> {
  if (child === null || child.exitCode !== null) return;
  const gone = new Promise((resolve) => child.once("exit", resolve));
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_TIMEOUT_MS);
  await gone;
  clearTimeout(timer);
}
