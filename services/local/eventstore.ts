import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isTributaryError, messageOf, TributaryError } from "../core/index.ts";
import { makeFolder, unlessOtherKind } from "../core/node.ts";
import { type Backend, fromEnvironment, type StartOptions, TITLES } from "./backend.ts";
import { containerEngine, startContainer } from "./engine.ts";
import { otherKindBehind } from "./ping.ts";
import { choosePort, endLeftover, startProcess, whenReady } from "./process.ts";

const NODE = join(import.meta.dirname, `../log/node/main.${import.meta.url.endsWith(".js") ? "js" : "ts"}`);

// Drivers are loaded when a server is asked: a command on a device does not need them.
async function probe(url: string): Promise<void> {
  const { openLog } = await import("../log/index.ts");
  await using log = openLog(url);
  await log.end();
}

/** The secret with which the hub calls its own event node, so that the node ignores other programs on this machine. Made at the first start. */
function nodeSecret(file: string): string {
  if (!existsSync(file)) writeFileSync(file, randomBytes(24).toString("hex"), { mode: 0o600, flush: true });
  return readFileSync(file, "utf8").trim();
}

/** The event store: by `TRIBUTARY_EVENTSTORE_URL`, in a container, or the embedded node as a process of its own. */
export async function startEventStore(options: StartOptions): Promise<Backend> {
  const { dataDir, eventstoreArgs = [], signal, ownGroups = false } = options;
  const url = process.env.TRIBUTARY_EVENTSTORE_URL;
  if (url !== undefined && url !== "") {
    // It answers and says what is wrong, or the address cannot be used at all.
    const says = (error: unknown): boolean => isTributaryError(error) && error.code !== "backend-unreachable";
    let other: TributaryError | null = null;
    const ask = async (): Promise<TributaryError | null> => {
      other = await otherKindBehind("TRIBUTARY_EVENTSTORE_URL", url);
      return other;
    };
    await unlessOtherKind(probe(url), { ask, isAnswer: says }).catch((error: unknown) => {
      if (error === other || says(error)) throw error;
      throw new TributaryError(
        "backend-unreachable",
        `no event store answers at TRIBUTARY_EVENTSTORE_URL: ${messageOf(error)}`,
        `${isTributaryError(error) ? error.hint : "Start it."} Or unset the variable.`,
        { cause: error },
      );
    });
    return fromEnvironment("eventstore", "TRIBUTARY_EVENTSTORE_URL", url, probe);
  }
  await endLeftover(dataDir, "eventstore");
  const chosen = await choosePort({ ...options, option: "--eventstore-port" }, TITLES.eventstore);
  const local = `esdb://127.0.0.1:${chosen}?tls=false`;
  const store = join(dataDir, "eventstore");
  makeFolder(store);
  const engine = await containerEngine();
  if (engine !== null) {
    return startContainer(engine, {
      ...{ name: "eventstore", dataDir, port: 2113, hostPort: chosen, volume: [store, "/var/lib/eventstore"] },
      env: { EVENTSTORE_INSECURE: "true", EVENTSTORE_RUN_PROJECTIONS: "None" },
      ...{ url: local, probe, ...(signal === undefined ? {} : { signal }) },
    });
  }
  const secretFile = join(dataDir, "eventstore-secret");
  const own = `${local}&connectionName=${nodeSecret(secretFile)}`;
  const server = await startProcess(
    dataDir,
    "eventstore",
    [
      process.execPath,
      ...["--disable-warning=ExperimentalWarning", NODE, "--port", String(chosen), "--data", store],
      ...["--secret-file", secretFile, ...eventstoreArgs],
    ],
    { detached: ownGroups },
  );
  await whenReady("the event node", server, () => probe(own), signal === undefined ? {} : { signal });
  return {
    name: "eventstore",
    url: own,
    how: "embedded",
    pid: server.pid,
    container: null,
    detail: "the embedded event node (EventStoreDB's protocol over SQLite)",
    exited: server.exited,
    probe: () => probe(own),
    close: () => server.stop(),
  };
}
