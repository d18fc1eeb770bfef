import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { isTributaryError, messageOf, TributaryError } from "../core/index.ts";
import { openLog } from "../log/index.ts";
import { type Backend, fromEnvironment, never, type StartOptions } from "./backend.ts";
import { containerEngine, IMAGES, startContainer } from "./engine.ts";
import { choosePort, endLeftover, startProcess, whenReady } from "./process.ts";

const NODE = join(import.meta.dirname, "../log/node/main.ts");
const CONTAINER_TRIES = 60;

async function probe(url: string): Promise<void> {
  await using log = openLog(url);
  await log.end();
}

/** The event store: by `TRIBUTARY_EVENTSTORE_URL`, in a container, or the embedded node as a process of its own. */
export async function startEventStore({ dataDir, port, eventstoreArgs = [] }: StartOptions): Promise<Backend> {
  const url = process.env.TRIBUTARY_EVENTSTORE_URL;
  if (url !== undefined && url !== "") {
    await probe(url).catch((error: unknown) => {
      // It answers, and says what is wrong; or the address cannot be used at all.
      if (isTributaryError(error) && error.code !== "backend-unreachable") throw error;
      throw new TributaryError(
        "backend-unreachable",
        `no event store answers at TRIBUTARY_EVENTSTORE_URL: ${messageOf(error)}`,
        `${isTributaryError(error) ? error.hint : "Start it."} Or unset the variable.`,
        {
          cause: error,
        },
      );
    });
    return fromEnvironment("eventstore", "TRIBUTARY_EVENTSTORE_URL", url);
  }
  await endLeftover(dataDir, "eventstore");
  const chosen = await choosePort(port, "the event store");
  const local = `esdb://127.0.0.1:${chosen}?tls=false`;
  const store = join(dataDir, "eventstore");
  mkdirSync(store, { recursive: true });
  const engine = await containerEngine();
  if (engine !== null) {
    const container = await startContainer(engine, {
      image: IMAGES.eventstore,
      port: 2113,
      hostPort: chosen,
      volume: [store, "/var/lib/eventstore"],
      env: { EVENTSTORE_INSECURE: "true", EVENTSTORE_RUN_PROJECTIONS: "None" },
    });
    for (let tries = CONTAINER_TRIES; tries > 0; tries--) {
      try {
        await probe(local);
        break;
      } catch (error) {
        if (tries === 1) {
          await container.stop();
          throw error;
        }
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    }
    return {
      name: "eventstore",
      url: local,
      how: "container",
      pid: null,
      detail: IMAGES.eventstore,
      exited: never,
      close: container.stop,
    };
  }
  const server = await startProcess(dataDir, "eventstore", process.execPath, [
    "--disable-warning=ExperimentalWarning",
    NODE,
    "--port",
    String(chosen),
    "--data",
    store,
    ...eventstoreArgs,
  ]);
  await whenReady("the event node", server, () => probe(local));
  return {
    name: "eventstore",
    url: local,
    how: "embedded",
    pid: server.pid,
    detail: "the embedded event node (EventStoreDB's protocol over SQLite)",
    exited: server.exited,
    close: () => server.stop(),
  };
}
