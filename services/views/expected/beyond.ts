import type { OriginId } from "../../core/index.ts";
import type { Db } from "../connect.ts";

const ENDS = "pg_temp.expected_ends";
/** How many origins' ends are written in one statement. */
const MAX_AT_ONCE = 2_000;

/** Audit rows of an origin beyond its last event in the log. */
export interface BeyondLog {
  readonly origin: OriginId;
  readonly events: number;
  readonly first: number;
  readonly last: number;
  /** The `prev` of the first. */
  readonly prev: string;
  /** Their seqs have no gap. */
  readonly isRun: boolean;
}

/** Makes the table of where origins end. */
export async function makeEnds(db: Db): Promise<void> {
  await db.query("CREATE TEMPORARY TABLE expected_ends (origin text PRIMARY KEY, through bigint NOT NULL)");
}

/** The audit rows whose events the log does not have, by origin. */
export async function beyondLog(db: Db, ends: ReadonlyMap<OriginId, { readonly events: number }>): Promise<BeyondLog[]> {
  const names = [...ends.keys()];
  for (let from = 0; from < names.length; from += MAX_AT_ONCE) {
    const some = names.slice(from, from + MAX_AT_ONCE);
    await db.query(`INSERT INTO ${ENDS} SELECT * FROM unnest($1::text[], $2::bigint[])`, [
      some,
      some.map((origin) => ends.get(origin)!.events - 1),
    ]);
  }
  await db.query(`ANALYZE ${ENDS}`);
  const { rows } = await db.query<Record<"origin" | "events" | "first" | "last" | "prev", string> & { isRun: boolean }>(
    `SELECT a.origin, count(*) AS events, min(a.seq) AS first, max(a.seq) AS last, (array_agg(a.prev ORDER BY a.seq))[1] AS prev,
       max(a.seq) - min(a.seq) = count(*) - 1 AS "isRun"
     FROM tributary.audit a LEFT JOIN ${ENDS} e ON e.origin = a.origin WHERE e.origin IS NULL OR a.seq > e.through GROUP BY a.origin ORDER BY a.origin`,
  );
  return rows.map(({ origin, events, first, last, prev, isRun }) => ({
    origin: origin as OriginId,
    events: Number(events),
    first: Number(first),
    last: Number(last),
    prev,
    isRun,
  }));
}
