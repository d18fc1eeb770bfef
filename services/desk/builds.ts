/**
 * Rebuilding views, and going back to earlier builds: which views may be built, and which are taken away. The building itself is handed in, because the desk
 * knows nothing of the projector.
 */
import { TributaryError } from "../core/index.ts";
import type { View } from "../merge/engine.ts";
import { closureOf } from "../merge/engine.ts";

/** Views by name, or all that are declared. */
export type WhichViews = readonly string[] | "all";

/** How the live views differ from those declared. */
export interface Differing {
  /** Views that are declared otherwise than they were built, or that are not built at all. */
  readonly changed: readonly string[];
  /** Views that are built and no longer declared. */
  readonly undeclared: readonly string[];
}

/** What is to be built. */
export interface BuildRequest {
  readonly which: WhichViews;
  /** Compare all rows with the live ones before the swap. */
  readonly compare: boolean;
  /** Build and compare, but leave the live views as they are. */
  readonly compareOnly: boolean;
  /** Begin at the log's start, even where a build was interrupted. */
  readonly fresh: boolean;
}

/** What the builder is told to do. */
export interface BuildOrder extends Omit<BuildRequest, "which"> {
  readonly names: readonly string[];
  /** Views that are no longer declared: they are taken away in the same swap. */
  readonly retired: readonly string[];
  /** Go back to the builds before the live ones. */
  readonly rollback: boolean;
}

/** What building needs of a hub. Whoever opens it hands all of it in. */
export interface Builder<Result> {
  /** All views as they are declared. */
  readonly views: readonly View[];
  readonly differing: () => Promise<Differing>;
  readonly build: (order: BuildOrder) => Promise<Result>;
}

/** The names of the views that are meant, each once. Throws `usage` where none is named, `not-found` for a name that is not declared. */
export function viewNamesOf(views: readonly View[], which: WhichViews): readonly string[] {
  if (which === "all") return views.map(({ name }) => name);
  if (which.length === 0) throw new TributaryError("usage", "no view is named", "Name the views, or choose all.");
  const declared = views.map(({ name }) => name);
  const unknown = which.find((name) => !declared.includes(name));
  if (unknown !== undefined)
    throw new TributaryError("not-found", `there is no view ${unknown}`, `There are: ${declared.join(", ")}.`);
  return [...new Set(which)];
}

/** Rebuilds views from the log and puts them in the place of the live ones. Throws `usage` where other views would still differ from their declarations. */
export const rebuildViews = <Result>(builder: Builder<Result>, request: BuildRequest): Promise<Result> =>
  ordered(builder, request, false);

/**
 * Brings the builds before the live ones up to date and goes back to them. The declarations that they were built by must be in place again. Throws `usage` as
 * `rebuildViews` does.
 */
export const rollBack = <Result>(builder: Builder<Result>, request: Omit<BuildRequest, "fresh">): Promise<Result> =>
  ordered(builder, { ...request, fresh: false }, true);

async function ordered<Result>(
  { views, differing, build }: Builder<Result>,
  { which, ...request }: BuildRequest,
  rollback: boolean,
): Promise<Result> {
  const names = viewNamesOf(views, which);
  // Where nothing is swapped, nothing is taken away either.
  const retired = request.compareOnly ? [] : retiredBy(views, await differing(), which);
  return build({ ...request, names, retired, rollback });
}

/**
 * The views that are taken away when these are built. Projectors load all declarations when they start again after the swap, and a view that is declared otherwise than it stands
 * would stop them: throws `usage`, with their names, where such views are left out.
 */
export function retiredBy(views: readonly View[], { changed, undeclared }: Differing, which: WhichViews): readonly string[] {
  if (which === "all") return undeclared;
  const family = new Set([...which, ...closureOf(views, which).map(({ name }) => name)]);
  const others = [...changed.filter((name) => !family.has(name)), ...undeclared];
  if (others.length === 0) return [];
  throw new TributaryError(
    "usage",
    `these views also differ from their live builds: ${others.join(", ")}`,
    "Put their files back, or name them too; `--all` rebuilds every view and removes those that are no longer declared.",
  );
}
