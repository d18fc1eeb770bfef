/** The feeds of buckets as readers see them: heads, lines and histories. All of it is sealed. */
import type { Bucket, BucketHead, BucketId, Hash, LineKind, OriginId, Position, ScopeValue, Seq } from "../../core/index.ts";
import { FEED_START } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import type { EventName } from "../events-of.ts";
import { asPosition, positionOf } from "../shards.ts";
import { asHead, HEAD_COLUMNS, type HeadRow } from "../write/seal.ts";

/** The newest seal: its number (0: nothing is sealed yet), the position up to which the feed is complete, and the scope columns for which each entity type's lines are made. */
export interface NewestSeal {
  readonly number: number;
  readonly through: Position | null;
  readonly scopes: Readonly<Record<string, readonly string[]>>;
}

/** The newest seal. A feed that was emptied or is being made for other columns has none until that is done, though its numbers go on: whoever took it for an empty one would delete all that it holds. */
export const newestSeal = (db: Db): Promise<NewestSeal> => sealOf(db, "newest-seal", "");

/** The newest seal, and a text that changes whenever policies or sites' roles may have changed, also where no line tells of it. In one statement. */
export async function newestSealAndReach(db: Db): Promise<NewestSeal & { readonly reach: string }> {
  return sealOf(db, "newest-seal-and-reach", ", tributary.reach() AS reach");
}

async function sealOf(db: Db, name: string, besides: string): Promise<NewestSeal & { readonly reach: string }> {
  const { rows } = await db.query<{
    number: number | null;
    through: string | null;
    scopes: NewestSeal["scopes"] | null;
    reach?: string;
  }>({
    name,
    text: `SELECT s.scopes, g.number, g.through${besides} FROM (SELECT json_object_agg(entity_type, columns) AS scopes FROM tributary.feed_scope) s
      LEFT JOIN LATERAL (SELECT seal::float8 AS number, through FROM tributary.segment
        WHERE NOT EXISTS (SELECT FROM tributary.feed_shut) ORDER BY seal DESC LIMIT 1) g ON true`,
  });
  const [row] = rows;
  return { number: row?.number ?? 0, through: asPosition(row?.through), scopes: row?.scopes ?? {}, reach: row?.reach ?? "" };
}

/** A bucket's end, with what the bucket is. */
export type KnownHead = BucketHead & { readonly of: Bucket };

/** Buckets that have a segment of a seal after `seal`, with their ends. */
export async function headsAfter(db: Db, seal: number): Promise<readonly KnownHead[]> {
  // Of all buckets, the last segment of each is looked up; after a seal, the segments since are few.
  const segments =
    seal === 0
      ? `tributary.bucket x CROSS JOIN LATERAL (SELECT ${HEAD_COLUMNS} FROM tributary.segment g WHERE g.bucket = x.id ORDER BY g.seal DESC LIMIT 1) s`
      : `(SELECT DISTINCT ON (g.bucket) ${HEAD_COLUMNS} FROM tributary.segment g WHERE g.seal > $1 ORDER BY g.bucket, g.seal DESC) s`;
  const { rows } = await db.query<
    HeadRow & { entity_type: string; columns: readonly string[] | null; scope: readonly ScopeValue[] }
  >(
    `SELECT s.*, b.entity_type, b.columns, b.scope FROM ${segments} JOIN tributary.bucket b ON b.id = s.bucket`,
    seal === 0 ? [] : [seal],
  );
  return rows.map((row) => ({
    ...asHead(row),
    of: { entityType: row.entity_type, columns: row.columns ?? [], values: row.scope },
  }));
}

/** Whether a bucket had this head at the end of the segment of this seal. Where the feed begins, a bucket has it whose feed was never made anew. */
export async function hasHead(db: Db, bucket: BucketId, seal: number, head: Hash): Promise<boolean> {
  const isStart = seal === FEED_START.seal && head === FEED_START.head;
  const { rows } = isStart
    ? await db.query("SELECT WHERE NOT EXISTS (SELECT FROM tributary.segment WHERE bucket = $1 AND lines = 0)", [bucket])
    : await db.query("SELECT FROM tributary.segment WHERE bucket = $1 AND seal = $2 AND head = $3", [bucket, seal, head]);
  return rows.length > 0;
}

/** Where a line stands in its bucket's feed. */
export interface LinePlace {
  /** The seal of its segment. */
  readonly seal: number;
  readonly position: Position;
  /** Which of the lines of its position it is. */
  readonly ordinal: number;
}

/** After which lines of a bucket others come: after all lines of a seal and those before it, or, where `line` is one, after that line. */
export interface AfterLine {
  readonly seal: number;
  readonly line: LinePlace | null;
}

/** A sealed line. */
export interface SealedLine extends LinePlace {
  readonly kind: LineKind;
  readonly entityId: string;
  readonly digest: Hash;
  /** The position that its seal goes to. */
  readonly through: Position;
  /** The event that it comes from; `null`: none. */
  readonly event: EventName | null;
  /** Whether its entity is in the bucket as of the newest seal. Told of an `enter`; of others it is `true`. */
  readonly isHere: boolean;
}

interface PlaceRow {
  readonly seal: number;
  readonly position: string;
  readonly ordinal: number;
}

interface LineRow extends PlaceRow {
  readonly kind: LineKind;
  readonly entity_id: string;
  readonly origin: OriginId | null;
  readonly seq: Seq | null;
  readonly digest: Hash;
  readonly through: string;
  readonly is_here: boolean;
}

/** Lines of `table` that are sealed and come after a place: $2 its seal, $3 its position, $4 its ordinal. Compared as a whole, so that an index is read from there on. */
const isAfter = (table: string): string =>
  `${table}.seal IS NOT NULL AND (${table}.seal, ${table}.position, ${table}.ordinal) > ($2::bigint, $3::bigint, $4::int)`;

/** The bucket that the entity of a line is in, as of the newest seal. */
const bucketNow = (table: string): string =>
  `(SELECT h.bucket FROM tributary.held h WHERE h.entity_type = ${table}.entity_type AND h.entity_id = ${table}.entity_id)`;

/** No line of a seal stands there: all come before. */
const END_OF_SEAL = { position: 2n ** 63n - 1n, ordinal: 0 };

function placeCells({ seal, line }: AfterLine): [number, bigint, number] {
  const { position, ordinal } = line ?? END_OF_SEAL;
  return [line?.seal ?? seal, position, ordinal];
}

/**
 * Where the line stands that was read last of a segment: `line`: how many of the first segment after a seal were read, at least one. `null`: it has no line after these, so nobody stands there.
 */
export async function placeOf(
  db: Db,
  bucket: BucketId,
  { seal, line }: { readonly seal: number; readonly line: number },
): Promise<LinePlace | null> {
  const { rows } = await db.query<PlaceRow & Record<string, unknown>>({
    name: "feed-place",
    text: `SELECT f.seal::float8 AS seal, f.position, f.ordinal
      FROM (SELECT g.seal, g.lines FROM tributary.segment g WHERE g.bucket = $1 AND g.seal > $2 AND g.lines > 0 ORDER BY g.seal LIMIT 1) s
      CROSS JOIN LATERAL (SELECT f.seal, f.position, f.ordinal FROM tributary.feed f WHERE f.bucket = $1 AND f.seal = s.seal
        ORDER BY f.position, f.ordinal OFFSET $3::bigint - 1 LIMIT 1) f WHERE s.lines > $3::bigint`,
    values: [bucket, seal, line],
  });
  const [row] = rows;
  return row === undefined ? null : { seal: row.seal, position: positionOf(row.position), ordinal: row.ordinal };
}

/** The lines of a bucket after a place, at most `limit`, in order. */
export async function linesAfter(db: Db, bucket: BucketId, after: AfterLine, limit: number): Promise<readonly SealedLine[]> {
  const { rows } = await db.query<LineRow & Record<string, unknown>>({
    name: "feed-lines",
    // Looked up line by line: a join might read whole tables for a few lines.
    text: `SELECT f.kind, f.position, f.ordinal, f.entity_id, f.origin, f.seq::float8 AS seq, f.digest, f.seal::float8 AS seal,
        (SELECT g.through FROM tributary.segment g WHERE g.bucket = f.bucket AND g.seal = f.seal) AS through,
        f.kind <> 'enter' OR f.bucket IS NOT DISTINCT FROM ${bucketNow("f")} AS is_here
      FROM tributary.feed f WHERE f.bucket = $1 AND ${isAfter("f")} ORDER BY f.seal, f.position, f.ordinal LIMIT $5`,
    values: [bucket, ...placeCells(after), limit],
  });
  return rows.map(({ kind, position, ordinal, entity_id, origin, seq, digest, seal, through, is_here }) => ({
    kind,
    position: positionOf(position),
    ordinal,
    entityId: entity_id,
    digest,
    seal,
    through: positionOf(through),
    event: origin === null || seq === null ? null : { origin, seq },
    isHere: is_here,
  }));
}

/** An entity that has left a bucket: where its line stands that says so. */
export interface LeftEntity extends LinePlace {
  readonly entityId: string;
}

/**
 * The entities that were in a bucket at `had`, and are in it no more, in the order in which they left; at most `limit`, after a place. Who came after `had`, and left again, is not among them.
 */
export async function leftSince(
  db: Db,
  bucket: BucketId,
  { had, after }: { readonly had: AfterLine; readonly after: AfterLine },
  limit: number,
): Promise<readonly LeftEntity[]> {
  const { rows } = await db.query<PlaceRow & { entity_id: string } & Record<string, unknown>>(
    `SELECT x.entity_id, x.seal::float8 AS seal, x.position, x.ordinal
     FROM tributary.feed x WHERE x.bucket = $1 AND x.kind = 'exit' AND ${isAfter("x")} AND x.bucket IS DISTINCT FROM ${bucketNow("x")}
       AND NOT EXISTS (SELECT FROM tributary.feed e WHERE e.entity_type = x.entity_type AND e.entity_id = x.entity_id AND e.bucket = x.bucket
         AND e.kind = 'enter' AND e.seal IS NOT NULL AND (e.seal, e.position, e.ordinal) > ($6::bigint, $7::bigint, $8::int)
         AND (e.seal, e.position, e.ordinal) < (x.seal, x.position, x.ordinal) OFFSET 0)
     ORDER BY x.seal, x.position, x.ordinal LIMIT $5`,
    [bucket, ...placeCells(after), limit, ...placeCells(had)],
  );
  return rows.map(({ entity_id, seal, position, ordinal }) => ({
    entityId: entity_id,
    ...{ seal, position: positionOf(position), ordinal },
  }));
}

/** A sealed line that counts an event, `f`. */
const COUNTS = "f.seal IS NOT NULL AND f.kind <> 'exit' AND f.origin IS NOT NULL";
/** A seal counts lines in the order of their positions; a line that was decided later about an earlier position is of a later seal. */
const IN_ORDER = "f.seal, f.position, f.ordinal";

interface NameRow {
  readonly n: number;
  readonly origin: OriginId;
  readonly seq: Seq;
}

/** Event names by the number of what they belong to, from 1 on. */
function byNumber(rows: readonly NameRow[], count: number): EventName[][] {
  const found = Array.from({ length: count }, (): EventName[] => []);
  for (const { n, origin, seq } of rows) found[n - 1]?.push({ origin, seq });
  return found;
}

/**
 * The histories of a bucket's entities, each up to a line, in the order in which its digest counts them; of each the first `most` events. They come in the order of the lines.
 */
export async function historiesUpTo(
  db: Db,
  bucket: BucketId,
  lines: readonly (LinePlace & { readonly entityId: string })[],
  most: number,
): Promise<readonly (readonly EventName[])[]> {
  if (lines.length === 0) return [];
  const { rows } = await db.query<NameRow & Record<string, unknown>>({
    name: "feed-histories-up-to",
    text: `SELECT x.n::int AS n, h.origin, h.seq::float8 AS seq
      FROM tributary.bucket b CROSS JOIN unnest($2::text[], $3::bigint[], $4::bigint[], $5::int[]) WITH ORDINALITY AS x (entity_id, seal, position, ordinal, n)
      CROSS JOIN LATERAL (SELECT f.origin, f.seq, f.seal, f.position, f.ordinal FROM tributary.feed f
        WHERE f.entity_type = b.entity_type AND f.entity_id = x.entity_id AND ${COUNTS}
          AND (${IN_ORDER}) <= (x.seal, x.position, x.ordinal) ORDER BY ${IN_ORDER} LIMIT $6) h
      WHERE b.id = $1 ORDER BY x.n, h.seal, h.position, h.ordinal`,
    values: [
      bucket,
      lines.map(({ entityId }) => entityId),
      lines.map(({ seal }) => seal),
      lines.map(({ position }) => position),
      lines.map(({ ordinal }) => ordinal),
      most,
    ],
  });
  return byNumber(rows, lines.length);
}

/**
 * The histories of entities of a bucket's type, as far as they are sealed, in the order in which their digests count them; of each at most `most` events, without its first `skip` ones. They come in
 * the order of the entities.
 */
export async function historiesOf(
  db: Db,
  bucket: BucketId,
  entities: readonly { readonly entityId: string; readonly skip: number }[],
  most: number,
): Promise<readonly (readonly EventName[])[]> {
  if (entities.length === 0) return [];
  const { rows } = await db.query<NameRow & Record<string, unknown>>({
    name: "feed-histories",
    text: `SELECT x.n::int AS n, h.origin, h.seq::float8 AS seq
      FROM tributary.bucket b CROSS JOIN unnest($2::text[], $3::bigint[]) WITH ORDINALITY AS x (entity_id, skip, n)
      CROSS JOIN LATERAL (SELECT f.origin, f.seq, f.seal, f.position, f.ordinal FROM tributary.feed f
        WHERE f.entity_type = b.entity_type AND f.entity_id = x.entity_id AND ${COUNTS} ORDER BY ${IN_ORDER} OFFSET x.skip LIMIT $4) h
      WHERE b.id = $1 ORDER BY x.n, h.seal, h.position, h.ordinal`,
    values: [bucket, entities.map(({ entityId }) => entityId), entities.map(({ skip }) => skip), most],
  });
  return byNumber(rows, entities.length);
}
