import type { Bucket, JsonValue, ScopeValue } from "../core/index.ts";
import type { Projection } from "./projection.ts";
import { entityViews, type View } from "./views.ts";

/** The view of each entity type that says which bucket an entity is in: the one that declares `scopeBy`, else the first of the type. */
export function scopedViews(views: readonly View[]): ReadonlyMap<string, Projection> {
  const homes = new Map<string, Projection>();
  for (const view of entityViews(views)) if (view.scopeBy !== null || !homes.has(view.entity)) homes.set(view.entity, view);
  return homes;
}

/** The scope columns of each entity type that has a view; empty where no view declares any. */
export const scopesOf = (views: readonly View[]): ReadonlyMap<string, readonly string[]> =>
  new Map([...scopedViews(views)].map(([entityType, { scopeBy }]) => [entityType, scopeBy ?? []]));

/**
 * The bucket of an entity whose row this is, as the view that has the scope of its type folds it. A deleted entity stays in the bucket of its last values: whoever
 * holds it must hear of the deletion.
 */
export function bucketOf({ entity, scopeBy }: Projection, row: Readonly<Record<string, JsonValue>>): Bucket {
  const columns = scopeBy ?? [];
  return { entityType: entity, columns, values: columns.map((name) => (row[name] ?? null) as ScopeValue) };
}
