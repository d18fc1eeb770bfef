import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, it } from "vitest";
import { decodeBatch, type OriginId, publicKeySchema, runText, type SignedHead, type Vector } from "../../services/core/index.ts";
import { isSignedBy, keyIdOf, zstd } from "../../services/core/node.ts";
import { frameCutter } from "../../services/field/frames.ts";
import { openHeads } from "../../services/field/heads.ts";
import { type Field, openField } from "../../services/field/index.ts";
import { deviceKey, noteProtocol, openIdentity } from "../../services/field/keys.ts";
import { eventReader } from "../../services/field/reading.ts";
import { createGate } from "../../services/gate/index.ts";
import { loadSchemas } from "../../services/gate/node.ts";
import { gate, number, registration, update } from "../support/hub.ts";
import { tempDir } from "../support/temp.ts";

const open = (device: string, path = join(tempDir(), `${device}.db`)): Field =>
  openField({ path, name: { org: "relief", site: "juba", device }, schemas: gate });
const person = { type: "beneficiary", id: number(1) };
const originOf = (field: Field): OriginId => field.store.current().name;
const isGood = (field: Field, { signature, ...of }: SignedHead): boolean => {
  const { kty, crv, x } = deviceKey(field.store);
  const key = publicKeySchema.parse({ kty, crv, x });
  return isSignedBy(key, runText(of), { kid: keyIdOf(key), value: signature });
};
/** The heads in the frame that a device would send of all it has. */
function sent(field: Field, version: 1 | 2 = 2) {
  noteProtocol(field.store, { oldest: 1, newest: version });
  const identity = openIdentity(field.store, { url: "nats://x", now: Date.now });
  const origin = field.store.current();
  const cut = frameCutter(eventReader(field.store), gate, identity, openHeads(field.store)).cut({
    ...{ origin, firstSeq: 0, toSeq: origin.lastSeq, maxEvents: 500, aimBytes: 1e6, maxBytes: 1e6, avro: {} },
    ...{ sentAtMs: Date.now(), isCareful: false, prev: undefined },
  });
  if (cut.kind !== "frame") throw new Error(cut.reason);
  return decodeBatch(cut.frame, zstd).heads ?? [];
}

describe("the signed heads that a device hands on with what it has seen", () => {
  it("are signed by its key, of the last event about the entity, and travel with what another device writes on top", async () => {
    using first = open("t1");
    using second = open("t2");
    await first.append(registration(number(1)));
    await first.append(registration(number(2)));
    const heads = first.signedHeads(person);
    expect(heads).toMatchObject([{ origin: originOf(first), through: 0, head: [...first.events()][0]!.hash }]);
    expect(isGood(first, heads[0]!)).toBe(true);

    second.noteSeen(person, first.seen(person), JSON.parse(JSON.stringify(heads)));
    await second.append(registration(number(3)));
    expect(sent(second)).toEqual([]);
    await second.append(update(number(1), { village: "Gumbo" }));
    expect(sent(second)).toMatchObject([{ origin: originOf(first), through: 0, head: heads[0]!.head }]);
    // A hub of the version before has no member for them, and believed without them.
    expect(sent(second, 1)).toEqual([]);
  });

  it("are there again after the device was switched off, the furthest of each origin, and are handed on to a third", async () => {
    const path = join(tempDir(), "t2.db");
    using first = open("t1");
    const second = open("t2", path);
    await first.append(registration(number(1)));
    const early = [first.seen(person), first.signedHeads(person)] as const;
    await first.append(update(number(1), { village: "Gumbo" }));
    second.noteSeen(person, first.seen(person), first.signedHeads(person));
    second.noteSeen(person, ...early);
    await second.append(update(number(1), { village: "Kator" }));
    second.close();
    using again = open("t2", path);
    const handed = again.signedHeads(person);
    expect(Object.fromEntries(handed.map(({ origin, through }) => [origin, through]))).toEqual({
      [originOf(first)]: 1,
      [originOf(again)]: 0,
    });
    expect(isGood(first, handed.find(({ origin }) => origin === originOf(first))!)).toBe(true);
  });

  it("say nothing about events that came to the device without proof", async () => {
    using first = open("t1");
    using second = open("t2");
    await first.append(registration(number(1)));
    await first.append(update(number(1), { village: "Gumbo" }));
    const [head] = first.signedHeads(person);
    second.noteSeen(person, { [originOf(first)]: 5 } as Vector, [head!]);
    expect(second.signedHeads(person)).toEqual([]);
  });

  it("that are malformed are refused, and nothing of them is noted; only the device itself makes its own heads", async () => {
    using field = open("t1");
    await field.append(registration(number(1)));
    const other = "relief.juba.t9.abc" as OriginId;
    const head = field.signedHeads(person)[0]!;
    for (const bad of [
      { ...head, origin: "juba" },
      { ...head, through: -1 },
      { ...head, signature: "x" },
      { ...head, head: "y" },
      {},
    ])
      expect(() => field.noteSeen(person, { [other]: 3 } as Vector, [bad as SignedHead])).toThrow();
    expect(field.seen(person)).toEqual({ [originOf(field)]: 0 });
    field.noteSeen(person, { [other]: 3 } as Vector, [{ ...head, through: 7 as SignedHead["through"] }]);
    expect(field.signedHeads(person)).toEqual([head]);
  });

  it("need no change of an older database: it gets their table when the first one comes", async () => {
    const path = join(tempDir(), "t2.db");
    open("t2", path).close();
    const tables = () => {
      using db = new DatabaseSync(path);
      return db.prepare("SELECT name FROM sqlite_master WHERE name = 'signed_head'").all().length;
    };
    expect(tables()).toBe(0);
    using first = open("t1");
    using second = open("t2", path);
    await first.append(registration(number(1)));
    second.noteSeen(person, first.seen(person), first.signedHeads(person));
    expect(tables()).toBe(1);
  });
});

it("data that Avro would make longer than their text travel as text: what was admitted by its size has that size on the wire", async () => {
  const dir = tempDir();
  mkdirSync(join(dir, "reading"));
  const schema = {
    ...{
      type: "record",
      name: "Reading",
      namespace: "relief",
      fields: [{ name: "values", type: { type: "array", items: "double" } }],
    },
    tributary: { entity: "reading", events: ["reading.taken"], title: "Reading", personal: [] },
  };
  writeFileSync(join(dir, "reading", "v1.avsc"), JSON.stringify(schema));
  const own = createGate(loadSchemas(dir));
  using field = openField({ path: join(dir, "f.db"), name: { org: "relief", site: "juba", device: "t1" }, schemas: own });
  for (const values of [[0.1234567890123], Array.from({ length: 1_000 }, (_, i) => i % 10)])
    await field.append({ type: "reading.taken", entity: { type: "reading", id: "R" }, actor: "a", data: { values } });
  const identity = openIdentity(field.store, { url: "nats://x", now: Date.now });
  const origin = field.store.current();
  const cut = frameCutter(eventReader(field.store), own, identity, openHeads(field.store)).cut({
    ...{ origin, firstSeq: 0, toSeq: 1, maxEvents: 500, aimBytes: 1e6, maxBytes: 1e6, avro: { "reading@1": "known" } },
    ...{ sentAtMs: Date.now(), isCareful: false, prev: undefined },
  });
  if (cut.kind !== "frame") throw new Error(cut.reason);
  expect(cut.batch.events.map(({ encoding }) => encoding)).toEqual(["avro", "json"]);
});
