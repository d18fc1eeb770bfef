import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type BucketId, type Hash, NO_ENTITIES } from "../../services/core/index.ts";
import { openPostgresFeed, type PostgresFeed } from "../../services/exchange/index.ts";
import { FEED_STREAM, readHeads } from "../../services/log/index.ts";
import { defineProjection, remove, set, text } from "../../services/merge/index.ts";
import { type EventName, type KnownHead, newestSeal } from "../../services/views/index.ts";
import { dayOf, random } from "../support/books.ts";
import { readFeed } from "../support/feed-lines.ts";
import { openTestHub, SCHEMAS, type TestHub, update } from "../support/hub.ts";
import { eventually } from "../support/temp.ts";

/** Where households are; beside it only views that add nothing to their buckets. */
const households = defineProjection({
  name: "households",
  entity: "beneficiary",
  columns: { district: text(), village: text() },
  scopeBy: ["district", "village"],
  events: { "beneficiary.registered": set(), "beneficiary.updated": set(), "beneficiary.removed": remove() },
});

let hub: TestHub;
let feed: PostgresFeed;
beforeAll(async () => {
  hub = await openTestHub({ schemas: SCHEMAS });
  await hub.projector.close();
  const others = hub.projections.filter((view) => view.kind === "entity" && view.entity !== "beneficiary");
  Object.assign(hub, { projections: [...others, households] });
  hub.projector = await hub.startProjector(hub.projections);
  feed = openPostgresFeed({ postgresUrl: hub.backends.postgres.url, views: hub.projections, entryAt: hub.log.at });
});
afterAll(async () => {
  await feed?.close();
  await hub?.close();
});

const one = async <T extends object>(sql: string): Promise<T> => (await hub.db.query<T>(sql)).rows[0]!;
/** Waits until all that was folded is sealed. */
async function sealed(): Promise<void> {
  await hub.projected();
  await eventually("the sealing of all lines", async () => {
    const { left, made } = await one<{ left: number; made: number }>(
      "SELECT count(*) FILTER (WHERE seal IS NULL)::int AS left, count(*)::int AS made FROM tributary.feed",
    );
    return made > 0 && left === 0;
  });
}

/** Sends a day's events of a few sites, at the same time, some of which move households. */
async function day(seed: number): Promise<void> {
  const next = random(seed);
  await Promise.all(
    [1, 2, 3].map(async (n) => {
      const field = hub.field(`site${n}`, `t${seed}`, { schemas: SCHEMAS });
      const events = dayOf(next, 60);
      for (let i = 0; i < events.length; i += 20) {
        await field.appendMany([
          ...events.slice(i, i + 20),
          update(`TST-${String(Math.floor(next() * 60)).padStart(6, "0")}`, { village: `V${i}`, district: `D${n}` }),
        ]);
        await field.sync({ url: hub.backends.nats.url, token: await hub.token(`site${n}`) });
      }
    }),
  );
}

/** Every head that the hub shows is what whoever reads the bucket's lines and events comes to; and it stands in the log. */
async function expectProven(heads: readonly KnownHead[], from: ReadonlyMap<BucketId, { seal: number; head: Hash }> = new Map()) {
  const written = await readHeads(hub.log.journal);
  for (const { bucket, of, seal, head, count } of heads) {
    const cursor = from.get(bucket);
    const start = cursor === undefined ? {} : { from: { ...cursor, line: 0, digest: "0".repeat(64) as Hash } };
    const hashes = new Map<string, Hash>();
    // The hash of each event is computed from the text that is sent of it, in `feed.events`.
    for (const ref of await namesOf(bucket)) hashes.set(`${ref.origin}/${ref.seq}`, (await eventOf(ref)).hash);
    const read = await readFeed(hub.db, of, { ...start, hashOf: ({ origin, seq }) => hashes.get(`${origin}/${seq}`)! });
    expect(read.wrong).toEqual([]);
    expect({ seal: read.cursor.seal, head: read.cursor.head, count: read.entities.size }).toEqual({ seal, head, count });
    expect(written.heads.get(bucket)).toBe(head);
  }
}
async function namesOf(bucket: BucketId): Promise<readonly EventName[]> {
  const { rows } = await hub.db.query<{ entity_id: string }>("SELECT DISTINCT entity_id FROM tributary.feed WHERE bucket = $1", [
    bucket,
  ]);
  const histories = await feed.histories(
    bucket,
    rows.map(({ entity_id }) => ({ entityId: entity_id, skip: 0 })),
    10_000,
  );
  return histories.flat();
}
const known = new Map<string, Promise<readonly { readonly hash: Hash }[]>>();
async function eventOf(ref: EventName): Promise<{ readonly hash: Hash }> {
  const name = `${ref.origin}/${ref.seq}`;
  if (!known.has(name)) known.set(name, feed.events([ref]));
  return (await known.get(name)!)[0]!;
}

describe("the heads of buckets (I38)", () => {
  it("are what a reader of their lines comes to, though several projectors fold and seal at the same time", async () => {
    const other = await hub.startProjector(hub.projections);
    try {
      await day(1);
      await day(2);
      await sealed();
    } finally {
      await other.close();
    }
    const heads = await feed.headsAfter(0);
    expect(heads.length).toBeGreaterThan(5);
    await expectProven(heads);
    const numbers = (await hub.log.journal.read(FEED_STREAM)).map(({ data: { seal } }) => seal);
    expect(new Set(numbers).size).toBe(numbers.length);
    const { wrong } = await one<{ wrong: number }>(
      `SELECT count(*)::int AS wrong FROM tributary.feed f JOIN tributary.seal s ON s.number = f.seal WHERE f.position > s.through`,
    );
    expect(wrong).toBe(0);
  });

  it("and the numbers of seals go on after PostgreSQL was lost", async () => {
    const before = await feed.headsAfter(0);
    const last = await readHeads(hub.log.journal);
    await hub.projector.close();
    await hub.db.query("DROP SCHEMA tributary CASCADE; DROP SCHEMA views CASCADE");
    hub.projector = await hub.startProjector(hub.projections);
    await sealed();
    expect((await newestSeal(hub.db)).number).toBeGreaterThan(last.seal);
    const heads = await feed.headsAfter(0);
    for (const head of heads) expect(head.seal).toBeGreaterThan(last.seal);
    // Each bucket that was known begins again after its last head, with no entities.
    const { rows } = await hub.db.query<{ bucket: BucketId; seal: number; head: Hash; count: number; fingerprint: string }>(
      "SELECT bucket, seal::int, head, count::int, fingerprint FROM tributary.segment WHERE lines = 0",
    );
    expect(rows.map(({ bucket }) => bucket).sort()).toEqual([...last.heads.keys()].sort());
    for (const row of rows) expect(row).toMatchObject({ count: 0, fingerprint: NO_ENTITIES });
    const lived = heads.filter(({ count }) => count > 0);
    expect(lived.length).toBeGreaterThan(5);
    await expectProven(lived, new Map(rows.map(({ bucket, seal, head }) => [bucket, { seal, head }])));
    for (const { bucket, seal, head } of before) expect(await feed.hasHead(bucket, seal, head)).toBe(false);
    await day(3);
    await sealed();
    await expectProven(
      (await feed.headsAfter(0)).filter(({ count }) => count > 0),
      new Map(rows.map(({ bucket, seal, head }) => [bucket, { seal, head }])),
    );
  });
});
