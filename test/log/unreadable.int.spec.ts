import { EventStoreDBClient, jsonEvent } from "@eventstore/db-client";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type OriginId, type Seq, TributaryError } from "../../services/core/index.ts";
import { randomEpoch } from "../../services/core/node.ts";
import { type Log, openLog } from "../../services/log/index.ts";
import { type EmbeddedNode, startNode } from "../../services/log/node/index.ts";
import { WAIT_MS } from "../support/patience.ts";
import { all } from "../support/temp.ts";

const HASH = "ab".repeat(32);

const whole = (origin: string, seq: number): Record<string, unknown> => ({
  origin,
  seq,
  prev: "0".repeat(64),
  hash: HASH,
  entity: { type: "thing", id: "t" },
  schema: { subject: "thing", version: 1 },
  actor: "a",
  org: "relief",
  occurredAt: "2026-10-01T00:00:00.000Z",
  hlc: "2026-10-01T00:00:00.000Z-0000",
  basis: {},
});

/** What is wrong with the metadata, the change that makes it so, and the words in which a reader is told. */
const DAMAGES: readonly (readonly [damage: string, change: Record<string, unknown>, said: string])[] = [
  ["an origin that is a number", { origin: 7 }, "origin is not written org.site.device.epoch"],
  ["a hash that was cut short", { hash: HASH.slice(1) }, "hash is not a SHA-256 in hexadecimal"],
  ["no hash", { hash: undefined }, "hash is not a SHA-256 in hexadecimal"],
  ["no seq", { seq: undefined }, "seq is not a whole number"],
  ["a seq below 0", { seq: -1 }, "seq is not a whole number"],
  ["an entity that is a text", { entity: "thing/t" }, "entity is not an object"],
  ["a schema without a version", { schema: { subject: "thing" } }, "schema.version is not a whole number"],
  ["an actor that is null", { actor: null }, "actor is not a text"],
  ["a clock stamp of another form", { hlc: "yesterday" }, "hlc is not a clock stamp"],
  ["a basis that is a list", { basis: [1] }, "basis is not an object"],
  ["a basis that names no origin", { basis: { somebody: 1 } }, "basis is not a vector"],
  ["a basis that counts in texts", { basis: { "a.b.c.d": "1" } }, "basis is not a vector"],
  ["a clock note without a number", { clock: {} }, "clock.offsetMs is not a number"],
  ["a signature without a key", { signed: { value: "x" } }, "signed.kid is not the id of a key"],
  ["a mark that is a text", { lastQuarantined: "3" }, "lastQuarantined is not a whole number"],
  ["a quarantine without a reason", { quarantined: { type: "thing.noted" } }, "quarantined.reason is not an object"],
];

describe("an event whose metadata are malformed", () => {
  let node: EmbeddedNode;
  let log: Log;
  let client: EventStoreDBClient;
  beforeAll(async () => {
    node = await startNode();
    log = openLog(node.url);
    client = EventStoreDBClient.connectionString(node.url);
  });
  afterAll(async () => {
    await client.dispose();
    await log.close();
    await node.close();
  });

  /** Writes a good event and a malformed one, as another program could. */
  async function write(change: Record<string, unknown>): Promise<OriginId> {
    const origin = `relief.test.t1.${randomEpoch()}` as OriginId;
    for (const metadata of [whole(origin, 0), { ...whole(origin, 1), ...change }])
      await client.appendToStream(`origin-${origin}`, jsonEvent({ type: "thing.noted", data: { v: 1 }, metadata }));
    return origin;
  }

  it.each(DAMAGES)(
    "with %s is `data-corrupt` for readers and followers, who are told where it stands",
    async (_, change, said) => {
      const from = await log.end();
      const origin = await write(change);
      const end = await log.end();
      const corrupt = {
        code: "data-corrupt",
        message: `event 1 of origin-${origin}, at position ${end}, cannot be read: ${said}`,
      };
      await expect(all(log.readOrigin(origin))).rejects.toMatchObject(corrupt);
      await expect(log.at(origin, 1 as Seq)).rejects.toMatchObject(corrupt);
      await expect(log.head(origin)).rejects.toMatchObject(corrupt);
      const { position: first } = (await log.at(origin, 0 as Seq))!;
      await expect(all(log.readAll({ from: first }))).rejects.toMatchObject(corrupt);

      const seen: string[] = [];
      const follow = async (): Promise<void> => {
        for await (const { entries } of log.subscribe({ after: from, signal: AbortSignal.timeout(WAIT_MS) }))
          seen.push(...entries.map(({ head }) => `${head.origin}/${head.seq}`));
      };
      await expect(follow()).rejects.toBeInstanceOf(TributaryError);
      await expect(follow()).rejects.toMatchObject(corrupt);
      // The event before it is delivered all the same, and the process goes on.
      expect(seen).toEqual([`${origin}/0`, `${origin}/0`]);
      expect(await log.end()).toBe(end);
    },
  );

  it("that another program wrote, without an envelope, is passed over", async () => {
    const from = await log.end();
    const origin = await write({ origin: undefined, hash: undefined });
    expect((await all(log.readOrigin(origin))).map(({ head }) => head.seq)).toEqual([0]);
    for await (const { entries } of log.subscribe({ after: from })) {
      expect(entries.map(({ head }) => [head.origin, head.seq])).toEqual([[origin, 0]]);
      break;
    }
  });
});
