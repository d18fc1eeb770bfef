import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Client } from "pg";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { hubOrg } from "../../services/cli/config.ts";
import { hubKey } from "../../services/cli/keys.ts";
import { loadProjections } from "../../services/cli/projections.ts";
import { gateOver, registerFolder } from "../../services/cli/registry.ts";
import { writeState } from "../../services/cli/state.ts";
import { openField } from "../../services/field/index.ts";
import type { Gate } from "../../services/gate/index.ts";
import { loadCasters, loadSchemas, openRegistry } from "../../services/gate/node.ts";
import { issueToken } from "../../services/http/index.ts";
import { type Ingress, startIngress } from "../../services/ingress/index.ts";
import { type Backend, type Backends, startPostgres } from "../../services/local/index.ts";
import { type Log, openLog } from "../../services/log/index.ts";
import type { View } from "../../services/merge/engine.ts";
import { type Projector, startProjector } from "../../services/projector/index.ts";
import { connectViews } from "../../services/views/index.ts";
import { dayOf, expectBalanced, random } from "../support/books.ts";
import { withCluster } from "../support/cluster.ts";
import { newDir } from "../support/home.ts";
import { ORG, SCHEMAS, stateOf } from "../support/hub.ts";
import { startServers } from "../support/servers.ts";
import { eventually, sleep } from "../support/temp.ts";
import { startWorker, type Worker } from "../support/workers.ts";

/** Another seed: TRIBUTARY_TEST_SEED. */
const SEED = Number(process.env.TRIBUTARY_TEST_SEED ?? Date.now() % 100_000);
const next = random(SEED);
/** Events of a site's day. */
const EVENTS = 250;

let dir: string;
let backends: Backends;
let postgres: Backend;
let log: Log;
let gate: Gate;
let ingress: Ingress;
let db: Client;
let projections: readonly View[];
const closers: (() => unknown)[] = [];

beforeAll(async () => {
  dir = newDir("faults");
  chmodSync(dir, 0o755);
  withCluster(dir);
  backends = await startServers(dir, { isEnded: true });
  postgres = backends.postgres;
  hubOrg(dir, ORG);
  writeState(dir, stateOf(backends));
  log = openLog(backends.eventstore.url);
  const casters = await loadCasters(SCHEMAS);
  const registry = await openRegistry(log.journal, { casters });
  await registerFolder(registry, loadSchemas(SCHEMAS), "test");
  gate = gateOver(registry, casters);
  ingress = await startIngress({
    org: "relief",
    natsUrl: backends.nats.url,
    log,
    gate,
    registry,
    keys: { keys: [await hubKey(dir)] },
    listen: { host: "127.0.0.1", port: 0 },
    say: () => {},
  });
  closers.push(() => registry.close());
  db = await connectViews(postgres.url, "tributary-faults-test");
  projections = await loadProjections(join(import.meta.dirname, "../../projections"));
});
afterAll(async () => {
  await Promise.all([...running].map((worker) => worker.kill()));
  await db?.end().catch(() => {});
  await ingress?.close();
  for (const close of closers) close();
  await log?.close();
  await postgres?.close();
  await backends?.close();
  if (dir !== undefined) rmSync(dir, { recursive: true, force: true });
});

const running = new Set<Worker>();
let isHeld = false;
/** Keeps a number of projectors at work, each a process of its own: one that dies is started again. */
function keepProjecting(count: number): void {
  isHeld = true;
  while (running.size < count) {
    const worker = startWorker(["projector", "--data", dir, "--log", join(dir, "logs/projector.log")]);
    running.add(worker);
    void worker.ended.then(() => {
      running.delete(worker);
      if (isHeld) keepProjecting(count);
    });
  }
}
const here = new Set<Projector>();
/** Starts projectors in this process, for tests that kill none. */
async function projectHere(count: number): Promise<void> {
  while (here.size < count) here.add(await startProjector({ postgresUrl: postgres.url, log, gate, projections }));
}
async function stopProjecting(): Promise<void> {
  isHeld = false;
  await Promise.all([...running].map((worker) => worker.kill()));
  await Promise.all([...here].map((projector) => projector.close()));
  here.clear();
}
afterEach(stopProjecting);

let days = 0;
const write = async (events = EVENTS): Promise<void> => {
  const site = `site${++days}`;
  const field = openField({ path: join(dir, `${site}.db`), name: { org: ORG, site, device: "t1" }, schemas: gate });
  try {
    await field.appendMany(dayOf(next, events));
    const token = await issueToken(await hubKey(dir), { org: ORG, site, lifetimeS: 3600, nowMs: Date.now() });
    await field.sync({ url: backends.nats.url, token, batchEvents: 50 });
  } finally {
    field.close();
  }
};
const balanced = async (): Promise<void> => {
  let last = -1n;
  for await (const { position } of log.readAll()) last = position;
  await eventually("the projection of the whole log", async () => {
    const { rows } = await db.query<{ position: string | null }>("SELECT position FROM tributary.checkpoint");
    return BigInt(rows[0]?.position ?? -1) >= last;
  });
  await expectBalanced({ log, db, gate, projections });
};
const killOne = async (): Promise<void> => {
  const all = [...running];
  await all[Math.floor(next() * all.length)]?.kill();
};
/** Runs a command until it ends by itself, after killing it at random moments. Returns how often it was killed. */
async function persist(args: readonly string[], kills: number, mostMs: number): Promise<{ kills: number; worker: Worker }> {
  let killed = 0;
  for (;;) {
    const worker = startWorker(args);
    const isLast = killed >= kills;
    if (!isLast) {
      await Promise.race([worker.ended, sleep(900 + next() * mostMs)]);
      if (worker.child.exitCode === null) {
        await worker.kill();
        killed++;
        continue;
      }
    }
    const code = await worker.ended;
    // The lock of a killed projector is released when PostgreSQL finds that its connection is gone.
    if (code === 0) return { kills: killed, worker };
    expect(worker.output()).toContain("another process is rebuilding views");
    await sleep(200);
  }
}

describe(`after a crash, each event is in audit, rows, totals, claims and history once (seed ${SEED})`, () => {
  it("of one projector, again and again while pages are written", async () => {
    keepProjecting(1);
    const writing = (async () => {
      for (let i = 0; i < 3; i++) await write();
    })();
    for (let i = 0; i < 3; i++) {
      await sleep(1_200 + next() * 700);
      await killOne();
    }
    await writing;
    await balanced();
  });

  it("of two that hand shards to each other", async () => {
    keepProjecting(2);
    const writing = (async () => {
      for (let i = 0; i < 3; i++) await write();
    })();
    for (let i = 0; i < 3; i++) {
      await sleep(1_500 + next() * 1_000);
      await killOne();
    }
    await writing;
    await balanced();
  });

  it("of a rebuild, which the same command continues", async () => {
    keepProjecting(1);
    const writing = write();
    const args = ["rebuild", "--all", "--compare", "--data", dir, "--json"];
    const { worker } = await persist([...args, "--max-rate", "800"], 3, 600);
    await writing;
    expect(worker.output()).toContain('"swapped": true');
    await balanced();
  });

  it("of a rebuild whose swap waits for a reader: the live views stay, and readers see no gap", async () => {
    await projectHere(1);
    await write(40);
    await balanced();
    const before = (await db.query("SELECT count(*)::int AS n FROM views.beneficiaries")).rows;
    const generation = async () =>
      (await db.query("SELECT generation FROM tributary.generation WHERE view = 'beneficiaries' AND state = 'live'")).rows;
    const live = await generation();
    const reader = await connectViews(postgres.url, "a-long-report");
    try {
      await reader.query("BEGIN; SELECT count(*) FROM views.beneficiaries");
      const worker = startWorker(["rebuild", "beneficiaries", "--data", dir]);
      await eventually(
        "the swap to wait",
        async () => (await db.query("SELECT 1 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'")).rows.length > 0,
      );
      await worker.kill();
      expect((await db.query("SELECT count(*)::int AS n FROM views.beneficiaries")).rows).toEqual(before);
      expect(await generation()).toEqual(live);
    } finally {
      await reader.end();
    }
    await write(40);
    const { worker } = await persist(["rebuild", "beneficiaries", "--data", dir, "--json"], 0, 0);
    expect(JSON.parse(worker.output().slice(worker.output().indexOf("{"))).resumedAt).toBeGreaterThan(0);
    expect(await generation()).not.toEqual(live);
    await balanced();
  });

  it("of PostgreSQL, which comes back on the same data", async () => {
    await projectHere(2);
    const writing = write();
    await sleep(2_500);
    process.kill(postgres.pid!, "SIGKILL");
    await postgres.exited;
    await sleep(500);
    // Children of a killed postmaster notice it and end; until then their shared memory keeps the data locked.
    const port = Number(new URL(postgres.url).port);
    await eventually("PostgreSQL to start again", async () => {
      postgres = await startPostgres({ dataDir: dir, port });
      return true;
    });
    db = await connectViews(postgres.url, "tributary-faults-test");
    await writing;
    await balanced();
  });

  it("after the shards' rows were deleted, emptied or set back: projectors find their positions again from the audit", async () => {
    await projectHere(2);
    await write(80);
    for (const loss of [
      "TRUNCATE tributary.shard",
      "DELETE FROM tributary.shard WHERE shard % 3 = 0",
      "UPDATE tributary.shard SET position = NULL",
      "UPDATE tributary.shard SET position = position / 2 WHERE shard < 9",
    ]) {
      await db.query(loss);
      await write(40);
      await eventually(`projectors to recover from ${loss}`, async () => {
        const { rows } = await db.query<{ n: number }>(
          "SELECT count(*)::int AS n FROM tributary.shard WHERE holder IS NOT NULL AND position IS NOT NULL",
        );
        return rows[0]!.n === 16;
      });
    }
    await balanced();
    await stopProjecting();
    await db.query("TRUNCATE tributary.shard");
    const refused = startWorker(["rebuild", "beneficiaries", "--data", dir]);
    expect(await refused.ended).not.toBe(0);
    expect(refused.output()).toContain("nobody knows how far the views have come");
    await projectHere(1);
    await write(50);
    await balanced();
  });

  it("after all tables were dropped under running projectors: everything is rebuilt from the log", async () => {
    await projectHere(1);
    await write(50);
    await balanced();
    await db.query("DROP SCHEMA tributary CASCADE; DROP SCHEMA views CASCADE");
    await write(100);
    await eventually(
      "the tables to be there again",
      async () => (await db.query("SELECT 1 FROM tributary.shard")).rows.length === 16,
    );
    await balanced();
    // Only the hub's own tables are gone, and the views still stand: they are replaced.
    await db.query("DROP SCHEMA tributary CASCADE");
    await write(50);
    await eventually(
      "the tables to be there again",
      async () => (await db.query("SELECT 1 FROM tributary.shard")).rows.length === 16,
    );
    await balanced();
  });
});
