/** The database's part in sealing: which lines are to be sealed, what is known of their buckets and entities, and what sealing makes of them. */
import {
  type BucketHead,
  type BucketId,
  GENESIS,
  type Hash,
  headAfter,
  type LineKind,
  NO_ENTITIES,
  type OriginId,
  type Position,
  rangeKey,
  type Seq,
} from "../../core/index.ts";
import { sha256Hex } from "../../core/node.ts";
import type { Db } from "../connect.ts";
import type { EventName } from "../events-of.ts";
import { entityName, type FeedRow } from "../feed/lines.ts";
import type { BeforeSealing, Sealed, SealedEntity, SealedRow, UnsealedRow } from "../feed/sealing.ts";
import { asPosition, positionOf } from "../shards.ts";
import { tryLockFeed } from "./feed.ts";

/** How far the feed is sealed, and how far it may be. */
export interface FeedStanding {
  /** The newest seal; 0: none. */
  readonly number: number;
  readonly through: Position | null;
  /** The revision of its last fact in the log; `null`: not known. */
  readonly revision: number | null;
  /** The position that all shards have reached. */
  readonly common: Position | null;
  /** Whether lines up to there are not sealed yet, or notes on cases have no line yet. */
  readonly isWaiting: boolean;
  /** Whether no bucket has a segment: nothing was ever sealed in this database, or its feed is made anew. */
  readonly isNew: boolean;
  /** Whether lines are still to be made: nothing is sealed before. */
  readonly isMaking: boolean;
  /** Whether replicas are told nothing until all is sealed. */
  readonly isShut: boolean;
}

/** How far the feed is sealed, and how far it may be: one statement, over a small index. */
export async function feedStanding(db: Db): Promise<FeedStanding> {
  const { rows } = await db.query<{
    common: string | null;
    number: number | null;
    through: string | null;
    revision: number | null;
    is_waiting: boolean;
    is_new: boolean;
    is_making: boolean;
    is_shut: boolean;
  }>({
    name: "feed-standing",
    text: `SELECT c.position AS common, s.number::float8 AS number, s.through, s.revision::float8 AS revision,
        EXISTS (SELECT FROM tributary.feed f WHERE f.seal IS NULL AND f.position <= c.position)
          OR EXISTS (SELECT FROM tributary.feed_note n WHERE n.position <= c.position) AS is_waiting,
        NOT EXISTS (SELECT FROM tributary.segment) AS is_new,
        EXISTS (SELECT FROM tributary.feed_scope WHERE due IS NOT NULL) AS is_making,
        EXISTS (SELECT FROM tributary.feed_shut) AS is_shut
      FROM tributary.checkpoint c LEFT JOIN LATERAL (SELECT * FROM tributary.seal ORDER BY number DESC LIMIT 1) s ON true`,
  });
  const [row] = rows;
  return {
    number: row?.number ?? 0,
    through: asPosition(row?.through),
    revision: row?.revision ?? null,
    common: asPosition(row?.common),
    isWaiting: row?.is_waiting ?? false,
    isNew: row?.is_new ?? true,
    isMaking: row?.is_making ?? true,
    isShut: row?.is_shut ?? false,
  };
}

/** Notes up to which lines all must be sealed before replicas are told anything again, if all lines are made. */
export async function boundShut(db: Db): Promise<void> {
  await db.query(
    `UPDATE tributary.feed_shut SET through = coalesce((SELECT max(position) FROM tributary.feed WHERE seal IS NULL), -1)
     WHERE through IS NULL AND NOT EXISTS (SELECT FROM tributary.feed_scope WHERE due IS NOT NULL)`,
  );
}

/** Lets replicas be told of the feed again, if all is made and sealed that they wait for. */
export async function openFeedAgain(db: Db): Promise<void> {
  await db.query(
    `DELETE FROM tributary.feed_shut s WHERE s.through IS NOT NULL
       AND NOT EXISTS (SELECT FROM tributary.feed_scope WHERE due IS NOT NULL)
       AND NOT EXISTS (SELECT FROM tributary.feed f WHERE f.seal IS NULL AND f.position <= s.through)`,
  );
}

/**
 * Takes the right to seal until the caller's transaction ends; `false`: another process has it, or puts lines of earlier positions right. Pages are written as ever, and nobody who swaps views
 * is kept waiting before he wants the feed too.
 */
export const lockSealing = tryLockFeed;

/** Lines that are to be sealed together, and the position up to which the feed is complete then. */
export interface LinesToSeal {
  readonly rows: readonly UnsealedRow[];
  readonly through: Position;
  /** Those of their events whose hash the audit does not hold. */
  readonly unknown: readonly EventName[];
}

interface LineRow {
  readonly position: string;
  readonly ordinal: number;
  readonly bucket: BucketId;
  readonly kind: LineKind;
  readonly entity_type: string;
  readonly entity_id: string;
  readonly origin: OriginId | null;
  readonly seq: Seq | null;
  readonly hash: string | null;
}

/** The first lines up to `common` that are not sealed yet, at most `limit`. The cut lies between two positions; only one with more lines than `limit` is cut, between two entities. */
export async function linesToSeal(
  db: Db,
  { common, through }: { readonly common: Position; readonly through: Position | null },
  limit: number,
): Promise<LinesToSeal> {
  const { rows } = await db.query<LineRow & Record<string, unknown>>(
    `SELECT f.position, f.ordinal, f.bucket, f.kind, f.entity_type, f.entity_id, f.origin, f.seq::float8 AS seq,
       coalesce(a.held_otherwise ->> 'hash', a.hash) AS hash
     FROM tributary.feed f LEFT JOIN tributary.audit a ON a.origin = f.origin AND a.seq = f.seq
     WHERE f.seal IS NULL AND f.position <= $1 ORDER BY f.position, f.ordinal LIMIT $2`,
    [common, limit + 1],
  );
  const next = rows[limit];
  const taken = next === undefined ? rows : rows.slice(0, cutBefore(rows, next));
  const isHash = (hash: string | null): hash is Hash => hash?.length === GENESIS.length;
  const unknown: EventName[] = [];
  const lines = taken.map(({ position, ordinal, bucket, kind, entity_type, entity_id, origin, seq, hash }): UnsealedRow => {
    const event = origin === null || seq === null ? null : { origin, seq };
    const known = event !== null && isHash(hash) ? hash : null;
    if (event !== null && known === null) unknown.push(event);
    return {
      ...{ bucket, position: positionOf(position), ordinal, kind, entityType: entity_type, entityId: entity_id, event },
      hash: known,
    };
  });
  const to = next === undefined ? common : positionOf((BigInt(next.position) - 1n).toString());
  // A line that was decided later about an earlier position takes nothing back of how far the feed is complete.
  return { rows: lines, through: through !== null && through > to ? through : to, unknown };
}

/** Where to cut before a line that no longer fits: before all lines of its position, or, where there are no others, before those of its entity. */
function cutBefore(rows: readonly LineRow[], next: LineRow): number {
  const first = rows.findIndex(({ position }) => position === next.position);
  if (first > 0) return first;
  const isSame = (row: LineRow | undefined): boolean =>
    row?.entity_id === next.entity_id && row.entity_type === next.entity_type && row !== next;
  let cut = rows.length - 1;
  while (cut > 1 && isSame(rows[cut - 1])) cut--;
  return cut;
}

/** What is known, before sealing, of the buckets and entities that lines name. */
export async function beforeSealing(db: Db, lines: readonly FeedRow[]): Promise<BeforeSealing> {
  const buckets = [...new Set(lines.map(({ bucket }) => bucket))];
  const heads = await lastHeads(db, buckets);
  const entities = new Map(lines.map((line) => [entityName(line.entityType, line.entityId), line]));
  const { rows } = await db.query<{ entity_type: string; entity_id: string; digest: Hash }>(
    `SELECT h.entity_type, h.entity_id, h.digest FROM unnest($1::text[], $2::text[]) AS x (entity_type, entity_id)
     JOIN tributary.held h USING (entity_type, entity_id)`,
    [[...entities.values()].map(({ entityType }) => entityType), [...entities.values()].map(({ entityId }) => entityId)],
  );
  return {
    heads: new Map(heads.map((head) => [head.bucket, head])),
    digests: new Map(rows.map(({ entity_type, entity_id, digest }) => [entityName(entity_type, entity_id), digest])),
  };
}

/** The last head of each of these buckets that has one. */
async function lastHeads(db: Db, buckets: readonly BucketId[]): Promise<BucketHead[]> {
  const { rows } = await db.query<HeadRow & Record<string, unknown>>(
    `SELECT s.* FROM unnest($1::text[]) AS x (bucket) CROSS JOIN LATERAL (
       SELECT ${HEAD_COLUMNS} FROM tributary.segment g WHERE g.bucket = x.bucket ORDER BY g.seal DESC LIMIT 1) s`,
    [buckets],
  );
  return rows.map(asHead);
}

/** Columns of a segment `g` that are its bucket's head. */
export const HEAD_COLUMNS = "g.bucket, g.seal::float8 AS seal, g.through, g.head, g.count::float8 AS count, g.fingerprint";

export interface HeadRow {
  readonly bucket: BucketId;
  readonly seal: number;
  readonly through: string;
  readonly head: Hash;
  readonly count: number;
  readonly fingerprint: string;
}

export const asHead = ({ bucket, seal, through, head, count, fingerprint }: HeadRow): BucketHead => ({
  ...{ bucket, seal, head, count, fingerprint },
  through: positionOf(through),
});

/** Writes what sealing made of lines, inside the caller's transaction. Returns `false` where a line is gone or was sealed meanwhile: then the caller undoes all of it. */
export async function writeSealed(db: Db, { rows, heads, entities }: Sealed): Promise<boolean> {
  const number = heads[0]?.seal ?? null;
  const { rowCount } = await db.query(
    `UPDATE tributary.feed f SET seal = $1::bigint, digest = x.digest
     FROM unnest($2::bigint[], $3::int[], $4::text[]) AS x (position, ordinal, digest)
     WHERE f.position = x.position AND f.ordinal = x.ordinal AND f.seal IS NULL`,
    [number, rows.map(({ position }) => position), rows.map(({ ordinal }) => ordinal), rows.map(({ digest }) => digest)],
  );
  if (rowCount !== rows.length) return false;
  await writeHeld(db, entities);
  await writeSegments(db, heads, linesOf(rows));
  return true;
}

function linesOf(rows: readonly SealedRow[]): ReadonlyMap<BucketId, number> {
  const lines = new Map<BucketId, number>();
  for (const { bucket } of rows) lines.set(bucket, (lines.get(bucket) ?? 0) + 1);
  return lines;
}

async function writeHeld(db: Db, entities: readonly SealedEntity[]): Promise<void> {
  await db.query(
    `INSERT INTO tributary.held AS h (entity_type, entity_id, bucket, key, digest)
     SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
     ON CONFLICT (entity_type, entity_id) DO UPDATE SET bucket = excluded.bucket, digest = excluded.digest`,
    [
      entities.map(({ entityType }) => entityType),
      entities.map(({ entityId }) => entityId),
      entities.map(({ bucket }) => bucket),
      entities.map(({ entityId }) => rangeKey(entityId, sha256Hex)),
      entities.map(({ digest }) => digest),
    ],
  );
}

async function writeSegments(db: Db, heads: readonly BucketHead[], lines: ReadonlyMap<BucketId, number>): Promise<void> {
  await db.query(
    `INSERT INTO tributary.segment (bucket, seal, through, head, count, fingerprint, lines)
     SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::bigint[])`,
    [
      heads.map(({ bucket }) => bucket),
      heads.map(({ seal }) => seal),
      heads.map(({ through }) => through),
      heads.map(({ head }) => head),
      heads.map(({ count }) => count),
      heads.map(({ fingerprint }) => fingerprint),
      heads.map(({ bucket }) => lines.get(bucket) ?? 0),
    ],
  );
}

/**
 * Begins the feed anew after the heads that the log tells: each bucket gets a segment without lines and without entities. Its head is new, so a reader that stands at the old one, and knows
 * nothing of what was lost since, is not taken for one that stands here.
 */
export async function writeBeginning(
  db: Db,
  known: ReadonlyMap<BucketId, Hash>,
  { number, through }: { readonly number: number; readonly through: Position },
): Promise<readonly BucketHead[]> {
  const heads = [...known].map(
    ([bucket, before]): BucketHead => ({
      ...{ bucket, seal: number, through, count: 0, fingerprint: NO_ENTITIES },
      head: headAfter(before, { seal: number, through, digest: GENESIS }, sha256Hex),
    }),
  );
  await writeSegments(db, heads, new Map());
  return heads;
}

/** Notes that a seal has come about. `revision`: of its last fact in the log. */
export async function writeSeal(
  db: Db,
  { number, through, revision }: { readonly number: number; readonly through: Position; readonly revision: number },
): Promise<void> {
  await db.query("INSERT INTO tributary.seal (number, through, revision) VALUES ($1, $2, $3)", [number, through, revision]);
}
