import { cpSync, rmSync } from "node:fs";
import { join } from "node:path";
import { EventStoreDBClient, jsonEvent } from "@eventstore/db-client";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { OriginId, Seq, Vector } from "../../services/core/index.ts";
import { acceptor } from "../../services/ingress/index.ts";
import { beginIncarnation, currentIncarnation, type Log } from "../../services/log/index.ts";
import { batchesOf, batchOf, frameOf } from "../support/batches.ts";
import { type Door, openDoor } from "../support/door.ts";
import { gate, number, registration } from "../support/hub.ts";
import { all, eventually } from "../support/temp.ts";

let door: Door;
beforeEach(async () => {
  door = await openDoor();
});
afterEach(() => door?.close());

const origin = (site: string, epoch = "abc"): OriginId => `relief.${site}.t1.${epoch}` as OriginId;
const send = async (of: OriginId, frame: Uint8Array): Promise<void> => {
  const transport = await door.transport(of.split(".")[1]!);
  expect(await (await transport.send(frame, of)).reply).toMatchObject({ kind: "receipt" });
};
/** A log that counts what is read of it. */
const counting = (log: Log): { readonly log: Log; readonly read: { points: number; scanned: number } } => {
  const read = { points: 0, scanned: 0 };
  return {
    read,
    log: {
      ...log,
      at: (of, seq) => {
        read.points++;
        return log.at(of, seq);
      },
      async *readOrigin(of, options) {
        for await (const entry of log.readOrigin(of, options)) {
          read.scanned++;
          yield entry;
        }
      },
    },
  };
};
const BAD = '{"phone":7}';
const GOOD = '{"phone":null}';

describe("a hello", () => {
  it("names the quarantined events since the last receipt with one point read each, however long the history is", async () => {
    const of = origin("juba");
    const texts = Array.from({ length: 600 }, (_, i) => (i % 100 === 50 ? BAD : GOOD));
    for (const batch of batchesOf(of, texts, 200)) await send(of, frameOf(batch));
    const { log, read } = counting(door.log);
    const fresh = acceptor({ log, gate });
    const seqsSince = async (since: Seq | null) =>
      (await fresh.hello({ origin: of, since }, 0)).receipt.quarantined.map(({ seq }) => seq);
    expect(await seqsSince(null)).toEqual([50, 150, 250, 350, 450, 550]);
    expect(await seqsSince(349 as Seq)).toEqual([350, 450, 550]);
    expect(await seqsSince(550 as Seq)).toEqual([]);
    expect(read.scanned).toBe(0);
    // Only the events that are reported are read: each names the one before it.
    expect(read.points).toBeLessThanOrEqual(6 + 3);
  });

  it("on a log that is older than the index searches the log once, a page at a time, and remembers", async () => {
    const of = origin("old");
    for (const batch of batchesOf(
      of,
      Array.from({ length: 300 }, (_, i) => (i % 100 === 50 ? BAD : GOOD)),
      100,
    ))
      await send(of, frameOf(batch));
    const entries = await all(door.log.readOrigin(of));
    // The same events as an older hub stored them: text inside the data, no mark.
    const client = EventStoreDBClient.connectionString(door.node.url);
    const old = origin("older");
    await client.appendToStream(
      `origin-${old}`,
      entries.map(({ head: { id: _, type, ...head }, content }) =>
        content.kind === "accepted"
          ? jsonEvent({ type, data: content.data as Record<string, string>, metadata: { ...head, origin: old } })
          : jsonEvent({
              type: "quarantined",
              data: { type, reason: { ...content.reason }, text: content.text },
              metadata: { ...head, origin: old },
            }),
      ),
    );
    await client.dispose();
    expect((await door.log.at(old, 50 as Seq))!.content).toEqual(entries[50]!.content);
    const { log, read } = counting(door.log);
    const fresh = acceptor({ log, gate });
    const ask = async (since: Seq | null) =>
      (await fresh.hello({ origin: old, since }, 0)).receipt.quarantined.map(({ seq }) => seq);
    expect(await ask(199 as Seq)).toEqual([250]);
    expect(read.scanned).toBe(100);
    expect(await Promise.all([ask(null), ask(null), ask(149 as Seq)])).toEqual([
      [50, 150, 250],
      [50, 150, 250],
      [150, 250],
    ]);
    expect(await ask(null)).toEqual([50, 150, 250]);
    expect(read.scanned).toBe(300);
  });

  it("repeats its nonce, gives hashes of events, names older origins of which the log lacks events, over NATS and HTTP", async () => {
    const of = origin("wau");
    for (const batch of batchesOf(
      of,
      Array.from({ length: 20 }, () => GOOD),
      10,
    ))
      await send(of, frameOf(batch));
    const kept = origin("wau", "kept");
    await send(kept, frameOf(batchOf(kept, [GOOD, GOOD])));
    const foreign = origin("foreign");
    const asked = {
      origin: of,
      since: 19 as Seq,
      nonce: "n".repeat(20),
      hashesOf: [0, 7, 19, 20] as Seq[],
      others: [
        { origin: kept, through: 1 as Seq },
        { origin: origin("wau", "lost"), through: 4 as Seq },
        { origin: foreign, through: 4 as Seq },
      ],
    };
    const stored = await all(door.log.readOrigin(of));
    const expected = {
      kind: "hello",
      nonce: asked.nonce,
      hashes: [
        { seq: 0, hash: stored[0]!.head.hash },
        { seq: 7, hash: stored[7]!.head.hash },
        { seq: 19, hash: stored[19]!.head.hash },
        { seq: 20, hash: null },
      ],
      behind: [{ origin: origin("wau", "lost"), through: null }],
      receipt: { through: 19, incarnation: (await currentIncarnation(door.log.journal)).id },
    };
    const transport = await door.transport("wau");
    expect(await transport.hello(asked)).toMatchObject({ kind: "hello", hello: expected });
    const headers = { authorization: `Bearer ${await door.token("wau")}` };
    const { origin: _, since: __, ...rest } = asked;
    const url = `${door.ingress.http!.url}/v1/ingress/hello`;
    const posted = await fetch(`${url}?origin=${of}&since=19`, { method: "POST", headers, body: JSON.stringify(rest) });
    expect(await posted.json()).toMatchObject(expected);
    expect(await (await fetch(url, { method: "POST", headers, body: JSON.stringify(asked) })).json()).toMatchObject(expected);
    expect(await (await fetch(`${url}?origin=${of}&since=`, { headers })).json()).toMatchObject({ receipt: { through: 19 } });
    for (const body of ["{", "[]", "7"])
      expect((await fetch(`${url}?origin=${of}&since=`, { method: "POST", headers, body })).status).toBe(400);
  });
});

describe("a log that was set back under a running hub", () => {
  it("has everything again after the devices have sent again: nothing is confirmed only because the hub remembers it", async () => {
    const field = door.field("juba");
    const token = await door.token("juba");
    const url = door.natsUrl;
    await field.append(registration(number(1)));
    await field.sync({ url, token });
    await door.stopNode();
    const copy = join(door.dir, "copy");
    cpSync(join(door.dir, "log"), copy, { recursive: true });
    await door.startNode();
    await field.appendMany([registration(number(2)), registration(number(3))]);
    await eventually("the sync", async () => (await field.sync({ url, token })).pending === 0);
    // The log is set back between two looks: no call is under way that could fail.
    await door.stopNode();
    rmSync(join(door.dir, "log"), { recursive: true });
    cpSync(copy, join(door.dir, "log"), { recursive: true });
    await door.startNode();
    await field.append(registration(number(4)));
    await eventually("the sync", async () => (await field.sync({ url, token, again: true })).pending === 0);
    const stored = await all(door.log.readOrigin(field.status().origin as OriginId));
    expect(stored.map(({ head }) => head.hash)).toEqual([...field.events()].map(({ hash }) => hash));
  });

  it("is reported: a device that holds receipts for more is named once and shown as a warning, until it has sent again", async () => {
    const of = origin("wau");
    const batches = batchesOf(
      of,
      Array.from({ length: 4 }, () => GOOD),
      2,
    );
    await send(of, frameOf(batches[0]!));
    const transport = await door.transport("wau");
    for (let i = 0; i < 3; i++)
      expect(await transport.hello({ origin: of, since: 3 as Seq })).toMatchObject({ hello: { receipt: { through: 1 } } });
    expect(door.said.filter(({ event }) => event === "restored-behind")).toMatchObject([{ origin: of, since: 3, through: 1 }]);
    expect(await door.get("/readyz")).toMatchObject({
      status: 200,
      body: { incarnation: "warning", warnings: [{ part: "incarnation", reason: expect.stringContaining("restored-behind") }] },
    });
    await send(of, frameOf(batches[1]!));
    expect(await door.get("/readyz")).toMatchObject({ body: { incarnation: "ok", warnings: [] } });
  });

  it("in a new incarnation gives receipts of the new one, and warns until an operator has confirmed it", async () => {
    const before = await currentIncarnation(door.log.journal);
    const next = await beginIncarnation(door.log.journal, before.id, { how: "detected", by: "projector" });
    const transport = await door.transport("wau");
    await eventually("the new incarnation", async () => {
      const outcome = await transport.hello({ origin: origin("wau"), since: null });
      return outcome.kind === "hello" && outcome.hello.receipt.incarnation === next.id;
    });
    expect(door.said.filter(({ event }) => event === "incarnation-began")).toMatchObject([
      { incarnation: next.id, how: "detected" },
    ]);
    expect(await door.get("/readyz")).toMatchObject({ status: 200, body: { incarnation: "warning" } });
  });
});

describe("an event as large as a device admits", () => {
  const MAX_DATA = 1_048_576 - 2 * 16_384;
  /** A JSON text of exactly this many bytes, full of what JSON escapes. */
  const textOf = (bytes: number, member: string): string => {
    const unit = "\\\"\\u0001\\\\'\\n";
    const frame = `{"${member}":""}`.length;
    const body = unit.repeat(Math.floor((bytes - frame) / unit.length));
    return `{"${member}":"${body}${"x".repeat(bytes - frame - body.length)}"}`;
  };
  const basisOf = (count: number): Vector =>
    Object.fromEntries(
      Array.from({ length: count }, (_, i) => [
        `relief.site-with-a-long-name-${i}.tablet-${i}.epoch${i
          .toString(36)
          .padStart(7, "a")
          .replace(/[0189]/g, "b")}`,
        i,
      ]),
    ) as Vector;

  it.each([
    ["that fits", "village", 0],
    ["that fits, by an author who had seen 300 others", "village", 300],
    ["that fits, by an author who had seen 2,000 others", "village", 2_000],
    ["that does not fit", "phone", 0],
    ["that does not fit, by an author who had seen 300 others", "phone", 300],
    ["that does not fit, by an author who had seen 2,000 others", "phone", 2_000],
    ["that is not an object of any form", "nonsense", 2_000],
  ])("and %s is in the log, accepted or in quarantine, with its text and its hash", async (_, member, others) => {
    const of = origin("large");
    const text = textOf(MAX_DATA, member);
    expect(Buffer.byteLength(text)).toBe(MAX_DATA);
    const batch = batchOf(of, [text, GOOD], { basis: basisOf(others) });
    await send(of, frameOf(batch));
    const [entry, after] = await all(door.log.readOrigin(of));
    expect(after!.head.hash).toBe(batch.head);
    expect(entry!.head.basis).toEqual(batch.events[0]!.head.basis);
    const { content } = entry!;
    if (content.kind === "quarantined") {
      expect(content.text === text).toBe(true);
      expect(content.reason.message.length).toBeLessThan(400);
    } else expect(JSON.stringify(content.data) === text).toBe(true);
    expect(await door.log.head(of)).toMatchObject({ through: 1, lastQuarantined: content.kind === "quarantined" ? 0 : null });
  });
});
