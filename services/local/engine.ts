import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { promisify } from "node:util";
import { messageOf, TributaryError } from "../core/index.ts";
import type { Backend, Ended } from "./backend.ts";
import { noteOwner } from "./process.ts";

const run = promisify(execFile);
const INFO_TIMEOUT_MS = 3_000;
const PULL_TIMEOUT_MS = 5 * 60_000;
const STOP_TIMEOUT_S = 10;
/** How long a server in a container may take to answer after the container's start. */
const READY_TIMEOUT_MS = 60_000;
const READY_PAUSE_MS = 500;

/** The images of docker-compose.yml, for a machine that has a container engine. */
export const IMAGES = {
  nats: "nats:2.12-alpine",
  eventstore: "eventstore/eventstore:23.10.6-bookworm-slim",
  postgres: "postgres:18-alpine",
} as const;

let found: Promise<string | null> | null = null;

/** The container engine that answers: `docker` or `podman`; `null` when neither does. Asked once. */
export function containerEngine(): Promise<string | null> {
  found ??= (async () => {
    for (const engine of ["docker", "podman"]) {
      try {
        await run(engine, ["info", "--format", "{{.ServerVersion}}"], { timeout: INFO_TIMEOUT_MS });
        return engine;
      } catch {
        // Not installed, or no daemon behind it.
      }
    }
    return null;
  })();
  return found;
}

/** A container's name says which data directory and which server it belongs to. */
export const containerName = (dataDir: string, name: Backend["name"]): string =>
  `tributary-${createHash("sha256").update(resolve(dataDir)).digest("hex").slice(0, 12)}-${name}`;

export interface ContainerOptions {
  readonly name: Backend["name"];
  readonly dataDir: string;
  readonly port: number;
  readonly hostPort: number;
  readonly volume: readonly [host: string, inside: string];
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  readonly url: string;
  probe(url: string): Promise<void>;
  readonly signal?: AbortSignal;
}

/** Runs a server's image with its port published on 127.0.0.1 and a folder of the data directory as its volume; resolves when it answers. */
export async function startContainer(engine: string, options: ContainerOptions): Promise<Backend> {
  const { name, dataDir, port, hostPort, volume, env = {}, args = [], url, probe, signal } = options;
  const image = IMAGES[name];
  const container = containerName(dataDir, name);
  const stop = async (): Promise<void> => {
    await run(engine, ["stop", "--time", String(STOP_TIMEOUT_S), container]).catch(() => {});
  };
  try {
    // A container that a killed hub left behind, or that is still being removed.
    await run(engine, ["rm", "--force", container]).catch(() => {});
    await run(
      engine,
      [
        ...["run", "--detach", "--rm", "--name", container, "--publish", `127.0.0.1:${hostPort}:${port}`],
        ...["--volume", `${volume[0]}:${volume[1]}`],
        ...Object.entries(env).flatMap(([key, value]) => ["--env", `${key}=${value}`]),
        image,
        ...args,
      ],
      { timeout: PULL_TIMEOUT_MS, ...(signal === undefined ? {} : { signal }) },
    );
  } catch (error) {
    throw new TributaryError(
      "backend-failed",
      `${engine} could not run ${image}: ${messageOf(error)}`,
      "Check the engine, or stop it to use this machine's own servers.",
      { cause: error },
    );
  }
  const forget = noteOwner(dataDir, name, { container, engine });
  const exited = endOf(engine, container);
  void exited.then(forget);
  for (const until = Date.now() + READY_TIMEOUT_MS; ; ) {
    try {
      await probe(url);
      break;
    } catch (error) {
      if (Date.now() > until || signal?.aborted) {
        await stop();
        throw error;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, READY_PAUSE_MS));
  }
  return {
    name,
    url,
    how: "container",
    pid: await pidOf(engine, container),
    container,
    detail: `${image} (container ${container})`,
    exited,
    probe: () => probe(url),
    close: async () => {
      await stop();
      await exited;
    },
  };
}

/** Resolves when a container has ended, with its exit code. */
function endOf(engine: string, container: string): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(engine, ["wait", container], { stdio: ["ignore", "pipe", "ignore"] });
    let code = "";
    child.stdout.on("data", (chunk: Buffer) => {
      code += chunk.toString();
    });
    child.on("error", () => resolve({ code: null, signal: null }));
    child.on("close", () => resolve({ code: /^\d+/.test(code) ? Number.parseInt(code, 10) : null, signal: null }));
  });
}

/** The process of a container as the engine knows it; `null` if it runs in a virtual machine, or the engine does not say. */
async function pidOf(engine: string, container: string): Promise<number | null> {
  try {
    const { stdout } = await run(engine, ["inspect", "--format", "{{.State.Pid}}", container]);
    const pid = Number(stdout.trim());
    return Number.isInteger(pid) && pid > 0 ? pid : null;
  } catch {
    return null;
  }
}
