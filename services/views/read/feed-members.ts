/** The entities of a bucket as of the newest seal, in the order of their range keys, and the fingerprints of ranges. */
import { type BucketId, type Fingerprint, fingerprintOf, type Hash, type KeyRange } from "../../core/index.ts";
import type { Db } from "../connect.ts";

/** An entity of a bucket. */
export interface HeldEntity {
  readonly entityId: string;
  readonly key: string;
  readonly digest: Hash;
}

const ENTITY = `h.entity_id AS "entityId", h.key, h.digest`;
/** Range keys are hexadecimal: all that begin with a prefix lie between it and it with a g behind. $1 is the bucket, $2 the prefix. */
const IN_RANGE = "h.bucket = $1 AND h.key >= $2 AND h.key < $2 || 'g'";

/** Entities whose key begins with `prefix`, after the key `after` (`null`: from the first), at most `limit`; entities of one key are never parted, so it may be a few more. */
export async function membersOf(
  db: Db,
  bucket: BucketId,
  { prefix, after }: { readonly prefix: string; readonly after: string | null },
  limit: number,
): Promise<readonly HeldEntity[]> {
  const { rows } = await db.query<HeldEntity & Record<string, unknown>>(
    `SELECT ${ENTITY} FROM tributary.held h WHERE ${IN_RANGE} AND h.key > $3 ORDER BY h.key FETCH FIRST $4 ROWS WITH TIES`,
    [bucket, prefix, after ?? "", limit],
  );
  return rows;
}

/** Those of the named entities that are in the bucket. */
export async function namedMembers(db: Db, bucket: BucketId, entityIds: readonly string[]): Promise<readonly HeldEntity[]> {
  const { rows } = await db.query<HeldEntity & Record<string, unknown>>(
    `SELECT ${ENTITY} FROM tributary.bucket b JOIN tributary.held h ON h.entity_type = b.entity_type AND h.bucket = b.id
     WHERE b.id = $1 AND h.entity_id = ANY($2) ORDER BY h.key`,
    [bucket, entityIds],
  );
  return rows;
}

/** What a range is: how many entities, and their fingerprint. */
export interface RangeSum {
  readonly count: number;
  readonly fingerprint: Fingerprint;
}

/** A quarter of what an entity adds to a fingerprint (`partOf`), as an unsigned number of 32 bits. */
const quarter = (n: number): string => `sum(('x' || substr(p.part, ${1 + 8 * n}, 8))::bit(32)::bigint & 4294967295)`;
const QUARTERS = [0, 1, 2, 3].map((n) => `${quarter(n)} AS q${n}`).join(", ");
const PARTS = `CROSS JOIN LATERAL (SELECT encode(sha256(convert_to(h.digest || ' ' || h.entity_id, 'UTF8')), 'hex') AS part) p`;

interface SumRow {
  readonly count: number;
  readonly q0: string | null;
  readonly q1: string | null;
  readonly q2: string | null;
  readonly q3: string | null;
}

const sumOf = ({ count, q0, q1, q2, q3 }: SumRow): RangeSum => ({
  count,
  fingerprint: fingerprintOf([q0, q1, q2, q3].reduce((sum, q) => (sum << 32n) + BigInt(q ?? 0), 0n)),
});

/** A range: how many entities, and their fingerprint. The whole bucket's is known; of a part, each entity is looked at. */
export async function rangeOf(db: Db, bucket: BucketId, prefix: string): Promise<RangeSum> {
  if (prefix === "") {
    const { rows } = await db.query<RangeSum & Record<string, unknown>>(
      "SELECT count::float8 AS count, fingerprint FROM tributary.segment g WHERE bucket = $1 ORDER BY g.seal DESC LIMIT 1",
      [bucket],
    );
    return rows[0] ?? { count: 0, fingerprint: fingerprintOf(0n) };
  }
  const { rows } = await db.query<SumRow & Record<string, unknown>>(
    `SELECT count(*)::float8 AS count, ${QUARTERS} FROM tributary.held h ${PARTS} WHERE ${IN_RANGE}`,
    [bucket, prefix],
  );
  return sumOf(rows[0] ?? { count: 0, q0: null, q1: null, q2: null, q3: null });
}

const DIGITS = "0123456789abcdef";

/** The 16 parts of a range, also those without entities. */
export async function partsOfRange(db: Db, bucket: BucketId, prefix: string): Promise<readonly KeyRange[]> {
  const { rows } = await db.query<SumRow & { digit: string }>(
    `SELECT substr(h.key, ${prefix.length + 1}, 1) AS digit, count(*)::float8 AS count, ${QUARTERS}
     FROM tributary.held h ${PARTS} WHERE ${IN_RANGE} GROUP BY 1`,
    [bucket, prefix],
  );
  const sums = new Map(rows.map((row) => [row.digit, sumOf(row)]));
  return Array.from(DIGITS, (digit) => ({
    prefix: prefix + digit,
    ...(sums.get(digit) ?? { count: 0, fingerprint: fingerprintOf(0n) }),
  }));
}
