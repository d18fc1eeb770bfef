import { join } from "node:path";
import type { NatsConnection } from "nats";
import { expect, it, onTestFinished } from "vitest";
import { siteLogin } from "../../services/core/node.ts";
import { openField } from "../../services/field/index.ts";
import { issueToken, makeKey } from "../../services/http/index.ts";
import { DEAD_STREAM, STREAM, startIngress } from "../../services/ingress/index.ts";
import { accountsText, freePort, startEventStore } from "../../services/local/index.ts";
import { openLog } from "../../services/log/index.ts";
import { connectAs, serveNats, type TestServer } from "../support/broker.ts";
import { gate, number, ORG, registration } from "../support/hub.ts";
import { eventually, sleep, tempDir } from "../support/temp.ts";

/** How long the hub waits for a leader that has died. With the client's own 30 s, the next receipt came after 27 to 49 s; an election takes some seconds of it. */
const MAX_PULL_MS = 10_000;
const PASSWORD = "p@ss/w:rd,1";
const LOGIN = `hub:${encodeURIComponent(PASSWORD)}`;

it("three NATS servers keep the hub's streams in three copies, and the death of their leader costs a device seconds", async () => {
  const dir = tempDir();
  const key = await makeKey("cluster");
  const token = await issueToken(key, { org: ORG, site: "juba", lifetimeS: 3_600, nowMs: Date.now() });
  const accounts = accountsText({ user: "hub", password: PASSWORD }, [
    {
      kind: "password",
      org: ORG,
      site: "juba",
      device: null,
      expiresAtMs: Date.now() + 3_600_000,
      ...siteLogin(token, ORG, "juba"),
    },
  ]);
  const routes = [await freePort(), await freePort(), await freePort()];
  const servers = await Promise.all(
    routes.map((route, i) =>
      serveNats(
        join(dir, `server-${i}`),
        (port, store) => `host: 127.0.0.1\nport: ${port}\nserver_name: n${i}\njetstream { store_dir: ${JSON.stringify(store)} }
cluster { name: c, host: 127.0.0.1, port: ${route}, routes: [${routes.map((each) => `"nats://127.0.0.1:${each}"`).join(", ")}] }\n${accounts}`,
      ),
    ),
  );
  const ended = new Set<TestServer>();
  onTestFinished(async () => {
    await Promise.all(servers.filter((server) => !ended.has(server)).map((server) => server.end()));
  });
  const addresses = servers.map(({ port }) => `nats://127.0.0.1:${port}`).join(",");
  const natsUrl = addresses.replace("nats://", `nats://${LOGIN}@`);
  const operator = await eventually("the cluster's leader", async () => {
    const nc = await connectAs(natsUrl);
    try {
      await (await nc.jetstreamManager()).getAccountInfo();
      return nc;
    } catch {
      await nc.close();
      return null;
    }
  });
  onTestFinished(() => operator.close());
  const eventstore = await startEventStore({ dataDir: dir });
  onTestFinished(() => eventstore.close());
  const log = openLog(eventstore.url);
  onTestFinished(() => log.close());
  const ingress = await startIngress({
    org: "relief",
    natsUrl,
    streams: { replicas: 3, ingressBytes: 64_000_000, deadBytes: 16_000_000 },
    log,
    gate,
    keys: { keys: [key] },
    listen: null,
  });
  onTestFinished(() => ingress.close());
  const manager = await operator.jetstreamManager();
  expect((await manager.streams.info(STREAM)).config).toMatchObject({ num_replicas: 3, max_bytes: 64_000_000 });
  expect((await manager.streams.info(DEAD_STREAM)).config).toMatchObject({ num_replicas: 3, max_bytes: 16_000_000 });

  const field = openField({ path: join(dir, "juba.db"), name: { org: ORG, site: "juba", device: "t1" }, schemas: gate });
  onTestFinished(() => field.close());
  const sync = () =>
    field.sync({ url: addresses, token, maxTries: 1_000, replyTimeoutMs: 4_000, sleep: (ms) => sleep(Math.min(ms, 500)) });
  await field.append(registration(number(1)));
  expect(await sync()).toMatchObject({ confirmed: 1 });

  const leader = await leaderOf(operator);
  const victim = servers[leader]!;
  await field.append(registration(number(2)));
  // Over a server that goes on, and known to the cluster before the leader dies.
  const others = servers.filter((server) => server !== victim).map(({ port }) => `nats://127.0.0.1:${port}`);
  const witness = await connectAs(others.join(",").replace("nats://", `nats://${LOGIN}@`));
  onTestFinished(() => witness.close());
  const pulls: { readonly expires: number }[] = [];
  witness.subscribe("$JS.API.CONSUMER.MSG.NEXT.>", { callback: (_, message) => pulls.push(message.json()) });
  await witness.flush();
  await victim.end();
  ended.add(victim);
  const before = pulls.length;
  expect(await sync()).toMatchObject({ pending: 0 });
  // One that waits is asked again when its time is over, also after the leader's death.
  await eventually("a pull after the leader's death", async () => pulls.length > before);
  // The protocol has nanoseconds.
  expect(pulls.filter(({ expires }) => !(expires > 0 && expires <= MAX_PULL_MS * 1e6))).toEqual([]);
});

/** Which server leads the stream. */
async function leaderOf(nc: NatsConnection): Promise<number> {
  return eventually("a leader of the stream", async () => {
    const { cluster } = await (await nc.jetstreamManager()).streams.info(STREAM);
    return cluster?.leader === undefined ? null : Number(cluster.leader.slice(1)) + 1;
  }).then((found) => found - 1);
}
