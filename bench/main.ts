/**
 * `npm run bench [-- --json] [--runs N] [--events N] [--rebuild-events N] [--no-peers] [--only-rebuild] [--only-fair] [--only-hello] [--hello-gb N] [--only-down] [--only-replica] [--only-pulls] [--only-feed] [--bad-link]`: what each stretch of the way does, beside what the bare servers do with the same
 * events in the same run. Every server and worker is a process of its own on this machine, as a hub runs them.
 */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { parseArgs } from "node:util";
import { EventStoreDBClient, jsonEvent } from "@eventstore/db-client";
import type { Client } from "pg";
import { hubKey } from "../services/cli/keys.ts";
import { PROJECTIONS_DIR } from "../services/cli/program.ts";
import { loadProjections } from "../services/cli/projections.ts";
import { type Hub, startHub } from "../services/cli/supervise.ts";
import { type LogEntry, messageOf } from "../services/core/index.ts";
import type { Field } from "../services/field/index.ts";
import { issueToken } from "../services/http/index.ts";
import { workFolder } from "../services/local/index.ts";
import { type Log, openLog } from "../services/log/index.ts";
import { connectViews } from "../services/views/index.ts";
import { connectAs } from "../test/support/broker.ts";
import { benchBadLink } from "./bad-link.ts";
import { bareViews } from "./bare.ts";
import { fillLog } from "./device.ts";
import { benchDown } from "./down.ts";
import { benchFair } from "./fair.ts";
import { benchFeed } from "./feed-cost.ts";
import { benchFold } from "./fold.ts";
import { benchGate } from "./gate.ts";
import { benchHello } from "./hello.ts";
import { benchEmmett, installPeer, type PeerEvent, type PeerFigures } from "./peers/emmett.ts";
import { checkpointReaches, foldedBy, rebuildView, startProjector, stopProjector } from "./projectors.ts";
import { benchChanges, benchIdle } from "./pulls.ts";
import { benchReplica } from "./replica.ts";
import { benchReplicaQuery } from "./replica-query.ts";
import { report } from "./report.ts";
import { CONTESTED_PERCENT, contestedWork, eventsOf, openSite, peopleOf } from "./workload.ts";

const SITES = ["nairobi", "kampala", "juba"];
const BATCH_EVENTS = 500;
const LONE_EVENTS = 100;
const WARM_UP_EVENTS = 15;
/** Events in one transaction of a rebuild. */
const REBUILD_BATCH_EVENTS = 2_000;
const REBUILD_CONTESTED = 0.1;
const PAIR = ["nairobi", "kampala"] as const;

const OPTIONS = {
  options: {
    help: { type: "boolean" },
    json: { type: "boolean" },
    runs: { type: "string", default: "3" },
    events: { type: "string", default: "20000" },
    "rebuild-events": { type: "string", default: "100000" },
    "no-peers": { type: "boolean" },
    /** The rebuild alone: for a million events, once. */
    "only-rebuild": { type: "boolean" },
    /** A good site's sync beside a bad one alone. */
    "only-fair": { type: "boolean" },
    /** Hellos on a long origin alone. */
    "only-hello": { type: "boolean" },
    /** The bytes of an event on its way down alone: no server is started. */
    "only-down": { type: "boolean" },
    /** A replica that takes pages and answers questions alone: no server is started. */
    "only-replica": { type: "boolean" },
    /** How long that origin is, in GB; with 2 it takes some minutes. */
    "hello-gb": { type: "string", default: "0.2" },
    /** Pulls alone. */
    "only-pulls": { type: "boolean" },
    /** What the feeds of buckets take of the processors alone. */
    "only-feed": { type: "boolean" },
    /** The sync over a bad link alone: it takes minutes, whatever the machine. */
    "bad-link": { type: "boolean" },
  },
} as const;
const USAGE =
  "npm run bench [-- --json] [--runs N] [--events N] [--rebuild-events N] [--no-peers] [--only-rebuild | --only-fair | --only-hello [--hello-gb N] | --only-down | --only-replica | --only-pulls | --only-feed | --bad-link]";

function fail(problem: string): never {
  process.stderr.write(`bench: ${problem}\nUse: ${USAGE}\n`);
  process.exit(2);
}
function given(): ReturnType<typeof parseArgs<typeof OPTIONS>>["values"] {
  try {
    return parseArgs(OPTIONS).values;
  } catch (error) {
    return fail(messageOf(error));
  }
}
const values = given();
if (values.help) {
  process.stdout.write(`${USAGE}\n`);
  process.exit(0);
}
const positive = (name: "runs" | "events" | "rebuild-events" | "hello-gb"): number => {
  const number = Number(values[name]);
  return number > 0 && number <= 1e8 ? number : fail(`--${name} ${JSON.stringify(values[name])} is not a number above 0`);
};
const [RUNS, EVENTS, REBUILD_EVENTS, HELLO_GB] = [
  positive("runs"),
  positive("events"),
  positive("rebuild-events"),
  positive("hello-gb"),
];

const progress = (text: string): void => {
  process.stderr.write(`${text}\n`);
};

/** Figures of all runs by name. */
const figures = new Map<string, number[]>();
const note = (name: string, value: number): void => {
  figures.set(name, [...(figures.get(name) ?? []), value]);
};

/** Runs `work` and notes how many of `count` a second it did. */
async function rate(name: string, count: number, work: () => Promise<void>): Promise<void> {
  const startedMs = performance.now();
  await work();
  note(name, (count / (performance.now() - startedMs)) * 1000);
}

const tokenFor = async (dir: string, site: string): Promise<string> =>
  issueToken(await hubKey(dir), { org: "bench", site, lifetimeS: 3600, nowMs: Date.now() });

async function fillSites(dir: string, prefix: string, measure: boolean): Promise<Field[]> {
  const fields: Field[] = [];
  for (const [i, site] of SITES.entries()) {
    const field = openSite(join(dir, `${prefix}-${site}.db`), `${prefix}${site}`);
    const events = eventsOf(`${prefix}${site}`, EVENTS, i + 1);
    const fill = async (): Promise<void> => {
      for (let at = 0; at < events.length; at += 100) await field.appendMany(events.slice(at, at + 100));
    };
    if (measure) await rate("outbox-append", events.length, fill);
    else await fill();
    fields.push(field);
  }
  return fields;
}

/** The same texts into a bare table: one transaction a hundred, WAL, full sync. */
async function bareSqlite(dir: string, field: Field): Promise<void> {
  const rows = field.store.db.prepare("SELECT origin, seq, head, data, hash FROM event").all();
  const db = new DatabaseSync(join(dir, "bare.db"));
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  db.exec(
    "CREATE TABLE event (origin INTEGER, seq INTEGER, head TEXT, data TEXT, hash TEXT, PRIMARY KEY (origin, seq)) STRICT, WITHOUT ROWID",
  );
  const insert = db.prepare("INSERT INTO event VALUES (?, ?, ?, ?, ?)");
  await rate("bare-sqlite", rows.length, async () => {
    for (let at = 0; at < rows.length; at += 100) {
      db.exec("BEGIN IMMEDIATE");
      for (const { origin, seq, head, data, hash } of rows.slice(at, at + 100)) insert.run(origin!, seq!, head!, data!, hash!);
      db.exec("COMMIT");
    }
  });
  db.close();
}

async function syncAll(hub: Hub, dir: string, fields: readonly Field[]): Promise<void> {
  await Promise.all(
    fields.map(async (field) =>
      field.sync({ url: hub.state.natsUrl, token: await tokenFor(dir, field.store.name.site), batchEvents: BATCH_EVENTS }),
    ),
  );
}

/** The same events appended by the official client alone, 500 a call, 4 calls in flight. */
async function bareGrpc(hub: Hub, entries: readonly LogEntry[]): Promise<void> {
  const client = EventStoreDBClient.connectionString(hub.state.eventstoreUrl);
  const events = entries.map(({ head, content }) => {
    const { id: _, type, ...metadata } = head;
    return jsonEvent({ type, data: content.kind === "accepted" ? (content.data as Record<string, string>) : {}, metadata });
  });
  await rate("bare-grpc-append", events.length, async () => {
    let at = 0;
    const lane = async (name: string): Promise<void> => {
      while (at < events.length) {
        const part = events.slice(at, at + BATCH_EVENTS);
        at += part.length;
        await client.appendToStream(`bare-${name}-${process.pid}`, part);
      }
    };
    await Promise.all(["a", "b", "c", "d"].map(lane));
  });
  await Promise.race([client.dispose(), new Promise((resolve) => setTimeout(resolve, 500))]);
}

/** Frames of the size that a batch of 500 has, published and acknowledged, 16 in flight. */
async function bareJetStream(hub: Hub): Promise<void> {
  const nc = await connectAs(hub.state.natsUrl);
  const jsm = await nc.jetstreamManager();
  await jsm.streams.add({ name: "BARE", subjects: ["bare"] });
  const js = nc.jetstream();
  const frame = crypto.getRandomValues(new Uint8Array(20_000));
  const count = Math.ceil((EVENTS * SITES.length) / BATCH_EVENTS);
  await rate("bare-jetstream-publish", count * BATCH_EVENTS, async () => {
    for (let at = 0; at < count; at += 16)
      await Promise.all(Array.from({ length: Math.min(16, count - at) }, () => js.publish("bare", frame)));
  });
  await jsm.streams.delete("BARE");
  await nc.close();
}

/** One event at a time on an idle hub: from `append` on the device until the view shows it. */
async function loneEvents(hub: Hub, dir: string, db: Client): Promise<void> {
  using field = openSite(join(dir, "lone.db"), "lone");
  const follower = field.follow({ url: hub.state.natsUrl, token: await tokenFor(dir, "lone") });
  const times: number[] = [];
  for (let i = 0; i < WARM_UP_EVENTS + LONE_EVENTS; i++) {
    const id = `LON-${String(i).padStart(6, "0")}`;
    const startedMs = performance.now();
    await field.append({
      type: "beneficiary.registered",
      entity: { type: "beneficiary", id },
      data: { registration_no: id, given_name: "Amina", sex: "female", registered_on: "2026-03-01" },
      actor: "officer-1",
    });
    for (;;) {
      const { rowCount } = await db.query({
        name: "seen",
        text: "SELECT 1 FROM views.beneficiaries WHERE id = $1",
        values: [id],
      });
      if (rowCount === 1) break;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    if (i >= WARM_UP_EVENTS) times.push(performance.now() - startedMs);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await follower.close();
  times.sort((a, b) => a - b);
  note("single-event-p50", times[Math.floor(times.length * 0.5)]!);
  note("single-event-p99", times[Math.floor(times.length * 0.99)]!);
}

/** A hundred small updates of a hundred people, in one batch: what goes over the network for each, with the message's own headers. */
async function wireBytes(hub: Hub, dir: string): Promise<void> {
  const site = "wire";
  using field = openSite(join(dir, "wire.db"), site);
  const token = await tokenFor(dir, site);
  await field.appendMany(eventsOf(site, 200, 9).filter(({ type }) => type === "beneficiary.registered"));
  const ids = eventsOf(site, 200, 9)
    .filter(({ type }) => type === "beneficiary.registered")
    .map(({ entity }) => entity);
  await field.sync({ url: hub.state.natsUrl, token });
  for (const [i, entity] of ids.entries()) {
    await field.append({
      type: "beneficiary.updated",
      entity,
      data: { phone: `+2119${String((i * 7_368_787) % 1e8).padStart(8, "0")}` },
      actor: "officer-1",
    });
  }
  const { sentBytes, batches, confirmed } = await field.sync({ url: hub.state.natsUrl, token, batchEvents: 100 });
  if (batches !== 1 || confirmed !== 100) throw new Error(`the wire was measured with ${confirmed} events in ${batches} batches`);
  // The bytes of a sync without anything to send are the hello's, which belongs to no event.
  const idle = await field.sync({ url: hub.state.natsUrl, token });
  note("wire-bytes-per-event", (sentBytes - idle.sentBytes) / confirmed);
}

interface Bench {
  readonly hub: Hub;
  readonly dir: string;
  readonly db: Client;
  readonly log: Log;
}

/** A hub of its own whose projector does not run, with an empty log and an empty database; all gone afterwards. */
async function withHub(name: string, work: (bench: Bench) => Promise<void>): Promise<void> {
  const dir = join(workFolder("bench"), `${process.pid}-${name}`);
  mkdirSync(dir, { recursive: true });
  const hub = await startHub({ dataDir: dir, org: "bench" });
  const db = await connectViews(hub.state.postgresUrl, "tributary-bench");
  const log = openLog(hub.state.eventstoreUrl);
  try {
    await hub.projector.stop();
    await work({ hub, dir, db, log });
  } finally {
    await db.end();
    await log.close();
    await hub.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

async function withFolder(name: string, work: (dir: string) => Promise<void>): Promise<void> {
  const dir = join(workFolder("bench"), `${process.pid}-${name}`);
  mkdirSync(dir, { recursive: true });
  try {
    await work(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** The way from devices to views. */
async function wholeWay({ hub, dir, db, log }: Bench, step: (what: string) => void): Promise<void> {
  const count = EVENTS * SITES.length;
  step("outbox");
  const first = await fillSites(dir, "a", true);
  await bareSqlite(dir, first[0]!);
  step("field to log");
  await rate("field-to-log", count, () => syncAll(hub, dir, first));
  for (const field of first) field.close();
  const entries: LogEntry[] = [];
  for await (const entry of log.readAll()) entries.push(entry);
  const filled = { dir, db, count: entries.length, end: entries.at(-1)!.position };

  step("log to view");
  const before = await foldedBy(1, filled);
  note("log-to-view", before.perSecond);
  await bareGrpc(hub, entries.slice(0, 20_000));
  note(
    "bare-postgres",
    await bareViews(db, { views: ["beneficiaries", "distributions"], withAudit: true, batchEvents: BATCH_EVENTS }),
  );
  await Promise.all(before.running.map(stopProjector));
  const theirs = await peerFigures(hub, entries, step);
  step("log to view by 2, by 4 and by 1 processes");
  for (const processes of [2, 4]) {
    const { perSecond, running } = await foldedBy(processes, filled);
    note(`log-to-view-${processes}p`, perSecond);
    await Promise.all(running.map(stopProjector));
  }
  const after = await foldedBy(1, filled);
  note("log-to-view", after.perSecond);
  if (theirs !== null) {
    const ours = (before.perSecond + after.perSecond) / 2;
    note("emmett-projector", theirs.projectorPerSecond!);
    note("emmett-batches", theirs.projectPerSecond);
    note("vs-emmett-projector", ours / theirs.projectorPerSecond!);
    note("vs-emmett-batches", ours / theirs.projectPerSecond);
  }

  await bareJetStream(hub);
  step("field to view");
  const second = await fillSites(dir, "b", false);
  await rate("field-to-view", count, async () => {
    await syncAll(hub, dir, second);
    await checkpointReaches(db, (await log.end())!);
  });
  for (const field of second) field.close();
  step("single events");
  await loneEvents(hub, dir, db);
  await wireBytes(hub, dir);
  await Promise.all(after.running.map(stopProjector));
}

/** The peer with the same events on the same server, between two measurements of ours. */
async function peerFigures(hub: Hub, entries: readonly LogEntry[], step: (what: string) => void): Promise<PeerFigures | null> {
  if (values["no-peers"]) return null;
  const missing = installPeer(progress);
  if (missing !== null) {
    progress(`rows of the peer are left out: its packages cannot be installed (${missing})`);
    return null;
  }
  step("the peer");
  const events = entries.flatMap(({ head: { type, entity, actor }, content }): PeerEvent[] =>
    content.kind === "accepted" ? [{ type, entity, actor, data: content.data }] : [],
  );
  return benchEmmett({ postgresUrl: hub.state.postgresUrl, events, withProjector: true, say: progress });
}

/** Two sites updating the same people, offline. */
async function contested(percent: number, { dir, db, log }: Bench): Promise<void> {
  const [ours, theirs] = contestedWork(PAIR, Math.floor((EVENTS * SITES.length) / 2), 5, percent / 100);
  const count = await fillLog(log, { [PAIR[0]]: ours!, [PAIR[1]]: theirs! });
  const { perSecond, running } = await foldedBy(1, { dir, db, count, end: (await log.end())! });
  note(`log-to-view-contested-${percent}`, perSecond);
  await Promise.all(running.map(stopProjector));
}

/**
 * A view built again beside the live one, and what its rows alone cost. The live views are empty and are noted as being at the log's end: a rebuild
 * looks at how far they are, not at their rows.
 */
async function rebuilds({ dir, db, log }: Bench): Promise<void> {
  await stopProjector(await startProjector(dir));
  const work = PAIR.map((site, i) => peopleOf([site, PAIR[1 - i]!], REBUILD_EVENTS / 2, i + 1, REBUILD_CONTESTED));
  const count = await fillLog(log, { [PAIR[0]]: work[0]!, [PAIR[1]]: work[1]! });
  await db.query("UPDATE tributary.shard SET position = $1", [(await log.end())!.toString()]);
  const { events, perSecond, rssMb } = await rebuildView(dir, "beneficiaries");
  if (events !== count) throw new Error(`the rebuild folded ${events} of ${count} events`);
  note("rebuild", perSecond);
  note("rebuild-rss-mb", rssMb);
  note("bare-rebuild", await bareViews(db, { views: ["beneficiaries"], withAudit: false, batchEvents: REBUILD_BATCH_EVENTS }));
}

const fair = (bench: Bench): Promise<void> => benchFair(bench.hub, bench.dir, (site) => tokenFor(bench.dir, site), note);
async function overBadLink({ hub, dir }: Bench): Promise<void> {
  const field = openSite(join(dir, "bad-link.db"), "badlink");
  const { seconds, sentOverNeeded } = await benchBadLink(field, hub.state.natsUrl, await tokenFor(dir, "badlink"));
  field.close();
  note("bad-link", seconds);
  note("bad-link-sent", sentOverNeeded);
}

const hellos = ({ hub, dir, log }: Bench): Promise<void> =>
  benchHello({ hub, log, gigabytes: HELLO_GB }, (site) => tokenFor(dir, site), note);

const pulls = ({ hub, dir, db, log }: Bench): Promise<void> =>
  benchChanges({ dir, db, log, views, postgresUrl: hub.state.postgresUrl, events: EVENTS }, note);

async function replicas(number: number, step: (what: string) => void): Promise<void> {
  step("questions to a replica");
  await benchReplicaQuery(note);
  step("a replica takes its hub's events");
  await withFolder(`${number}-replica`, (dir) => benchReplica(dir, note));
}

async function run(number: number): Promise<void> {
  const step = (what: string): void => progress(`run ${number} of ${RUNS}: ${what}`);
  if (values["bad-link"]) {
    step("sync over a bad link");
    return withHub(`${number}-bad-link`, overBadLink);
  }
  if (values["only-feed"]) {
    step("folding without lines, with lines, and with lines that are sealed");
    return withHub(`${number}-feed`, ({ dir, db, log }) => benchFeed({ dir, db, log, events: EVENTS }, note));
  }
  if (values["only-down"]) {
    step("pages of a hundred events");
    return benchDown(note);
  }
  if (values["only-replica"]) return replicas(number, step);
  if (values["only-hello"]) {
    step(`hellos on an origin of ${HELLO_GB} GB`);
    return withHub(`${number}-hello`, hellos);
  }
  if (!values["only-rebuild"] && !values["only-pulls"]) {
    step("a good site beside a bad one");
    await withHub(`${number}-fair`, fair);
  }
  if (values["only-fair"]) return;
  if (!values["only-rebuild"]) {
    step("pulls");
    await benchIdle(note);
    await withHub(`${number}-pulls`, pulls);
    if (values["only-pulls"]) return;
  }
  if (!values["only-rebuild"]) {
    step("gate and fold");
    benchGate(note);
    benchDown(note);
    await benchFold(note);
    await replicas(number, step);
    await withHub(`${number}`, (bench) => wholeWay(bench, step));
    for (const percent of CONTESTED_PERCENT) {
      step(`log to view, ${percent} % contested`);
      await withHub(`${number}-contested-${percent}`, (bench) => contested(percent, bench));
    }
  }
  step(`rebuild of ${REBUILD_EVENTS} events`);
  await withHub(`${number}-rebuild`, rebuilds);
}

const views = await loadProjections(PROJECTIONS_DIR);
for (let number = 1; number <= RUNS; number++) await run(number);
report(figures, RUNS, values.json === true);
process.exit(0);
