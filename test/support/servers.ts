import { join } from "node:path";
import { makeFolder } from "../../services/core/node.ts";
import { containerEngine } from "../../services/local/engine.ts";
import {
  type Backend,
  type Backends,
  lockDirectory,
  startEventStore,
  startNats,
  startPostgres,
} from "../../services/local/index.ts";
import { startNode } from "../../services/log/node/index.ts";
import { startDatabase } from "./cluster.ts";

/** A test's nodes keep their secret when they are started again. */
const SECRET = "of-a-test";

/**
 * The event store of a test: where a hub would start the embedded node as a process, it runs in the test's process, which spares 1.2 s of processor time at each
 * start. Only a test that kills the store needs `startEventStore`.
 */
export async function startStore(dataDir: string, port?: number): Promise<Backend> {
  if ((process.env.TRIBUTARY_EVENTSTORE_URL ?? "") !== "" || (await containerEngine()) !== null)
    return startEventStore({ dataDir, ...(port === undefined ? {} : { port }) });
  const folder = join(dataDir, "eventstore");
  makeFolder(folder);
  const node = await startNode({ dataDir: folder, secret: SECRET, ...(port === undefined ? {} : { port }) });
  return {
    name: "eventstore",
    url: node.url,
    how: "embedded",
    pid: null,
    container: null,
    detail: "the embedded event node, in the test's process",
    exited: new Promise(() => {}),
    probe: async () => {},
    close: () => node.close(),
  };
}

/** A hub's servers, all or none. `isEnded`: the test ends PostgreSQL, and has one of its own. */
export async function startServers(dataDir: string, { isEnded = false }: { readonly isEnded?: boolean } = {}): Promise<Backends> {
  const unlock = lockDirectory(dataDir, () => {});
  const started = await Promise.allSettled([
    startNats({ dataDir }),
    startStore(dataDir),
    isEnded ? startPostgres({ dataDir }) : startDatabase(dataDir),
  ]);
  const close = async (): Promise<void> => {
    await Promise.allSettled(started.map(async (result) => result.status === "fulfilled" && result.value.close()));
    unlock();
  };
  const [nats, eventstore, postgres] = started;
  if (nats.status === "fulfilled" && eventstore.status === "fulfilled" && postgres.status === "fulfilled")
    return { nats: nats.value, eventstore: eventstore.value, postgres: postgres.value, close, [Symbol.asyncDispose]: close };
  await close();
  throw started.find((result) => result.status === "rejected")?.reason;
}
