import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { inputOf } from "../../services/cli/args.ts";
import { replicaList } from "../../services/cli/commands-replica.ts";
import { hubOrg } from "../../services/cli/config.ts";
import { writeState } from "../../services/cli/state.ts";
import {
  type Appendable,
  bucketIdOf,
  type Content,
  canonicalize,
  type EventBody,
  eventIdOf,
  eventText,
  GENESIS,
  type Hash,
  type JsonObject,
  NO_ENTITIES,
  type OriginId,
  type Seq,
  wallMsOf,
} from "../../services/core/index.ts";
import { chainHash } from "../../services/core/node.ts";
import { replicas } from "../../services/desk/index.ts";
import { type EventRef, openPostgresFeed, type PostgresFeed, serve } from "../../services/exchange/index.ts";
import { currentIncarnation } from "../../services/log/index.ts";
import { unpackState } from "../../services/merge/engine.ts";
import { confirmPurges } from "../../services/views/index.ts";
import { number, ORG, openTestHub, registration, SCHEMAS, stateOf, type TestHub, update } from "../support/hub.ts";
import { newOrigin } from "../support/log-runs.ts";
import { requestOf } from "../support/memory-replica.ts";
import { HEAD } from "../support/ranges.ts";
import { eventually } from "../support/temp.ts";

let hub: TestHub;
let feed: PostgresFeed;
const asked: EventRef[] = [];
beforeAll(async () => {
  hub = await openTestHub({ schemas: SCHEMAS });
  feed = openPostgresFeed({
    postgresUrl: hub.backends.postgres.url,
    views: hub.projections,
    entryAt: (origin, seq) => {
      asked.push({ origin, seq });
      return hub.log.at(origin, seq);
    },
  });
});
afterAll(async () => {
  await feed?.close();
  await hub?.close();
});

interface Said {
  readonly head?: Partial<EventBody>;
  readonly content: Content;
  readonly more?: Partial<Appendable>;
}
const accepted = (data: JsonObject): Content => ({ kind: "accepted", data });

/** Writes events into the log as they are, as a hub of any version may have done, and waits until they are folded. */
async function log(...said: readonly Said[]): Promise<OriginId> {
  const origin = newOrigin();
  let prev: Hash = GENESIS;
  const run = said.map(({ head, content, more }, i): Appendable => {
    const body = {
      ...HEAD,
      type: "thing.noted",
      ...{
        origin,
        seq: i as Seq,
        org: "relief",
        entity: { type: "thing", id: `T-${i}` },
        schema: { subject: "thing", version: 1 },
      },
      ...head,
    };
    const hash = chainHash(prev, eventText(body, content.kind === "accepted" ? canonicalize(content.data) : content.text));
    const item = { head: { ...body, id: eventIdOf(wallMsOf(body.hlc), hash), prev, hash }, content, clock: null, ...more };
    prev = hash;
    return item;
  });
  expect(await hub.log.append(run)).toMatchObject({ kind: "appended" });
  await hub.projected();
  return origin;
}
const refsOf = (origin: OriginId, count: number): EventRef[] =>
  Array.from({ length: count }, (_, seq) => ({ origin, seq: seq as Seq }));

/** The store's events must be the log's, each with the text from which its hash is computed. */
async function expectTrue(refs: readonly EventRef[]): Promise<void> {
  const events = await feed.events(refs);
  expect(events).toHaveLength(refs.length);
  for (const [i, { head, prev, hash, text, position, recordedAtMs, held, clock, clips }] of events.entries()) {
    const { origin, seq } = refs[i]!;
    const entry = (await hub.log.at(origin, seq))!;
    expect(chainHash(prev, eventText(head, text!)), `${origin}/${seq}`).toBe(entry.head.hash);
    const { id: _, prev: before, hash: own, ...said } = entry.head;
    expect({ head, prev, hash, position, recordedAtMs, clock, clips }).toEqual({
      ...{ head: said, prev: before, hash: own, position: entry.position, recordedAtMs: entry.recordedAtMs },
      ...{ clock: entry.clock, clips: entry.clips },
    });
    expect(held).toEqual(entry.content.kind === "accepted" ? null : entry.content.reason);
  }
}

describe("an event that is sent", () => {
  it("has the text that its hash covers, whatever its numbers, texts and names are", async () => {
    const numbers = { big: 1e21, small: 1e-7, tiny: Number.MIN_VALUE, whole: 12345678901234567000, minus: -0.5, z: 0 };
    const texts = { b: "\u0000", a: '\u{10ffff}\u2028\\N\t"', é: ["ü", null, true, {}], "2": 1, "10": 2 };
    const origin = await log(
      { content: accepted(numbers) },
      { content: accepted(texts) },
      { content: accepted({}), head: { occurredAt: "0000-01-01T00:00:00.000Z" } },
      { content: accepted({}), head: { occurredAt: "9999-12-31T23:59:59.999Z", correlationId: "c", causationId: "d" } },
      {
        content: accepted({}),
        head: { basis: { ["relief.juba.t1.zz" as OriginId]: 7 as Seq, ["relief.juba.t1.aa" as OriginId]: 1 as Seq } },
      },
      { content: accepted({}), more: { clock: { offsetMs: -86_400_000 } } },
    );
    asked.length = 0;
    await expectTrue(refsOf(origin, 6));
    // The audit holds all of that as it is.
    expect(asked).toEqual([]);
  });

  it("comes from the log where the audit cannot hold it: U+0000 in names, and bytes that are in quarantine", async () => {
    const held = (text: string): Content => ({
      kind: "quarantined",
      reason: { code: "undecodable", message: "the bytes are not JSON", path: null },
      text,
    });
    const origin = await log(
      { content: accepted({ a: 1 }), head: { actor: "a\u0000b" } },
      { content: accepted({ a: 1 }), head: { entity: { type: "thing", id: "T\u0000" } } },
      { content: held("\u0000\u0001 not JSON \ufffd") },
      { content: held('{"b":1, "a":2}') },
      { content: accepted({ a: 2 }) },
    );
    asked.length = 0;
    await expectTrue(refsOf(origin, 5));
    expect(asked.map(({ seq }) => seq).sort()).toEqual([0, 1, 2, 3]);
  });

  it("comes from the log where somebody has changed its row", async () => {
    const origin = await log({ content: accepted({ quantity: 10 }) });
    await hub.db.query("UPDATE tributary.audit SET data = '{\"quantity\":1000}' WHERE origin = $1", [origin]);
    await expectTrue(refsOf(origin, 1));
    expect((await feed.events(refsOf(origin, 1)))[0]!.text).toBe('{"quantity":10}');
    await hub.db.query("UPDATE tributary.audit SET data = '{\"quantity\":10}' WHERE origin = $1", [origin]);
  });

  it("is one of as many as are asked for, in the order of the question; one that nobody has is told", async () => {
    const [one, two] = [
      await log(...Array.from({ length: 30 }, (_, i) => ({ content: accepted({ i }) }))),
      await log({ content: accepted({}) }),
    ];
    const refs = [...refsOf(one, 30).reverse(), ...refsOf(two, 1), ...refsOf(one, 2)];
    expect((await feed.events(refs)).map(({ head: { origin, seq } }) => ({ origin, seq }))).toEqual(refs);
    expect(await feed.events([])).toEqual([]);
    await expect(feed.events([{ origin: two, seq: 1 as Seq }])).rejects.toMatchObject({
      code: "data-corrupt",
      message: `the log lacks event 1 of ${two}, which is in the feed`,
    });
  });
});

it("the packed states of an entity are those of its live views, and none where a view is for the hub only", async () => {
  const field = hub.field("states");
  await field.append(registration(number(1), { village: "Kisenyi" }));
  await field.sync({ url: hub.backends.nats.url, token: await hub.token("states") });
  await hub.projected();
  const states = await feed.states("beneficiary", [number(1), number(2)]);
  expect([...states.keys()]).toEqual([number(1)]);
  expect(unpackState(states.get(number(1))!.beneficiaries!)).toBeDefined();
  expect((await feed.states("unheard-of", ["x"])).size).toBe(0);
});

describe("a replica that was told to delete entities", () => {
  const bucket = bucketIdOf({ entityType: "beneficiary", columns: ["district"], values: ["Kampala"] });
  const other = bucketIdOf({ entityType: "beneficiary", columns: ["district"], values: ["Gulu"] });
  const purge = (device: string, of: string, seal: number) => ({
    type: "replica.purged",
    entity: { type: "replica", id: device },
    actor: "tablet",
    data: { bucket: of, seal, entities: 1, events: 2, fingerprint: "0".repeat(32), reason: "left" as const },
  });
  const owed = async (days: number | null = null) =>
    (await replicas(hub, days)).flatMap(({ device, owes }) => owes.map(({ bucket: id, entities }) => [device, id, entities]));
  const [T1, T2] = ["relief.kampala.t1", "relief.kampala.t2"];

  it("owes a purge until an event of its own confirms it: of that bucket, up to that seal", async () => {
    await hub.db.query("INSERT INTO tributary.bucket VALUES ($1, 'beneficiary', '[\"Kampala\"]') ON CONFLICT DO NOTHING", [
      bucket,
    ]);
    await hub.db.query(
      "INSERT INTO tributary.seal (number, through) SELECT n, 0 FROM generate_series(1, 5) n ON CONFLICT DO NOTHING",
    );
    for (const _ of ["once", "again, since the answer was lost"])
      for (const device of [T1, T2]) {
        await feed.owes([
          { device, bucket, seal: 3, entityIds: ["K-1", "K-2", "K-1"] },
          { device, bucket, seal: 5, entityIds: ["K-3"] },
          { device, bucket: other, seal: 5, entityIds: null },
        ]);
      }
    expect(await owed()).toEqual(
      [T1, T2].flatMap((device) => [
        [device, bucket, 3],
        [device, other, null],
      ]),
    );
    expect(await owed(1)).toEqual([]);
    const field = hub.field("kampala", "t1", { schemas: SCHEMAS });
    await field.append(purge(T1, bucket, 4));
    await field.sync({ url: hub.backends.nats.url, token: await hub.token("kampala") });
    await hub.projected();
    expect(await owed()).toEqual([
      [T1, bucket, 1],
      [T1, other, null],
      [T2, bucket, 3],
      [T2, other, null],
    ]);
    await field.appendMany([purge(T1, bucket, 5), purge(T1, other, 9)]);
    await field.sync({ url: hub.backends.nats.url, token: await hub.token("kampala") });
    await hub.projected();
    expect(await owed()).toEqual([
      [T2, bucket, 3],
      [T2, other, null],
    ]);
    expect((await replicas(hub)).find(({ device }) => device === T1)).toMatchObject({ owes: [], purges: 3 });
  });

  it("cannot confirm it for another device: that event is quarantined, in words, and the debt stays", async () => {
    const field = hub.field("kampala", "liar", { schemas: SCHEMAS });
    await field.append(purge(T2, bucket, 5));
    const { quarantined } = await field.sync({ url: hub.backends.nats.url, token: await hub.token("kampala") });
    expect(quarantined).toMatchObject([
      { reason: expect.stringContaining(`its own replica only, which is replica/relief.kampala.liar`) },
    ]);
    await hub.projected();
    expect(await owed()).toContainEqual([T2, bucket, 3]);
  });

  it("is listed once it has owed for so many days, with what the bucket is", async () => {
    await hub.db.query("UPDATE tributary.debt SET since = now() - interval '31 days' WHERE bucket = $1", [bucket]);
    expect(await replicas(hub, 30)).toMatchObject([
      { device: T2, owes: [{ bucket, entityType: "beneficiary", where: expect.objectContaining({}), entities: 3 }] },
    ]);
    expect(Object.values((await replicas(hub, 30))[0]!.owes[0]!.where)).toEqual(["Kampala"]);
    expect(await replicas(hub, 32)).toEqual([]);
    await expect(replicas(hub, -1)).rejects.toMatchObject({ code: "usage" });
  });

  it("is told by `tributary replica list`, in words and as JSON", async () => {
    hubOrg(hub.dir, ORG);
    writeState(hub.dir, stateOf(hub.backends));
    let text = "";
    const write = vi.spyOn(process.stdout, "write").mockImplementation((chunk) => {
      text += String(chunk);
      return true;
    });
    const run = async (...args: string[]): Promise<string> => {
      text = "";
      expect(await replicaList.run(inputOf(replicaList, [...args, "--data", hub.dir]))).toBe(0);
      return text;
    };
    try {
      expect(await run("--unconfirmed", "30")).toMatch(/relief\.kampala\.t2 +3 of beneficiary, district Kampala +\d{4}-/);
      expect(await run()).toMatch(/relief\.kampala\.t1 +nothing/);
      expect(await run("--unconfirmed", "99")).toBe("No device has owed a purge for 99 days or more.\n");
      expect(JSON.parse(await run("--json"))).toMatchObject({
        replicas: [
          { device: T1, owes: [], purges: 3 },
          { device: T2, owes: [{ where: { district: "Kampala" } }, { entities: null }] },
        ],
      });
    } finally {
      write.mockRestore();
    }
  });

  it("confirms by its purge no more than what was sealed when it wrote that, whichever seal it names", async () => {
    const tablet = "relief.kampala.t9";
    const field = hub.field("kampala", "t9", { schemas: SCHEMAS });
    await field.append(purge(tablet, bucket, Number.MAX_SAFE_INTEGER));
    await field.sync({ url: hub.backends.nats.url, token: await hub.token("kampala", { device: "t9" }) });
    await hub.projected();
    const { rows } = await hub.db.query<{ number: number; position: string }>(
      `SELECT (SELECT max(number) FROM tributary.seal)::float8 AS number, position FROM tributary.audit WHERE type = 'replica.purged' AND entity_id = $1`,
      [tablet],
    );
    const { number: newest, position } = rows[0]!;
    // One that was told before the event was written, and one of a seal that was made afterwards.
    await hub.db.query("INSERT INTO tributary.seal (number, through) VALUES ($1, $2)", [newest + 100, position]);
    await feed.owes([
      { device: tablet, bucket, seal: 1, entityIds: ["K-1"] },
      { device: tablet, bucket, seal: newest + 100, entityIds: ["K-2", "K-3"] },
    ]);
    const entries = [];
    for await (const entry of hub.log.readAll()) if (entry.head.entity.id === tablet) entries.push(entry);
    expect(entries).toHaveLength(1);
    await confirmPurges(hub.db, entries);
    expect((await owed()).filter(([device]) => device === tablet)).toEqual([[tablet, bucket, 2]]);
    await hub.db.query("DELETE FROM tributary.debt WHERE device = $1", [tablet]);
    await hub.db.query("DELETE FROM tributary.seal WHERE number = $1", [newest + 100]);
  });
});

describe("the feed of a hub at work", () => {
  const sealAs = (number: number) =>
    hub.db.query("INSERT INTO tributary.segment VALUES ('x', $1, 1, $2, 0, $3, 0)", [number, GENESIS, NO_ENTITIES]);

  it("tells its newest seal without asking the database each time, and asks again a moment later", async () => {
    let nowMs = 1_000;
    const watched = openPostgresFeed({
      postgresUrl: hub.backends.postgres.url,
      views: [],
      entryAt: hub.log.at,
      nowMs: () => nowMs,
    });
    try {
      const before = await watched.newest();
      await sealAs(before.number + 1_000);
      expect(await Promise.all([watched.newest(), watched.newest()])).toEqual([before, before]);
      nowMs += 250;
      expect(await watched.newest()).toMatchObject({ number: before.number + 1_000 });
    } finally {
      await hub.db.query("DELETE FROM tributary.segment WHERE bucket = 'x'");
      await watched.close();
    }
  });

  it("is not behind what another door of the hub has told a device already", async () => {
    const door = () =>
      openPostgresFeed({ postgresUrl: hub.backends.postgres.url, views: hub.projections, entryAt: hub.log.at, nowMs: () => 1 });
    const [one, other] = [door(), door()];
    const asks = (feed: PostgresFeed) => {
      const server = serve(feed, { views: hub.projections });
      return async (seal?: number) => {
        const request = requestOf("relief.doors.t1", { summary: "none", ...(seal === undefined ? {} : { seal }) });
        const { id } = await currentIncarnation(hub.log.journal);
        const asker = { holder: { kind: "site", org: "relief", site: "doors" }, device: request.device } as const;
        return (await server.answer(request, { ...asker, hub: id, incarnation: id, nowMs: 1 })).seal;
      };
    };
    try {
      const { number: before } = await one.newest();
      const [askOne, askOther] = [asks(one), asks(other)];
      expect(await askOne()).toBe(before);
      await sealAs(before + 1_000);
      const told = await askOther();
      expect(told).toBe(before + 1_000);
      // Its clock stands still: what it remembers never gets old.
      expect(await askOne()).toBe(before);
      expect(await askOne(told)).toBe(told);
      // Of a feed that was really set back, the device is told.
      await hub.db.query("DELETE FROM tributary.segment WHERE bucket = 'x'");
      expect(await askOne(told + 1)).toBe(before);
    } finally {
      await hub.db.query("DELETE FROM tributary.segment WHERE bucket = 'x'");
      await Promise.all([one.close(), other.close()]);
    }
  });

  it("answers again after its connections were lost", async () => {
    await feed.policies();
    await hub.db.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'tributary-exchange%'",
    );
    expect(await eventually("an answer", () => feed.policies())).toEqual([]);
    expect(await eventually("an answer", () => feed.headsAfter(0))).toBeDefined();
  });

  it("shows one moment to who asks for several things at once", async () => {
    const field = hub.field("moment");
    await field.append(update(number(3), { phone: "+256700000001" }));
    await feed.atOnce!(async (store) => {
      const before = await store.newest();
      await sealAs(before.number + 1_000);
      expect(await store.newest()).toEqual(before);
      // What is written, and what is not read of that moment, goes beside it.
      const moved = bucketIdOf({ entityType: "x", values: [] });
      await store.owes([{ device: "relief.moment.t1", bucket: moved, seal: 1, entityIds: null }]);
      expect(await store.policies()).toEqual([]);
    });
    expect(await hub.db.query("DELETE FROM tributary.segment WHERE bucket = 'x'")).toMatchObject({ rowCount: 1 });
    expect((await replicas(hub)).map(({ device }) => device)).toContain("relief.moment.t1");
  });
});
