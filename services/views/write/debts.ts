/** What replicas were told to delete, and what they say that they have deleted. */
import { type BucketId, type LogEntry, purgeConfirmed } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { withoutNul } from "../copy.ts";

/** What a replica was told to delete. */
export interface OwedPurge {
  /** `org.site.device`. */
  readonly device: string;
  readonly bucket: BucketId;
  /** The seal as of which it was told. */
  readonly seal: number;
  /** The entities that left; `null`: all that it has of the bucket. */
  readonly entityIds: readonly string[] | null;
}

/** Notes that a replica was told to delete entities. Told again of the same, it owes no more, and since no later time; unless it has confirmed that, and was given them again meanwhile. */
export async function noteDebt(db: Db, { device, bucket, seal, entityIds }: OwedPurge): Promise<void> {
  await db.query(
    `INSERT INTO tributary.debt (device, bucket, seal, entity_id) SELECT $1, $2, $3::bigint, x.id FROM unnest($4::text[]) AS x (id)
     ON CONFLICT (device, bucket, seal, coalesce(entity_id, '')) DO UPDATE SET position = NULL, since = now() WHERE debt.position IS NOT NULL`,
    [device, bucket, seal, entityIds === null ? [null] : [...new Set(entityIds.map(withoutNul))]],
  );
}

/** Takes what these events confirm from what replicas owe: all that the device was told to delete of the bucket up to the seal that it names. */
export async function confirmPurges(db: Db, entries: readonly LogEntry[]): Promise<void> {
  const confirmed = entries.flatMap(({ head, content, position }) => {
    const purge = content.kind === "accepted" ? purgeConfirmed(head, content.data) : null;
    return purge === null ? [] : [{ ...purge, position }];
  });
  if (confirmed.length === 0) return;
  await db.query(
    `UPDATE tributary.debt d SET position = x.position
     FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS x (device, bucket, seal, position)
     WHERE d.device = x.device AND d.bucket = x.bucket AND d.seal <= x.seal AND d.position IS NULL`,
    [
      confirmed.map(({ device }) => device),
      confirmed.map(({ bucket }) => bucket),
      confirmed.map(({ seal }) => seal),
      confirmed.map(({ position }) => position),
    ],
  );
}
