import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import {
  type BucketHead,
  bucketIdOf,
  changedBy,
  FEED_START,
  GENESIS,
  type Hash,
  headAfter,
  type Journal,
  NO_ENTITIES,
  partOf,
  position,
  rangeKey,
} from "../../services/core/index.ts";
import { sha256Hex } from "../../services/core/node.ts";
import { FEED_STREAM, readHeads } from "../../services/log/index.ts";
import { keepSealing, type SealerOptions, sealerOver } from "../../services/projector/sealer.ts";
import {
  connectViews,
  type Db,
  hasHead,
  headsAfter,
  historiesOf,
  membersOf,
  namedMembers,
  newestSeal,
  partsOfRange,
  rangeOf,
} from "../../services/views/index.ts";
import { districtOf, eventAt, hashOfEvent, openFeed, placed, readFeed, shardOfEntity } from "../support/feed-lines.ts";
import { memoryJournal } from "../support/journal.ts";
import { openPostgres } from "../support/postgres.ts";
import { random } from "../support/random.ts";
import { eventually } from "../support/temp.ts";

let server: Awaited<ReturnType<typeof openPostgres>>;
let db: Db;
let feed: Awaited<ReturnType<typeof openFeed>>;
let journal: Journal;
let log: SealerOptions["log"];
const [KAMPALA, GULU] = [districtOf("Kampala"), districtOf("Gulu")];

beforeAll(async () => {
  server = await openPostgres();
  db = server.db;
});
afterAll(() => server?.close());
beforeEach(async () => {
  await server.empty();
  feed = await openFeed(db);
  journal = memoryJournal();
  log = logWith(journal);
});

/** A log with these facts, and with any event that is asked for by name. `later`: it has an event that was not folded yet. */
const logWith = (facts: Journal, later: () => bigint | null = () => null): SealerOptions["log"] => ({
  journal: facts,
  at: eventAt,
  async *readAll() {
    const at = later();
    if (at !== null) yield { position: position(at) } as never;
  },
});

const sealAll = async (sealer = sealerOver(log), over = db): Promise<number> => {
  let lines = 0;
  for (let more = await sealer.seal(over); more > 0; more = await sealer.seal(over)) lines += more;
  return lines;
};
const headOf = async (bucket = KAMPALA): Promise<BucketHead | undefined> =>
  (await headsAfter(db, 0)).find((head) => head.bucket === bucketIdOf(bucket));
const facts = async () => (await journal.read(FEED_STREAM)).map(({ data }) => data);
const fingerprintOf = (entities: ReadonlyMap<string, Hash>): string =>
  [...entities].reduce((sum, [id, digest]) => changedBy(sum, partOf(id, digest, sha256Hex), 0n), NO_ENTITIES);

/** What a reader of the bucket's lines comes to must be what the hub says of the bucket. */
async function expectProven(bucket = KAMPALA): Promise<void> {
  const id = bucketIdOf(bucket);
  const { cursor, entities, wrong } = await readFeed(db, bucket);
  const head = await headOf(bucket);
  expect(wrong).toEqual([]);
  expect(head).toMatchObject({
    seal: cursor.seal,
    head: cursor.head,
    count: entities.size,
    fingerprint: fingerprintOf(entities),
  });
  expect(await hasHead(db, id, cursor.seal, cursor.head)).toBe(true);
  const members = await membersOf(db, id, { prefix: "", after: null }, 1_000);
  expect(members.map(({ key }) => key)).toEqual([...entities.keys()].map((each) => rangeKey(each, sha256Hex)).sort());
  expect(new Map(members.map(({ entityId, digest }) => [entityId, digest]))).toEqual(entities);
  const histories = await historiesOf(db, id, [...entities.keys(), "nobody"]);
  for (const [entityId, digest] of entities)
    expect(
      (histories.get(entityId) ?? []).reduce((so, event) => sha256Hex(so + hashOfEvent(event)) as Hash, GENESIS),
      entityId,
    ).toBe(digest);
  const parts = await partsOfRange(db, id, "");
  expect(parts.map(({ prefix }) => prefix).join("")).toBe("0123456789abcdef");
  expect(parts.reduce((sum, part) => sum + part.count, 0)).toBe(entities.size);
  for (const part of parts) {
    const mine = [...entities].filter(([each]) => rangeKey(each, sha256Hex).startsWith(part.prefix));
    expect(part).toEqual({ prefix: part.prefix, count: mine.length, fingerprint: fingerprintOf(new Map(mine)) });
    expect(await rangeOf(db, id, part.prefix)).toEqual({ count: part.count, fingerprint: part.fingerprint });
  }
  expect(await rangeOf(db, id, "")).toEqual({ count: entities.size, fingerprint: fingerprintOf(entities) });
}

describe("sealing (I38)", () => {
  it("gives each bucket a head that whoever reads its lines computes too, whatever moves", async () => {
    const next = random(20261128);
    const below = (n: number): number => Math.floor(next() * n);
    const sealer = sealerOver(log, { maxLines: 7 });
    let at = 0;
    for (let round = 0; round < 6; round++) {
      // An entity that was folded again, and a note on a case: their lines come late, at positions that are sealed already.
      if (round > 0)
        await feed.place(
          placed(at - 5, `K-${below(12)}`, "Kampala", []),
          placed(at - 4, `K-${below(12)}`, "Kampala", [1_000 + round]),
        );
      for (let i = 0; i < 15; i++) {
        const district = ["Kampala", "Kampala", "Gulu", null][below(4)]!;
        await feed.place(placed(++at, `K-${below(12)}`, district));
      }
      await feed.fold(at);
      await sealAll(sealer);
    }
    await expectProven(KAMPALA);
    await expectProven(GULU);
    const { through } = await newestSeal(db);
    expect(through).toBe(position(BigInt(at)));
  });

  it("goes no further than the shard that is behind, and shows nobody what is not sealed", async () => {
    await feed.place(placed(1, "K-1", "Kampala"), placed(2, "K-2", "Kampala"));
    await feed.fold(2);
    await feed.fold(1, [shardOfEntity("K-2")]);
    expect(await sealAll()).toBe(1);
    expect(await newestSeal(db)).toMatchObject({ number: 1, through: position(1n) });
    expect([...(await readFeed(db, KAMPALA)).entities.keys()]).toEqual(["K-1"]);
    expect(await namedMembers(db, bucketIdOf(KAMPALA), ["K-1", "K-2"])).toMatchObject([{ entityId: "K-1" }]);
    expect((await historiesOf(db, bucketIdOf(KAMPALA), ["K-2"])).size).toBe(0);
    await feed.fold(2);
    expect(await sealAll()).toBe(1);
    await expectProven();
    expect(await sealAll()).toBe(0);
  });

  it("cuts between positions, and a position that is too large between entities", async () => {
    const sealer = sealerOver(log, { maxLines: 4 });
    await feed.place(placed(1, "K-1", "Kampala"), placed(5, "K-2", "Kampala"), placed(5, "K-3", "Kampala", [6]));
    await feed.place(...["K-1", "K-2", "K-3"].map((id) => placed(9, id, "Gulu", [])));
    await feed.fold(9);
    expect(await sealer.seal(db)).toBe(3);
    expect(await newestSeal(db)).toMatchObject({ number: 1, through: position(8n) });
    // Each entity leaves and enters at position 9: six lines.
    expect(await sealer.seal(db)).toBe(4);
    expect(await newestSeal(db)).toMatchObject({ number: 2, through: position(8n) });
    expect(await sealer.seal(db)).toBe(2);
    expect(await newestSeal(db)).toMatchObject({ number: 3, through: position(9n) });
    // Lines of earlier positions take nothing back of how far the feed is complete, wherever they are cut.
    await feed.place(placed(6, "K-1", "Kampala", []), placed(7, "K-2", "Kampala", []), placed(8, "K-3", "Kampala", []));
    expect(await sealer.seal(db)).toBe(4);
    expect(await newestSeal(db)).toMatchObject({ number: 4, through: position(9n) });
    await expectProven(KAMPALA);
    await expectProven(GULU);
  });

  it("by several processes at once gives each line one seal, and each number one set of heads", async () => {
    const others = await Promise.all([1, 2, 3].map((n) => connectViews(server.url, `tributary-test ${n}`)));
    try {
      const sealers = others.map((over) => ({ over, sealer: sealerOver(log, { maxLines: 2 }) }));
      let sealed = 0;
      for (let at = 1; at <= 60; at++) {
        await feed.place(placed(at, `K-${at % 7}`, at % 3 === 0 ? "Gulu" : "Kampala"));
        await feed.fold(at);
        const lines = await Promise.all(sealers.map(({ over, sealer }) => sealer.seal(over)));
        sealed += lines.reduce((sum, each) => sum + each, 0);
      }
      sealed += await sealAll();
      const { rows } = await db.query("SELECT count(*)::int AS n FROM tributary.feed WHERE seal IS NOT NULL");
      expect(rows).toEqual([{ n: sealed }]);
      const numbers = (await facts()).map(({ seal }) => seal);
      expect(numbers).toEqual(numbers.map((_, i) => i + 1));
      await expectProven(KAMPALA);
      await expectProven(GULU);
    } finally {
      await Promise.all(others.map((over) => over.end()));
    }
  });

  it("of many buckets is written down in several facts, from which all heads are read again", async () => {
    for (let at = 1; at <= 5; at++) await feed.place(placed(at, `K-${at}`, `District ${at}`));
    await feed.fold(5);
    await sealAll(sealerOver(log, { maxHeads: 2 }));
    expect((await facts()).map(({ seal, part, of }) => [seal, part, of])).toEqual([
      [1, 1, 3],
      [1, 2, 3],
      [1, 3, 3],
    ]);
    const { heads, seal, revision } = await readHeads(journal);
    expect({ seal, revision }).toEqual({ seal: 1, revision: 2 });
    expect(heads).toEqual(new Map((await headsAfter(db, 0)).map(({ bucket, head }) => [bucket, head])));
    await feed.place(placed(6, "K-1", "District 1"));
    await feed.fold(6);
    expect(await sealAll()).toBe(1);
    expect((await facts()).at(-1)).toMatchObject({ seal: 2, through: "6" });
  });
});

/** Facts by the seal that they were written for. */
async function headsByNumber(): Promise<Map<unknown, unknown[]>> {
  const found = new Map<unknown, unknown[]>();
  for (const { seal, heads } of await facts()) found.set(seal, [...(found.get(seal) ?? []), heads]);
  return found;
}

/** Every head that the database shows stands in the log under its number, and there is one set of heads for each number. */
async function expectWrittenDown(): Promise<void> {
  const written = await headsByNumber();
  for (const heads of written.values()) expect(heads).toHaveLength(1);
  for (const { bucket, seal, head } of await headsAfter(db, 0)) expect(written.get(seal)).toMatchObject([{ [bucket]: head }]);
}

describe("a sealer that ends (I38)", () => {
  it("between the fact and the database leaves a number that nobody saw; the next seal takes another", async () => {
    await feed.place(placed(1, "K-1", "Kampala"));
    await feed.fold(1);
    await sealAll();
    await feed.place(placed(2, "K-2", "Kampala"));
    await feed.fold(2);
    const dying = logWith({
      ...journal,
      async append(...fact) {
        await journal.append(...fact);
        throw new Error("the process was killed");
      },
    });
    await expect(sealerOver(dying).seal(db)).rejects.toThrow("the process was killed");
    expect(await newestSeal(db)).toMatchObject({ number: 1 });
    // What is sealed now is not what the fact says: more has come.
    await feed.place(placed(3, "K-2", "Kampala"));
    await feed.fold(3);
    const other = sealerOver(log);
    expect(await other.seal(db)).toBe(0);
    expect(await other.seal(db)).toBe(2);
    expect(await newestSeal(db)).toMatchObject({ number: 3 });
    await expectWrittenDown();
    await expectProven();
  });

  it("before its first seal stands in the database leaves nothing that is shown either", async () => {
    await feed.place(placed(1, "K-1", "Kampala"));
    await feed.fold(1);
    const dying = logWith({
      ...journal,
      async append(...fact) {
        await journal.append(...fact);
        throw new Error("the process was killed");
      },
    });
    await expect(sealerOver(dying).seal(db)).rejects.toThrow("the process was killed");
    expect(await sealAll()).toBe(1);
    await expectWrittenDown();
    expect((await readFeed(db, KAMPALA)).wrong).toEqual([]);
  });

  it("because its connection is gone has sealed nothing, and is followed by itself once there is one again", async () => {
    const said: Record<string, unknown>[] = [];
    const stop = new AbortController();
    const sealing = keepSealing({ postgresUrl: server.url, log, signal: stop.signal, say: (event) => void said.push(event) });
    const connections = async () =>
      (await db.query("SELECT pid FROM pg_stat_activity WHERE application_name = 'tributary-projector seals'")).rows;
    await eventually("a sealer", async () => (await connections()).length === 1);
    await db.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'tributary-projector seals'");
    await feed.place(placed(1, "K-1", "Kampala"));
    await feed.fold(1);
    await eventually("the seal", async () => (await newestSeal(db)).number > 0);
    expect(said).toMatchObject([{ event: "sealing-interrupted" }]);
    stop.abort();
    await sealing;
    await eventually("no connection of the sealer", async () => (await connections()).length === 0);
    await expectProven();
  });
});

describe("a feed that is made anew, because PostgreSQL was lost,", () => {
  /** A database with two seals; then it is lost. Returns where a replica stood. */
  async function lose() {
    await feed.place(placed(1, "K-1", "Kampala"), placed(2, "K-2", "Kampala"));
    await feed.fold(2);
    await sealAll();
    await feed.place(placed(3, "G-1", "Gulu"), placed(4, "K-2", "Gulu"));
    await feed.fold(4);
    await sealAll();
    const [kampala, gulu] = [await headOf(KAMPALA), await headOf(GULU)];
    await server.empty();
    feed = await openFeed(db);
    return { kampala: kampala!, gulu: gulu! };
  }
  const placeAgain = async (to: number): Promise<void> => {
    const all = [placed(1, "K-1", "Kampala"), placed(2, "K-2", "Kampala"), placed(3, "G-1", "Gulu"), placed(4, "K-2", "Gulu")];
    await feed.place(...all.slice(0, to));
    await feed.fold(to);
  };

  it("goes on with the numbers and heads of the log's facts", async () => {
    const { kampala, gulu } = await lose();
    await placeAgain(4);
    await sealAll();
    const { number } = await newestSeal(db);
    expect(number).toBeGreaterThan(2);
    await expectWrittenDown();
    for (const [bucket, before] of [
      [KAMPALA, kampala],
      [GULU, gulu],
    ] as const) {
      const begun = headAfter(before.head, { seal: 3, through: position(4n), digest: GENESIS }, sha256Hex);
      const { cursor, wrong } = await readFeed(db, bucket, { from: { ...FEED_START, seal: 3, head: begun } });
      expect(wrong).toEqual([]);
      expect(await headOf(bucket)).toMatchObject({ seal: cursor.seal, head: cursor.head });
    }
  });

  it("knows no head from before, nor the beginning: who stood there has to compare", async () => {
    const { kampala } = await lose();
    await placeAgain(4);
    await sealAll();
    const id = bucketIdOf(KAMPALA);
    expect(await hasHead(db, id, kampala.seal, kampala.head)).toBe(false);
    expect(await hasHead(db, id, FEED_START.seal, FEED_START.head)).toBe(false);
    const now = (await headOf(KAMPALA))!;
    expect(await hasHead(db, id, now.seal, now.head)).toBe(true);
    expect(await hasHead(db, bucketIdOf(districtOf("Juba")), FEED_START.seal, FEED_START.head)).toBe(true);
  });

  it("goes on with the database's numbers where the log was set back to before its facts, and shows no seal until it is whole", async () => {
    await feed.place(placed(1, "K-1", "Kampala"), placed(2, "K-2", "Gulu"));
    await feed.fold(2);
    await sealAll();
    for (const table of ["feed", "member", "held", "segment"]) await db.query(`DELETE FROM tributary.${table}`);
    expect(await newestSeal(db)).toMatchObject({ number: 0, through: null });
    journal = memoryJournal();
    feed = await openFeed(db);
    await feed.place(placed(1, "K-1", "Kampala"), placed(2, "K-2", "Gulu"));
    const inParts = sealerOver(logWith(journal), { maxLines: 1 });
    expect(await inParts.seal(db)).toBe(1);
    expect(await newestSeal(db)).toMatchObject({ number: 0, through: null });
    expect(await sealAll(inParts)).toBe(1);
    expect(await newestSeal(db)).toMatchObject({ number: 3, through: position(2n) });
    expect((await facts()).map(({ seal }) => seal)).toEqual([2, 3]);
    await expectProven(KAMPALA);
    await expectProven(GULU);
  });

  it("shows nothing before the views are where they were, and then nothing before all of it is sealed, by whichever processes", async () => {
    await lose();
    const sealer = sealerOver(
      logWith(journal, () => 4n),
      { maxLines: 1 },
    );
    await placeAgain(2);
    expect(await sealer.seal(db)).toBe(0);
    expect(await newestSeal(db)).toMatchObject({ number: 0, through: null });
    await placeAgain(4);
    const shown: number[] = [];
    // Each part by another process, which knows nothing of the one before.
    for (let parts = 0; parts < 20; parts++) {
      await sealerOver(
        logWith(journal, () => 4n),
        { maxLines: 1 },
      ).seal(db);
      shown.push((await newestSeal(db)).number);
    }
    expect(shown.filter((number) => number === 0).length).toBeGreaterThan(3);
    expect(new Set(shown).size).toBe(2);
    expect([...(await readFeed(db, GULU)).entities.keys()].sort()).toEqual(["G-1", "K-2"]);
  });
});
