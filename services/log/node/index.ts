/**
 * The embedded node: EventStoreDB's gRPC protocol for one machine, over SQLite. In come appends and reads of the official
 * client; out go the answers that a real server gives. Nothing is acknowledged before the disk has the events.
 */
import { join } from "node:path";
import { ServerCredentials } from "@grpc/grpc-js";
import { messageOf, TributaryError } from "../../core/index.ts";
import { removeCopies } from "./copy.ts";
import { MAX_LIVE_LAG_EVENTS } from "./reads.ts";
import { makeServer } from "./service.ts";
import type { Store } from "./store/contract.ts";
import { damaged, isDamage, type StoreOptions } from "./store/database.ts";
import { openStore } from "./store/store.ts";

export interface NodeOptions {
  /** The port; 0 (default): a free one. */
  readonly port?: number;
  readonly host?: string;
  /** The folder of the database; absent: it is in memory. */
  readonly dataDir?: string;
  /** A live reader that is this many events behind is dropped; a real server drops one at 32. */
  readonly liveBufferEvents?: number;
  readonly now?: () => number;
  readonly log?: (event: Record<string, unknown>) => void;
  /** The secret that each call must bring; the node's address has it. Absent: anybody on this machine may read, write and delete. */
  readonly secret?: string;
  /** Bounds the database in pages of 4 KiB: for tests of a full disk. */
  readonly maxPages?: number;
}

export interface EmbeddedNode {
  readonly port: number;
  /** `esdb://127.0.0.1:PORT?tls=false`, with the secret, if there is one, as the connection's name. */
  readonly url: string;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** How long calls that are under way may take to end when the node closes. */
const CLOSE_MS = 1_000;

function opened(options: StoreOptions): Store {
  try {
    return openStore(options);
  } catch (error) {
    throw isDamage(error) ? damaged(join(options.dataDir ?? "", "events.db"), error) : error;
  }
}

/** Starts a node; resolves when it answers. Throws `port-in-use`, `data-locked`, `data-corrupt`. */
export async function startNode(options: NodeOptions = {}): Promise<EmbeddedNode> {
  const { host = "127.0.0.1", now = Date.now, log = () => {}, dataDir, maxPages } = options;
  const store = opened({ dataDir: dataDir ?? null, now, ...(maxPages === undefined ? {} : { maxPages }) });
  // Only now that the database is ours: no other node's copies are there.
  if (dataDir !== undefined) removeCopies(dataDir);
  let port = options.port ?? 0;
  const server = makeServer({
    store,
    now,
    log,
    secret: options.secret ?? null,
    maxLagEvents: options.liveBufferEvents ?? MAX_LIVE_LAG_EVENTS,
    address: () => ({ host, port }),
  });
  try {
    port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(`${host}:${port}`, ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
  } catch (error) {
    store.close();
    if (/EADDRINUSE|No address added|in use/i.test(messageOf(error))) {
      throw new TributaryError(
        "port-in-use",
        `port ${port} of ${host} is in use`,
        "Stop the program that listens there, or choose another with --port.",
        {
          cause: error,
        },
      );
    }
    throw error;
  }
  let closing: Promise<void> | null = null;
  const close = (): Promise<void> => {
    closing ??= new Promise<void>((resolve) => {
      const force = setTimeout(() => server.forceShutdown(), CLOSE_MS);
      server.tryShutdown(() => {
        clearTimeout(force);
        store.close();
        resolve();
      });
    });
    return closing;
  };
  const secret = options.secret === undefined ? "" : `&connectionName=${options.secret}`;
  return { port, url: `esdb://${host}:${port}?tls=false${secret}`, close, [Symbol.asyncDispose]: close };
}

export { type CopyFacts, copyDatabase, copyRunning, sealCopy } from "./copy.ts";
