import { chmodSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished } from "vitest";
import type { HubState } from "../../services/cli/state.ts";
import { withCluster } from "./cluster.ts";
import { type Environment, runHereWith } from "./here.ts";
import { eventually, tempDir } from "./temp.ts";
import { startWorker, type Worker } from "./workers.ts";

/** A folder that PostgreSQL's own user can reach when the tests run as root. */
export function openDir(): string {
  const dir = tempDir();
  chmodSync(dir, 0o755);
  return dir;
}

export interface HubProcess extends Worker {
  readonly dir: string;
  readonly state: HubState;
  /** The process of one of its servers now. */
  serverPid(name: "nats" | "eventstore" | "postgres"): number;
  /** Ctrl-C, and the exit code. */
  stop(): Promise<number | string>;
}

/** `tributary hub` as a process of its own; resolves when it is up. Ended with the test. */
export const runHub = (dir: string, args: readonly string[] = [], env: Environment = {}): Promise<HubProcess> =>
  beginHub(onTestFinished, dir, args, env);

/** The same, for several tests: it ends with what `atEnd` is, such as `afterAll`. */
export async function beginHub(
  atEnd: (end: () => Promise<void>) => void,
  dir: string,
  args: readonly string[] = [],
  env: Environment = {},
): Promise<HubProcess> {
  withCluster(dir);
  const worker = startWorker(["hub", "--data", dir, "--org", "relief", ...args], env);
  let isOver = false;
  void worker.ended.then(() => {
    isOver = true;
  });
  atEnd(async () => {
    if (isOver) return;
    worker.child.kill("SIGTERM");
    await worker.ended;
  });
  await eventually("the hub's start", async () => {
    if (isOver) return true;
    return worker.output().includes("is running");
  });
  expect(isOver ? worker.output() : "").toBe("");
  return {
    ...worker,
    dir,
    state: JSON.parse(readFileSync(join(dir, "hub.json"), "utf8")) as HubState,
    serverPid: (name) => (JSON.parse(readFileSync(join(dir, `${name}.pid`), "utf8")) as { pid: number }).pid,
    async stop() {
      worker.child.kill("SIGINT");
      return worker.ended;
    },
  };
}

/** Commands that run in processes of their own, because they go on until they are stopped or start other processes. */
const BY_ITSELF = /^(hub|demo)\b/;
export const isHere = (args: readonly string[]): boolean => !BY_ITSELF.test(args.join(" "));

/** A command of the program, run to its end: in this process where that makes no difference, which spares a second of processor time. */
export async function tributary(
  args: readonly string[],
  env: Environment = {},
): Promise<{ readonly code: number | string; readonly output: string; readonly ms: number }> {
  const begunMs = performance.now();
  if (isHere(args)) {
    const { code, stdout, stderr } = await runHereWith(env, args);
    return { code, output: stdout + stderr, ms: performance.now() - begunMs };
  }
  const worker = startWorker(args, env);
  const code = await worker.ended;
  return { code, output: worker.output(), ms: performance.now() - begunMs };
}

/** The document that a command prints with `--json`. */
export async function jsonOf<T>(args: readonly string[], env: Environment = {}): Promise<T> {
  if (isHere(args)) {
    const { code, stdout, stderr } = await runHereWith(env, [...args, "--json"]);
    expect(`${code} ${code === 0 ? "" : stderr}`).toBe("0 ");
    return JSON.parse(stdout) as T;
  }
  const worker = startWorker([...args, "--json"], env);
  let stdout = "";
  worker.child.stdout?.on("data", (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  const code = await worker.ended;
  expect(`${code} ${code === 0 ? "" : worker.output()}`).toBe("0 ");
  return JSON.parse(stdout) as T;
}
