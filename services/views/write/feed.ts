/** Writes which bucket entities are in, and the lines of the buckets' feeds. */
import {
  type Bucket,
  type BucketId,
  CASE_NOTES,
  type LogEntry,
  type OriginId,
  type Position,
  type Seq,
} from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { copyText, line, withoutNul } from "../copy.ts";
import { entityName, type FeedChanges, type FeedRow, feedChanges, type Move, type Placement } from "../feed/lines.ts";
import { asPosition, positionOf } from "../shards.ts";

/** Lines that are written after a position was folded are numbered from here on, so that they never meet those that folding writes, perhaps later, in another process. */
export const LATER = 1_000;

/** Whoever writes lines of positions that have been folded, seals lines or makes the feed anew holds this lock; an arbitrary number of ours. */
const FEED_LOCK = 7_401_106;

/** Keeps others from writing lines of earlier positions, and from sealing, until the caller's transaction ends. */
export async function lockFeed(db: Db): Promise<void> {
  await db.query("SELECT pg_advisory_xact_lock($1)", [FEED_LOCK]);
}

/** The same for whoever seals; `false`: another process has the lock. */
export async function tryLockFeed(db: Db): Promise<boolean> {
  const { rows } = await db.query<{ got: boolean }>("SELECT pg_try_advisory_xact_lock($1) AS got", [FEED_LOCK]);
  return rows[0]?.got === true;
}

/** Writes what a page says of the buckets of entities, and notes which of its notes on cases are to get a line. The caller holds the shards of all that it says something of. */
export async function writeFeed(db: Db, placements: readonly Placement[], caseNotes: readonly LogEntry[]): Promise<void> {
  await noteCaseNotes(db, caseNotes);
  if (placements.length === 0) return;
  const { known, whose } = await bucketsNow(db, placements.map(withPlainId));
  await writeLines(db, feedChanges(known, whose));
}

/**
 * Writes what became of entities after their position was folded: an entity that is in another bucket than its member row says leaves the one and enters the other, at that
 * position. Returns how many lines that makes; none, where all are where they should be.
 */
export async function correctFeed(db: Db, placements: readonly Placement[]): Promise<number> {
  if (placements.length === 0) return 0;
  const { known, whose } = await bucketsNow(db, placements.map(withPlainId));
  if (feedChanges(known, whose).rows.length === 0) return 0;
  await lockFeed(db);
  const changes = feedChanges(known, whose, await takenAt(db, new Set(whose.map(({ position }) => position))));
  await writeLines(db, changes);
  return changes.rows.length;
}

/**
 * Gives the notes on cases up to a position their lines, each in the bucket that the case's entity was in then. A case that is about no single entity has none. Call it with the feed locked, once all shards have
 * come to the position: only then is it certain where the entity was. Returns how many lines that makes.
 */
export async function placeCaseNotes(db: Db, through: Position): Promise<number> {
  const { rows: due } = await db.query<Due>(
    `WITH due AS (DELETE FROM tributary.feed_note WHERE position <= $1 RETURNING position, case_id, origin, seq)
     SELECT d.position, d.origin, d.seq, c.entity_type AS "entityType", c.subject AS "entityId", m.bucket
     FROM due d JOIN tributary.case_row c ON c.id = d.case_id JOIN tributary.generation g USING (view, generation)
     CROSS JOIN LATERAL (
       SELECT bucket FROM tributary.member m WHERE m.entity_type = c.entity_type AND m.entity_id = c.subject AND m.until IS NULL AND m.since <= d.position
       UNION ALL
       SELECT bucket FROM tributary.member m WHERE m.entity_type = c.entity_type AND m.entity_id = c.subject AND m.until > d.position AND m.since <= d.position
     ) m
     WHERE g.state = 'live' AND ${IS_OF_ENTITY}
     ORDER BY d.position`,
    [through],
  );
  if (due.length === 0) return 0;
  const taken = await takenAt(db, new Set(due.map(({ position }) => positionOf(position))));
  const rows = due.map(({ origin, seq, position: at, ...of }): FeedRow => {
    const position = positionOf(at);
    const ordinal = taken.get(position) ?? LATER;
    taken.set(position, ordinal + 1);
    return { ...of, position, ordinal, kind: "event", event: { origin, seq: Number(seq) as Seq } };
  });
  await copyRows(db, rows);
  return rows.length;
}

interface Due {
  readonly position: string;
  readonly origin: OriginId;
  readonly seq: string;
  readonly entityType: string;
  readonly entityId: string;
  readonly bucket: BucketId;
}

/** The condition that a case is about one entity: a register of its row, or an invariant of the row itself. Cases of keys that entities share, and of totals, are not. */
const IS_OF_ENTITY = `(c.kind = 'register' OR c.about ->> 'problem' IS NOT NULL AND c.about -> 'values' IS NULL)`;

const withPlainId = (placement: Placement): Placement =>
  placement.entityId.includes("\0") ? { ...placement, entityId: withoutNul(placement.entityId) } : placement;

/** Which bucket entities are in, by `entityName`; and the placements of those whose lines may be written. */
interface Standing {
  readonly known: ReadonlyMap<string, BucketId>;
  readonly whose: readonly Placement[];
}

/** The buckets that these entities are in. Where the feed of a new type is being made and has not come to an entity yet, nothing is written of it: it gets all its events when its turn comes. */
async function bucketsNow(db: Db, placements: readonly Placement[]): Promise<Standing> {
  const entities = [...new Map(placements.map((one) => [entityName(one.entityType, one.entityId), one])).values()];
  const { rows } = await db.query<{ type: string; id: string; bucket: BucketId | null }>({
    name: "buckets-now",
    text: `SELECT x.entity_type AS type, x.entity_id AS id, m.bucket FROM unnest($1::text[], $2::text[]) AS x (entity_type, entity_id)
      LEFT JOIN tributary.member m ON m.entity_type = x.entity_type AND m.entity_id = x.entity_id AND m.until IS NULL
      LEFT JOIN tributary.feed_scope s ON s.entity_type = x.entity_type AND s.due = 'new' AND x.entity_id > s.done_to
      WHERE m.bucket IS NOT NULL OR s.due IS NOT NULL`,
    values: [entities.map(({ entityType }) => entityType), entities.map(({ entityId }) => entityId)],
  });
  const known = new Map<string, BucketId>();
  const waiting = new Set<string>();
  for (const { type, id, bucket } of rows) {
    if (bucket === null) waiting.add(entityName(type, id));
    else known.set(entityName(type, id), bucket);
  }
  const mayWrite = ({ entityType, entityId }: Placement): boolean => !waiting.has(entityName(entityType, entityId));
  return { known, whose: waiting.size === 0 ? placements : placements.filter(mayWrite) };
}

/** The number of the next line that is written later of each of these positions. */
async function takenAt(db: Db, positions: ReadonlySet<Position>): Promise<Map<Position, number>> {
  const { rows } = await db.query<{ position: string; next: number }>(
    `SELECT x.position, greatest($2, max(f.ordinal) + 1) AS next FROM unnest($1::bigint[]) AS x (position)
       LEFT JOIN tributary.feed f ON f.position = x.position GROUP BY x.position`,
    [[...positions], LATER],
  );
  return new Map(rows.map(({ position, next }) => [asPosition(position)!, next]));
}

/** Notes that these notes on cases are to get lines. */
async function noteCaseNotes(db: Db, entries: readonly LogEntry[]): Promise<void> {
  const notes = entries.filter(({ head }) => CASE_NOTES[head.type] !== undefined);
  if (notes.length === 0) return;
  await db.query(
    `INSERT INTO tributary.feed_note (position, case_id, origin, seq) SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[])`,
    [
      notes.map(({ position }) => position),
      notes.map(({ head }) => withoutNul(head.entity.id)),
      notes.map(({ head }) => head.origin),
      notes.map(({ head }) => head.seq),
    ],
  );
}

async function writeLines(db: Db, { rows, moves, buckets }: FeedChanges): Promise<void> {
  if (moves.length > 0) await writeMoves(db, moves, buckets);
  await copyRows(db, rows);
}

const COPY = "COPY tributary.feed (position, ordinal, bucket, kind, entity_type, entity_id, origin, seq) FROM STDIN";

async function copyRows(db: Db, rows: readonly FeedRow[]): Promise<void> {
  if (rows.length === 0) return;
  const lines = rows.map(({ position, ordinal, bucket, kind, entityType, entityId, event }) =>
    line([position, ordinal, bucket, kind, entityType, entityId, event?.origin, event?.seq]),
  );
  await copyText(db, COPY, lines.join(""));
}

/** An entity's time in a bucket. */
interface Stay extends Pick<Move, "entityType" | "entityId"> {
  readonly bucket: BucketId;
  readonly since: Position;
  until: Position | null;
}

/** Ends the stays that moves end, and writes those that they begin. An entity may move several times. */
async function writeMoves(db: Db, moves: readonly Move[], buckets: ReadonlyMap<BucketId, Bucket>): Promise<void> {
  const begun: Stay[] = [];
  const ended: Move[] = [];
  const open = new Map<string, Stay>();
  for (const move of moves) {
    const { entityType, entityId, position, from, to } = move;
    const name = entityName(entityType, entityId);
    const stay = open.get(name);
    if (stay !== undefined) stay.until = position;
    else if (from !== null) ended.push(move);
    open.delete(name);
    if (to === null) continue;
    const next: Stay = { entityType, entityId, bucket: to, since: position, until: null };
    begun.push(next);
    open.set(name, next);
  }
  if (ended.length > 0)
    await db.query({
      name: "stays-ended",
      text: `UPDATE tributary.member m SET until = x.position FROM unnest($1::text[], $2::text[], $3::bigint[]) AS x (entity_type, entity_id, position)
        WHERE m.entity_type = x.entity_type AND m.entity_id = x.entity_id AND m.until IS NULL`,
      values: [
        ended.map(({ entityType }) => entityType),
        ended.map(({ entityId }) => entityId),
        ended.map(({ position }) => position),
      ],
    });
  if (begun.length === 0) return;
  await db.query({
    name: "stays-begun",
    text: `WITH new AS (${INSERT_BUCKETS})
      INSERT INTO tributary.member (entity_type, entity_id, bucket, since, until)
      SELECT * FROM unnest($5::text[], $6::text[], $7::text[], $8::bigint[], $9::bigint[])`,
    values: [
      ...bucketCells(buckets),
      begun.map(({ entityType }) => entityType),
      begun.map(({ entityId }) => entityId),
      begun.map(({ bucket }) => bucket),
      begun.map(({ since }) => since),
      begun.map(({ until }) => until),
    ],
  });
}

const INSERT_BUCKETS =
  "INSERT INTO tributary.bucket (id, entity_type, scope, columns) SELECT * FROM unnest($1::text[], $2::text[], $3::jsonb[], $4::json[]) ON CONFLICT DO NOTHING";

function bucketCells(buckets: ReadonlyMap<BucketId, Bucket>): [string[], string[], string[], (string | null)[]] {
  // In one order everywhere, since processes that fold other shards write the same buckets.
  const sorted = [...buckets].sort(([a], [b]) => (a < b ? -1 : 1));
  return [
    sorted.map(([id]) => id),
    sorted.map(([, { entityType }]) => entityType),
    sorted.map(([, bucket]) => scopeText(bucket)),
    sorted.map(([, { columns = [] }]) => (columns.length === 0 ? null : JSON.stringify(columns))),
  ];
}

/** Writes down what buckets are. */
export async function writeBuckets(db: Db, buckets: ReadonlyMap<BucketId, Bucket>): Promise<void> {
  await db.query(INSERT_BUCKETS, bucketCells(buckets));
}

/** A bucket's values as the database keeps them. */
export const scopeText = ({ values }: Bucket): string =>
  JSON.stringify(values.map((value) => (typeof value === "string" ? withoutNul(value) : value)));
