import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { messageOf, TributaryError } from "../core/index.ts";
import { openLog } from "../log/index.ts";
import { type Backend, fromEnvironment, type StartOptions, TITLES } from "./backend.ts";
import { containerEngine, startContainer } from "./engine.ts";
import { choosePort, endLeftover, startProcess, whenReady } from "./process.ts";

const NODE = join(import.meta.dirname, "../log/node/main.ts");

async function probe(url: string): Promise<void> {
  await using log = openLog(url);
  await log.end();
}

/** The event store: by `TRIBUTARY_EVENTSTORE_URL`, in a container, or the embedded node as a process of its own. */
export async function startEventStore(options: StartOptions): Promise<Backend> {
  const { dataDir, eventstoreArgs = [], signal, ownGroups = false } = options;
  const url = process.env.TRIBUTARY_EVENTSTORE_URL;
  if (url !== undefined && url !== "") {
    await probe(url).catch((error: unknown) => {
      throw new TributaryError(
        "backend-unreachable",
        `no event store answers at TRIBUTARY_EVENTSTORE_URL: ${messageOf(error)}`,
        "Start it, or unset the variable.",
        { cause: error },
      );
    });
    return fromEnvironment("eventstore", "TRIBUTARY_EVENTSTORE_URL", url, probe);
  }
  await endLeftover(dataDir, "eventstore");
  const chosen = await choosePort(options, TITLES.eventstore);
  const local = `esdb://127.0.0.1:${chosen}?tls=false`;
  const store = join(dataDir, "eventstore");
  mkdirSync(store, { recursive: true });
  const engine = await containerEngine();
  if (engine !== null) {
    return startContainer(engine, {
      ...{ name: "eventstore", dataDir, port: 2113, hostPort: chosen, volume: [store, "/var/lib/eventstore"] },
      env: { EVENTSTORE_INSECURE: "true", EVENTSTORE_RUN_PROJECTIONS: "None" },
      ...{ url: local, probe, ...(signal === undefined ? {} : { signal }) },
    });
  }
  const server = await startProcess(
    dataDir,
    "eventstore",
    process.execPath,
    ["--disable-warning=ExperimentalWarning", NODE, "--port", String(chosen), "--data", store, ...eventstoreArgs],
    { detached: ownGroups },
  );
  await whenReady("the event node", server, () => probe(local), signal === undefined ? {} : { signal });
  return {
    name: "eventstore",
    url: local,
    how: "embedded",
    pid: server.pid,
    container: null,
    detail: "the embedded event node (EventStoreDB's protocol over SQLite)",
    exited: server.exited,
    probe: () => probe(local),
    close: () => server.stop(),
  };
}
