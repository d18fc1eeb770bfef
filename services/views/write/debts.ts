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

/** Notes that replicas were told to delete entities. Told again of the same, one owes no more, and since no later time; unless it has confirmed that, and was given them again meanwhile. */
export async function noteDebts(db: Db, debts: readonly OwedPurge[]): Promise<void> {
  const cells = debts.flatMap(({ device, bucket, seal, entityIds }) => {
    const ids = entityIds === null ? [null] : [...new Set(entityIds.map(withoutNul))];
    return ids.map((id) => ({ device, bucket, seal, id }));
  });
  if (cells.length === 0) return;
  await db.query(
    `INSERT INTO tributary.debt (device, bucket, seal, entity_id) SELECT DISTINCT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[])
     ON CONFLICT (device, bucket, seal, coalesce(entity_id, '')) DO UPDATE SET position = NULL, since = now() WHERE debt.position IS NOT NULL`,
    [
      cells.map(({ device }) => device),
      cells.map(({ bucket }) => bucket),
      cells.map(({ seal }) => seal),
      cells.map(({ id }) => id),
    ],
  );
}

/**
 * Takes what these events confirm from what replicas owe: all that the device was told to delete of the bucket up to the seal that it names. Nobody was told of a seal that was made after its event was written, so whoever names such
 * a one confirms no more than what was sealed then, also when the event is read again later.
 */
export async function confirmPurges(db: Db, entries: readonly LogEntry[]): Promise<void> {
  const confirmed = entries.flatMap(({ head, content, position }) => {
    const purge = content.kind === "accepted" ? purgeConfirmed(head, content.data) : null;
    return purge === null ? [] : [{ ...purge, position }];
  });
  if (confirmed.length === 0) return;
  await db.query(
    `UPDATE tributary.debt d SET position = x.position
     FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS x (device, bucket, seal, position)
     WHERE d.device = x.device AND d.bucket = x.bucket AND d.position IS NULL
       AND d.seal <= least(x.seal, (SELECT s.number FROM tributary.seal s WHERE s.through < x.position ORDER BY s.number DESC LIMIT 1))`,
    [
      confirmed.map(({ device }) => device),
      confirmed.map(({ bucket }) => bucket),
      confirmed.map(({ seal }) => seal),
      confirmed.map(({ position }) => position),
    ],
  );
}
