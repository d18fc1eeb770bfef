/** The past of a view's rows, carried over from the build that was live to the one that takes its place: what was known before the swap stays known to have been so. */
import type { Position } from "../core/index.ts";
import type { Db } from "./connect.ts";
import { at, isKnownNow, NEVER } from "./names.ts";
import { least, type Positions } from "./shards.ts";
import { isEmpty } from "./states.ts";

/** Both tables of versions, and from where on the new build is what is known. */
export interface PastMove {
  readonly table: string;
  readonly from: string;
  readonly to: string;
  /** Where the live build stands, by shard. */
  readonly positions: Positions;
}

const furthestOf = (positions: Positions): Position | null =>
  positions.reduce<Position | null>((high, each) => (each !== null && (high === null || each > high) ? each : high), null);

/** Two versions say the same. */
const IS_SAME = "o.id = n.id AND o.position = n.position AND o.deleted = n.deleted AND o.values::text = n.values::text";

/**
 * Marks versions that the new build alone has as known from the swap on, and adds those that the old one alone has as superseded there. Where the log was set back, what
 * lay beyond is not carried over.
 */
export async function carryPast(db: Db, { table, from, to, positions }: PastMove): Promise<void> {
  const end = furthestOf(positions);
  const swappedAt = least(positions) ?? end;
  if (end === null || swappedAt === null || (await isEmpty(db, from, table))) return;
  const [older, newer] = [at(from, table), at(to, table)];
  await db.query(
    `UPDATE ${newer} n SET known_from = $1
     WHERE ${isKnownNow("n")} AND n.position <= $1 AND NOT EXISTS (SELECT FROM ${older} o WHERE ${IS_SAME} AND ${isKnownNow("o")})`,
    [swappedAt],
  );
  await db.query(
    `UPDATE ${newer} n SET known_from = o.known_from FROM ${older} o
     WHERE ${IS_SAME} AND ${isKnownNow("o")} AND ${isKnownNow("n")} AND o.known_from <= $1`,
    [end],
  );
  await db.query(
    `INSERT INTO ${newer} (id, position, recorded_at, deleted, values, known_from, superseded_at)
     SELECT o.id, o.position, o.recorded_at, o.deleted, o.values, o.known_from, least(o.superseded_at, $1::bigint)
     FROM ${older} o LEFT JOIN ${newer} n ON ${IS_SAME} AND ${isKnownNow("n")}
     WHERE (o.superseded_at < ${NEVER} OR n.id IS NULL) AND greatest(o.position, o.known_from) <= $2
     ON CONFLICT DO NOTHING`,
    [swappedAt, end],
  );
}
