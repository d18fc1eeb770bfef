import { AckPolicy, type ConsumerConfig, headers, type JetStreamManager, type MsgHdrs, type NatsConnection } from "nats";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { OriginId } from "../../services/core/index.ts";
import { CONSUMER, DEAD_STREAM, STREAM } from "../../services/ingress/index.ts";
import { openLog } from "../../services/log/index.ts";
import { startNode } from "../../services/log/node/index.ts";
import { batchesOf, batchOf, frameOf } from "../support/batches.ts";
import { connectAs } from "../support/broker.ts";
import { type Door, openDoor } from "../support/door.ts";
import { number, registration } from "../support/hub.ts";
import { WAIT_MS } from "../support/patience.ts";
import { all, eventually, promptly, sleep } from "../support/temp.ts";

let door: Door;
let nc: NatsConnection;
let jsm: JetStreamManager;
beforeEach(async () => {
  door = await openDoor();
  nc = await connectAs(door.natsUrl, {}, { reconnect: true, maxReconnectAttempts: -1, reconnectTimeWait: 100 });
  jsm = await nc.jetstreamManager();
});
afterEach(async () => {
  await nc?.close();
  await door?.close();
});

const origin = (site: string, device = "t1"): OriginId => `relief.${site}.${device}.abc` as OriginId;
const said = (event: string): Record<string, unknown>[] => door.said.filter((line) => line.event === event);
const ready = async (): Promise<Record<string, unknown>> => (await door.get("/readyz")).body;
const isReady = async (): Promise<boolean> => (await door.get("/readyz")).status === 200;
const shown = async (site: string): Promise<MsgHdrs> => {
  const about = headers();
  about.set("Authorization", `Bearer ${await door.token(site)}`);
  return about;
};
/** A device's events arrive, whatever has just been mended. */
async function flows(site: string, n: number): Promise<void> {
  const field = door.field(site, `d${n}`);
  await field.append(registration(number(n)));
  expect(
    await field.sync({ url: door.natsUrl, token: await door.token(site), replyTimeoutMs: 5_000, maxTries: 100 }),
  ).toMatchObject({
    confirmed: 1,
  });
}

describe("a hub heals itself", () => {
  it("when its consumer, its streams or all of the broker's store are gone: it makes them again, with a line for each, and events flow", async () => {
    await flows("juba", 1);
    await jsm.consumers.delete(STREAM, CONSUMER);
    await eventually("the consumer made again", async () => (await jsm.consumers.info(STREAM, CONSUMER)).name === CONSUMER);
    await flows("juba", 2);
    expect(said("broker-mended").map(({ missing }) => missing)).toEqual([`consumer ${CONSUMER}`]);

    await jsm.streams.delete(STREAM);
    await jsm.streams.delete(DEAD_STREAM);
    await eventually(
      "the streams made again",
      async () =>
        (await jsm.streams.info(STREAM)).config.name === STREAM &&
        (await jsm.streams.info(DEAD_STREAM)).config.name === DEAD_STREAM,
    );
    await eventually("a hub that is ready", isReady);
    await flows("juba", 3);
    expect(said("broker-mended").map(({ missing }) => missing)).toEqual(
      expect.arrayContaining([`stream ${STREAM}`, `stream ${DEAD_STREAM}`]),
    );

    await door.restartNats({ emptied: true });
    await eventually("a hub that is ready after its broker was emptied", isReady);
    await flows("juba", 4);
    expect(said("broker-disconnected").length).toBeGreaterThan(0);
  });

  it("when its consumer is there and hands out nothing, or not all: it makes the consumer again, with a line, while it runs and when it starts, and what waited arrives", async () => {
    const asMade: Partial<ConsumerConfig> = { durable_name: CONSUMER, ack_policy: AckPolicy.Explicit };
    const otherwise: Partial<ConsumerConfig>[] = [
      { ...asMade, filter_subject: "ingress.relief.nowhere.>" },
      { ...asMade, deliver_subject: "nobody.listens.here" },
      { ...asMade, max_batch: 1 },
    ];
    const spoil = async (config: Partial<ConsumerConfig>): Promise<void> => {
      await jsm.consumers.delete(STREAM, CONSUMER);
      await jsm.consumers.add(STREAM, config);
    };
    const waits = async (site: string): Promise<void> => {
      await nc.jetstream().publish(`ingress.relief.${site}.t1`, frameOf(batchOf(origin(site), ['{"phone":null}'])), {
        headers: await shown(site),
      });
    };
    const arrives = (site: string): Promise<boolean> =>
      eventually(`what waited of ${site}`, async () => (await door.log.head(origin(site)))?.through === 0);
    for (const [n, config] of otherwise.entries()) {
      await spoil(config);
      await waits(`spoilt-${n}`);
      await arrives(`spoilt-${n}`);
      await flows("juba", n);
    }
    expect(said("broker-mended").filter(({ missing }) => missing === `consumer ${CONSUMER}`).length).toBeGreaterThanOrEqual(3);

    for (const [n, config] of otherwise.entries()) {
      await door.ingress.close();
      await spoil(config);
      await waits(`before-${n}`);
      door.ingress = await door.startIngress();
      await arrives(`before-${n}`);
    }
  });

  it("when it starts while its log is away: enrolled devices are taken by their keys once the log is back, and are told nothing wrong before", async () => {
    const field = door.field("kept");
    await field.append(registration(number(1)));
    await field.sync({ url: door.natsUrl, token: await door.token("kept") });
    await door.ingress.close();
    await door.stopNode();
    door.ingress = await door.startIngress();
    await field.append(registration(number(2)));
    const quick = { url: door.natsUrl, replyTimeoutMs: 5_000, sleep: async () => {} };
    await expect(field.sync({ ...quick, maxTries: 2 })).rejects.toMatchObject({ code: "sync-gave-up" });
    expect(field.status().levels).toMatchObject({ QUEUED: 1, SYNCED: 1 });
    await door.startNode();
    await eventually("the receipt", async () => {
      await field.sync({ ...quick, maxTries: 1 }).catch(() => {});
      return field.status().levels.SYNCED === 2;
    });
    expect(said("batch-refused")).toEqual([]);
  });

  it("says why it is not ready while its broker or its log is away, does not hang, and stays alive", async () => {
    expect(await door.get("/readyz")).toMatchObject({
      status: 200,
      body: { ready: true, broker: "ok", log: "ok", reasons: [], warnings: [] },
    });
    await door.stopNode();
    await eventually("the log's absence", async () => (await door.get("/readyz")).status === 503);
    expect(await ready()).toMatchObject({
      ready: false,
      log: "failed",
      broker: "ok",
      reasons: [{ part: "log", reason: expect.stringContaining("event store") }],
    });
    expect(await door.get("/v1/health")).toMatchObject({ status: 503, body: { log: "failed" } });
    expect(await door.get("/healthz")).toEqual({ status: 200, body: { alive: true } });
    await door.startNode();
    await eventually("a hub that is ready", isReady);
    await door.nats.close();
    await eventually("the broker's absence", async () => (await ready()).broker === "failed");
    expect(await door.get("/healthz")).toMatchObject({ status: 200 });
    await door.restartNats();
    await eventually("a hub that is ready", isReady);
  });

  it("asks each part with a time limit of its own: one that never answers, and one that throws, are named, and the rest is shown", async () => {
    const parts = {
      slow: () => new Promise<never>(() => {}),
      broken: async () => {
        throw new Error("no such table");
      },
      parked: async () => ({ state: "warning", reason: "3 entities are parked" }) as const,
    };
    const { http } = await door.startIngress({ parts });
    // A part that a busy machine delays is late too: asked again, it is in time.
    const told = await eventually("the broker's answer in time", async () => {
      const response = await fetch(`${http!.url}/readyz`);
      expect(response.status).toBe(503);
      const body = (await response.json()) as Record<string, unknown>;
      return body.broker === "ok" && (body.reasons as unknown[]).length === 2 ? body : null;
    });
    expect(told).toMatchObject({
      slow: "failed",
      broken: "failed",
      parked: "warning",
      broker: "ok",
      reasons: [
        { part: "slow", reason: "no answer in 2500 ms" },
        { part: "broken", reason: "no such table" },
      ],
      warnings: [{ part: "parked", reason: "3 entities are parked" }],
    });
    const { http: warned } = await door.startIngress({ parts: { parked: parts.parked } });
    await eventually("a hub that is ready", async () => (await fetch(`${warned!.url}/readyz`)).status === 200);
  });
});

describe("two hubs on one broker", () => {
  it("with two logs hear of each other, say so, and are not ready; one that comes later knows from the stream", async () => {
    await using other = await startNode();
    await using otherLog = openLog(other.url);
    const second = await door.startIngress({ log: otherLog, name: "second" });
    await eventually("that both have heard", async () => said("another-hub").length >= 2);
    await eventually("that the first is not ready", async () => (await ready()).hubs === "failed");
    expect(await ready()).toMatchObject({ reasons: [{ part: "hubs", reason: expect.stringContaining("second") }] });
    expect(await (await fetch(`${second.http!.url}/readyz`)).json()).toMatchObject({ hubs: "failed" });
    await second.close();
    await eventually("that the first is ready again", isReady);
    await door.ingress.close();
    const later = await door.startIngress({ log: otherLog, name: "later" });
    expect(await (await fetch(`${later.http!.url}/readyz`)).json()).toMatchObject({
      hubs: "warning",
      warnings: [{ part: "hubs", reason: expect.stringContaining("last used by another hub") }],
    });
    await later.close();
    door.ingress = await door.startIngress();
  });

  it("with one log are one hub", async () => {
    const second = await door.startIngress();
    await eventually(
      "that they have heard",
      async () => ((await ready()).facts as { hubs: { processes: number } }).hubs.processes === 2,
    );
    expect(said("another-hub")).toEqual([]);
    await second.close();
    await eventually(
      "that one has left",
      async () => ((await ready()).facts as { hubs: { processes: number } }).hubs.processes === 1,
    );
  });
});

describe("while the event store is away", () => {
  it("batches are taken over both doors, hello says at once why it knows nothing, and afterwards each batch is accepted once and handed out once", async () => {
    const devices = Array.from({ length: 10 }, (_, i) => `t${i}`);
    const transports = new Map<string, Awaited<ReturnType<Door["transport"]>>>();
    for (const device of devices) transports.set(device, await door.transport("juba", device, { replyTimeoutMs: WAIT_MS }));
    await door.stopNode();
    const replies: Promise<unknown>[] = [];
    for (const device of devices) {
      const of = origin("juba", device);
      for (const batch of batchesOf(
        of,
        Array.from({ length: 20 }, () => '{"phone":null}'),
        2,
      ))
        replies.push((await transports.get(device)!.send(frameOf(batch), of)).reply);
    }
    await eventually("that the hub knows", async () => (await ready()).log === "failed");
    const asked = { origin: origin("juba", "t0"), since: null };
    expect(
      await promptly(
        "the answer",
        () => 3_000,
        () => transports.get("t0")!.hello(asked),
      ),
    ).toMatchObject({
      kind: "away",
      because: { code: "backend-unreachable" },
    });
    const posted = await fetch(`${door.ingress.http!.url}/v1/ingress`, {
      method: "POST",
      body: frameOf(batchOf(origin("wau"), ['{"phone":null}'])) as Uint8Array<ArrayBuffer>,
      headers: { authorization: `Bearer ${await door.token("wau")}` },
    });
    expect(posted.status).toBe(202);
    expect(await posted.json()).toMatchObject({ kind: "queued", because: "backend-unreachable" });
    // Longer than the broker waits for an answer.
    await sleep(7_000);
    await door.startNode();
    expect(await Promise.all(replies)).toEqual(replies.map(() => expect.objectContaining({ kind: "receipt" })));
    await eventually("the batch of the other door", async () => (await door.log.head(origin("wau")))?.through === 0);
    for (const device of devices) expect(await all(door.log.readOrigin(origin("juba", device)))).toHaveLength(20);
    const info = await jsm.consumers.info(STREAM, CONSUMER);
    expect(info).toMatchObject({ num_redelivered: 0, num_ack_pending: 0 });
    // Each batch was handed out once: the broker's count of hand-outs is its count of batches.
    expect(info.delivered.consumer_seq).toBe(101);
    expect(said("batch-accepted")).toHaveLength(101);
    expect(said("event-store-away")).toHaveLength(1);
    expect(said("event-store-back")).toHaveLength(1);
  });

  it("because its disk is full, the device is told so, its batch stays queued, and is accepted once there is room", async () => {
    await door.stopNode();
    await door.startNode({ maxPages: 60 });
    const transport = await door.transport("juba", "t1", { replyTimeoutMs: WAIT_MS });
    const filler = batchesOf(
      origin("juba"),
      Array.from({ length: 60 }, (_, i) => JSON.stringify({ village: `${i} ${"x".repeat(20_000)}` })),
      4,
    );
    let full: Awaited<Awaited<ReturnType<typeof transport.send>>["reply"]> = null;
    let sent = 0;
    for (const batch of filler) {
      full = await (await transport.send(frameOf(batch), origin("juba"))).reply;
      sent++;
      if (full?.kind === "refusal") break;
    }
    expect(full).toMatchObject({ kind: "refusal", code: "disk-full" });
    expect(await transport.hello({ origin: origin("juba"), since: null })).toMatchObject({
      kind: "away",
      because: { code: "disk-full" },
    });
    const queued = await fetch(`${door.ingress.http!.url}/v1/ingress`, {
      method: "POST",
      body: frameOf(batchOf(origin("wau"), ['{"phone":null}'])) as Uint8Array<ArrayBuffer>,
      headers: { authorization: `Bearer ${await door.token("wau")}` },
    });
    expect(queued.status).toBe(202);
    expect(await queued.json()).toMatchObject({ because: "disk-full" });
    await door.stopNode();
    await door.startNode();
    await eventually("the batch that was refused", async () => (await door.log.head(origin("juba")))?.through === sent * 4 - 1);
    await eventually("the batch of the other door", async () => (await door.log.head(origin("wau")))?.through === 0);
    await eventually("a hub that is ready", isReady);
  });
});
