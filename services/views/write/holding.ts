/** Which buckets holders of replicas were told that they may hold. The newest list of each is kept whole, and each earlier one by what it had and lacked beside the next. */
import type { BucketId } from "../../core/index.ts";
import { type Db, inTransaction } from "../connect.ts";

/** What a holder is told that it may hold. */
export interface NotedHolding {
  /** The holder's name. */
  readonly holder: string;
  readonly digest: string;
  readonly buckets: readonly BucketId[];
}

/** So many lists of one holder are kept. A replica that was away for longer owes no word about what it may not hold any more, unless it asks for it. */
const MOST_KEPT = 500;

/** Notes the list that a holder is told now. `false`: another process noted one at the same time. */
export function noteHolding(db: Db, { holder, digest, buckets }: NotedHolding): Promise<boolean> {
  return inTransaction(db, async () => {
    const { rowCount: changed } = await db.query(
      `UPDATE tributary.holding SET buckets = NULL, gone = ARRAY(SELECT unnest(buckets) EXCEPT SELECT unnest($3::text[])),
         come = ARRAY(SELECT unnest($3::text[]) EXCEPT SELECT unnest(buckets))
       WHERE holder = $1 AND buckets IS NOT NULL AND digest <> $2`,
      [holder, digest, buckets],
    );
    await db.query(
      `INSERT INTO tributary.holding (holder, digest, buckets) SELECT $1, $2, $3::text[]
       WHERE NOT EXISTS (SELECT FROM tributary.holding WHERE holder = $1 AND buckets IS NOT NULL)
       ON CONFLICT (holder) WHERE buckets IS NOT NULL DO NOTHING`,
      [holder, digest, buckets],
    );
    if (changed !== null && changed > 0)
      await db.query(
        `DELETE FROM tributary.holding WHERE holder = $1 AND n <= (SELECT n FROM tributary.holding WHERE holder = $1 ORDER BY n DESC OFFSET $2 LIMIT 1)`,
        [holder, MOST_KEPT],
      );
    const { rows } = await db.query<{ digest: string }>(
      "SELECT digest FROM tributary.holding WHERE holder = $1 AND buckets IS NOT NULL",
      [holder],
    );
    return rows[0]?.digest === digest;
  });
}
