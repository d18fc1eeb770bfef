import { afterAll, beforeAll, expect, it } from "vitest";
import { type Position, position } from "../../services/core/index.ts";
import { keepNoting } from "../../services/projector/index.ts";
import { askAgain, type Db, inTransaction, migrate, placesAt, takenNews } from "../../services/views/index.ts";
import { WAIT_MS } from "../support/patience.ts";
import { openPostgres } from "../support/postgres.ts";

const NOTES = 20_000;
const HOME = "coastaaaaaaa";
const HILLS = "hillsaaaaaaa";
const ORIGIN = "relief.nyeri.tablet-1.aaaaaaaa";

let postgres: Awaited<ReturnType<typeof openPostgres>>;
let db: Db;
const at = (n: number): Position => position(BigInt(n));

const COLUMNS = `origin, seq, position, id, type, entity_type, entity_id, actor, org, site, device, occurred_at, recorded_at, hlc, schema_subject, schema_version,
  basis, data, prev, hash, taken_by, taken_at`;
const cells = (of: { readonly origin: string; readonly device: string; readonly data: string; readonly takenBy: string }) =>
  `gen_random_uuid(), ${of.device === "order" ? `'order.noted', 'order-note', '${ORIGIN}'` : "'person.registered', 'person', 'p-' || n"},
   'amina', 'relief', ${of.device === "order" ? "'hub'" : "'nyeri'"}, '${of.device}', now(), now(), '', 'person', 1, '{}', ${of.data}, '', '', ${of.takenBy}`;

beforeAll(async () => {
  postgres = await openPostgres();
  db = postgres.db;
  await migrate(db);
  await db.query("INSERT INTO tributary.incarnation (id, how) VALUES ($1, 'first')", [HOME]);
  await db.query(
    `INSERT INTO tributary.audit (${COLUMNS}) SELECT '${ORIGIN}', n, 10 + n, ${cells({ origin: ORIGIN, device: "tablet-1", data: "'{}'", takenBy: `'${HILLS}', n` })}
     FROM generate_series(0, $1::int - 1) n`,
    [2 * NOTES],
  );
  // Each note places two events.
  await db.query(
    `INSERT INTO tributary.audit (${COLUMNS}) SELECT 'relief.hub.order.aaaaaaaa', n, 1000000 + n, ${cells({
      ...{ origin: "", device: "order", takenBy: "NULL, NULL" },
      data: `json_build_object('origin', '${ORIGIN}', 'from', 2 * n, 'through', 2 * n + 1)`,
    })} FROM generate_series(0, $1::int - 1) n`,
    [NOTES],
  );
  await db.query("UPDATE tributary.shard SET position = 5000000");
  await db.query("ANALYZE tributary.audit");
});
afterAll(() => postgres?.close());

/** How many rows and index entries of the audit `work` reads. */
async function readBy(work: () => Promise<unknown>): Promise<number> {
  return inTransaction(db, async () => {
    const count = async (): Promise<number> => {
      const { rows } = await db.query<{ read: number }>(
        `SELECT (seq_tup_read + coalesce(idx_tup_fetch, 0) + (SELECT sum(pg_stat_get_xact_tuples_returned(indexrelid)) FROM pg_index WHERE indrelid = t.relid))::float8 AS read
         FROM pg_stat_xact_user_tables t WHERE schemaname = 'tributary' AND relname = 'audit'`,
      );
      return rows[0]?.read ?? 0;
    };
    const before = await count();
    await work();
    return (await count()) - before;
  });
}

it("finds where an event stands by its name, however many notes there are of its origin", async () => {
  for (const seq of [0, 7, NOTES, 2 * NOTES - 1]) {
    let places: unknown;
    const read = await readBy(async () => {
      places = (await placesAt(db, [at(10 + seq)], null)).get(at(10 + seq));
    });
    expect(places).toEqual({ [HILLS]: [seq, 0], [HOME]: [1_000_000 + Math.floor(seq / 2), seq] });
    expect(read).toBeLessThan(50);
  }
});

it("finds by its name whether an event of a page is placed already", async () => {
  const ordering = {
    noted: [],
    unplaced: [{ origin: ORIGIN as never, seq: 39_999 as never }],
    views: [{ view: "people", entity: "person" }],
  };
  expect(await readBy(() => askAgain(db, { waiting: [], ordering }, 1))).toBeLessThan(50);
  expect((await db.query("SELECT view, entity_id FROM tributary.refold")).rows).toEqual([
    { view: "people", entity_id: "p-39999" },
  ]);
});

it("takes notes that name no run for what they are: they place nothing, and the audit holds them", async () => {
  const bad = ['{"from":9,"through":3}', '{"from":"x"}', "{}", '{"from":-1,"through":99999999999999999999}'];
  for (const [n, data] of bad.entries())
    await db.query(
      `INSERT INTO tributary.audit (${COLUMNS}) SELECT 'relief.hub.order.aaaaaaaa', $1::int + n, 2000000 + $1::int, ${cells({
        ...{ origin: "", device: "order", takenBy: "NULL, NULL" },
        data: "$2::json",
      })} FROM (SELECT 100000 AS n) x`,
      [n, JSON.stringify({ origin: ORIGIN, ...JSON.parse(data) })],
    );
  expect((await placesAt(db, [at(19)], null)).get(at(19))).toEqual({ [HILLS]: [9, 0], [HOME]: [1_000_004, 9] });
});

it("tells in one statement whether there is anything to note, and looks at nothing that was there before", async () => {
  expect(await takenNews(db, null)).toEqual({ incarnation: HOME, through: at(9 + 2 * NOTES), isNew: true, isAny: true });
  // What the hills note themselves is not noted here, and is not looked at again and again.
  await db.query(
    `INSERT INTO tributary.audit (${COLUMNS}) SELECT 'uplands.hub.order.aaaaaaaa', n, 3000000 + n, ${cells({
      ...{ origin: "", device: "order", data: "'{}'", takenBy: `'${HILLS}', n` },
    })} FROM generate_series(0, 999) n`,
  );
  const news = await takenNews(db, at(9 + 2 * NOTES));
  expect(news).toEqual({ incarnation: HOME, through: at(3_000_999), isNew: false, isAny: true });
  expect(await readBy(() => takenNews(db, news.through))).toBeLessThan(20);
});

it("keeps no connection at a hub that no other hub talks to, and notes what comes once one does", async () => {
  const away = await openPostgres();
  const stop = new AbortController();
  let notes = 0;
  let looks = 0;
  const connected = async (): Promise<boolean> =>
    (
      await away.db.query(
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%notes places'",
      )
    ).rowCount === 1;
  try {
    await migrate(away.db);
    const noting = keepNoting({
      postgresUrl: away.url,
      origin: {
        append: async () => {
          notes++;
          return 0;
        },
      },
      isReady: () => {
        looks++;
        return true;
      },
      aloneLookMs: 100,
      signal: stop.signal,
    });
    try {
      await expect.poll(() => looks, { timeout: WAIT_MS, interval: 20 }).toBeGreaterThan(4);
      await expect.poll(connected, { timeout: WAIT_MS, interval: 7 }).toBe(false);
      expect(notes).toBe(0);
      await away.db.query("INSERT INTO tributary.incarnation (id, how) VALUES ($1, 'first')", [HOME]);
      await away.db.query("UPDATE tributary.shard SET position = 100");
      await away.db.query(
        `INSERT INTO tributary.audit (${COLUMNS}) SELECT '${ORIGIN}', n, n, ${cells({ origin: ORIGIN, device: "tablet-1", data: "'{}'", takenBy: `'${HILLS}', n` })}
         FROM generate_series(7, 7) n`,
      );
      await expect.poll(() => notes, { timeout: WAIT_MS, interval: 20 }).toBeGreaterThan(0);
      await expect.poll(connected, { timeout: WAIT_MS, interval: 20 }).toBe(true);
      const before = looks;
      await expect.poll(() => looks, { timeout: WAIT_MS, interval: 20 }).toBeGreaterThan(before + 2);
      expect(await connected()).toBe(true);
    } finally {
      stop.abort();
      await noting;
    }
  } finally {
    await away.close();
  }
});
