import { headers, type NatsConnection } from "nats";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { Hash, OriginId } from "../../services/core/index.ts";
import { CONSUMER, MAX_DEVICE_BATCHES, STREAM } from "../../services/ingress/index.ts";
import { batchesOf, batchOf, frameOf } from "../support/batches.ts";
import { connectAs } from "../support/broker.ts";
import { type Door, openDoor } from "../support/door.ts";
import { number, registration } from "../support/hub.ts";
import { all, eventually } from "../support/temp.ts";

let door: Door;
let nc: NatsConnection;
beforeEach(async () => {
  door = await openDoor();
  nc = await connectAs(door.natsUrl);
});
afterEach(async () => {
  await nc?.close();
  await door?.close();
});

const origin = (site: string, device: string): OriginId => `relief.${site}.${device}.abc` as OriginId;
const queue = (of: OriginId, frame: Uint8Array, token: string): Promise<unknown> => {
  const about = headers();
  about.set("Authorization", `Bearer ${token}`);
  return nc.jetstream().publish(`ingress.${of.split(".").slice(0, 3).join(".")}`, frame, { headers: about });
};
/** The sites of the accepted batches, in the order in which the hub took them. */
const taken = (): string[] =>
  door.said.filter(({ event }) => event === "batch-accepted").map(({ origin }) => String(origin).split(".")[1]!);
const replies = (site: string): { readonly codes: string[]; close(): void } => {
  const codes: string[] = [];
  const heard = nc.subscribe(`receipt.relief.${site}.>`, {
    callback: (_, message) => {
      const reply = message.json<{ kind: string; code?: string }>();
      codes.push(reply.code ?? reply.kind);
    },
  });
  return { codes, close: () => heard.unsubscribe() };
};
const mixed = (i: number): string => JSON.stringify({ village: `${i} ${Math.sin(i)}`.repeat(20) });

describe("a site that sends what it should not stops no other", () => {
  it("a hundred batches with a gap are refused at once, without waiting in a slot and without being handed out again", async () => {
    const bad = await door.token("bad");
    const heard = replies("bad");
    const gap = frameOf(batchOf(origin("bad", "t1"), ["{}"], { firstSeq: 7, prev: "a".repeat(64) as Hash }));
    await Promise.all(Array.from({ length: 100 }, () => queue(origin("bad", "t1"), gap, bad)));
    const field = door.field("good");
    await field.append(registration(number(1)));
    expect(await field.sync({ url: door.natsUrl, token: await door.token("good") })).toMatchObject({ confirmed: 1 });
    await eventually("a word on each", async () => heard.codes.length === 100);
    expect(new Set(heard.codes)).toEqual(new Set(["batch-gap"]));
    const info = await (await nc.jetstreamManager()).consumers.info(STREAM, CONSUMER);
    expect(info).toMatchObject({ num_redelivered: 0, num_ack_pending: 0, num_pending: 0 });
    expect(info.delivered.consumer_seq).toBe(101);
  });

  it("a flood of large batches waits before a good site's one batch, which is among the first five that are taken", async () => {
    const bad = await door.token("bad");
    await door.ingress.close();
    let flood = 0;
    for (let device = 0; device < 6; device++)
      for (const batch of batchesOf(
        origin("bad", `t${device}`),
        Array.from({ length: 900 }, (_, i) => mixed(i)),
        300,
      )) {
        await queue(origin("bad", `t${device}`), frameOf(batch), bad);
        flood++;
      }
    await queue(origin("good", "t1"), frameOf(batchOf(origin("good", "t1"), ["{}"])), await door.token("good"));
    door.ingress = await door.startIngress();
    await eventually("all batches", async () => taken().length === flood + 1);
    // All were there when the hub began: whatever was begun before the good batch was read may end before it.
    expect(taken().indexOf("good")).toBeLessThanOrEqual(4);
    for (let device = 0; device < 6; device++)
      expect(await all(door.log.readOrigin(origin("bad", `t${device}`)))).toHaveLength(900);
  });

  it("more than a site's slots hold: the rest waits at the broker, comes back in order, and all is taken once", async () => {
    const bad = await door.token("bad");
    await door.ingress.close();
    const devices = Array.from({ length: 5 }, (_, i) => `t${i}`);
    for (const device of devices)
      for (const batch of batchesOf(
        origin("bad", device),
        Array.from({ length: 100 }, () => "{}"),
        1,
      ))
        await queue(origin("bad", device), frameOf(batch), bad);
    await queue(origin("good", "t1"), frameOf(batchOf(origin("good", "t1"), ["{}"])), await door.token("good"));
    const heard = replies("bad");
    door.ingress = await door.startIngress();
    await eventually("all batches", async () => taken().length === 501);
    expect(heard.codes.filter((code) => code !== "receipt")).toEqual([]);
    expect(taken().indexOf("good")).toBeLessThan(300);
    for (const device of devices) {
      const seqs = (await all(door.log.readOrigin(origin("bad", device)))).map(({ head }) => head.seq);
      expect(seqs).toEqual(Array.from({ length: 100 }, (_, i) => i));
    }
  });

  it("a token of another site is refused before it takes a slot, and so is one that is used on another site's subject", async () => {
    const other = await door.token("other");
    const heard = replies("bad");
    const frame = frameOf(batchOf(origin("bad", "t1"), ["{}"]));
    await Promise.all(Array.from({ length: 50 }, () => queue(origin("bad", "t1"), frame, other)));
    await eventually("a word on each", async () => heard.codes.length === 50);
    expect(new Set(heard.codes)).toEqual(new Set(["token-site"]));
    expect(await door.log.head(origin("bad", "t1"))).toBeNull();
  });

  it("one device may have a bounded number of batches at the broker; beyond that, it is told so, and others still find room", async () => {
    await door.ingress.close();
    const bad = await door.token("bad");
    const frame = frameOf(batchOf(origin("bad", "t1"), ["{}"]));
    for (let i = 0; i < MAX_DEVICE_BATCHES; i++) await queue(origin("bad", "t1"), frame, bad);
    await expect(queue(origin("bad", "t1"), frame, bad)).rejects.toMatchObject({ message: expect.stringContaining("503") });
    await queue(origin("good", "t1"), frameOf(batchOf(origin("good", "t1"), ["{}"])), await door.token("good"));
    door.ingress = await door.startIngress();
    await eventually("the other's event", async () => (await door.log.head(origin("good", "t1"))) !== null);
  });
});
