import { connect as connectTcp } from "node:net";
import { headers, type NatsConnection } from "nats";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { OriginId } from "../../services/core/index.ts";
import { batchOf, frameOf } from "../support/batches.ts";
import { connectAs } from "../support/broker.ts";
import { type Door, openDoor } from "../support/door.ts";
import { number, registration, update } from "../support/hub.ts";
import { random as seeded } from "../support/random.ts";
import { all, eventually, sleep } from "../support/temp.ts";

let door: Door;
let nc: NatsConnection;
const unhandled: unknown[] = [];
const onUnhandled = (error: unknown): void => {
  unhandled.push(error);
};
beforeAll(async () => {
  process.on("unhandledRejection", onUnhandled);
  process.on("uncaughtException", onUnhandled);
  door = await openDoor();
  nc = await connectAs(door.natsUrl);
});
afterAll(async () => {
  await nc?.close();
  await door?.close();
  process.off("unhandledRejection", onUnhandled);
  process.off("uncaughtException", onUnhandled);
});

const MESSAGES = 10_000;
const SEED = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));

const post = (path: string, body: Uint8Array | string, token?: string, method = "POST"): Promise<Response> =>
  fetch(`${door.ingress.http!.url}${path}`, {
    method,
    ...(method === "GET" || method === "HEAD" ? {} : { body: body as Uint8Array<ArrayBuffer> }),
    headers: { prefer: "wait=1", ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
  });

it("one message that is not JSON, on any receipt's subject, stops nobody", async () => {
  for (const text of ["not json", "", "null", "[]", '{"kind":"receipt"}', '{"kind":"refusal","batch":7}'])
    nc.publish("receipt.relief.juba.t1", text);
  nc.publish("receipt.x", "{");
  await nc.flush();
  await sleep(100);
  const field = door.field("juba");
  await field.append(registration(number(1)));
  expect(await field.sync({ url: door.natsUrl, token: await door.token("juba") })).toMatchObject({ confirmed: 1 });
  await field.append(registration(number(2)));
  expect(await field.sync({ url: door.ingress.http!.url, token: await door.token("juba") })).toMatchObject({ confirmed: 1 });
});

it("garbage on every subject and every route stops nobody: a site's events all arrive meanwhile, and the door says that it is well", async () => {
  console.log(`seed ${SEED}`);
  const random = seeded(SEED);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
  const bytes = (max: number): Uint8Array =>
    Uint8Array.from({ length: Math.floor(random() * max) }, () => Math.floor(random() * 256));
  const bad = await door.token("bad");
  const origin = "relief.bad.t1.abc" as OriginId;
  const good = frameOf(batchOf(origin, ['{"phone":null}']));
  const payload = (): Uint8Array | string => {
    const spoilt = Uint8Array.from(good);
    spoilt[Math.floor(random() * spoilt.length)]! ^= 1 << Math.floor(random() * 8);
    return pick<() => Uint8Array | string>([
      () => bytes(400),
      () => spoilt,
      () => good.subarray(0, Math.floor(random() * good.length)),
      () => new Uint8Array([0x54, 0x42, 1, ...bytes(50)]),
      () => pick(["", "null", "[]", "{}", '"text"', "1e999", "{", '{"__proto__":1}', "\ud800", '{"kind":"receipt","batch":"x"}']),
      () =>
        JSON.stringify({
          origin,
          since: pick([null, -1, 1e300, "x", 2 ** 53]),
          hashesOf: [pick([-1, 0, 1e9])],
          nonce: pick(["", "n".repeat(20)]),
        }),
      () =>
        JSON.stringify({
          origin,
          since: 1e15,
          others: [{ origin, through: 1e15 }],
          have: { a: ["b"] },
          proposes: [{ subject: "x" }],
        }),
      () =>
        JSON.stringify({
          log: pick(["abcdefghijkl", 1, null]),
          name: "n".repeat(300),
          process: pick(["x", crypto.randomUUID()]),
        }),
    ])();
  };
  const tails = ["", ".relief", ".relief.bad", ".relief.bad.t1", ".relief.juba.t9", ".relief.bad.t1.more.parts", ".ü.☃.x"];
  const subject = (): string => pick(["ingress", "hello", "receipt", "dead"]) + pick(tails);
  const about = (): { headers?: ReturnType<typeof headers>; reply?: string } => {
    const h = headers();
    if (random() < 0.7) h.set("Authorization", pick([`Bearer ${bad}`, "Bearer x.y.z", "Basic ====", "", "Bearer", bad]));
    if (random() < 0.2) h.set("Tributary-Dead-Letter", "1");
    return { headers: h, ...(random() < 0.4 ? { reply: pick(["nowhere", "receipt.relief.bad.t1", "tributary.hubs"]) } : {}) };
  };
  let isOver = false;
  let sent = 0;
  const overNats = async (): Promise<void> => {
    while (!isOver) {
      for (let i = 0; i < 100; i++, sent++) nc.publish(random() < 0.1 ? "tributary.hubs" : subject(), payload(), about());
      await nc.flush();
      await sleep(5);
    }
  };
  const raw = async (): Promise<void> => {
    // Headers that no client would write, past what the driver allows.
    const socket = connectTcp(Number(new URL(door.natsUrl).port), "127.0.0.1");
    socket.on("error", () => {});
    const { username: user, password: pass } = new URL(door.natsUrl);
    socket.write(`CONNECT ${JSON.stringify({ verbose: false, headers: true, user, pass })}\r\n`);
    while (!isOver) {
      const head = pick([
        "NATS/1.0\r\n: : \r\n\r\n",
        "NATS/1.0 999 \r\n\r\n",
        "NATS/1.0\r\nAuthorization\r\n\r\n",
        "NATS/1.0\r\n\u0000\u0001:x\r\n\r\n",
        "\r\n\r\n",
      ]);
      socket.write(
        `HPUB ${pick(["ingress", "hello", "receipt", "dead"])}.relief.bad.t1 answer.me ${head.length} ${head.length + 2}\r\n${head}xx\r\n`,
        "latin1",
      );
      await sleep(10);
    }
    socket.destroy();
  };
  const statuses = new Map<number, number>();
  const overHttp = async (): Promise<void> => {
    const routes = [
      "/v1/ingress",
      "/v1/ingress/hello",
      `/v1/ingress/hello?origin=${origin}&since=x`,
      "/v1/ingress/hello?origin=%00&since=-1",
      "/readyz",
      "/healthz",
      "/v1/health",
      "//",
      "/%",
      "/v1/%ff",
      "/subjects/%E0%A4%A/versions",
      "/nothing",
    ];
    while (!isOver) {
      const response = await post(
        pick(routes),
        payload(),
        random() < 0.8 ? bad : "x",
        pick(["POST", "GET", "PUT", "DELETE", "HEAD"]),
      );
      await response.arrayBuffer();
      statuses.set(response.status, (statuses.get(response.status) ?? 0) + 1);
    }
  };
  const noise = Promise.all([overNats(), raw(), overHttp(), overHttp()]);

  const field = door.field("juba");
  const token = await door.token("juba");
  for (let round = 0; round < 16; round++) {
    await field.appendMany(
      Array.from({ length: 25 }, (_, i) =>
        update(number(1 + (i % 2)), { phone: `+2119${String(round * 100 + i).padStart(8, "0")}` }),
      ),
    );
    const url = round % 2 === 0 ? door.natsUrl : door.ingress.http!.url;
    expect(await field.sync({ url, token, batchEvents: 10 })).toMatchObject({ confirmed: 25, pending: 0 });
    expect(await door.get("/healthz")).toMatchObject({ status: 200 });
  }
  await eventually("all of the garbage", async () => sent >= MESSAGES);
  isOver = true;
  await noise;
  const stored = await all(door.log.readOrigin(field.status().origin as OriginId));
  expect(stored.map(({ head }) => head.hash)).toEqual([...field.events()].map(({ hash }) => hash));
  expect(await door.get("/readyz")).toMatchObject({ status: 200, body: { ready: true, consumer: "ok" } });
  expect([...statuses.keys()].filter((status) => status >= 500 && status !== 503)).toEqual([]);
  expect(unhandled).toEqual([]);
});
