import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { verify } from "../../services/audit/index.ts";
import { hubOrg } from "../../services/cli/config.ts";
import { hubKey } from "../../services/cli/keys.ts";
import { loadProjections } from "../../services/cli/projections.ts";
import { writeState } from "../../services/cli/state.ts";
import { openField, type SyncResult } from "../../services/field/index.ts";
import { issueToken } from "../../services/http/index.ts";
import { type Backend, type Backends, freePort, startBackends, startEventStore } from "../../services/local/index.ts";
import { openLog } from "../../services/log/index.ts";
import { connectViews } from "../../services/views/index.ts";
import { withCluster } from "../support/cluster.ts";
import { newDir } from "../support/home.ts";
import { gate, number, registration, stateOf, update } from "../support/hub.ts";
import { random } from "../support/random.ts";
import { eventually, sleep } from "../support/temp.ts";

/** Another seed: TRIBUTARY_TEST_SEED. The one used is in the test's name. */
const SEED = Number(process.env.TRIBUTARY_TEST_SEED ?? Date.now() % 100_000);
const KILLS = 6;
const EVENTS_PER_SITE = 1_200;
const SITES = ["nairobi", "kampala", "juba"];
const MAIN = join(import.meta.dirname, "../../services/cli/main.ts");

let dir: string;
let backends: Backends;
let eventstore: Backend;
const workers = new Map<string, ChildProcess>();
let stopping = false;

/** Runs a worker process, and runs it again whenever it dies. */
function keepRunning(name: string, args: readonly string[]): void {
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", MAIN, name, "--data", dir, "--log", join(dir, `${name}.log`), ...args],
    {
      stdio: "ignore",
    },
  );
  workers.set(name, child);
  child.on("exit", () => {
    if (!stopping) setTimeout(() => keepRunning(name, args), 100);
  });
}

beforeAll(async () => {
  dir = newDir("crash");
  chmodSync(dir, 0o755);
  withCluster(dir);
  backends = await startBackends({ dataDir: dir });
  eventstore = backends.eventstore;
  hubOrg(dir, "relief");
  writeState(dir, stateOf(backends));
  await hubKey(dir);
  keepRunning("ingress", ["--listen", `127.0.0.1:${await freePort()}`]);
  keepRunning("projector", []);
});

afterAll(async () => {
  stopping = true;
  for (const child of workers.values()) child.kill("SIGKILL");
  await eventstore?.close();
  await backends?.close();
  if (dir !== undefined) rmSync(dir, { recursive: true, force: true });
});

it(`three sites sync while ingress, projector and event node are killed at random: nothing acknowledged is lost or doubled (seed ${SEED}) (I1)`, async () => {
  const next = random(SEED);
  const key = await hubKey(dir);
  const port = Number(new URL(eventstore.url.replace("esdb:", "http:")).port);
  const fields = SITES.map((site) => {
    const field = openField({ path: join(dir, `${site}.db`), name: { org: "relief", site, device: "t1" }, schemas: gate });
    return { site, field };
  });
  for (const [at, { field }] of fields.entries()) {
    const events = Array.from({ length: EVENTS_PER_SITE }, (_, i) => {
      // A third of the people are known to all three sites, so that there is something to decide.
      const id = i % 3 === 0 ? number(i) : number(10_000 * (at + 1) + i);
      return i % 5 === 4
        ? update(id, { household_size: 1 + Math.floor(next() * 9) })
        : registration(id, { village: `V${Math.floor(next() * 3)}` });
    });
    await field.appendMany(events);
  }

  let syncing = true;
  const syncs = Promise.all(
    fields.map(async ({ site, field }): Promise<SyncResult> => {
      const token = await issueToken(key, { org: "relief", site, lifetimeS: 3600, nowMs: Date.now() });
      return field.sync({
        url: backends.nats.url,
        token,
        batchEvents: 20,
        replyTimeoutMs: 8_000,
        maxTries: 10_000,
        sleep: (ms) => sleep(Math.min(ms, 300)),
      });
    }),
  ).finally(() => {
    syncing = false;
  });

  const killed: string[] = [];
  const chaos = (async () => {
    for (let i = 0; i < KILLS; i++) {
      await sleep(150 + next() * 900);
      const victim = ["ingress", "projector", "eventstore"][i % 3]!;
      killed.push(`${victim}${syncing ? "" : " (after the syncs)"}`);
      if (victim === "eventstore") {
        process.kill(eventstore.pid!, "SIGKILL");
        await eventstore.exited;
        eventstore = await startEventStore({ dataDir: dir, port });
      } else {
        workers.get(victim)!.kill("SIGKILL");
      }
    }
  })();
  const [results] = await Promise.all([syncs, chaos]);
  expect(killed).toHaveLength(KILLS);
  // Each of the three died while events were under way.
  expect(killed.slice(0, 3)).toEqual(["ingress", "projector", "eventstore"]);
  expect(results.map(({ pending }) => pending)).toEqual([0, 0, 0]);

  const log = openLog(eventstore.url);
  const db = await connectViews(backends.postgres.url, "tributary-crash-test");
  try {
    let last = -1n;
    for await (const { position } of log.readAll()) last = position;
    await eventually(
      "the projection of the whole log",
      async () =>
        BigInt(
          (await db.query<{ position: string | null }>("SELECT position FROM tributary.checkpoint")).rows[0]?.position ?? -1,
        ) >= last,
    );
    const inLog = new Map<string, string[]>();
    const report = await verify({
      log,
      views: { db, gate, projections: await loadProjections(join(import.meta.dirname, "../../projections")) },
      onEntry: ({ head }) => {
        const at = `${head.origin}/${head.seq}`;
        inLog.set(at, [...(inLog.get(at) ?? []), head.hash]);
      },
    });
    expect(report.problems).toEqual([]);
    expect(report.chainsIntact).toBe(true);
    expect(report.rowsCompared).toBeGreaterThan(0);
    let acknowledged = 0;
    for (const { field } of fields) {
      for (const event of field.events()) {
        expect(event.level).toBe("SYNCED");
        expect(inLog.get(`${event.origin}/${event.seq}`)).toEqual([event.hash]);
        acknowledged++;
      }
    }
    expect(acknowledged).toBe(EVENTS_PER_SITE * SITES.length);
    // Beside them are the hub's own events, which say what it has registered.
    expect([...inLog.keys()].filter((name) => !name.startsWith("relief.hub."))).toHaveLength(acknowledged);
    const { rows } = await db.query<{ count: string }>("SELECT count(*) FROM tributary.audit WHERE site <> 'hub'");
    expect(Number(rows[0]!.count)).toBe(acknowledged);
  } finally {
    await db.end();
    await log.close();
    for (const { field } of fields) field.close();
  }
});
