import { type Bucket, type BucketId, PURGED, REPLICA_ENTITY, type ScopeValue } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { seconds } from "./sql.ts";

/** A bucket of which a replica was told to delete something, and has not confirmed that it did. */
export interface OwedBucket {
  readonly bucket: BucketId;
  /** What the bucket is; `null`: the feed no longer knows it. */
  readonly of: Bucket | null;
  /** How many entities; `null`: all that it has of the bucket. */
  readonly entities: number | null;
  /** When it was told first of what it owes. ISO 8601. */
  readonly since: string;
}

/** A replica, by its device: what it owes, and what it has confirmed. */
export interface ReplicaRow {
  /** `org.site.device`. */
  readonly device: string;
  /** Longest owed first. */
  readonly owes: readonly OwedBucket[];
  /** How many purges it has confirmed, and when the last one was recorded; `null`: none. */
  readonly purges: number;
  readonly lastPurge: string | null;
}

interface DebtRow {
  readonly device: string;
  readonly bucket: BucketId;
  readonly entity_type: string | null;
  readonly scope: readonly ScopeValue[] | null;
  readonly entities: number;
  readonly whole: boolean;
  readonly since: string;
}

/** Replicas that were ever told to delete something, or have confirmed that they did. `days`: only those that have owed a purge for at least so many days, and these debts only. */
export async function replicaRows(db: Db, days: number | null): Promise<readonly ReplicaRow[]> {
  const { rows: debts } = await db.query<DebtRow & Record<string, unknown>>(
    `SELECT d.device, d.bucket, b.entity_type, b.scope, count(d.entity_id)::float8 AS entities, bool_or(d.entity_id IS NULL) AS whole,
       ${seconds("min(d.since)")} AS since
     FROM tributary.debt d LEFT JOIN tributary.bucket b ON b.id = d.bucket
     WHERE d.position IS NULL AND ($1::float8 IS NULL OR d.since <= now() - $1 * interval '1 day')
     GROUP BY d.device, d.bucket, b.entity_type, b.scope ORDER BY min(d.since), d.bucket`,
    [days],
  );
  const { rows: purges } = await db.query<{ device: string; purges: number; last: string }>(
    `SELECT entity_id AS device, count(*)::float8 AS purges, ${seconds("max(recorded_at)")} AS last FROM tributary.audit
     WHERE entity_type = $1 AND type = $2 AND quarantine_code IS NULL GROUP BY entity_id`,
    [REPLICA_ENTITY, PURGED],
  );
  const confirmed = new Map(purges.map((row) => [row.device, row]));
  const { rows: told } = await db.query<{ device: string }>("SELECT DISTINCT device FROM tributary.debt");
  const owing = debts.map(({ device }) => device);
  const all = days === null ? [...owing, ...told.map(({ device }) => device), ...confirmed.keys()] : owing;
  return [...new Set(all)].sort().map((device) => ({
    device,
    owes: debts.filter((debt) => debt.device === device).map(owedIn),
    purges: confirmed.get(device)?.purges ?? 0,
    lastPurge: confirmed.get(device)?.last ?? null,
  }));
}

const owedIn = ({ bucket, entity_type, scope, entities, whole, since }: DebtRow): OwedBucket => ({
  bucket,
  of: entity_type === null || scope === null ? null : { entityType: entity_type, values: scope },
  entities: whole ? null : entities,
  since,
});
