/**
 * Puts builds into the namespace of the live views. In come builds that are folded as far as the live views; then readers' names lead to the builds. Never a moment in which a reader
 * sees only a part of the change.
 */
import type { Position } from "../core/index.ts";
import { inOrder, type SqlView, type View } from "../merge/engine.ts";
import { carryOver, type Grant, grantAgain, grantsOn, type Kept, keptOn } from "./carry-over.ts";
import { type Generation, generationsOf, livePositions, positionsText } from "./catalog.ts";
import { clingingTo, clings } from "./clinging.ts";
import { type Db, inTransaction } from "./connect.ts";
import { dropGeneration, dropOrLeave } from "./drop.ts";
import { at, LIVE, namespaceOf, q } from "./names.ts";
import { carryOrgCases } from "./org-cases.ts";
import { carryPast, endPast, preparePast } from "./past.ts";
import { carryDecisions } from "./past-decisions.ts";
import { least, type Positions } from "./shards.ts";
import { asClinging, type ForeignView, foreignViews, makeSqlView, readAnew } from "./sql-views.ts";
import { shapeOf } from "./tables.ts";

/** Which builds take the place of which views. */
export interface Swap {
  readonly builds: readonly Generation[];
  readonly retired: readonly string[];
  readonly views: readonly View[];
  /** What `prepareSwap` returned for these builds; default: it was not called. */
  readonly preparedAt?: Position | null;
  /** No person is there to be told: what others made and what cannot be carried over stays with the old build. */
  readonly leaves: boolean;
}

/** What stands before a swap, and what is carried over it. */
interface Before {
  readonly live: ReadonlyMap<string, Generation>;
  readonly previous: ReadonlyMap<string, Generation>;
  /** By table. */
  readonly grants: Map<string, Grant[]>;
  readonly kept: Map<string, Kept[]>;
  /** Views of others over tables that are replaced, with their definitions before anything moves: a definition names the schema that its tables stand in. */
  readonly foreign: readonly ForeignView[];
}

/**
 * Puts builds into the namespace of the live views, and SQL views over them, inside the caller's transaction, which holds the shards still. Readers see
 * the old views or the new ones, and have the same rights on the new ones. The old ones are kept until the next swap.
 */
export async function swap(db: Db, change: Swap, positions: Positions): Promise<void> {
  const { builds, views, leaves } = change;
  const sqlViews = inOrder(views.filter((view): view is SqlView => view.kind === "sql"));
  const live = await generationsOf(db, "live");
  const ours = [...live.values()].filter(({ kind }) => kind === "sql").map(({ view }) => view);
  const gone = ours.filter((view) => !sqlViews.some(({ name }) => name === view));
  const before = await lookBefore(db, change, { live, ours, gone });
  await moveOut(db, change, before, positions);
  // A view that stands in the way and is not in the catalog was ours before the catalog was lost: the log has all of it.
  for (const { name } of [...sqlViews].reverse()) if (!live.has(name)) await db.query(`DROP VIEW IF EXISTS ${at(LIVE, name)}`);
  for (const [build, old] of replacedBy(builds, live)) {
    const move = { view: build.view, build, from: namespaceOf(old.generation), preparedAt: change.preparedAt ?? null };
    if (keepsPast(build, old)) await carryPast(db, move, positions);
    await carryDecisions(db, { view: build.view, from: old.generation, to: build.generation }, positions);
  }
  for (const { namespace } of builds) await endPast(db, namespace);
  await moveIn(db, builds, before);
  for (const build of builds.filter(({ kind }) => kind === "entity"))
    await carryOrgCases(db, { build, old: live.get(build.view) }, views, least(positions));
  await makeSqlViews(db, sqlViews);
  for (const [table, granted] of before.grants) await grantAgain(db, table, granted);
  // All at once: they may read one another.
  if (gone.length > 0) await db.query(`DROP VIEW IF EXISTS ${gone.map((view) => at(LIVE, view)).join(", ")}`);
  for (const view of before.foreign) {
    const why = await readAnew(db, view);
    if (why !== null && !leaves) throw clings(asClinging(view), why);
  }
  const built = new Set(builds.flatMap(({ tables }) => tables));
  for (const [table, statements] of before.kept)
    if (built.has(table)) for (const each of statements) await carryOver(db, table, each);
  for (const { namespace } of builds) await dropEmptyNamespace(db, namespace);
  await changeLayout(db);
}

/** Changes the shards' layout, so that every process at work on the old views notices it and looks again. */
export async function changeLayout(db: Db): Promise<void> {
  await db.query("UPDATE tributary.shard SET layout = layout + 1");
}

/** Takes our SQL views out of the catalog and returns what stands before the swap. Throws `usage` where something that others made is in the way. */
async function lookBefore(
  db: Db,
  { builds, retired, leaves }: Swap,
  { live, ours, gone }: { readonly live: Before["live"]; readonly ours: readonly string[]; readonly gone: readonly string[] },
): Promise<Before> {
  const previous = await generationsOf(db, "previous");
  const grants = new Map<string, Grant[]>();
  for (const view of ours) {
    grants.set(view, await grantsOn(db, view));
    await db.query("DELETE FROM tributary.generation WHERE view = $1 AND state = 'live'", [view]);
  }
  const [reader] = await foreignViews(db, LIVE, gone, gone);
  if (reader !== undefined) throw clings(asClinging(reader), "it is no longer declared");
  const replaced = [...builds.map(({ view }) => view), ...retired].flatMap((name) => live.get(name)?.tables ?? []);
  const foreign = await foreignViews(db, LIVE, replaced, ours);
  // Views are dealt with once the new tables stand.
  const other = leaves ? undefined : (await clingingTo(db, LIVE, replaced)).find(({ isView }) => !isView);
  if (other !== undefined) throw clings(other, "it cannot be made to stand on the new build");
  return { live, previous, grants, kept: new Map(), foreign };
}

/** Moves the live tables out of the way, and drops the builds that were kept from the swap before. */
async function moveOut(
  db: Db,
  { builds, retired, leaves }: Swap,
  { live, previous, grants, kept }: Before,
  positions: Positions,
): Promise<void> {
  for (const name of [...builds.map(({ view }) => view), ...retired]) {
    const earlier = previous.get(name);
    if (earlier !== undefined && !builds.includes(earlier)) await (leaves ? dropOrLeave : dropGeneration)(db, earlier);
    const old = live.get(name);
    if (old === undefined || old.kind === "sql") continue;
    const namespace = namespaceOf(old.generation);
    await db.query(`CREATE SCHEMA IF NOT EXISTS ${q(namespace)}`);
    for (const table of old.tables) {
      grants.set(table, await grantsOn(db, table));
      kept.set(table, await keptOn(db, table));
      await db.query(`ALTER TABLE ${at(LIVE, table)} SET SCHEMA ${q(namespace)}`);
    }
    await db.query(
      "UPDATE tributary.generation SET state = 'previous', place = $3, positions = $4 WHERE view = $1 AND generation = $2",
      [name, old.generation, namespace, positionsText(positions)],
    );
  }
}

/** Builds of entities, each with the live build whose place it takes. */
const replacedBy = (
  builds: readonly Generation[],
  live: ReadonlyMap<string, Generation>,
): (readonly [build: Generation, old: Generation])[] =>
  builds.flatMap((build) => {
    const old = live.get(build.view);
    return build.kind === "entity" && old?.kind === "entity" ? [[build, old] as const] : [];
  });

const keepsPast = (...builds: readonly Generation[]): boolean =>
  builds.every(({ view, tables }) => tables.includes(`${view}_history`));

/** Does the part of carrying over the past that need not wait until the shards are held. `through`: how far the builds are folded. Returns the position up to which the past is prepared; `null`: it is not. */
export async function prepareSwap(db: Db, builds: readonly Generation[], through: Position | null): Promise<Position | null> {
  // Read first: what moves after this position is found later.
  const standing = least(await livePositions(db));
  if (standing === null || through === null) return null;
  const since = standing < through ? standing : through;
  const live = await generationsOf(db, "live");
  for (const [build, old] of replacedBy(builds, live))
    if (keepsPast(build, old))
      await inTransaction(db, () => preparePast(db, { view: build.view, build, from: old.namespace }, since));
  return since;
}

/** Moves the builds' tables to where people read. */
async function moveIn(db: Db, builds: readonly Generation[], { live, grants }: Before): Promise<void> {
  const known = new Set([...live.values()].flatMap(({ tables }) => tables));
  for (const { view, generation, namespace, tables } of builds) {
    for (const table of tables) {
      if (known.has(table)) continue;
      grants.set(table, await grantsOn(db, table));
      const [held] = await clingingTo(db, LIVE, [table]);
      if (held !== undefined) throw clings(held, "it is in the way of its new build");
      await db.query(`DROP TABLE IF EXISTS ${at(LIVE, table)}`);
    }
    for (const table of tables) await db.query(`ALTER TABLE ${at(namespace, table)} SET SCHEMA ${q(LIVE)}`);
    await db.query(
      `UPDATE tributary.generation SET state = 'live', place = $3, positions = NULL, live_at = now() WHERE view = $1 AND generation = $2`,
      [view, generation, LIVE],
    );
  }
}

async function makeSqlViews(db: Db, sqlViews: readonly SqlView[]): Promise<void> {
  for (const view of sqlViews) {
    await makeSqlView(db, view);
    await db.query(
      `INSERT INTO tributary.generation (view, generation, state, place, kind, shape, live_at)
       VALUES ($1, nextval('tributary.generation_number'), 'live', $2, 'sql', $3, now())`,
      [view.name, LIVE, shapeOf(view)],
    );
  }
}

/** Drops a schema that no build stands in any more. */
async function dropEmptyNamespace(db: Db, namespace: string): Promise<void> {
  const { rows } = await db.query("SELECT 1 FROM tributary.generation WHERE place = $1 LIMIT 1", [namespace]);
  if (rows.length === 0 && namespace !== LIVE) await db.query(`DROP SCHEMA IF EXISTS ${q(namespace)}`);
}
