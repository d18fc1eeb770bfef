import { type Bucket, type ScopeValue, TributaryError } from "../core/index.ts";
import { scopesOf } from "../merge/engine.ts";
import { type OwedBucket, replicaRows } from "../views/index.ts";
import type { Desk } from "./desk.ts";

/** A bucket of which a replica owes a purge, as people know it. */
export interface OwedPurges {
  readonly bucket: string;
  /** `null`: the hub no longer knows what the bucket is. */
  readonly entityType: string | null;
  /** The bucket's values, by scope column. */
  readonly where: Readonly<Record<string, ScopeValue>>;
  /** How many entities it was told to delete; `null`: all that it has of the bucket. */
  readonly entities: number | null;
  /** Since when it owes that. ISO 8601. */
  readonly since: string;
}

/** A replica, by its device. */
export interface KnownReplica {
  /** `org.site.device`. */
  readonly device: string;
  /** Longest owed first. */
  readonly owes: readonly OwedPurges[];
  /** How many purges it has confirmed, and when the last was recorded. */
  readonly purges: number;
  readonly lastPurge: string | null;
}

/**
 * Replicas that were told to delete something, or have confirmed that they did. `unconfirmedDays`: only those that have owed a purge for at least so many days, with these debts. Throws `usage` where that is no
 * number of days.
 */
export async function replicas(
  { db, projections }: Pick<Desk, "db" | "projections">,
  unconfirmedDays: number | null = null,
): Promise<readonly KnownReplica[]> {
  if (unconfirmedDays !== null && !(unconfirmedDays >= 0 && unconfirmedDays <= 36_500))
    throw new TributaryError("usage", `${unconfirmedDays} is not a number of days`, "Give a number from 0 to 36500.");
  const scopes = scopesOf(projections);
  return (await replicaRows(db, unconfirmedDays)).map(({ owes, ...rest }) => ({
    ...rest,
    owes: owes.map((owed) => asPeopleKnow(owed, scopes)),
  }));
}

function asPeopleKnow({ bucket, of, entities, since }: OwedBucket, scopes: ReadonlyMap<string, readonly string[]>): OwedPurges {
  return { bucket, entityType: of?.entityType ?? null, where: of === null ? {} : valuesOf(of, scopes), entities, since };
}

/** A value of a column that the view no longer names keeps its number. */
const valuesOf = ({ entityType, values }: Bucket, scopes: ReadonlyMap<string, readonly string[]>) =>
  Object.fromEntries(values.map((value, i) => [scopes.get(entityType)?.[i] ?? `value ${i + 1}`, value]));
