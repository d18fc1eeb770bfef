import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { messageOf, TributaryError } from "../core/index.ts";

const run = promisify(execFile);
const INFO_TIMEOUT_MS = 3_000;
const PULL_TIMEOUT_MS = 5 * 60_000;

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

export interface Container {
  /** The port on 127.0.0.1 that leads to the container's. */
  readonly port: number;
  stop(): Promise<void>;
}

/** Runs an image with its port published on 127.0.0.1 and a folder of the data directory as its volume. */
export async function startContainer(
  engine: string,
  options: {
    readonly image: string;
    readonly port: number;
    readonly hostPort: number;
    readonly volume: readonly [host: string, inside: string];
    readonly env?: Readonly<Record<string, string>>;
    readonly args?: readonly string[];
  },
): Promise<Container> {
  const { image, port, hostPort, volume, env = {}, args = [] } = options;
  try {
    const { stdout } = await run(
      engine,
      [
        ...["run", "--detach", "--rm", "--publish", `127.0.0.1:${hostPort}:${port}`, "--volume", `${volume[0]}:${volume[1]}`],
        ...Object.entries(env).flatMap(([name, value]) => ["--env", `${name}=${value}`]),
        image,
        ...args,
      ],
      { timeout: PULL_TIMEOUT_MS },
    );
    const id = stdout.trim();
    return {
      port: hostPort,
      stop: async () => {
        await run(engine, ["stop", "--time", "10", id]).catch(() => {});
      },
    };
  } catch (error) {
    throw new TributaryError(
      "backend-failed",
      `${engine} could not run ${image}: ${messageOf(error)}`,
      "Check the engine, or stop it to use this machine's own servers.",
      {
        cause: error,
      },
    );
  }
}
