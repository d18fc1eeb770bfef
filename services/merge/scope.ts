import type { Bucket, JsonValue, ScopeValue } from "../core/index.ts";
import type { Projection } from "./projection.ts";
import { entityViews, type View } from "./views.ts";

/** How the buckets of each entity type are told apart: the scope columns of the view that says so, empty where none does. */
export function scopesOf(views: readonly View[]): ReadonlyMap<string, readonly string[]> {
  const scopes = new Map<string, readonly string[]>();
  for (const { entity, scopeBy } of entityViews(views))
    if (scopeBy !== null || !scopes.has(entity)) scopes.set(entity, scopeBy ?? []);
  return scopes;
}

/**
 * The bucket of an entity whose row this is, as the view that has the scope of its type folds it. A deleted entity stays in the bucket of its last values: whoever
 * holds it must hear of the deletion.
 */
export function bucketOf({ entity, scopeBy }: Projection, row: Readonly<Record<string, JsonValue>>): Bucket {
  return { entityType: entity, values: (scopeBy ?? []).map((name) => (row[name] ?? null) as ScopeValue) };
}
