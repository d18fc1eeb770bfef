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
export async function newestSeal(db: Db): Promise<NewestSeal> {
  const { rows } = await db.query<{ number: number | null; through: string | null; scopes: NewestSeal["scopes"] | null }>({
    name: "newest-seal",
    text: `SELECT s.scopes, g.number, g.through FROM (SELECT json_object_agg(entity_type, columns) AS scopes FROM tributary.feed_scope) s
      LEFT JOIN LATERAL (SELECT seal::float8 AS number, through FROM tributary.segment
        WHERE NOT EXISTS (SELECT FROM tributary.feed_shut) ORDER BY seal DESC LIMIT 1) g ON true`,
  });
  const [row] = rows;
  return { number: row?.number ?? 0, through: asPosition(row?.through), scopes: row?.scopes ?? {} };
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

/** A sealed line. */
export interface SealedLine {
  readonly kind: LineKind;
  readonly position: Position;
  readonly entityId: string;
  readonly digest: Hash;
  readonly seal: number;
  /** The position that its seal goes to. */
  readonly through: Position;
  /** The events that are sent with it: of an `enter` the entity's history up to this line, in the order in which its digest counts them. */
  readonly events: readonly EventName[];
}

interface LineRow {
  readonly kind: LineKind;
  readonly position: string;
  readonly ordinal: number;
  readonly entity_type: string;
  readonly entity_id: string;
  readonly origin: OriginId | null;
  readonly seq: Seq | null;
  readonly digest: Hash;
  readonly seal: number;
  readonly through: string;
}

/** The lines of a bucket after the segment of a seal, without the first `skip` of them, at most `limit`, in order. */
export async function linesAfter(
  db: Db,
  bucket: BucketId,
  { seal, skip }: { readonly seal: number; readonly skip: number },
  limit: number,
): Promise<readonly SealedLine[]> {
  const { rows } = await db.query<LineRow & Record<string, unknown>>(
    `SELECT f.kind, f.position, f.ordinal, f.entity_type, f.entity_id, f.origin, f.seq::float8 AS seq, f.digest, f.seal::float8 AS seal, g.through
     FROM tributary.feed f JOIN tributary.segment g ON g.bucket = f.bucket AND g.seal = f.seal
     WHERE f.bucket = $1 AND f.seal > $2 ORDER BY f.seal, f.position, f.ordinal OFFSET $3 LIMIT $4`,
    [bucket, seal, skip, limit],
  );
  const entered = await historiesUpTo(
    db,
    rows.filter(({ kind }) => kind === "enter"),
  );
  return rows.map((row) => {
    const { kind, position, origin, seq } = row;
    const own = origin === null || seq === null ? [] : [{ origin, seq }];
    return {
      kind,
      position: positionOf(position),
      entityId: row.entity_id,
      digest: row.digest,
      seal: row.seal,
      through: positionOf(row.through),
      events: kind === "enter" ? (entered.get(row) ?? []) : own,
    };
  });
}

/** A sealed line that counts an event, `f`. */
const COUNTS = "f.seal IS NOT NULL AND f.kind <> 'exit' AND f.origin IS NOT NULL";

/** The histories of the entities of lines, each up to its line. */
async function historiesUpTo(db: Db, lines: readonly LineRow[]): Promise<ReadonlyMap<LineRow, readonly EventName[]>> {
  const found = new Map<LineRow, EventName[]>();
  if (lines.length === 0) return found;
  const { rows } = await db.query<{ n: number; origin: OriginId; seq: Seq }>(
    // A seal counts lines in the order of their positions; a line that was decided later about an earlier position is of a later seal.
    `SELECT x.n::int AS n, f.origin, f.seq::float8 AS seq
     FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::int[]) WITH ORDINALITY AS x (entity_type, entity_id, seal, position, ordinal, n)
     JOIN tributary.feed f ON f.entity_type = x.entity_type AND f.entity_id = x.entity_id
       AND (f.seal, f.position, f.ordinal) <= (x.seal, x.position, x.ordinal)
     WHERE ${COUNTS} ORDER BY x.n, f.seal, f.position, f.ordinal`,
    [
      lines.map(({ entity_type }) => entity_type),
      lines.map(({ entity_id }) => entity_id),
      lines.map(({ seal }) => seal),
      lines.map(({ position }) => position),
      lines.map(({ ordinal }) => ordinal),
    ],
  );
  for (const { n, origin, seq } of rows) {
    const line = lines[n - 1];
    if (line !== undefined) push(found, line, { origin, seq });
  }
  return found;
}

function push<K>(map: Map<K, EventName[]>, key: K, name: EventName): void {
  const names = map.get(key);
  if (names === undefined) map.set(key, [name]);
  else names.push(name);
}

/** The histories of entities of a bucket's type, as far as they are sealed, each in the order in which its digest counts them. Entities that the feed does not know are left out. */
export async function historiesOf(
  db: Db,
  bucket: BucketId,
  entityIds: readonly string[],
): Promise<ReadonlyMap<string, readonly EventName[]>> {
  const { rows } = await db.query<{ entity_id: string; origin: OriginId; seq: Seq }>(
    `SELECT f.entity_id, f.origin, f.seq::float8 AS seq FROM tributary.bucket b JOIN tributary.feed f USING (entity_type)
     WHERE b.id = $1 AND f.entity_id = ANY($2) AND ${COUNTS} ORDER BY f.entity_id, f.seal, f.position, f.ordinal`,
    [bucket, entityIds],
  );
  const found = new Map<string, EventName[]>();
  for (const { entity_id, origin, seq } of rows) push(found, entity_id, { origin, seq });
  return found;
}
