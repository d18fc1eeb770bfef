import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { type Incarnation, TributaryError } from "../core/index.ts";
import type { SchemaStore } from "../gate/index.ts";
import { readPeople } from "../http/index.ts";
import { type Backend, type Backends, choosePort, portOf, startBackends } from "../local/index.ts";
import { currentIncarnation, type Log, openLog } from "../log/index.ts";
import { bracketed } from "./addresses.ts";
import { anchorSays, checkAnchor } from "./anchor.ts";
import { type AnchorLocation, anchorLocation, anchorMemory } from "./anchor-location.ts";
import { hubOrg, keepConfig, readConfig } from "./config.ts";
import { type Folders, foldersToStart } from "./folders.ts";
import { publicPartOf } from "./hub-keys.ts";
import { keepWorker, type Worker } from "./keep-worker.ts";
import { hubKey, readHubKeys } from "./keys.ts";
import { followLogins } from "./logins.ts";
import { counted } from "./output.ts";
import { peopleFile, settingsFile } from "./paths.ts";
import { MAIN } from "./program.ts";
import { narrowerThan, openHubGate, registerProjectSchemas, type Speaker } from "./registry.ts";
import { takeUpLog } from "./restore.ts";
import { type HubState, type Listen, writeState } from "./state.ts";
import { outliveTold } from "./told.ts";

const HERE = "127.0.0.1";

export interface Hub {
  readonly state: HubState;
  readonly backends: Backends;
  /** The incarnation of the log that the hub serves. */
  readonly incarnation: Incarnation;
  readonly ingress: Worker;
  readonly projector: Worker;
  /** Rejects when a worker or a server cannot be kept running. */
  readonly failed: Promise<never>;
  close(): Promise<void>;
}

export interface HubOptions {
  readonly dataDir: string;
  readonly org?: string;
  /** Where the HTTP door listens; port 0: a free one. Without it, where the door listened before. */
  readonly listen?: Listen;
  /** Where the hub's own servers listen. Without it, where they listened before. */
  readonly ports?: Partial<Record<Backend["name"], number>>;
  /** Where devices reach the hub. Without it, the addresses that were given before. */
  readonly publicUrls?: readonly string[];
  /** A team's own forms and views. Without them, what the environment says, or those of the last start. */
  readonly schemas?: string;
  readonly projections?: string;
  /** Projector processes that share the folding; default 1. */
  readonly projectors?: number;
  /** Take nothing from devices that have no enrolled key. */
  readonly requireKeys?: boolean;
  /** Where the log's end is kept, outside the data folder: a file or an address. Without it, where TRIBUTARY_ANCHOR says. */
  readonly anchor?: string;
  /** Balance the books once in this many hours. */
  readonly reconcileEveryHours?: number;
  readonly say?: (line: string) => void;
  /** Whether servers get process groups of their own: for a caller that ends them itself, whatever the signal. */
  readonly ownGroups?: boolean;
  /** Ends a start that is under way; everything that was begun is ended. */
  readonly signal?: AbortSignal;
}

/** Makes the hub's key, and reads what is said of people: a slip there is told before anything is started. Once the hub runs, a damaged file only leaves people outside. */
async function prepareTrust(dataDir: string): Promise<void> {
  await hubKey(dataDir);
  readPeople(peopleFile(dataDir));
}

/** Starts a hub: backends, ingress and projector, each a process of its own; one that dies is started again. */
export async function startHub(options: HubOptions): Promise<Hub> {
  const { dataDir, org, say = () => {}, signal } = options;
  const location = anchorLocation(options.anchor, dataDir);
  const owner = hubOrg(dataDir, org);
  await prepareTrust(dataDir);
  const folders = foldersToStart(dataDir, foldersAsked(options), say);
  const kept = readConfig(dataDir);
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => {});
  const over = new AbortController();
  const backends = await startBackends({
    dataDir,
    say,
    keep: { onGivenUp: failure.reject },
    ...(options.ownGroups === undefined ? {} : { ownGroups: options.ownGroups }),
    ...(options.ports === undefined ? {} : { ports: options.ports }),
    ...(kept.ports === undefined ? {} : { lastPorts: kept.ports }),
    ...(signal === undefined ? {} : { signal }),
  });
  const callOff = (): void =>
    failure.reject(new TributaryError("backend-failed", "the hub was stopped while it was starting", "Start it again."));
  signal?.addEventListener("abort", callOff);
  if (signal?.aborted) callOff();
  const workers: Worker[] = [];
  let logins: Awaited<ReturnType<typeof followLogins>> | null = null;
  const close = async (): Promise<void> => {
    over.abort();
    await Promise.all([...workers.map((worker) => worker.stop()), logins?.close()]);
    await backends.close();
  };
  const start = (name: string, args: readonly string[], command = name): Worker => {
    const worker = keepWorker({
      name,
      args: [MAIN, command, "--data", dataDir, "--log", join(dataDir, "logs", `${name}.log`), ...args],
      say,
      fail: failure.reject,
    });
    workers.push(worker);
    return worker;
  };
  try {
    const state = { ...(await stateOf(options, owner, backends, say)), folders };
    const prepared = prepareLog(dataDir, state, location, say);
    prepared.catch(() => {});
    const { incarnation, schemas } = await Promise.race([prepared, failure.promise]);
    writeState(dataDir, state);
    const { host, port } = state.listen ?? { host: HERE, port: 0 };
    const strict = options.requireKeys ? ["--require-keys"] : [];
    const anchored = options.anchor === undefined ? [] : ["--anchor", options.anchor];
    const ingress = start("ingress", ["--listen", `${bracketed(host)}:${port}`, ...strict, ...anchored]);
    const projector = start("projector", []);
    // Somebody else's broker has its logins from its owner.
    if (backends.nats.how !== "environment") logins = await followLogins(dataDir, state.eventstoreUrl, say);
    // This runs while the workers start, which takes longer.
    const narrow = await narrowerThan(schemas, folders);
    if (narrow > 0) say(narrowWords(narrow));
    await Promise.race([Promise.all([ingress.ready(), projector.ready()]), failure.promise]);
    // One after the other: the first brings tables and views up to date.
    const more = startMore(options, start);
    await Promise.race([Promise.all(more.map((worker) => worker.ready())), failure.promise]);
    void outliveTold(state.postgresUrl, over.signal);
    return { state, backends, incarnation, ingress, projector, failed: failure.promise, close };
  } catch (error) {
    await close();
    throw error;
  } finally {
    signal?.removeEventListener("abort", callOff);
  }
}

const narrowWords = (count: number): string =>
  `${count === 1 ? "1 column of a view holds" : `${count} columns of views hold`} less than their forms let through: \`tributary schema check\` lists them.`;

const foldersAsked = ({ schemas, projections }: HubOptions): Partial<Folders> => ({
  ...(schemas === undefined ? {} : { schemas: resolve(schemas) }),
  ...(projections === undefined ? {} : { projections: resolve(projections) }),
});

function startMore(
  { dataDir, projectors = 1, reconcileEveryHours }: HubOptions,
  start: (name: string, args: readonly string[], command?: string) => Worker,
): Worker[] {
  const more: Worker[] = [];
  for (let n = 2; n <= projectors; n++) more.push(start(`projector-${n}`, [], "projector"));
  if (existsSync(settingsFile(dataDir))) more.push(start("notifier", []));
  if (reconcileEveryHours !== undefined) more.push(start("reconciler", ["--every", String(reconcileEveryHours)]));
  return more;
}

/** Where everything is. It is kept, so that the next start finds the same ports and addresses. */
async function stateOf(
  { dataDir, listen, publicUrls }: HubOptions,
  org: string,
  backends: Backends,
  say: (line: string) => void,
): Promise<HubState> {
  const kept = readConfig(dataDir);
  const host = listen?.host ?? kept.listen?.host ?? HERE;
  const lastPort = kept.listen?.port;
  const port = await choosePort(
    {
      host,
      say,
      option: "--listen",
      ...(listen === undefined ? {} : { port: listen.port }),
      ...(lastPort === undefined ? {} : { lastPort }),
    },
    "the HTTP door",
  );
  const urls = publicUrls ?? kept.publicUrls ?? [];
  const ports = Object.fromEntries(
    [backends.nats, backends.eventstore, backends.postgres]
      .filter(({ how }) => how !== "environment")
      .map(({ name, url }) => [name, portOf(url)]),
  );
  keepConfig(dataDir, { ports: { ...kept.ports, ...ports }, listen: { host, port }, publicUrls: urls });
  const here = host === "0.0.0.0" ? HERE : host === "::" ? "::1" : host;
  return {
    pid: process.pid,
    org,
    natsUrl: backends.nats.url,
    eventstoreUrl: backends.eventstore.url,
    postgresUrl: backends.postgres.url,
    httpUrl: `http://${bracketed(here)}:${port}`,
    listen: { host, port },
    publicUrls: urls,
  };
}

/** Before anything serves: the log's incarnation, and the schemas that events are checked by. */
async function prepareLog(
  dataDir: string,
  { eventstoreUrl, postgresUrl, folders, org }: HubState & { readonly folders: Folders },
  location: AnchorLocation | null,
  say: (line: string) => void,
): Promise<{ readonly incarnation: Incarnation; readonly schemas: SchemaStore }> {
  const log = openLog(eventstoreUrl);
  try {
    const taken = await takeUpLog(dataDir, log, postgresUrl, say);
    const incarnation = location === null ? taken : await compareAnchor(dataDir, log, location, say);
    return { incarnation, schemas: await prepareSchemas(log, folders, { dir: dataDir, org }, say) };
  } finally {
    await log.close();
  }
}

/** Compares the log with the anchor that is kept elsewhere. Returns the log's incarnation: a new one if this is not the log that the anchor describes. */
async function compareAnchor(
  dataDir: string,
  log: Log,
  location: AnchorLocation,
  say: (line: string) => void,
): Promise<Incarnation> {
  const memory = anchorMemory(dataDir, location);
  const found = await checkAnchor({ log, location, memory, hubKeys: () => readHubKeys(dataDir).map(publicPartOf) }, "hub");
  const isFine = found.kind === "compared" && found.comparison.state === "holds" && found.unnoted === null;
  if (!isFine) say(anchorSays(found, location));
  return currentIncarnation(log.journal);
}

/** Registers what the schema folder has and the log lacks, before anybody writes with it. Returns everything that is registered. */
async function prepareSchemas(log: Log, folders: Folders, speaker: Speaker, say: (line: string) => void): Promise<SchemaStore> {
  const { registry } = await openHubGate(log, folders, undefined, speaker);
  try {
    const added = await registerProjectSchemas(registry, folders, "hub", (subject, authority) =>
      say(`${subject} is a proposal to the hub of ${authority}, which has the say over it.`),
    );
    if (added.length > 0) say(`Registered ${counted(added.length, "schema version")}: ${added.join(", ")}.`);
    return registry;
  } finally {
    registry.close();
  }
}
