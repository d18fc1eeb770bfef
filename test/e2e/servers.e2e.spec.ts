import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { hubKey } from "../../services/cli/keys.ts";
import { openField } from "../../services/field/index.ts";
import { issueToken } from "../../services/http/index.ts";
import { openLog } from "../../services/log/index.ts";
import { connectViews } from "../../services/views/index.ts";
import { gate, number, registration } from "../support/hub.ts";
import { jsonOf, openDir, runHub } from "../support/hub-process.ts";
import { eventually, sleep } from "../support/temp.ts";

const SERVERS = ["nats", "eventstore", "postgres"] as const;
const EVENTS = 3_000;

it("event node, NATS and PostgreSQL are each killed during a sync: the hub starts them again, and everything arrives, once", async () => {
  const hub = await runHub(openDir());
  const { natsUrl, eventstoreUrl, postgresUrl } = hub.state;
  const field = openField({
    path: join(hub.dir, "juba.db"),
    name: { org: "relief", site: "juba", device: "t1" },
    schemas: gate,
  });
  onTestFinished(() => field.close());
  await field.appendMany(Array.from({ length: EVENTS }, (_, n) => registration(number(n))));
  const token = await issueToken(await hubKey(hub.dir), { org: "relief", site: "juba", lifetimeS: 3600, nowMs: Date.now() });
  let confirmed = 0;
  const killed: string[] = [];
  const syncing = field.sync({
    url: natsUrl,
    token,
    batchEvents: 20,
    replyTimeoutMs: 8_000,
    maxTries: 10_000,
    sleep: (ms) => sleep(Math.min(ms, 300)),
    onProgress: (progress) => {
      if (progress.kind === "synced") confirmed = progress.done;
    },
  });
  const chaos = (async () => {
    for (const [at, name] of SERVERS.entries()) {
      await eventually("a part of the sync", async () => confirmed >= ((at + 1) * EVENTS) / 5);
      const pid = hub.serverPid(name);
      killed.push(`${name} at ${confirmed}`);
      process.kill(pid, "SIGKILL");
      await eventually("another process of it", async () => hub.serverPid(name) !== pid);
    }
  })();
  const [{ pending }] = await Promise.all([syncing, chaos]);
  expect(pending).toBe(0);
  expect(killed).toHaveLength(SERVERS.length);
  for (const title of ["NATS", "The event store", "PostgreSQL"]) {
    expect(hub.output()).toMatch(new RegExp(`${title} \\(process \\d+\\) ended \\(SIGKILL\\); starting it again`));
    await eventually(`${title} again`, async () => hub.output().includes(`${title} is up again (process `));
  }

  await using log = openLog(eventstoreUrl);
  let last = -1n;
  for await (const { position } of log.readAll()) last = position;
  const db = await connectViews(postgresUrl, "tributary-test");
  try {
    await eventually("the projection of the whole log", async () => {
      const { rows } = await db.query<{ position: string | null }>("SELECT position FROM tributary.checkpoint");
      return BigInt(rows[0]?.position ?? -1) >= last;
    });
    const books = await jsonOf<{ problemCount: number; events: number }>(["audit", "verify", "--data", hub.dir]);
    expect(books.problemCount).toBe(0);
    // Beside them are the hub's own events, which say what it has registered.
    const { rows: sent } = await db.query<{ count: string }>("SELECT count(*) FROM tributary.audit WHERE site <> 'hub'");
    expect(Number(sent[0]!.count)).toBe(EVENTS);
    const { rows } = await db.query<{ count: string }>("SELECT count(*) FROM views.beneficiaries");
    expect(Number(rows[0]!.count)).toBe(EVENTS);
  } finally {
    await db.end();
  }
  expect(await hub.stop()).toBe(0);
});
