import { randomBytes } from "node:crypto";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import type { NatsConnection } from "nats";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { connectAs } from "../support/broker.ts";
import { openDoor, type TestDoor } from "../support/device-hub.ts";
import { number, update } from "../support/hub.ts";
import { eventually, sleep } from "../support/temp.ts";

/** Another seed: TRIBUTARY_TEST_SEED. */
const SEED = Number(process.env.TRIBUTARY_TEST_SEED ?? 1);
const encoder = new TextEncoder();

let door: TestDoor;
let nc: NatsConnection;
beforeAll(async () => {
  door = await openDoor();
  nc = await connectAs(door.natsUrl);
});
afterAll(async () => {
  await nc?.close();
  await door?.close();
});

/** Everything that is not an answer: bytes that are not JSON, JSON of another kind, answers to others, great depths and sizes, prototypes. */
function garbage(n: number, origin: string): Uint8Array {
  const zeros = "0".repeat(64);
  const receipt = { kind: "receipt", batch: "f".repeat(32), origin, through: 9_999, head: zeros, position: "1", quarantined: [] };
  const texts = [
    "",
    "x",
    "{",
    "null",
    "[]",
    '"receipt"',
    JSON.stringify({ ...receipt, batch: null }),
    JSON.stringify(receipt),
    JSON.stringify({ ...receipt, batch: "__proto__" }),
    JSON.stringify({ ...receipt, through: -1 }),
    JSON.stringify(receipt).replace("9999", "1e400"),
    JSON.stringify({ kind: "refusal", batch: null, origin: null, firstSeq: null, code: 7, message: [], hint: {}, through: "x" }),
    JSON.stringify({ kind: "hello", nowMs: "now", receipt: null, avro: [] }),
    '{"__proto__":{"kind":"receipt"}}',
    "[".repeat(50_000),
    `{"kind":"${"receipt".repeat(20_000)}"}`,
  ];
  return n % 3 === 0 ? randomBytes(1 + ((n * 7_919) % 4_000)) : encoder.encode(texts[n % texts.length]!);
}

describe("whatever is sent to a device's subjects", () => {
  it(`does not stop its sync, nor make it believe anything (seed ${SEED})`, async () => {
    const field = door.field("fuzz");
    const sender = "relief.fuzz.t1";
    await field.appendMany(Array.from({ length: 300 }, (_, i) => update(number(i), { village: `v${i}` })));
    let isOver = false;
    let sent = 0;
    const { origin } = field.status();
    const flood = (async () => {
      for (let n = SEED; !isOver; n++) {
        nc.publish(`receipt.${sender}`, garbage(n, origin));
        sent++;
        if (n % 10 === 0) await sleep(5);
      }
    })();
    // Somebody else answers three hellos before the hub can.
    let answered = 0;
    const rival = nc.subscribe("hello.>", {
      callback: (_, message) => {
        if (answered < 3) message.respond(garbage(answered++, origin));
      },
    });
    await eventually("a flood", async () => sent > 50);
    const syncing = field.sync({ url: door.natsUrl, token: await door.token("fuzz"), batchEvents: 20, sleep: () => sleep(5) });
    const result = await syncing.finally(async () => {
      isOver = true;
      await flood;
      rival.unsubscribe();
    });
    expect(result).toMatchObject({ confirmed: 300, pending: 0, setAside: [], renamedTo: null });
    expect(answered).toBe(3);
    expect((await door.entries()).filter(({ head }) => head.origin.includes(".fuzz."))).toHaveLength(300);
  });

  it("does not stop a follower that idles", async () => {
    const field = door.field("idle");
    const follower = field.follow({ url: door.natsUrl, token: await door.token("idle") });
    await sleep(300);
    for (let n = 0; n < 200; n++) nc.publish("receipt.relief.idle.t1", garbage(n, field.status().origin));
    await nc.flush();
    await field.append(update(number(1), { village: "after" }));
    await eventually("its receipt", async () => field.status().levels.SYNCED > 0);
    expect(field.status().levels.SYNCED).toBe(1);
    await follower.close();
    expect(await follower.done).toBeNull();
  });
});

describe("something that answers over HTTP instead of the hub", () => {
  const pretend = async (listener: RequestListener): Promise<string> => {
    const server = createServer(listener);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  const syncTo = async (url: string): Promise<unknown> => {
    const field = door.field(`portal-${new URL(url).port}`);
    await field.append(update(number(1), { village: "v" }));
    const error: unknown = await field.sync({ url, token: "t", maxTries: 2, sleep: async () => {} }).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    // Whatever it said, nothing is believed to be queued or confirmed.
    expect(field.status().levels).toEqual({ LOCAL: 1, QUEUED: 0, SYNCED: 0 });
    return error;
  };

  it.each<[string, RequestListener]>([
    ["a sign-in page", (_, response) => response.end("<html>Welcome to the hotel</html>")],
    ["a redirect to one", (_, response) => response.writeHead(302, { location: "http://127.0.0.1:9/login" }).end()],
    ["JSON of another kind", (_, response) => response.end('{"status":"ok"}')],
    ["JSON that is cut short", (_, response) => response.end('{"kind":"hello","nowMs":')],
    ["bytes that are not text", (_, response) => response.end(randomBytes(500))],
    [
      "an answer without an end",
      (_, response) => {
        response.write('{"kind":"');
        const more = setInterval(() => response.write("hello".repeat(50_000)), 1);
        response.on("close", () => clearInterval(more));
      },
    ],
    [
      "something that only pretends to queue",
      (request, response) =>
        request.url!.startsWith("/v1/ingress/hello")
          ? response
              .writeHead(503, { "content-type": "application/problem+json" })
              .end('{"code":"backend-unreachable","detail":"the log is away"}')
          : response.end("<html>ok</html>"),
    ],
  ])("is found out: %s", async (_, listener) => {
    expect(await syncTo(await pretend(listener))).toMatchObject({ code: "sync-gave-up", hint: expect.any(String) });
  });
});
