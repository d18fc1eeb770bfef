/** What builds of views have to do with the gate: which versions they read with, whether they can read all that is written, and how they differ from the declarations. */
import { TributaryError } from "../core/index.ts";
import type { Gate, Pins } from "../gate/index.ts";
import { closureOf, entityViews, type Projection, scopedViews, type Totals, type View } from "../merge/engine.ts";
import { addBuilds, areAbreast, type Db, type Generation, generationsOf, isBuiltAs, isEmpty, parkedIn } from "../views/index.ts";
import type { ViewTarget } from "./page.ts";
import { isReadable } from "./readable.ts";
import { openStates } from "./states.ts";

/** The subjects whose events are about a projection's entities, each with its newest version. */
export function pinsFor({ store }: Gate, { entity }: Projection): Pins {
  const about = store
    .subjects()
    .filter((subject) =>
      store.versions(subject).some(({ annotations }) => annotations.entity === entity || annotations.entity === "*"),
    );
  return Object.fromEntries(about.map((subject) => [subject, store.versions(subject).length]));
}

/** The first registered version that a view with these pins cannot read, as `subject@version`; `null`: it reads them all. */
export function unreadBy(gate: Gate, projection: Projection, pins: Pins): string | null {
  for (const [subject, newest] of Object.entries(pinsFor(gate, projection)))
    for (let version = (pins[subject] ?? 0) + 1; version <= newest; version++)
      if (!isReadable(gate, pins, { subject, version })) return `${subject}@${version}`;
  return null;
}

/** How the live views differ from those declared. */
export interface Difference {
  /** Views that are declared otherwise than they were built, or that are not built at all. */
  readonly changed: readonly string[];
  /** Views that are built and no longer declared. */
  readonly undeclared: readonly string[];
  /** Views that cannot read versions that have been registered since they were built. */
  readonly stale: readonly string[];
}

/** Compares the declared views with the live ones. */
export function differences(views: readonly View[], gate: Gate, live: ReadonlyMap<string, Generation>): Difference {
  const changed = views.filter((view) => !isBuiltAs(view, live)).map(({ name }) => name);
  const declared = new Set(views.map(({ name }) => name));
  const undeclared = [...live.keys()].filter((name) => !declared.has(name));
  const stale = entityViews(views)
    .filter((view) => {
      const built = live.get(view.name);
      return (
        built !== undefined &&
        !changed.includes(view.name) &&
        (built.readers === null || unreadBy(gate, view, built.readers) !== null)
      );
    })
    .map(({ name }) => name);
  return { changed, undeclared, stale };
}

/** Whether the live views are built as declared and can read all that is written. */
export const isInLine = ({ changed, undeclared, stale }: Difference): boolean =>
  changed.length + undeclared.length + stale.length === 0;

export interface TargetsOptions {
  readonly maxHot?: number;
  /** Whether the builds are live, and `views` are all views: then the feeds of buckets are written from them. */
  readonly feeds?: boolean;
}

/** What a page is folded into: the builds of the entity views, each with the totals that add it up. */
export async function targetsFor(
  reader: Db,
  views: readonly (Projection | Totals)[],
  generations: ReadonlyMap<string, Generation>,
  { maxHot, feeds = false }: TargetsOptions = {},
): Promise<ViewTarget[]> {
  const homes = feeds ? scopedViews(views) : new Map<string, Projection>();
  const totals = views.filter((view): view is Totals => view.kind === "totals");
  const parked = await parkedIn(reader, generations.values());
  const targets: ViewTarget[] = [];
  for (const projection of entityViews(views)) {
    const { generation, namespace, readers } = generations.get(projection.name)!;
    targets.push({
      projection,
      generation,
      namespace,
      pins: readers ?? {},
      states: openStates(reader, projection, {
        namespace,
        isEmpty: await isEmpty(reader, namespace, projection.name),
        parked: parked.get(projection.name)!,
        ...(maxHot === undefined ? {} : { maxHot }),
      }),
      totals: totals.filter(({ sources }) => sources.has(projection.name)),
      isHome: homes.get(projection.entity) === projection,
    });
  }
  return targets;
}

/** How a build begins. */
export interface Beginning {
  /** Begin at the log's start, even where a build was interrupted. */
  readonly fresh: boolean;
  /** Whether the build is to take the live views' namespace or to be compared with them. */
  readonly state: "building" | "reconciling";
  /** The versions that a view reads with; default: the newest. */
  readonly pinsOf?: (view: Projection) => Pins;
}

/**
 * The builds to go on with for these views: those that were begun for the same declarations and versions, or new ones, with their tables. Builds that were
 * begun for other declarations or versions are dropped.
 */
export async function beginBuild(
  db: Db,
  gate: Gate,
  views: readonly (Projection | Totals)[],
  { fresh, state, pinsOf = (view) => pinsFor(gate, view) }: Beginning,
): Promise<Generation[]> {
  const begun = await generationsOf(db, state);
  const wanted = views.map((view) => ({ view, readers: view.kind === "entity" ? pinsOf(view) : null }));
  const known = views.flatMap(({ name }) => begun.get(name) ?? []);
  const isSame =
    wanted.every(
      ({ view, readers }) => isBuiltAs(view, begun) && JSON.stringify(begun.get(view.name)!.readers) === JSON.stringify(readers),
    ) && areAbreast(known);
  if (isSame && !fresh) return known;
  await addBuilds(db, wanted, state, known);
  const made = await generationsOf(db, state);
  return views.map(({ name }) => made.get(name)!);
}

/** The views that are built together with those named. Throws `not-found` for a name that is not declared. */
export function familyOf(views: readonly View[], names: readonly string[]): (Projection | Totals)[] {
  for (const name of names) {
    const view = views.find((candidate) => candidate.name === name);
    if (view === undefined)
      throw new TributaryError("not-found", `there is no view ${name}`, `There are: ${views.map((v) => v.name).join(", ")}.`);
  }
  return closureOf(views, names);
}
