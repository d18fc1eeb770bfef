import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { messageOf, TributaryError } from "../core/index.ts";
import { type Backends, freePort, startBackends } from "../local/index.ts";
import { openLog } from "../log/index.ts";
import { type HubState, hubKey, hubOrg, settingsFile, writeState } from "./places.ts";
import { openHubGate, registerProjectSchemas } from "./registry.ts";

const MAIN = join(import.meta.dirname, "main.ts");
const READY_TIMEOUT_MS = 30_000;
const READY_LOOK_MS = 500;
const FIRST_PAUSE_MS = 200;
const MAX_PAUSE_MS = 10_000;
const STOP_TIMEOUT_MS = 10_000;
/** A worker that ran this long before it ended is started anew at once. */
const HEALTHY_MS = 10_000;

export interface Worker {
  readonly name: string;
  pid(): number | null;
  /** Resolves when a worker process is ready; anew after each restart. */
  ready(): Promise<void>;
  stop(): Promise<void>;
}

export interface Hub {
  readonly state: HubState;
  readonly backends: Backends;
  readonly ingress: Worker;
  readonly projector: Worker;
  /** Rejects when a worker cannot be kept running. */
  readonly failed: Promise<never>;
  close(): Promise<void>;
}

export interface HubOptions {
  readonly dataDir: string;
  readonly org?: string;
  readonly listen?: { readonly host: string; readonly port: number };
  /** Projector processes that share the folding; default 1. */
  readonly projectors?: number;
  /** Take nothing from devices that have no enrolled key. */
  readonly requireKeys?: boolean;
  /** Balance the books every so many hours. */
  readonly reconcileEveryHours?: number;
  readonly say?: (line: string) => void;
}

/** Starts a hub: backends, ingress and projector, each a process of its own; a worker that dies is started again. */
export async function startHub({
  dataDir,
  org,
  listen,
  projectors = 1,
  requireKeys = false,
  reconcileEveryHours,
  say = () => {},
}: HubOptions): Promise<Hub> {
  const owner = hubOrg(dataDir, org);
  await hubKey(dataDir);
  const backends = await startBackends({ dataDir, say });
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => {});
  const workers: Worker[] = [];
  const close = async (): Promise<void> => {
    await Promise.all(workers.map((worker) => worker.stop()));
    await backends.close();
  };
  try {
    await prepareSchemas(backends.eventstore.url, say);
    const host = listen?.host ?? "127.0.0.1";
    const port = listen?.port || (await freePort());
    const state: HubState = {
      pid: process.pid,
      org: owner,
      natsUrl: backends.nats.url,
      eventstoreUrl: backends.eventstore.url,
      postgresUrl: backends.postgres.url,
      httpUrl: `http://${host === "0.0.0.0" ? "127.0.0.1" : host}:${port}`,
    };
    writeState(dataDir, state);
    const start = (name: string, args: readonly string[], command = name): Worker => {
      const worker = supervise(
        name,
        [MAIN, command, "--data", dataDir, "--log", join(dataDir, "logs", `${name}.log`), ...args],
        say,
        failure.reject,
      );
      workers.push(worker);
      return worker;
    };
    const ingress = start("ingress", ["--listen", `${host}:${port}`, ...(requireKeys ? ["--require-keys"] : [])]);
    const projector = start("projector", []);
    await Promise.race([Promise.all([ingress.ready(), projector.ready()]), failure.promise]);
    // One after the other: the first brings tables and views up to date.
    const more: Worker[] = [];
    for (let n = 2; n <= projectors; n++) more.push(start(`projector-${n}`, [], "projector"));
    if (existsSync(settingsFile(dataDir))) more.push(start("notifier", []));
    if (reconcileEveryHours !== undefined) more.push(start("reconciler", ["--every", String(reconcileEveryHours)]));
    await Promise.race([Promise.all(more.map((worker) => worker.ready())), failure.promise]);
    return { state, backends, ingress, projector, failed: failure.promise, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Registers what the schema folder has and the log lacks, before anybody writes with it. */
async function prepareSchemas(eventstoreUrl: string, say: (line: string) => void): Promise<void> {
  const log = openLog(eventstoreUrl);
  try {
    const { registry } = await openHubGate(log);
    try {
      const added = await registerProjectSchemas(registry, "hub");
      if (added.length > 0) say(`Registered ${added.length} schema versions: ${added.join(", ")}.`);
    } finally {
      registry.close();
    }
  } finally {
    await log.close();
  }
}

/**
 *   starting ─▶ ready ── dies ──▶ pausing (0.2 s doubling to 10 s; none after a healthy run) ─▶ starting
 *      └ exits with an operating error before it was ever ready ─▶ failed
 */
function supervise(name: string, args: readonly string[], say: (line: string) => void, fail: (error: unknown) => void): Worker {
  let child: ChildProcess | null = null;
  let stopping = false;
  let everReady = false;
  let pauseMs = FIRST_PAUSE_MS;
  let readiness = Promise.withResolvers<void>();
  /** A worker that says what it is busy with is waited for. */
  let lastSignMs = Date.now();

  const start = (): void => {
    const startedMs = Date.now();
    let words = "";
    // A worker that is started again goes on with what stands: files that somebody is just editing must not go live by an accident.
    const again = everReady && name.startsWith("projector") ? ["--again"] : [];
    const current = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ...args, ...again], {
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    child = current;
    current.stderr?.on("data", (chunk: Buffer) => {
      words = (words + chunk.toString()).slice(-2_000);
    });
    current.on("message", (message: { ready?: boolean; busy?: string }) => {
      if (message.busy !== undefined) {
        lastSignMs = Date.now();
        say(`The ${name} is busy: ${message.busy}.`);
      }
      if (message.ready !== true) return;
      everReady = true;
      readiness.resolve();
    });
    current.on("exit", (code, signal) => {
      child = null;
      if (stopping) return;
      if (!everReady) {
        const [problem, ...hint] = words
          .trim()
          .replace(/^tributary: /, "")
          .split("\n");
        fail(
          new TributaryError(
            code === 8 ? "already-running" : "backend-failed",
            `the ${name} did not start: ${problem ?? ""}`,
            hint.join(" ") || "See its log.",
          ),
        );
        return;
      }
      readiness = Promise.withResolvers<void>();
      if (Date.now() - startedMs > HEALTHY_MS) pauseMs = FIRST_PAUSE_MS;
      say(
        `The ${name} ended (${signal ?? `exit ${code}`})${words.trim() === "" ? "" : `: ${words.trim().replaceAll("\n", " ")}`}; starting it again.`,
      );
      setTimeout(() => {
        if (!stopping) start();
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
      const timeout = setInterval(() => {
        if (Date.now() - lastSignMs > READY_TIMEOUT_MS)
          fail(new TributaryError("backend-failed", `the ${name} was not ready in ${READY_TIMEOUT_MS} ms`, "See its log."));
      }, READY_LOOK_MS);
      try {
        await readiness.promise;
      } catch (error) {
        throw new Error(messageOf(error));
      } finally {
        clearInterval(timeout);
      }
    },
    async stop() {
      stopping = true;
      const current = child;
      if (current === null || current.exitCode !== null) return;
      const gone = new Promise((resolve) => current.once("exit", resolve));
      current.kill("SIGTERM");
      const timer = setTimeout(() => current.kill("SIGKILL"), STOP_TIMEOUT_MS);
      await gone;
      clearTimeout(timer);
    },
  };
}
