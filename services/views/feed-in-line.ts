/**
 * Brings the feeds of buckets in line with the views that say which bucket an entity is in: after a swap, after the books were balanced, where a view says so by other columns than before, and where
 * there is no feed yet. What was sealed never changes. Runs inside the caller's transaction, which holds the shards still, so that each entity's row is as of its shard's position.
 *
 *   in the bucket that its row says ─▶ nothing           in another ─▶ exit and enter, at its shard's position
 *   in none, with events that have no line ─▶ enter with the first of them, event with the others, at their positions           its type has no view any more ─▶ exit
 */
import { type Bucket, type BucketId, type Position, QUARANTINE_ENTITY, quarantineBucket } from "../core/index.ts";
import { bucketOf, type Projection, scopedViews, type View } from "../merge/engine.ts";
import { generationsOf, isBuiltAs } from "./catalog.ts";
import type { Db } from "./connect.ts";
import { bucketIds, type Placement } from "./feed/lines.ts";
import { at, LIVE } from "./names.ts";
import { declaredTypes, jsonOf, quoted } from "./read/columns.ts";
import { COUNTED_AT, COUNTED_FROM } from "./read/counts.ts";
import { heldIn } from "./read/sql.ts";
import { type Positions, shardOf } from "./shards.ts";
import { correctFeed, LATER, lockFeed, scopeText, writeBuckets } from "./write/feed.ts";

/** Under this name stands that the feed has the quarantined events and the notes on cases. No entity type has it. */
const OTHERS = "";
/** How many entities are moved at a time. */
const MOVES_AT_ONCE = 5_000;

/** Whether the feed was made for the scope columns of these views. */
export async function isFeedInLine(db: Db, views: readonly View[]): Promise<boolean> {
  const made = await scopesMade(db);
  const homes = scopedViews(views);
  const isMade = ([type, home]: [string, Projection]): boolean => made.get(type)?.columns === columnsOf(home);
  return made.has(OTHERS) && made.size === homes.size + 1 && [...homes].every(isMade);
}

/**
 * Brings the feed in line. `views`: all that are declared; `rebuilt`: those whose rows may have changed otherwise than by events. A process that does not declare the live view by which lines were made
 * leaves them as they are. Returns how many entities were in another bucket, or in none.
 */
export async function bringFeedInLine(
  db: Db,
  views: readonly View[],
  { positions, rebuilt }: { readonly positions: Positions; readonly rebuilt: ReadonlySet<string> },
): Promise<number> {
  const made = await scopesMade(db);
  const live = await generationsOf(db, "live");
  const isOthers = (type: string): boolean => {
    const by = made.get(type)?.view ?? "";
    return live.has(by) && !views.some(({ name }) => name === by);
  };
  const homes = scopedViews(views);
  const gone = [...made.keys()].filter((type) => type !== OTHERS && !homes.has(type) && !isOthers(type));
  const due = [...homes.values()].filter(
    (home) =>
      isBuiltAs(home, live) &&
      !isOthers(home.entity) &&
      (rebuilt.has(home.name) || made.get(home.entity)?.columns !== columnsOf(home)),
  );
  if (due.length + gone.length === 0 && made.has(OTHERS)) return 0;
  await lockFeed(db);
  let entities = 0;
  for (const home of due) {
    const before = made.get(home.entity)?.columns;
    entities += await bringHome(db, { home, isNew: before === undefined, isSame: before === columnsOf(home), positions });
    await noteScope(db, home.entity, { view: home.name, columns: columnsOf(home) });
  }
  for (const type of gone) entities += await letGo(db, type, positions);
  if (!made.has(OTHERS)) {
    await enterQuarantined(db);
    await takeCaseNotes(db);
    await noteScope(db, OTHERS, { view: "", columns: "[]" });
  }
  return entities;
}

/** Empties the feed, so that it is made again. Seals stay: their numbers go on. So does what replicas owe. */
export async function clearFeed(db: Db): Promise<void> {
  await lockFeed(db);
  for (const table of ["feed", "member", "held", "segment", "feed_note", "feed_scope"])
    await db.query(`DELETE FROM tributary.${table}`);
}

/** Empties the feed if it, or a seal, goes beyond a position that the log is set back to (`null`: the log's beginning). */
export async function clearFeedBeyond(db: Db, to: Position | null): Promise<void> {
  const { rows } = await db.query<{ beyond: boolean }>(
    `SELECT EXISTS (SELECT FROM tributary.feed WHERE position > $1) OR EXISTS (SELECT FROM tributary.seal WHERE through > $1) AS beyond`,
    [to ?? -1n],
  );
  if (rows[0]?.beyond) await clearFeed(db);
}

const columnsOf = ({ scopeBy }: Projection): string => JSON.stringify(scopeBy ?? []);

/** By which view lines were made, and for which scope columns, as JSON. */
interface Made {
  readonly view: string;
  readonly columns: string;
}

/** How the lines of each entity type were made. */
async function scopesMade(db: Db): Promise<Map<string, Made>> {
  const { rows } = await db.query<Made & { type: string }>(
    "SELECT entity_type AS type, view, columns::text AS columns FROM tributary.feed_scope",
  );
  return new Map(rows.map(({ type, ...made }) => [type, made]));
}

async function noteScope(db: Db, type: string, { view, columns }: Made): Promise<void> {
  await db.query(
    `INSERT INTO tributary.feed_scope (entity_type, view, columns) VALUES ($1, $2, $3)
     ON CONFLICT (entity_type) DO UPDATE SET view = excluded.view, columns = excluded.columns`,
    [type, view, columns],
  );
}

interface HomeWork {
  readonly home: Projection;
  /** The feed has no lines of the type yet, or had none for a time. */
  readonly isNew: boolean;
  /** It was made for the same columns. */
  readonly isSame: boolean;
  readonly positions: Positions;
}

async function bringHome(db: Db, work: HomeWork): Promise<number> {
  const { home, isNew, positions } = work;
  const scopes = await scopesIn(db, home);
  const place = (found: readonly { readonly id: string; readonly bucket: BucketId }[]): Promise<number> =>
    move(
      db,
      positions,
      found.map(({ id, bucket }) => ({ entityType: home.entity, entityId: id, bucket: scopes.buckets.get(bucket)! })),
    );
  const moved = isNew ? 0 : await place(await misplaced(db, work, scopes));
  const lacking = await unplaced(db, home, scopes);
  const entered = isNew || lacking.length > 0 ? await enterWithEvents(db, work, scopes, lacking) : 0;
  // Entities whose events all have lines already enter without one.
  const alone = lacking.length > 0 ? await place(await unplaced(db, home, scopes)) : 0;
  return moved + entered + alone;
}

/** The buckets of a view's rows. */
interface Scopes {
  readonly buckets: ReadonlyMap<BucketId, Bucket>;
  /** The bucket of entities that have no row. */
  readonly empty: BucketId;
  /** The table of them, as SQL over two parameters; and these parameters. */
  readonly cells: readonly [ids: readonly string[], scopes: readonly string[]];
}

/** A view's scope columns in a row, as the JSON array that `tributary.bucket` keeps. */
function scopeOf(home: Projection, row: string): string {
  const types = new Map(declaredTypes(home));
  const cells = (home.scopeBy ?? []).map((name) => jsonOf(`${row}.${quoted(name)}`, types.get(name) ?? "text"));
  return `jsonb_build_array(${cells.join(", ")})`;
}

async function scopesIn(db: Db, home: Projection): Promise<Scopes> {
  const idOf = bucketIds();
  const empty = bucketOf(home, {});
  const { rows } = await db.query<{ values: Bucket["values"] }>(
    `SELECT DISTINCT ${scopeOf(home, "t")} AS values FROM ${at(LIVE, home.name)} t`,
  );
  const all: Bucket[] = [empty, ...rows.map(({ values }) => ({ entityType: home.entity, values }))];
  const buckets = new Map(all.map((bucket) => [idOf(bucket), bucket]));
  await writeBuckets(db, buckets);
  return { buckets, empty: idOf(empty), cells: [[...buckets.keys()], [...buckets.values()].map(scopeText)] };
}

type Found = { readonly id: string; readonly bucket: BucketId };

/** Entities that are in another bucket than they should be. One without a row stays where it is, if buckets are made of the same columns as before. */
async function misplaced(db: Db, { home, isSame }: HomeWork, { cells, empty }: Scopes): Promise<readonly Found[]> {
  const { rows } = await db.query<Found>(
    `SELECT m.entity_id AS id, coalesce(x.id, $4) AS bucket FROM tributary.member m
       LEFT JOIN ${at(LIVE, home.name)} t ON t.id = m.entity_id
       LEFT JOIN unnest($2::text[], $3::jsonb[]) AS x (id, scope) ON x.scope = ${scopeOf(home, "t")} AND t.id IS NOT NULL
     WHERE m.entity_type = $1 AND m.until IS NULL AND m.bucket <> coalesce(x.id, $4) AND (t.id IS NOT NULL OR NOT $5)
     ORDER BY m.entity_id`,
    [home.entity, ...cells, empty, isSame],
  );
  return rows;
}

/** Entities that have a row and are in no bucket. */
async function unplaced(db: Db, home: Projection, { cells }: Scopes): Promise<readonly Found[]> {
  const { rows } = await db.query<Found>(
    `SELECT t.id, x.id AS bucket FROM ${at(LIVE, home.name)} t JOIN unnest($2::text[], $3::jsonb[]) AS x (id, scope) ON x.scope = ${scopeOf(home, "t")}
     WHERE NOT EXISTS (SELECT FROM tributary.member m WHERE m.entity_type = $1 AND m.entity_id = t.id AND m.until IS NULL)
     ORDER BY t.id`,
    [home.entity, ...cells],
  );
  return rows;
}

/** Moves entities into these buckets at their shards' positions. */
async function move(
  db: Db,
  positions: Positions,
  entities: readonly Pick<Placement, "entityType" | "entityId" | "bucket">[],
): Promise<number> {
  const placements = entities.flatMap((entity): Placement[] => {
    const position = positions[shardOf({ type: entity.entityType, id: entity.entityId })] ?? null;
    return position === null ? [] : [{ ...entity, position, events: [] }];
  });
  for (let from = 0; from < placements.length; from += MOVES_AT_ONCE)
    await correctFeed(db, placements.slice(from, from + MOVES_AT_ONCE));
  return placements.length;
}

/**
 * Enters entities that are in no bucket, with their events that have no line, each at its position: all such entities of the type where it is new, else those that `lacking` names. Returns how many.
 */
async function enterWithEvents(
  db: Db,
  { home, isNew }: HomeWork,
  { cells, empty }: Scopes,
  lacking: readonly Found[],
): Promise<number> {
  const id = heldIn("a", "entity_id");
  const { rowCount } = await db.query(
    `WITH lacking AS MATERIALIZED (
       SELECT ${id} AS id, ${COUNTED_AT} AS position, a.origin, a.seq, q.state IS NOT NULL AS released
       ${COUNTED_FROM} AND (a.entity_type = $1 OR a.held_otherwise IS NOT NULL AND a.held_otherwise ->> 'entity_type' = $1)
         AND ($5::text[] IS NULL OR ${id} = ANY($5))
         AND NOT EXISTS (SELECT FROM tributary.member m WHERE m.entity_type = $1 AND m.entity_id = ${id} AND m.until IS NULL)
         AND NOT EXISTS (SELECT FROM tributary.feed f WHERE f.entity_type = $1 AND f.entity_id = ${id} AND f.origin = a.origin AND f.seq = a.seq)
     ), event AS (
       SELECT id, position, 0 AS n, origin, seq FROM lacking
       UNION ALL
       SELECT l.id, l.position, 1, r.origin, r.seq FROM lacking l JOIN tributary.audit r ON r.position = l.position WHERE l.released
     ), line AS (
       INSERT INTO tributary.feed (position, ordinal, bucket, kind, entity_type, entity_id, origin, seq)
       SELECT e.position, greatest(${LATER}, (SELECT max(f.ordinal) + 1 FROM tributary.feed f WHERE f.position = e.position)) + e.n, coalesce(x.id, $4),
         CASE WHEN row_number() OVER (PARTITION BY e.id ORDER BY e.position, e.n) = 1 THEN 'enter' ELSE 'event' END, $1, e.id, e.origin, e.seq
       FROM event e LEFT JOIN ${at(LIVE, home.name)} t ON t.id = e.id
         LEFT JOIN unnest($2::text[], $3::jsonb[]) AS x (id, scope) ON x.scope = ${scopeOf(home, "t")} AND t.id IS NOT NULL
       RETURNING kind, entity_id, bucket, position
     )
     INSERT INTO tributary.member (entity_type, entity_id, bucket, since)
     SELECT $1, entity_id, bucket, position FROM line WHERE kind = 'enter'`,
    [home.entity, ...cells, empty, isNew ? null : lacking.map(({ id: name }) => name)],
  );
  return rowCount ?? 0;
}

/** Takes all entities of a type out of their buckets: no view shows them any more. */
async function letGo(db: Db, type: string, positions: Positions): Promise<number> {
  const { rows } = await db.query<{ id: string }>(
    "SELECT entity_id AS id FROM tributary.member WHERE entity_type = $1 AND until IS NULL ORDER BY entity_id",
    [type],
  );
  const moved = await move(
    db,
    positions,
    rows.map(({ id }) => ({ entityType: type, entityId: id, bucket: null })),
  );
  await db.query("DELETE FROM tributary.feed_scope WHERE entity_type = $1", [type]);
  return moved;
}

/** Enters the quarantined events that are not settled. */
async function enterQuarantined(db: Db): Promise<void> {
  const site = "split_part(q.origin, '.', 1) || '.' || split_part(q.origin, '.', 2)";
  const { rows } = await db.query<{ site: string }>(
    `SELECT DISTINCT ${site} AS site FROM tributary.quarantine q WHERE q.state = 'held'`,
  );
  const idOf = bucketIds();
  const buckets = rows.map((row) => ({ site: row.site, bucket: quarantineBucket(row.site) }));
  await writeBuckets(db, new Map(buckets.map(({ bucket }) => [idOf(bucket), bucket])));
  await db.query(
    `WITH held AS (
       SELECT q.origin || '/' || q.seq AS id, q.position, q.origin, q.seq, x.bucket FROM tributary.quarantine q
         JOIN unnest($2::text[], $3::text[]) AS x (site, bucket) ON x.site = ${site}
       WHERE q.state = 'held' AND NOT EXISTS (SELECT FROM tributary.member m WHERE m.entity_type = $1 AND m.entity_id = q.origin || '/' || q.seq)
     ), line AS (
       INSERT INTO tributary.feed (position, ordinal, bucket, kind, entity_type, entity_id, origin, seq)
       SELECT h.position, greatest(${LATER}, (SELECT max(f.ordinal) + 1 FROM tributary.feed f WHERE f.position = h.position)), h.bucket, 'enter', $1, h.id, h.origin, h.seq
       FROM held h
     )
     INSERT INTO tributary.member (entity_type, entity_id, bucket, since) SELECT $1, id, bucket, position FROM held`,
    [QUARANTINE_ENTITY, buckets.map((each) => each.site), buckets.map(({ bucket }) => idOf(bucket))],
  );
}

/** All notes on cases wait for their lines again. */
async function takeCaseNotes(db: Db): Promise<void> {
  await db.query(
    `INSERT INTO tributary.feed_note (position, case_id, origin, seq)
     SELECT n.position, n.case_id, a.origin, a.seq FROM tributary.case_note n JOIN tributary.audit a ON a.position = n.position ON CONFLICT DO NOTHING`,
  );
}
