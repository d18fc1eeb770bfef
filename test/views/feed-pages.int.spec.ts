import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type BucketId, bucketIdOf } from "../../services/core/index.ts";
import { openPostgresFeed } from "../../services/exchange/index.ts";
import { sealerOver } from "../../services/projector/sealer.ts";
import {
  type AfterLine,
  type Db,
  historiesOf,
  historiesUpTo,
  holdingOf,
  leftSince,
  linesAfter,
  noteHolding,
  placeOf,
  type SealedLine,
} from "../../services/views/index.ts";
import { districtOf, eventAt, openFeed, placed } from "../support/feed-lines.ts";
import { memoryJournal } from "../support/journal.ts";
import { openPostgres } from "../support/postgres.ts";

let server: Awaited<ReturnType<typeof openPostgres>>;
let db: Db;
let feed: Awaited<ReturnType<typeof openFeed>>;
let seal: () => Promise<void>;
const KAMPALA = bucketIdOf(districtOf("Kampala"));
const START: AfterLine = { seal: 0, line: null };

beforeAll(async () => {
  server = await openPostgres();
  db = server.db;
});
afterAll(() => server?.close());
beforeEach(async () => {
  await server.empty();
  feed = await openFeed(db);
  const sealer = sealerOver({ journal: memoryJournal(), at: eventAt, readAll: () => (async function* () {})() });
  let at = 0;
  seal = async () => {
    await feed.fold(next);
    expect(next).toBeGreaterThan(at);
    at = next;
    expect(await sealer.seal(db)).toBeGreaterThan(0);
  };
  next = 0;
});
let next = 0;
/** Events of these entities, one after the other, in a district. */
const write = async (district: string, ...ids: string[]): Promise<void> => {
  for (const id of ids) await feed.place(placed(++next, id, district));
};
const all = (): Promise<readonly SealedLine[]> => linesAfter(db, KAMPALA, START, 1_000);
const saysOf = (lines: readonly SealedLine[]): string[] =>
  lines.map(({ kind, entityId, seal: of }) => `${of} ${kind} ${entityId}`);

describe("the lines of a bucket", () => {
  it("are found where a reader stands, and nowhere else", async () => {
    await write("Kampala", "K-1", "K-2");
    await seal();
    await write("Kampala", "K-1", "K-3", "K-1");
    await write("Gulu", "G-1");
    await seal();
    const lines = await all();
    expect(saysOf(lines)).toEqual(["1 enter K-1", "1 enter K-2", "2 event K-1", "2 enter K-3", "2 event K-1"]);
    for (const [seal_, line, at] of [
      [0, 1, 0],
      [1, 1, 2],
      [1, 2, 3],
    ] as const) {
      const place = await placeOf(db, KAMPALA, { seal: seal_, line });
      expect(place).toEqual({ seal: seal_ + 1, position: lines[at]!.position, ordinal: lines[at]!.ordinal });
      expect(saysOf(await linesAfter(db, KAMPALA, { seal: seal_, line: place }, 1_000))).toEqual(saysOf(lines).slice(at + 1));
    }
    // The end of a segment is told by its seal; beyond the newest one there is nothing.
    for (const at of [
      { seal: 0, line: 2 },
      { seal: 1, line: 3 },
      { seal: 1, line: Number.MAX_SAFE_INTEGER },
      { seal: 2, line: 1 },
      { seal: Number.MAX_SAFE_INTEGER, line: 1 },
    ])
      expect(await placeOf(db, KAMPALA, at), JSON.stringify(at)).toBeNull();
    expect(saysOf(await linesAfter(db, KAMPALA, { seal: 1, line: null }, 2))).toEqual(["2 event K-1", "2 enter K-3"]);
  });

  it("say of whoever came whether he is there now", async () => {
    await write("Kampala", "K-1", "K-2", "K-3");
    await write("Gulu", "K-1", "K-2");
    await write("Kampala", "K-2");
    await seal();
    const entered = (await all()).filter(({ kind }) => kind === "enter");
    expect(entered.map(({ entityId, isHere }) => [entityId, isHere])).toEqual([
      ["K-1", false],
      ["K-2", true],
      ["K-3", true],
      ["K-2", true],
    ]);
  });

  it("tell who has left of those that a reader had, in parts, and nobody who came since and has left again", async () => {
    await write("Kampala", "K-1", "K-2", "K-3", "K-4", "K-5");
    await seal();
    await write("Gulu", "K-1");
    await write("Kampala", "K-6");
    await seal();
    await write("Gulu", "K-6", "K-2", "K-3");
    await write("Kampala", "K-2", "K-4", "K-7");
    await write("Gulu", "K-7", "K-5");
    await seal();
    const had = { seal: 1, line: null };
    const told: string[] = [];
    for (let after: AfterLine = had; ; ) {
      const some = await leftSince(db, KAMPALA, { had, after }, 1);
      told.push(...some.map(({ entityId, seal: of }) => `${of} ${entityId}`));
      const last = some.at(-1);
      if (last === undefined) break;
      after = { seal: last.seal, line: last };
    }
    expect(told).toEqual(["2 K-1", "3 K-3", "3 K-5"]);
    const later = { seal: 2, line: null };
    expect((await leftSince(db, KAMPALA, { had: later, after: later }, 10)).map(({ entityId }) => entityId)).toEqual([
      "K-6",
      "K-3",
      "K-5",
    ]);
  });

  it("come with histories of which no more is read than is asked for", async () => {
    await write("Kampala", "K-1", ...Array.from({ length: 30 }, () => "K-1"), "K-2");
    await seal();
    await write("Gulu", "K-1");
    await write("Kampala", "K-1");
    await seal();
    const entered = (await all()).filter(({ kind }) => kind === "enter");
    const lengths = async (most: number) =>
      (await historiesUpTo(db, KAMPALA, entered, most)).map((names) => names.map(({ seq }) => seq));
    const whole = await lengths(1_000);
    expect(whole.map(({ length }) => length)).toEqual([1, 1, 33]);
    expect(await lengths(7)).toEqual(whole.map((seqs) => seqs.slice(0, 7)));
    const asks = ["K-2", "K-1", "nobody"].map((entityId) => ({ entityId, skip: entityId === "K-1" ? 20 : 0 }));
    const found = await historiesOf(db, KAMPALA, asks, 5);
    expect(found.map((names) => names.map(({ seq }) => seq))).toEqual([whole[1], whole[2]!.slice(20, 25), []]);
  });
});

describe("what a holder was told that it may hold", () => {
  const ids = (...numbers: number[]): BucketId[] => numbers.map((n) => bucketIdOf({ entityType: "x", values: [n] })).sort();
  const tell = (digest: string, ...numbers: number[]) =>
    noteHolding(db, { holder: "relief.kampala", digest, buckets: ids(...numbers) });
  const told = async (digest: string, holder = "relief.kampala") => (await holdingOf(db, holder, digest))?.slice().sort() ?? null;

  it("is known by its digest, however often it changed since, also to a process that was started later", async () => {
    expect(await told("a")).toBeNull();
    expect(await tell("a", 1, 2, 3)).toBe(true);
    expect(await tell("a", 1, 2, 3)).toBe(true);
    await tell("b", 2, 3, 4);
    await tell("c", 4, 5);
    await tell("b", 2, 3, 4);
    await tell("none");
    expect(await told("a")).toEqual(ids(1, 2, 3));
    expect(await told("b")).toEqual(ids(2, 3, 4));
    expect(await told("c")).toEqual(ids(4, 5));
    expect(await told("none")).toEqual([]);
    expect(await told("a", "relief.nairobi")).toBeNull();
    expect((await db.query("SELECT FROM tributary.holding WHERE buckets IS NOT NULL")).rowCount).toBe(1);
  });

  it("is kept for the last 500 times that it changed", async () => {
    for (let n = 0; n < 510; n++) await tell(`list ${n}`, n, n + 1);
    expect((await db.query("SELECT FROM tributary.holding")).rowCount).toBe(500);
    expect(await told("list 9")).toBeNull();
    expect(await told("list 10")).toEqual(ids(10, 11));
    expect(await told("list 509")).toEqual(ids(509, 510));
  });
});

it("a statement that takes too long is given up, so that a pull keeps no connection for ever, and the next one is answered", async () => {
  const serving = openPostgresFeed({ postgresUrl: server.url, views: [], entryAt: eventAt, statementMs: 50 });
  try {
    await db.query("BEGIN");
    await db.query("LOCK TABLE tributary.segment IN ACCESS EXCLUSIVE MODE");
    await expect(serving.headsAfter(0)).rejects.toMatchObject({ code: "57014" });
    await expect(serving.atOnce!((store) => store.range(KAMPALA, ""))).rejects.toMatchObject({ code: "57014" });
    await db.query("ROLLBACK");
    expect(await serving.headsAfter(0)).toEqual([]);
  } finally {
    await db.query("ROLLBACK");
    await serving.close();
  }
});
