/**
 * The peer: Emmett's event store on PostgreSQL and its documents in Pongo. In go a server and events, out come rates, once the documents
 * were checked. The peer runs in a thread of its own (`emmettThread.ts`): its driver changes how `pg` reads numbers for a whole process.
 *
 *     node bench/peers/emmett.ts [--events 20000] [--with-defaults]
 */
import { spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import type { NewEvent } from "../../services/field/index.ts";
import { startPostgres } from "../../services/local/index.ts";
import { eventsOf } from "../workload.ts";

export type PeerEvent = Pick<NewEvent, "type" | "entity" | "data" | "actor">;

export interface PeerTask {
  /** A server on which databases may be created; the peer's own are dropped at the end. */
  readonly postgresUrl: string;
  readonly events: readonly PeerEvent[];
  /** Measure its own projector too, tuned: as long again as all the rest, or longer. */
  readonly withProjector?: boolean;
  /** And with its defaults. */
  readonly withDefaults?: boolean;
}

export interface PeerFigures {
  readonly appendPerSecond: number;
  /** The fastest way found that is correct: whole batches given to a projection, one transaction and checkpoint each. */
  readonly projectPerSecond: number;
  /** Its own projector with its own single-stream projection, batches of 500 polled every 1 ms. */
  readonly projectorPerSecond?: number;
  /** The same with the batch size and the polling interval that it comes with. */
  readonly defaultsPerSecond?: number;
  readonly documents: number;
}

/** What the thread tells: lines as it goes, then the figures. */
export type PeerMessage = { readonly line: string } | { readonly figures: PeerFigures };

const INSTALL_TIMEOUT_MS = 180_000;

/**
 * Installs the peer's packages beside this file if they are not there. Returns why they cannot be had, or `null`. They are no dependency of this
 * project, as they state no licence.
 */
export function installPeer(say: (line: string) => void): string | null {
  const here = import.meta.dirname;
  if (existsSync(join(here, "node_modules/@event-driven-io/emmett-postgresql"))) return null;
  say("installing the peer's packages into bench/peers/node_modules, to measure beside them …");
  const { status, error, stderr } = spawnSync("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], {
    cwd: here,
    stdio: ["ignore", "ignore", "pipe"],
    encoding: "utf8",
    timeout: INSTALL_TIMEOUT_MS,
    env: { ...process.env, npm_config_loglevel: "error" },
  });
  if (status === 0) return null;
  return error?.message ?? stderr.trim().split("\n")[0] ?? `npm ended with ${status}`;
}

export async function benchEmmett({ say, ...task }: PeerTask & { readonly say: (line: string) => void }): Promise<PeerFigures> {
  let figures: PeerFigures | null = null;
  const thread = new Worker(new URL("emmettThread.ts", import.meta.url), { workerData: task satisfies PeerTask });
  thread.on("message", (message: PeerMessage) => {
    if ("line" in message) say(message.line);
    else figures = message.figures;
  });
  await once(thread, "exit"); // rejects with the thread's error
  if (figures === null) throw new Error("the peer ended without figures");
  return figures;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { events: { type: "string", default: "20000" }, "with-defaults": { type: "boolean", default: false } },
  });
  const missing = installPeer((line) => process.stderr.write(`${line}\n`));
  if (missing !== null) throw new Error(`the peer's packages cannot be installed: ${missing}`);
  const sites = ["nairobi", "kampala", "juba"];
  const events = sites.flatMap((site, i) => eventsOf(site, Math.ceil(Number(values.events) / sites.length), i + 1));
  const dataDir = mkdtempSync(join(tmpdir(), "tributary-peer-"));
  // As root, PostgreSQL runs as another user, who must reach its folder.
  chmodSync(dataDir, 0o755);
  try {
    const server = await startPostgres({ dataDir });
    try {
      const figures = await benchEmmett({
        postgresUrl: server.url,
        events,
        withProjector: values["with-defaults"],
        withDefaults: values["with-defaults"],
        say: (line) => process.stderr.write(`${line}\n`),
      });
      for (const [name, value] of Object.entries(figures)) console.log(`${name.padEnd(20)} ${Math.round(value)}`);
    } finally {
      await server.close();
    }
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
}
