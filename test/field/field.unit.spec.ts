import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { helloSchema, type JsonObject, type Member } from "../../services/core/index.ts";
import { type NewEvent, openField, pauseMs } from "../../services/field/index.ts";
import { openIdentity } from "../../services/field/keys.ts";
import { openOutbox } from "../../services/field/outbox.ts";
import { emptyTally } from "../../services/field/push/pass.ts";
import { pushAll } from "../../services/field/push/push.ts";
import type { Transport } from "../../services/field/way.ts";
import { freePort } from "../../services/local/index.ts";
import { gate, number, registration, SCHEMAS, update } from "../support/hub.ts";
import { beyondOf, MEMBERS, saidOf, withMember } from "../support/ranges.ts";
import { tempDir } from "../support/temp.ts";

const NAME = { org: "relief", site: "juba", device: "t1" };
const open = (path = join(tempDir(), "f.db"), more: Partial<Parameters<typeof openField>[0]> = {}) =>
  openField({ path, name: NAME, schemas: gate, ...more });

describe("an event on the device", () => {
  it("is there again after the device was switched off, with its chain and number (I3)", async () => {
    const path = join(tempDir(), "f.db");
    const first = open(path);
    const [a, b] = await Promise.all([
      first.append(registration(number(1))),
      first.append(update(number(1), { phone: "+211900000001" })),
    ]);
    first.close();
    using second = open(path);
    const c = await second.append(update(number(1), { village: "Gumbo" }));
    expect([a!.seq, b!.seq, c.seq]).toEqual([0, 1, 2]);
    expect([...second.events()].map(({ hash }) => hash)).toEqual([a!.hash, b!.hash, c.hash]);
    expect(second.seen({ type: "beneficiary", id: number(1) })).toEqual({ [c.origin]: 2 });
  });

  it("that does not fit its schema is refused, and the others written at the same time are kept", async () => {
    using field = open();
    const results = await Promise.allSettled([
      field.append(registration(number(1))),
      field.append(update(number(1), { phone: "12" })),
      field.append(registration(number(2))),
    ]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(results[1]).toMatchObject({ reason: { code: "event-invalid", message: expect.stringContaining("phone '12'") } });
    expect(field.status().events).toBe(2);
  });

  it.each(MEMBERS.flatMap(([member, range]) => beyondOf(range).map((value): [Member, string | number] => [member, value])))(
    "beyond what the hub can hold is refused, and nothing is written, even if misfits are kept: %s %j",
    async (member, value) => {
      using field = open();
      const event = { ...saidOf(withMember(member, value)), data: { village: "Gumbo" } };
      for (const onInvalid of ["keep", "refuse"] as const)
        await expect(field.append(event, { onInvalid })).rejects.toMatchObject({ code: "event-invalid" });
      expect(field.status().events).toBe(0);
    },
  );

  it("with U+0000 in its data is refused by the field's name, or kept with the reason", async () => {
    using field = open();
    const event = update(number(1), { village: "Gum\0bo" });
    const message = 'village "Gum\\u0000bo" holds the character U+0000, which no database text can hold';
    await expect(field.append(event)).rejects.toMatchObject({
      code: "event-invalid",
      message: `beneficiary.updated: ${message}`,
    });
    expect(field.status().events).toBe(0);
    expect(await field.append(event, { onInvalid: "keep" })).toMatchObject({
      problem: { code: "out-of-range", message, path: "/village" },
    });
  });

  it("that names thousands of others' events leaves less room for its data", async () => {
    using field = open();
    const entity = { type: "assessment", id: "A-1" };
    const seen = Object.fromEntries(Array.from({ length: 5_000 }, (_, n) => [`relief.juba.t${n}.aaaaaaaaaaaa`, n]));
    field.noteSeen(entity, seen as Parameters<typeof field.noteSeen>[1]);
    const assessed = { assessment_no: "A-1", settlement: "S", assessed_on: "2026-05-03", households: 1, severity: "CRISIS" };
    const event = { type: "assessment.submitted", entity, actor: "deng", data: { ...assessed, note: "x".repeat(900_000) } };
    await expect(field.append(event)).rejects.toMatchObject({ code: "event-too-large" });
    await field.append({ ...event, data: { ...assessed, note: "x" } });
    expect(field.status().events).toBe(1);
  });

  it("over 1 MiB is refused, and nothing is written", async () => {
    using field = open();
    const data = { ...registration(number(1)).data, given_name: "x".repeat(1_100_000) };
    await expect(field.append({ ...registration(number(1)), data }, { onInvalid: "keep" })).rejects.toMatchObject({
      code: "event-too-large",
    });
    expect(field.status().events).toBe(0);
  });

  it("of an unknown type is refused by name", async () => {
    using field = open();
    await expect(field.append({ ...registration(number(1)), type: "weather.seen" })).rejects.toMatchObject({
      code: "schema-unknown",
    });
  });

  it("is refused when the disk is full, and all earlier ones are safe (I7)", async () => {
    const path = join(tempDir(), "f.db");
    open(path).close();
    const field = open(path, { maxPages: 24 });
    let written = 0;
    const filling = (async () => {
      for (let i = 0; i < 500; i++) {
        await field.appendMany([registration(number(i))]);
        written++;
      }
    })();
    await expect(filling).rejects.toMatchObject({ code: "disk-full", hint: expect.stringContaining("earlier events are safe") });
    field.close();
    using again = open(path);
    expect(again.status().events).toBe(written);
    expect(written).toBeGreaterThan(0);
    await again.append(registration(number(900)));
    expect(again.status().events).toBe(written + 1);
  });

  it("keeps its order when the wall clock jumps back two years", async () => {
    let now = Date.parse("2026-05-01");
    using field = open(undefined, { now: () => now });
    await field.append(registration(number(1)));
    now -= 2 * 365 * 86_400_000;
    await field.append(update(number(1), { village: "Gumbo" }));
    const stamps = field.store.db
      .prepare("SELECT head FROM event ORDER BY seq")
      .all()
      .map((row) => (JSON.parse(row.head as string) as { hlc: string }).hlc);
    expect(stamps[1]! > stamps[0]!).toBe(true);
  });

  it.each<[string, NewEvent, RegExp]>([
    [
      "with what JSON cannot say",
      { ...registration(number(1)), data: { seen: new Date(0) } as unknown as JsonObject },
      /data\.seen is a Date/,
    ],
    [
      "that is about another kind of thing than its form",
      { ...registration(number(1)), entity: { type: "distribution", id: number(1) } },
      /beneficiary is about a beneficiary, not a distribution/,
    ],
    [
      "that has another key than its data say",
      { ...registration(number(1)), entity: { type: "beneficiary", id: number(2) } },
      /the event is about beneficiary\/\S+, but its registration_no says \S+/,
    ],
  ])("%s is refused on the device, and nothing is written", async (_, event, message) => {
    using field = open();
    await expect(field.append(event)).rejects.toMatchObject({ code: "event-invalid", message: expect.stringMatching(message) });
    expect(field.status().events).toBe(0);
  });

  it("is about the same person, whatever invisible marks were pasted with the person's number", async () => {
    using field = open();
    await field.append(registration(number(1)));
    const { data } = update(`${number(1)}\u200e`, { phone: "\u202a+211900000001\u202c" });
    await field.append({ ...update(`${number(1)}\u200e`, {}), data });
    const [, second] = [...field.events()];
    expect(second).toMatchObject({ entity: { type: "beneficiary", id: number(1) }, data: '{"phone":"+211900000001"}' });
  });

  it("keeps the time when it happened, even if the clock once ran ahead or had lost the time", async () => {
    let now = Date.parse("2099-01-01T00:00:00Z");
    using field = open(undefined, { now: () => now });
    await field.append(registration(number(1)));
    now = Date.parse("2026-05-03T08:00:00.000Z");
    await field.append(update(number(1), { village: "Gumbo" }));
    now = 300_000;
    await field.append(update(number(1), { village: "Kator" }));
    const at = field.store.db
      .prepare("SELECT head FROM event ORDER BY seq")
      .all()
      .map(({ head }) => JSON.parse(String(head)).occurredAt.slice(0, 10));
    expect(at.slice(0, 2)).toEqual(["2099-01-01", "2026-05-03"]);
    expect(at[2]).not.toBe("1970-01-01");
  });
});

describe("a device's clock", () => {
  /** The stamp and the time of the event that is written after a sync with a hub; `device`: what the device's clock shows at each of its events, the last one after the sync. */
  async function afterHearing(
    hubAt: string,
    device: readonly string[],
  ): Promise<{ readonly hlc: string; readonly occurredAt: string }> {
    let nowMs = 0;
    const now = (): number => nowMs;
    using field = open(undefined, { now });
    const { store } = field;
    const write = async (at: string, village: string): Promise<void> => {
      nowMs = Date.parse(at);
      await field.append(update(number(1), { village }));
    };
    const last = device.at(-1) ?? "";
    for (const at of device.slice(0, -1)) await write(at, "Gumbo");
    nowMs = Date.parse(last);
    const head = [...field.events()].at(-1);
    const receipt = {
      kind: "receipt",
      batch: null,
      through: head?.seq ?? null,
      head: head?.hash ?? null,
      position: "1",
    } as const;
    const hub: Transport = {
      ...{ window: 1, tellsArrival: false, maxFrameBytes: 100_000, isOpen: true, sentBytes: 0, receivedBytes: 0 },
      identity: openIdentity(store, { url: "http://hub", token: "t", now }),
      hello: async ({ origin, nonce = "" }) => ({
        kind: "hello",
        hello: helloSchema.parse({
          ...{ kind: "hello", nowMs: Date.parse(hubAt), nonce, avro: {} },
          receipt: { ...receipt, origin, quarantined: [] },
        }),
      }),
      ask: () => Promise.reject(new Error("nothing else is asked")),
      pull: () => Promise.reject(new Error("nothing is pulled")),
      send() {
        throw new Error("the hub has everything");
      },
      close: async () => {},
    };
    const tally = emptyTally();
    await pushAll({ store, gate, outbox: openOutbox(store, gate, now), schemas: null, now }, hub, {}, tally);
    expect(tally.confirmed).toBe(device.length - 1);
    await write(last, "Kator");
    const row = store.db.prepare("SELECT head FROM event ORDER BY seq DESC LIMIT 1").get();
    return JSON.parse(String(row?.head)) as { hlc: string; occurredAt: string };
  }

  const EIGHT = "2026-05-03T08:00:00.000Z";
  const FAR = "2099-01-01T00:00:00.000Z";
  const LOST = "1970-01-01T00:05:00.000Z";
  const AHEAD = "2026-05-03T08:04:00.000Z";
  it.each<[string, string, string[], string]>([
    [
      "a hub whose clock is a few minutes ahead: what is written next comes after what was heard",
      AHEAD,
      [EIGHT, EIGHT],
      `${AHEAD}-0001`,
    ],
    ["the same before it has written anything", AHEAD, [EIGHT], `${AHEAD}-0001`],
    ["a hub whose clock is behind: its own stamps go on", "2026-05-03T07:56:00.000Z", [EIGHT, EIGHT], `${EIGHT}-0001`],
    ["a hub whose clock is far ahead: that is not taken in", FAR, [EIGHT, EIGHT], `${EIGHT}-0001`],
    ["a hub whose clock is far ahead, before it has written anything", FAR, [EIGHT], `${EIGHT}-0000`],
    ["a hub whose clock is right, after it once ran far ahead itself: it starts again", AHEAD, [FAR, EIGHT], `${AHEAD}-0001`],
    ["a hub, when it has lost the time itself: the hub's is believed", EIGHT, [LOST, LOST], `${EIGHT}-0001`],
  ])("hears %s", async (_, hubAt, device, stamp) => {
    expect((await afterHearing(hubAt, device)).hlc).toBe(stamp);
  });

  it("does not change when an event happened", async () => {
    expect((await afterHearing(AHEAD, [EIGHT, EIGHT])).occurredAt).toBe(EIGHT);
    expect((await afterHearing(EIGHT, [LOST, LOST])).occurredAt).toBe(EIGHT);
  });
});

describe("a database file", () => {
  it("of the version before is brought up to date when it is opened, and its events stay as they are", async () => {
    const path = join(tempDir(), "f.db");
    const first = open(path, { schemas: SCHEMAS });
    await first.append(registration(number(1)));
    const before = [...first.events()];
    first.store.db.exec(`
      ${first.store.db
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'replica_%'")
        .all()
        .map(({ name }) => `DROP TABLE ${String(name)};`)
        .join(" ")}
      DROP TABLE schema; ALTER TABLE event DROP COLUMN fingerprint; DROP TABLE imported_last; DROP TABLE imported_file;
      ALTER TABLE quarantined DROP COLUMN state; ALTER TABLE quarantined DROP COLUMN settled_reason;
      CREATE TABLE imported (digest TEXT PRIMARY KEY, origin INTEGER NOT NULL, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
      PRAGMA user_version = 1;
    `);
    first.close();
    using second = open(path, { schemas: SCHEMAS });
    expect([...second.events()]).toEqual(before);
    await second.append(update(number(1), { village: "Gumbo" }));
    expect(
      second.store.db
        .prepare("SELECT fingerprint FROM event ORDER BY seq")
        .all()
        .map(({ fingerprint }) => String(fingerprint).length),
    ).toEqual([0, 16]);
  });
  it("that is not a database is refused and left as it is", () => {
    const path = join(tempDir(), "f.db");
    writeFileSync(path, "this is no database, but somebody's notes about one, long enough to be looked at");
    expect(() => open(path)).toThrow(expect.objectContaining({ code: "data-corrupt" }));
    expect(readFileSync(path, "utf8")).toContain("somebody's notes");
  });
  it("of another device is refused", () => {
    const path = join(tempDir(), "f.db");
    open(path).close();
    expect(() => openField({ path, name: { ...NAME, device: "t2" }, schemas: gate })).toThrow(/belongs to relief\.juba\.t1/);
  });
  it("that is missing is not made by accident", () => {
    expect(() => openField({ path: join(tempDir(), "none.db"), schemas: gate })).toThrow(
      expect.objectContaining({ code: "not-found" }),
    );
  });
  it.skipIf(process.getuid?.() === 0)("that may not be written is refused (not as root, who may write anything)", () => {
    const dir = tempDir();
    chmodSync(dir, 0o500);
    expect(() => open(join(dir, "f.db"))).toThrow(expect.objectContaining({ code: "data-corrupt" }));
  });
});

describe("a sync without a hub", () => {
  it("tries ten times with growing, jittered pauses, then gives up with the events safe", async () => {
    using field = open();
    await field.append(registration(number(1)));
    const pauses: number[] = [];
    const sync = field.sync({
      url: `nats://127.0.0.1:${await freePort()}`,
      token: "t",
      random: () => 1,
      sleep: async (ms) => {
        pauses.push(ms);
      },
    });
    await expect(sync).rejects.toMatchObject({ code: "sync-gave-up", message: expect.stringContaining("10 tries") });
    expect(pauses).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256].map((s) => s * 1000));
    expect(field.status().levels).toEqual({ LOCAL: 1, QUEUED: 0, SYNCED: 0 });
  });
  it("pauses at most five minutes", () => {
    expect(pauseMs(30, () => 1)).toBe(300_000);
    expect(pauseMs(5, () => 0)).toBe(0);
  });
  it("refuses an address that is not a hub's", async () => {
    using field = open();
    await expect(field.sync({ url: "ftp://x", token: "t" })).rejects.toMatchObject({ code: "usage" });
  });
});
