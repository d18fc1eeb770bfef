/**
 * Brings the feeds of buckets in line, part by part. Each part is one transaction, which holds the shards still, so that each entity's row is as of its shard's position, and notes how far it has come: whoever
 * is killed loses one part. Between two parts pages are written as ever. What they say of an entity whose turn has not come is left out where the type is new (`writeFeed`): its part has all its events.
 *
 *   in the bucket that its row says ─▶ nothing           in another ─▶ exit and enter, at its shard's position
 *   in none, with events that have no line ─▶ enter with the first of them, event with the others, at their positions           its type has no view any more ─▶ exit
 */
import { type Bucket, type BucketId, QUARANTINE_ENTITY, quarantineBucket } from "../core/index.ts";
import { bucketOf, type Projection, scopedViews, type View } from "../merge/engine.ts";
import { generationsOf, isBuiltAs, livePositions } from "./catalog.ts";
import { type Db, inTransaction } from "./connect.ts";
import { bucketIds, type Placement } from "./feed/lines.ts";
import { columnsOf, isFeedDue, isOthers, type Made, OTHERS, scopesMade } from "./feed-due.ts";
import { holdShards } from "./lock.ts";
import { at, LIVE } from "./names.ts";
import { declaredTypes, jsonOf, quoted } from "./read/columns.ts";
import { COUNTED_AT, COUNTED_FROM } from "./read/counts.ts";
import { heldIn } from "./read/sql.ts";
import { type Positions, shardOf } from "./shards.ts";
import { correctFeed, LATER, scopeText, tryLockFeed, writeBuckets } from "./write/feed.ts";

/** So many entities, and about so many events, are one part. Entities are never parted. */
const PART = 5_000;

/** A part that was done. */
export interface FeedPart {
  /** The entity type; empty: quarantined events and notes on cases. */
  readonly entityType: string;
  /** How many entities were in another bucket, or in none. */
  readonly entities: number;
  /** The last entity that is done; `null`: all are. */
  readonly doneTo: string | null;
}

/**
 * Does the next part of what is due, in a transaction of its own. `null`: nothing is left that a process with these views can do. `busy`: lines are being sealed; try again. `after`: types that are
 * passed over.
 */
export async function nextFeedPart(
  db: Db,
  views: readonly View[],
  { part = PART, after = new Set() }: { readonly part?: number; readonly after?: ReadonlySet<string> } = {},
): Promise<FeedPart | "busy" | null> {
  if (!(await isFeedDue(db))) return null;
  return inTransaction(db, async () => {
    await holdShards(db);
    // A page in another process may wait for the lock while it has shards: whoever holds the shards never waits for it.
    if (!(await tryLockFeed(db))) return "busy";
    const live = await generationsOf(db, "live");
    const homes = scopedViews(views);
    for (const made of (await scopesMade(db)).values()) {
      if (made.due === null || after.has(made.type) || isOthers(made, views, live)) continue;
      if (made.type === OTHERS) return enterOthers(db, part);
      const home = homes.get(made.type);
      if (home === undefined) {
        if (made.due === "gone") return letGo(db, made.type, await livePositions(db), part);
      } else if (made.view === home.name && made.columns === columnsOf(home) && isBuiltAs(home, live))
        return bringHome(db, home, made, { positions: await livePositions(db), part });
    }
    return null;
  });
}

/** Notes how far a type has come; `null`: to its end. */
async function noteDone(db: Db, entityType: string, doneTo: string | null, entities: number): Promise<FeedPart> {
  await db.query(
    "UPDATE tributary.feed_scope SET done_to = $2, due = CASE WHEN $2::text IS NULL THEN NULL ELSE due END WHERE entity_type = $1",
    [entityType, doneTo],
  );
  return { entityType, entities, doneTo };
}

/** The entities of a part: after one, up to another (`null`: to the end). */
type Range = readonly [after: string, upTo: string | null];

/** The condition that an id is in a range that two parameters give. */
const isIn = (id: string, after: number): string =>
  `${id} > $${after}::text AND ($${after + 1}::text IS NULL OR ${id} <= $${after + 1}::text)`;

interface HomeWork {
  readonly home: Projection;
  readonly range: Range;
  /** The feed has no lines of the type yet, or had none for a time. */
  readonly isNew: boolean;
  /** It was made for the same columns. */
  readonly isSame: boolean;
  readonly positions: Positions;
}

async function bringHome(
  db: Db,
  home: Projection,
  { due, doneTo }: Made,
  { positions, part }: { readonly positions: Positions; readonly part: number },
): Promise<FeedPart> {
  const isNew = due === "new";
  const upTo = await endOfPart(db, home, { after: doneTo ?? "", isNew, part });
  const work: HomeWork = { home, range: [doneTo ?? "", upTo], isNew, isSame: due === "same", positions };
  const scopes = await scopesIn(db, work);
  const place = (found: readonly Found[]): Promise<number> =>
    move(
      db,
      positions,
      found.map(({ id, bucket }) => ({ entityType: home.entity, entityId: id, bucket: scopes.buckets.get(bucket)! })),
    );
  const moved = await place(await misplaced(db, work, scopes));
  const lacking = await unplaced(db, work, scopes);
  const entered = isNew || lacking.length > 0 ? await enterWithEvents(db, work, scopes, lacking) : 0;
  // Entities whose events all have lines already enter without one.
  const alone = lacking.length > 0 ? await place(await unplaced(db, work, scopes)) : 0;
  return noteDone(db, home.entity, upTo, moved + entered + alone);
}

/** The last entity of a part; `null`: the part goes to the end. */
async function endOfPart(
  db: Db,
  home: Projection,
  { after, isNew, part }: { readonly after: string; readonly isNew: boolean; readonly part: number },
): Promise<string | null> {
  const nth = (id: string, from: string): string => `(SELECT ${id} FROM ${from} AND ${id} > $2 ORDER BY ${id} OFFSET $3 LIMIT 1)`;
  const ends = [
    nth("t.id", `${at(LIVE, home.name)} t WHERE true`),
    nth("m.entity_id", "tributary.member m WHERE m.entity_type = $1 AND m.until IS NULL"),
    ...(isNew ? [nth("a.entity_id", "tributary.audit a WHERE a.entity_type = $1")] : []),
  ];
  const { rows } = await db.query<{ end: string | null }>(`SELECT least(${ends.join(", ")}) AS end, $1::text`, [
    ...[home.entity, after, part - 1],
  ]);
  return rows[0]?.end ?? null;
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

async function scopesIn(db: Db, { home, range }: HomeWork): Promise<Scopes> {
  const idOf = bucketIds();
  const empty = bucketOf(home, {});
  const { rows } = await db.query<{ values: Bucket["values"] }>(
    `SELECT DISTINCT ${scopeOf(home, "t")} AS values FROM ${at(LIVE, home.name)} t WHERE ${isIn("t.id", 1)}`,
    [...range],
  );
  const all: Bucket[] = [empty, ...rows.map(({ values }) => ({ ...empty, values }))];
  const buckets = new Map(all.map((bucket) => [idOf(bucket), bucket]));
  await writeBuckets(db, buckets);
  return { buckets, empty: idOf(empty), cells: [[...buckets.keys()], [...buckets.values()].map(scopeText)] };
}

type Found = { readonly id: string; readonly bucket: BucketId };

/** Entities that are in another bucket than they should be. One without a row stays where it is, if buckets are made of the same columns as before. */
async function misplaced(db: Db, { home, isSame, range }: HomeWork, { cells, empty }: Scopes): Promise<readonly Found[]> {
  const { rows } = await db.query<Found>(
    `SELECT m.entity_id AS id, coalesce(x.id, $4) AS bucket FROM tributary.member m
       LEFT JOIN ${at(LIVE, home.name)} t ON t.id = m.entity_id
       LEFT JOIN unnest($2::text[], $3::jsonb[]) AS x (id, scope) ON x.scope = ${scopeOf(home, "t")} AND t.id IS NOT NULL
     WHERE m.entity_type = $1 AND m.until IS NULL AND m.bucket <> coalesce(x.id, $4) AND (t.id IS NOT NULL OR NOT $5)
       AND ${isIn("m.entity_id", 6)}
     ORDER BY m.entity_id`,
    [home.entity, ...cells, empty, isSame, ...range],
  );
  return rows;
}

/** Entities that have a row and are in no bucket. */
async function unplaced(db: Db, { home, range }: HomeWork, { cells }: Scopes): Promise<readonly Found[]> {
  const { rows } = await db.query<Found>(
    `SELECT t.id, x.id AS bucket FROM ${at(LIVE, home.name)} t JOIN unnest($2::text[], $3::jsonb[]) AS x (id, scope) ON x.scope = ${scopeOf(home, "t")}
     WHERE NOT EXISTS (SELECT FROM tributary.member m WHERE m.entity_type = $1 AND m.entity_id = t.id AND m.until IS NULL)
       AND ${isIn("t.id", 4)}
     ORDER BY t.id`,
    [home.entity, ...cells, ...range],
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
  await correctFeed(db, placements);
  return placements.length;
}

/**
 * Enters entities that are in no bucket, with their events that have no line, each at its position: all such entities of the part where the type is new, else those that `lacking` names. Returns how many.
 */
async function enterWithEvents(
  db: Db,
  { home, isNew, range }: HomeWork,
  { cells, empty }: Scopes,
  lacking: readonly Found[],
): Promise<number> {
  const id = heldIn("a", "entity_id");
  const isAsked = (name: string): string => (isNew ? isIn(name, 5) : `${name} = ANY($5::text[])`);
  const { rowCount } = await db.query(
    `WITH lacking AS MATERIALIZED (
       SELECT ${id} AS id, ${COUNTED_AT} AS position, a.origin, a.seq, q.state IS NOT NULL AS released
       ${COUNTED_FROM}
         AND (a.held_otherwise IS NULL AND a.entity_type = $1 AND ${isAsked("a.entity_id")}
           OR a.held_otherwise IS NOT NULL AND ${heldIn("a", "entity_type")} = $1 AND ${isAsked(id)})
         AND NOT EXISTS (SELECT FROM tributary.member m WHERE m.entity_type = $1 AND m.entity_id = ${id} AND m.until IS NULL)
         AND NOT EXISTS (SELECT FROM tributary.feed f WHERE f.position = ${COUNTED_AT} AND f.entity_type = $1 AND f.entity_id = ${id} AND f.origin = a.origin AND f.seq = a.seq)
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
    [home.entity, ...cells, empty, ...(isNew ? range : [lacking.map(({ id: name }) => name)])],
  );
  return rowCount ?? 0;
}

/** Takes entities of a type out of their buckets: no view shows them any more. */
async function letGo(db: Db, type: string, positions: Positions, part: number): Promise<FeedPart> {
  const { rows } = await db.query<{ id: string }>(
    "SELECT entity_id AS id FROM tributary.member WHERE entity_type = $1 AND until IS NULL ORDER BY entity_id LIMIT $2",
    [type, part],
  );
  const entities = await move(
    db,
    positions,
    rows.map(({ id }) => ({ entityType: type, entityId: id, bucket: null })),
  );
  if (entities > 0) return { entityType: type, entities, doneTo: rows.at(-1)?.id ?? "" };
  await db.query("DELETE FROM tributary.feed_scope WHERE entity_type = $1", [type]);
  return { entityType: type, entities, doneTo: null };
}

/** Enters quarantined events that are not settled; after the last of them, all notes on cases wait for their lines. */
async function enterOthers(db: Db, part: number): Promise<FeedPart> {
  const site = "split_part(q.origin, '.', 1) || '.' || split_part(q.origin, '.', 2)";
  const { rows } = await db.query<{ site: string }>(
    `SELECT DISTINCT ${site} AS site FROM tributary.quarantine q WHERE q.state = 'held'`,
  );
  const idOf = bucketIds();
  const buckets = rows.map((row) => ({ site: row.site, bucket: quarantineBucket(row.site) }));
  await writeBuckets(db, new Map(buckets.map(({ bucket }) => [idOf(bucket), bucket])));
  const { rowCount } = await db.query(
    `WITH held AS (
       SELECT q.origin || '/' || q.seq AS id, q.position, q.origin, q.seq, x.bucket FROM tributary.quarantine q
         JOIN unnest($2::text[], $3::text[]) AS x (site, bucket) ON x.site = ${site}
       WHERE q.state = 'held' AND NOT EXISTS (SELECT FROM tributary.member m WHERE m.entity_type = $1 AND m.entity_id = q.origin || '/' || q.seq)
       ORDER BY q.position LIMIT $4
     ), line AS (
       INSERT INTO tributary.feed (position, ordinal, bucket, kind, entity_type, entity_id, origin, seq)
       SELECT h.position, greatest(${LATER}, (SELECT max(f.ordinal) + 1 FROM tributary.feed f WHERE f.position = h.position)), h.bucket, 'enter', $1, h.id, h.origin, h.seq
       FROM held h
     )
     INSERT INTO tributary.member (entity_type, entity_id, bucket, since) SELECT $1, id, bucket, position FROM held`,
    [QUARANTINE_ENTITY, buckets.map((each) => each.site), buckets.map(({ bucket }) => idOf(bucket)), part],
  );
  const entities = rowCount ?? 0;
  if (entities === part) return { entityType: OTHERS, entities, doneTo: "" };
  await db.query(
    `INSERT INTO tributary.feed_note (position, case_id, origin, seq)
     SELECT n.position, n.case_id, a.origin, a.seq FROM tributary.case_note n JOIN tributary.audit a ON a.position = n.position ON CONFLICT DO NOTHING`,
  );
  return noteDone(db, OTHERS, null, entities);
}
