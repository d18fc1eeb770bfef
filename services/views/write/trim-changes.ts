import type { Db } from "../connect.ts";

/** How many notes are kept at least, where they are not too old. Whoever is further behind reads again. */
export const KEPT_CHANGES = 100_000n;
/** How long notes are kept, days. */
const KEPT_DAYS = 7;
/** Old notes are looked for once in so many. */
const TRIM_EVERY = 1_000n;

/** Deletes old notes, once in a while: `first` to `last` were just noted by the caller, whose transaction keeps others from noting anything. */
export async function trimChanges(db: Db, first: bigint, last: bigint): Promise<void> {
  if ((first - 1n) / TRIM_EVERY === last / TRIM_EVERY) return;
  await db.query(
    `WITH gone AS (DELETE FROM tributary.change WHERE number <= $1 OR noted_at < now() - $2 * interval '1 day' RETURNING number)
     UPDATE tributary.change_head SET trimmed = greatest(trimmed, (SELECT max(number) FROM gone))`,
    [last - KEPT_CHANGES, KEPT_DAYS],
  );
}
