import type { BucketId } from "../../core/index.ts";
import type { Db } from "../connect.ts";

interface HoldingRow {
  readonly digest: string;
  readonly buckets: readonly BucketId[] | null;
  readonly gone: readonly BucketId[] | null;
  readonly come: readonly BucketId[] | null;
}

/** The buckets of a list that a holder was told once, by its digest; `null`: none of those that are kept has it. */
export async function holdingOf(db: Db, holder: string, digest: string): Promise<readonly BucketId[] | null> {
  const { rows } = await db.query<HoldingRow & Record<string, unknown>>(
    `SELECT digest, buckets, gone, come FROM tributary.holding
     WHERE holder = $1 AND n >= (SELECT max(n) FROM tributary.holding WHERE holder = $1 AND digest = $2) ORDER BY n DESC`,
    [holder, digest],
  );
  const [newest, ...earlier] = rows;
  if (newest === undefined) return null;
  const list = new Set(newest.buckets ?? []);
  for (const { gone, come } of earlier) {
    for (const id of come ?? []) list.delete(id);
    for (const id of gone ?? []) list.add(id);
  }
  return [...list];
}
