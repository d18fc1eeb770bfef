/**
 * `npm run bench [-- --json] [--runs N] [--events N]`: what each stretch of the way does, beside what the bare servers do with the same
 * events in the same run. Every server and worker is a process of its own on this machine, as a hub runs them.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { parseArgs } from "node:util";
import { EventStoreDBClient, jsonEvent } from "@eventstore/db-client";
import { connect } from "nats";
import type { Client } from "pg";
import { from as copyFrom, to as copyTo } from "pg-copy-streams";
import { table } from "../services/cli/output.ts";
import { hubKey, PROJECTIONS_DIR } from "../services/cli/places.ts";
import { loadProjections } from "../services/cli/projections.ts";
import { type Hub, startHub } from "../services/cli/supervise.ts";
import type { Field } from "../services/field/index.ts";
import { issueToken } from "../services/ingress/index.ts";
import { type LogEntry, openLog } from "../services/log/index.ts";
import { connectViews } from "../services/projector/index.ts";
import { benchGate } from "./gate.ts";
import { eventsOf, openSite } from "./workload.ts";

const SITES = ["nairobi", "kampala", "juba"];
const BATCH_EVENTS = 500;
const LONE_EVENTS = 100;
const WARM_UP_EVENTS = 15;
const MAIN = join(import.meta.dirname, "../services/cli/main.ts");

const { values } = parseArgs({
  options: { json: { type: "boolean" }, runs: { type: "string", default: "3" }, events: { type: "string", default: "20000" } },
});
const RUNS = Number(values.runs);
const EVENTS = Number(values.events);

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

async function checkpointReaches(db: Client, position: bigint): Promise<void> {
  for (;;) {
    const { rows } = await db.query<{ position: string | null }>("SELECT position FROM tributary.checkpoint WHERE name = 'main'");
    if (BigInt(rows[0]?.position ?? -1) >= position) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Starts a projector process on an empty database; resolves when it begins. */
function startProjector(dir: string): Promise<ChildProcess> {
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", MAIN, "projector", "--data", dir, "--log", join(dir, "logs/bench-projector.log")],
    {
      stdio: ["ignore", "ignore", "inherit", "ipc"],
    },
  );
  return new Promise((resolve, reject) => {
    child.on("message", () => resolve(child));
    child.on("exit", (code) => reject(new Error(`the projector ended with ${code}`)));
  });
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
  const nc = await connect({ servers: hub.state.natsUrl });
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

async function copiedOut(db: Client, sql: string): Promise<string[]> {
  let text = "";
  for await (const chunk of db.query(copyTo(sql)) as AsyncIterable<Buffer>) text += chunk.toString();
  return text.trimEnd().split("\n");
}

/** The same audit rows by COPY and the same view rows by unnest upsert, 500 a transaction, tables and indexes alike, nothing computed. */
async function barePostgres(db: Client): Promise<void> {
  const audit = await copiedOut(db, "COPY (SELECT * FROM tributary.audit ORDER BY position) TO STDOUT");
  await db.query(
    "DROP SCHEMA IF EXISTS bare CASCADE; CREATE SCHEMA bare; CREATE TABLE bare.audit (LIKE tributary.audit INCLUDING ALL)",
  );
  await db.query(
    "CREATE TABLE bare.checkpoint (name text PRIMARY KEY, position bigint); INSERT INTO bare.checkpoint VALUES ('main', 0)",
  );
  const views = new Map<string, { columns: string[]; types: string[]; rows: Map<string, unknown[]> }>();
  for (const name of ["beneficiaries", "distributions"]) {
    await db.query(`CREATE TABLE bare."${name}" (LIKE views."${name}" INCLUDING ALL)`);
    const described = await db.query<{ column_name: string; data_type: string }>(
      "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'views' AND table_name = $1 ORDER BY ordinal_position",
      [name],
    );
    const columns = described.rows.map(({ column_name }) => column_name);
    const { rows } = await db.query({
      text: `SELECT ${columns.map((c) => `"${c}"::text`).join(", ")} FROM views."${name}"`,
      rowMode: "array",
    });
    views.set(name, {
      columns,
      types: described.rows.map(({ data_type }) => data_type),
      rows: new Map((rows as unknown[][]).map((row) => [row[0] as string, row])),
    });
  }
  const viewOf: Record<string, string> = { beneficiary: "beneficiaries", distribution: "distributions" };
  const pages: { lines: string; upserts: { name: string; text: string; values: unknown[][] }[] }[] = [];
  for (let at = 0; at < audit.length; at += BATCH_EVENTS) {
    const lines = audit.slice(at, at + BATCH_EVENTS);
    const ids = new Map<string, Set<string>>();
    for (const line of lines) {
      const [, , , , , type, id] = line.split("\t");
      const name = viewOf[type!];
      if (name !== undefined) ids.set(name, (ids.get(name) ?? new Set()).add(id!));
    }
    const upserts = [...ids].map(([name, wanted]) => {
      const { columns, types, rows } = views.get(name)!;
      const taken = [...wanted].map((id) => rows.get(id)!);
      return {
        name: `bare-${name}`,
        text: `INSERT INTO bare."${name}" SELECT * FROM unnest(${types.map((type, i) => `$${i + 1}::${type}[]`).join(", ")})
          ON CONFLICT (id) DO UPDATE SET ${columns
            .slice(1)
            .map((c) => `"${c}" = excluded."${c}"`)
            .join(", ")}`,
        values: columns.map((_, i) => taken.map((row) => row[i])),
      };
    });
    pages.push({ lines: `${lines.join("\n")}\n`, upserts });
  }
  await rate("bare-postgres", audit.length, async () => {
    for (const [i, { lines, upserts }] of pages.entries()) {
      await db.query("BEGIN");
      await pipeline(Readable.from([Buffer.from(lines)]), db.query(copyFrom("COPY bare.audit FROM STDIN")));
      for (const upsert of upserts) await db.query(upsert);
      await db.query("UPDATE bare.checkpoint SET position = $1", [i]);
      await db.query("COMMIT");
    }
  });
  await db.query("DROP SCHEMA bare CASCADE");
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
  note("wire-bytes-per-event", sentBytes / confirmed);
}

async function run(number: number): Promise<void> {
  progress(`run ${number} of ${RUNS}: gate`);
  benchGate(note);
  const dir = resolve(".tributary", `bench-${process.pid}-${number}`);
  mkdirSync(dir, { recursive: true });
  const hub = await startHub({ dataDir: dir, org: "bench" });
  const db = await connectViews(hub.state.postgresUrl, "tributary-bench");
  const log = openLog(hub.state.eventstoreUrl);
  const count = EVENTS * SITES.length;
  try {
    await hub.projector.stop();
    await db.query("DROP SCHEMA IF EXISTS views CASCADE; DROP SCHEMA IF EXISTS tributary CASCADE");
    progress(`run ${number} of ${RUNS}: outbox`);
    const first = await fillSites(dir, "a", true);
    await bareSqlite(dir, first[0]!);
    progress(`run ${number} of ${RUNS}: field to log`);
    await rate("field-to-log", count, () => syncAll(hub, dir, first));
    for (const field of first) field.close();
    const entries: LogEntry[] = [];
    for await (const entry of log.readAll()) entries.push(entry);
    progress(`run ${number} of ${RUNS}: log to view`);
    const projector = await startProjector(dir);
    await rate("log-to-view", entries.length, () => checkpointReaches(db, entries.at(-1)!.position));
    await barePostgres(db);
    await bareGrpc(hub, entries.slice(0, 20_000));
    await bareJetStream(hub);
    progress(`run ${number} of ${RUNS}: field to view`);
    const second = await fillSites(dir, "b", false);
    await rate("field-to-view", count, async () => {
      await syncAll(hub, dir, second);
      await checkpointReaches(db, (await log.end())!);
    });
    for (const field of second) field.close();
    progress(`run ${number} of ${RUNS}: single events`);
    await loneEvents(hub, dir, db);
    await wireBytes(hub, dir);
    projector.removeAllListeners("exit");
    projector.kill("SIGTERM");
    await new Promise((resolve) => projector.once("exit", resolve));
  } finally {
    await db.end();
    await log.close();
    await hub.close();
    rmSync(dir, { recursive: true, force: true });
  }
}

const median = (list: readonly number[]): number => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)]!;
const round = (n: number): number => (n >= 100 ? Math.round(n) : Math.round(n * 10) / 10);

interface Row {
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  readonly min: number;
  readonly max: number;
  readonly ceiling?: number;
  readonly ceilingName?: string;
  /** Median of the runs' own ratios. */
  readonly ratio?: number;
}

const ROWS: readonly (readonly [name: string, unit: string, ceiling?: string])[] = [
  ["outbox-append", "events/s", "bare-sqlite"],
  ["field-to-log", "events/s", "bare-grpc-append"],
  ["log-to-view", "events/s", "bare-postgres"],
  ["field-to-view", "events/s", "bare-postgres"],
  ["single-event-p50", "ms"],
  ["single-event-p99", "ms"],
  ["wire-bytes-per-event", "bytes"],
  ["gate-avro", "events/s", "bare-avsc"],
  ["gate-json", "events/s", "bare-ajv"],
  ["bare-sqlite", "events/s"],
  ["bare-grpc-append", "events/s"],
  ["bare-postgres", "events/s"],
  ["bare-jetstream-publish", "events/s"],
  ["bare-avsc", "events/s"],
  ["bare-ajv", "events/s"],
];

await loadProjections(PROJECTIONS_DIR);
for (let number = 1; number <= RUNS; number++) await run(number);
const rows = ROWS.map(([name, unit, ceiling]): Row => {
  const list = figures.get(name)!;
  const bare = ceiling === undefined ? undefined : figures.get(ceiling)!;
  const perRun = list.length / RUNS;
  return {
    name,
    unit,
    value: round(median(list)),
    min: round(Math.min(...list)),
    max: round(Math.max(...list)),
    ...(bare === undefined
      ? {}
      : {
          ceiling: round(median(bare)),
          ceilingName: ceiling!,
          ratio: Math.round(median(list.map((value, i) => value / bare[Math.floor(i / perRun)]!)) * 100) / 100,
        }),
  };
});
if (values.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
else {
  process.stdout.write(
    `${table(
      ["name", "unit", "median", "min", "max", "ceiling", "of it"],
      rows.map((row) => [
        row.name,
        row.unit,
        row.value,
        row.min,
        row.max,
        row.ceiling === undefined ? null : `${row.ceiling} (${row.ceilingName})`,
        row.ratio ?? null,
      ]),
    )}\n`,
  );
}
process.exit(0);
