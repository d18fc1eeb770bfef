/** Which buckets a device may hold, as the hub tells it. */
import { type BucketId, bucketIdOf, FEED_START } from "../../core/index.ts";
import type { HeldBucket, Page, Purge } from "../../exchange/protocol/index.ts";
import { bucketOf, type Projection } from "../../merge/engine.ts";
import { compareAll } from "./asks.ts";
import type { OpenView } from "./entities.ts";
import { type Leaving, type PurgeDeps, purgeMembers } from "./purge.ts";
import type { BucketRow } from "./rows.ts";

export const HOLDING = "replica_holding";

export interface HoldingDeps extends PurgeDeps {
  readonly seal: number;
  /** The view that says which bucket an entity of a type is in; `undefined`: this device folds none, or by other rules than the hub. */
  readonly homeOf: (type: string) => OpenView | undefined;
}

export interface HoldingChange {
  readonly added: readonly BucketId[];
  readonly removed: readonly Pick<BucketRow, "id" | "entityType" | "values">[];
  readonly purges: readonly Purge[];
}

/**
 * Takes the list of buckets that the device may hold now. Entities of a bucket that is not on it any more are deleted, unless they are in another one that is: when a view's scope has
 * changed, all its buckets are others, and only differences are fetched.
 */
export function takeHolding(deps: HoldingDeps, { digest, buckets }: NonNullable<Page["holding"]>): HoldingChange {
  const { rows, store } = deps;
  const known = new Map(rows.buckets().map((bucket) => [bucket.id, bucket]));
  const isAsBefore = (held: HeldBucket): boolean => known.get(held.bucket)?.statesOnly === held.statesOnly;
  const kept = new Set(buckets.filter(isAsBefore).map(({ bucket }) => bucket));
  const gone = [...known.values()].filter(({ id }) => !kept.has(id));
  // Those whose history may not be held any more, or may be from now on, are begun anew.
  const anew = new Map(gone.filter(({ id }) => buckets.some(({ bucket }) => bucket === id)).map((bucket) => [bucket.id, bucket]));
  const purges: Purge[] = [];
  for (const bucket of anew.values()) purges.push(withdraw(deps, bucket, "withdrawn"));
  for (const [rank, held] of buckets.entries()) {
    if (kept.has(held.bucket)) rows.rankBucket(held.bucket, rank, held.priority);
    else rows.addBucket(held, rank, FEED_START);
  }
  const added = buckets.filter((held) => !known.has(held.bucket)).map(({ bucket }) => bucket);
  if (added.length > 0) for (const bucket of known.values()) if (!anew.has(bucket.id)) shareMembers(deps, bucket, new Set(added));
  for (const bucket of gone) if (!anew.has(bucket.id)) purges.push(withdraw(deps, bucket, "withdrawn"));
  store.setMeta(HOLDING, digest);
  return {
    added,
    removed: gone.filter(({ id }) => !anew.has(id)).map(({ id, entityType, values }) => ({ id, entityType, values })),
    purges,
  };
}

/** Deletes a bucket with all that no other bucket of this device has. */
export function withdraw(deps: HoldingDeps, bucket: BucketRow, reason: Purge["reason"]): Purge {
  const members: readonly Leaving[] = deps.rows.membersIn(bucket.n, "");
  const purge = purgeMembers(deps, bucket, members, { seal: deps.seal, reason });
  deps.rows.removeBucket(bucket.n);
  return purge;
}

/** Entities of a bucket that are in one of the new ones by the view's scope are put there too, and these are compared instead of filled. The hub says what leaves the old one. */
function shareMembers({ rows, homeOf }: HoldingDeps, from: BucketRow, added: ReadonlySet<BucketId>): void {
  const home = homeOf(from.entityType);
  if (home === undefined) return;
  const isTarget = ({ id, entityType, statesOnly }: BucketRow): boolean =>
    added.has(id) && entityType === from.entityType && statesOnly === from.statesOnly;
  const targets = new Map(rows.buckets().flatMap((row) => (isTarget(row) ? [[row.id, row]] : [])));
  if (targets.size === 0) return;
  const touched = new Set<number>();
  for (const { key, entity, digest, hasEvents } of rows.membersIn(from.n, "")) {
    const bucket = bucketIn(home, entity);
    const to = bucket === null ? undefined : targets.get(bucket);
    if (to === undefined) continue;
    rows.setMember(to.n, { key, entity, digest, hasEvents });
    touched.add(to.n);
  }
  for (const n of touched) compareAll(rows, n);
}

/** The bucket that a row is in; `null`: it follows from what this device may not see, so the hub says it. */
function bucketIn(
  { view, rows }: { readonly view: Projection; readonly rows: OpenView["rows"] },
  entity: number,
): BucketId | null {
  const row = rows.row(entity)?.row;
  if (view.scopeBy?.some((column) => row?.withheld?.includes(column))) return null;
  return bucketIdOf(bucketOf(view, row?.values ?? {}));
}

/** Takes where the hub's buckets end, in the order of the holding. */
export function takeEnds({ rows }: Pick<PurgeDeps, "rows">, ends: readonly string[]): void {
  const buckets = rows.buckets();
  if (ends.length !== buckets.length) return;
  for (const [i, bucket] of buckets.entries()) {
    const hubEnd = ends[i]!;
    if (bucket.hubEnd !== hubEnd) rows.setHubEnd(bucket.n, hubEnd);
  }
}
