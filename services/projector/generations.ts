import type { Client } from "pg";
import { TributaryError } from "../core/index.ts";
import type { Gate, Pins } from "../gate/index.ts";
import { closureOf, entityViews, inOrder, type SqlView, type Totals, tablesOf } from "../merge/engine.ts";
import type { Projection, View } from "../merge/index.ts";
import { type Clinging, clingingTo, clings } from "./clinging.ts";
import { inSavepoint, inTransaction } from "./connect.ts";
import { isReadable, type ViewTarget } from "./prepare.ts";
import { asPosition, NOWHERE, type Positions, SHARDS } from "./shards.ts";
import { openStates } from "./states.ts";
import { at, createTables, LIVE, q, shapeOf } from "./tables.ts";

/** How long a build that was let go waits for the last who reads it, at a time. */
const LET_GO_TIMEOUT_MS = 500;

/** One build of a view's tables, as `tributary.generation` has it. */
export interface Generation {
  readonly view: string;
  readonly generation: number;
  /** `left`: out of use, and kept only because something that is not ours clings to its tables (`clinging.ts`). */
  readonly state: "building" | "reconciling" | "live" | "previous" | "left";
  readonly place: string;
  readonly kind: View["kind"];
  readonly shape: string;
  readonly readers: Pins | null;
  readonly tables: readonly string[];
  /** How far it has been folded, by shard, while it is not live. */
  readonly positions: Positions | null;
  readonly events: number;
}

export async function generationsOf(db: Client, state: Generation["state"]): Promise<Map<string, Generation>> {
  const { rows } = await db.query<
    Omit<Generation, "positions" | "events"> & { positions: (string | null)[] | null; events: string }
  >(
    `SELECT view, generation, state, place, kind, shape, readers, tables, positions, events FROM tributary.generation
     WHERE state = $1 ORDER BY generation`,
    [state],
  );
  return new Map(
    rows.map((row) => [row.view, { ...row, positions: row.positions?.map(asPosition) ?? null, events: Number(row.events) }]),
  );
}

/** Where each shard of the live views stands. */
export async function livePositions(db: Client): Promise<Positions> {
  const { rows } = await db.query<{ position: string | null }>("SELECT position FROM tributary.shard ORDER BY shard");
  if (rows.length !== SHARDS)
    throw new TributaryError(
      "data-corrupt",
      `tributary.shard has ${rows.length} of ${SHARDS} rows: nobody knows how far the views have come`,
      "A running projector finds the places again from the audit. Start one, or wait a moment, and try again.",
    );
  return rows.map(({ position }) => asPosition(position));
}

/** The subjects that write about a projection's entities, each with its newest version. */
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

/** Whether a view stands, and was built by this declaration. */
export const isBuiltAs = (view: View, live: ReadonlyMap<string, Generation>): boolean =>
  live.get(view.name)?.shape === shapeOf(view);

/** How the views that stand differ from those declared. */
export interface Difference {
  /** Declared otherwise than they were built, or not built at all. */
  readonly changed: readonly string[];
  /** Built, and declared no more. */
  readonly undeclared: readonly string[];
  /** Cannot read what has been registered since they were built. */
  readonly stale: readonly string[];
}

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

/** Whether the views stand as declared, and can read all that is written. */
export const isInLine = ({ changed, undeclared, stale }: Difference): boolean =>
  changed.length + undeclared.length + stale.length === 0;

/** What a page is folded into: each entity view, in its generation, with the totals that add it up. */
export async function targetsFor(
  reader: Client,
  views: readonly (Projection | Totals)[],
  generations: ReadonlyMap<string, Generation>,
  maxHot?: number,
): Promise<ViewTarget[]> {
  const totals = views.filter((view): view is Totals => view.kind === "totals");
  const parked = await parkedIn(reader, generations.values());
  const targets: ViewTarget[] = [];
  for (const projection of entityViews(views)) {
    const { generation, place, readers } = generations.get(projection.name)!;
    const { rows } = await reader.query(`SELECT 1 FROM ${at(place, projection.name)} LIMIT 1`);
    targets.push({
      projection,
      generation,
      place,
      pins: readers ?? {},
      states: openStates(reader, projection, { place, isEmpty: rows.length === 0, ...(maxHot === undefined ? {} : { maxHot }) }),
      totals: totals.filter(({ sources }) => sources.has(projection.name)),
      parked: parked.get(projection.name)!,
    });
  }
  return targets;
}

/** Entities whose fold has stopped, by view. */
async function parkedIn(db: Client, generations: Iterable<Generation>): Promise<Map<string, Set<string>>> {
  const wanted = [...generations];
  const { rows } = await db.query<{ view: string; entity_id: string }>(
    `SELECT p.view, p.entity_id FROM tributary.parked p JOIN unnest($1::text[], $2::int[]) AS x (view, generation) USING (view, generation)`,
    [wanted.map(({ view }) => view), wanted.map(({ generation }) => generation)],
  );
  const out = new Map<string, Set<string>>(wanted.map(({ view }) => [view, new Set()]));
  for (const { view, entity_id } of rows) out.get(view)!.add(entity_id);
  return out;
}

const placeOf = (generation: number): string => `tributary_g${generation}`;

/**
 * The build to go on with for these views: one that was begun for the same declarations and versions, or a new one, with its tables. Builds that were
 * begun for others are dropped.
 */
export async function beginBuild(
  db: Client,
  gate: Gate,
  views: readonly (Projection | Totals)[],
  fresh: boolean,
  state: "building" | "reconciling" = "building",
  /** The versions to read with; default the newest. */
  pinsOf: (view: Projection) => Pins = (view) => pinsFor(gate, view),
): Promise<Generation[]> {
  const begun = await generationsOf(db, state);
  const wanted = views.map((view) => ({
    view,
    shape: shapeOf(view),
    pins: view.kind === "entity" ? pinsOf(view) : null,
  }));
  const isSame =
    wanted.every(({ view, shape, pins }) => {
      const known = begun.get(view.name);
      return known?.shape === shape && JSON.stringify(known.readers) === JSON.stringify(pins);
    }) && areAbreast(wanted.map(({ view }) => begun.get(view.name)!));
  if (isSame && !fresh) return wanted.map(({ view }) => begun.get(view.name)!);
  await inTransaction(db, async () => {
    for (const { view } of wanted) {
      const old = begun.get(view.name);
      if (old !== undefined) await dropGeneration(db, old);
    }
    const { rows } = await db.query<{ n: number }>("SELECT nextval('tributary.generation_number')::int AS n");
    const generation = rows[0]!.n;
    const place = placeOf(generation);
    // Left over from a database whose own tables were lost: no generation stands there.
    await db.query(`DROP SCHEMA IF EXISTS ${q(place)} CASCADE`);
    for (const { view, shape, pins } of wanted) {
      await createTables(db, view, place);
      await db.query(
        `INSERT INTO tributary.generation (view, generation, state, place, kind, shape, readers, tables, positions)
         VALUES ($1, $2, $9, $3, $4, $5, $6, $7, $8)`,
        [
          view.name,
          generation,
          place,
          view.kind,
          shape,
          pins === null ? null : JSON.stringify(pins),
          JSON.stringify(tablesOf(view)),
          JSON.stringify(NOWHERE),
          state,
        ],
      );
    }
  });
  const made = await generationsOf(db, state);
  return wanted.map(({ view }) => made.get(view.name)!);
}

/** Whether builds have come equally far, so that they can go on together. */
export const areAbreast = (builds: readonly Generation[]): boolean =>
  new Set(builds.map(({ positions }) => (positions ?? []).join())).size <= 1;

/** Notes how far a build has come, in the transaction that wrote it. */
export async function notePositions(
  db: Client,
  builds: readonly Generation[],
  positions: Positions,
  events: number,
): Promise<void> {
  await db.query(
    `UPDATE tributary.generation g SET positions = $3, events = events + $4 FROM unnest($1::text[], $2::int[]) AS x (view, generation)
     WHERE g.view = x.view AND g.generation = x.generation`,
    [
      builds.map(({ view }) => view),
      builds.map(({ generation }) => generation),
      JSON.stringify(positions.map((position) => position?.toString() ?? null)),
      events,
    ],
  );
}

/** Somebody's own view that reads tables. */
interface ForeignView {
  readonly name: string;
  readonly table: string;
  readonly isMaterialized: boolean;
  readonly definition: string;
}

/** Views that are not ours and read these tables or views. */
async function foreignViews(
  db: Client,
  place: string,
  tables: readonly string[],
  ours: readonly string[],
): Promise<ForeignView[]> {
  const { rows } = await db.query<ForeignView>(
    `SELECT DISTINCT format('%I.%I', vn.nspname, v.relname) AS name, t.relname AS table, v.relkind = 'm' AS "isMaterialized",
       pg_get_viewdef(v.oid) AS definition
     FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
     JOIN pg_namespace vn ON vn.oid = v.relnamespace JOIN pg_class t ON d.refclassid = 'pg_class'::regclass AND t.oid = d.refobjid
     JOIN pg_namespace tn ON tn.oid = t.relnamespace
     WHERE tn.nspname = $1 AND t.relname = ANY($2) AND v.oid <> t.oid AND NOT (vn.nspname = '${LIVE}' AND v.relname = ANY($3)) ORDER BY 1`,
    [place, tables, ours],
  );
  return rows;
}

const asClinging = ({ name, table }: ForeignView): Clinging => ({ object: name, table, isView: true });

/** Has somebody's own view read the tables that stand under the names now, as it was written. Returns why it cannot, or `null`. */
async function readAnew(db: Client, view: ForeignView): Promise<string | null> {
  if (view.isMaterialized) return "a materialized view cannot be made to read its new build";
  try {
    await inSavepoint(db, () => db.query(`CREATE OR REPLACE VIEW ${view.name} AS ${view.definition}`));
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Makes a view of SQL, or has it read the tables that stand now; one whose columns change is dropped first, where nothing else reads it. */
async function makeSqlView(db: Client, { name, sql }: SqlView): Promise<void> {
  await db.query("SAVEPOINT made");
  try {
    await db.query(`CREATE OR REPLACE VIEW ${at(LIVE, name)} AS ${sql}`);
  } catch {
    await db.query("ROLLBACK TO SAVEPOINT made");
    const [reader] = await foreignViews(db, LIVE, [name], []);
    if (reader !== undefined) throw clings(asClinging(reader), "its columns change");
    await db.query(`DROP VIEW IF EXISTS ${at(LIVE, name)}`);
    try {
      await db.query(`CREATE VIEW ${at(LIVE, name)} AS ${sql}`);
    } catch (error) {
      throw new TributaryError(
        "projection-malformed",
        `projection ${name}: PostgreSQL refuses its SQL: ${(error as Error).message}`,
        "Correct its file in projections/ and start again.",
        { cause: error },
      );
    }
  }
}

/** Removes what was kept for a build beside its tables. */
async function forgetKept(db: Client, { view, generation }: Generation): Promise<void> {
  for (const kept of ["decision_row", "case_row", "parked"])
    await db.query(`DELETE FROM tributary.${kept} WHERE view = $1 AND generation = $2`, [view, generation]);
}

/** Removes a build; one that something clings to is put out of use, and goes when it is let go. For whoever has nobody to tell. */
export async function dropOrLeave(db: Client, build: Generation): Promise<void> {
  if ((await clingingTo(db, build.place, build.tables)).length === 0) return dropGeneration(db, build);
  await forgetKept(db, build);
  await db.query("UPDATE tributary.generation SET state = 'left' WHERE view = $1 AND generation = $2", [
    build.view,
    build.generation,
  ]);
}

/** Whether a build that was left is let go by now. Changes nothing. */
export async function isAnyLetGo(db: Client): Promise<boolean> {
  // Of one view there may be several.
  const { rows } = await db.query<Pick<Generation, "place" | "tables">>(
    "SELECT place, tables FROM tributary.generation WHERE state = 'left'",
  );
  for (const { place, tables } of rows) if ((await clingingTo(db, place, tables)).length === 0) return true;
  return false;
}

/** Removes builds that were left, and that nothing clings to any more, in a transaction; several processes may do so at once. Returns how many. */
export async function dropLetGo(db: Client): Promise<number> {
  return inTransaction(db, async () => {
    await db.query(`SET LOCAL lock_timeout = ${LET_GO_TIMEOUT_MS}`);
    const { rows } = await db.query<Generation & Record<string, unknown>>(
      "SELECT * FROM tributary.generation WHERE state = 'left' ORDER BY generation, view FOR UPDATE SKIP LOCKED",
    );
    let dropped = 0;
    for (const build of rows) {
      if ((await clingingTo(db, build.place, build.tables)).length > 0) continue;
      await dropGeneration(db, build);
      dropped++;
    }
    return dropped;
  });
}

/** Removes a build with all that was kept for it. Throws `usage` where something clings to it. */
export async function dropGeneration(db: Client, build: Generation): Promise<void> {
  const { view, generation, place, tables } = build;
  const [held] = await clingingTo(db, place, tables);
  if (held !== undefined) throw clings(held, "it is of an earlier build, which is to go");
  for (const table of [...tables].reverse()) await db.query(`DROP TABLE IF EXISTS ${at(place, table)}`);
  await forgetKept(db, build);
  await db.query("DELETE FROM tributary.generation WHERE view = $1 AND generation = $2", [view, generation]);
  const { rows } = await db.query("SELECT 1 FROM tributary.generation WHERE place = $1 LIMIT 1", [place]);
  if (rows.length === 0 && place !== LIVE) await db.query(`DROP SCHEMA IF EXISTS ${q(place)} CASCADE`);
}

/**
 * Puts builds into the place of the live views, and views of SQL over them, inside the caller's transaction, which holds the shards still. Readers see
 * the old or the new; what they were granted on the old they have on the new. The old ones are kept until the next swap.
 */
export async function swap(
  db: Client,
  change: {
    readonly builds: readonly Generation[];
    readonly retired: readonly string[];
    readonly views: readonly View[];
    /** Nobody is there to be told: what others made and what cannot be carried over stays with the old build. */
    readonly leaves: boolean;
  },
  positions: Positions,
): Promise<void> {
  const { builds, retired, views, leaves } = change;
  const live = await generationsOf(db, "live");
  const previous = await generationsOf(db, "previous");
  const grants = new Map<string, Grant[]>();
  const kept = new Map<string, Kept[]>();
  const ours = [...live.values()].filter(({ kind }) => kind === "sql").map(({ view }) => view);
  const sqlViews = inOrder(views.filter((view): view is SqlView => view.kind === "sql"));
  for (const view of ours) {
    grants.set(view, await grantsOn(db, view));
    await db.query("DELETE FROM tributary.generation WHERE view = $1 AND state = 'live'", [view]);
  }
  const declared = new Set(sqlViews.map(({ name }) => name));
  const gone = ours.filter((view) => !declared.has(view));
  const [reader] = await foreignViews(db, LIVE, gone, gone);
  if (reader !== undefined) throw clings(asClinging(reader), "it is declared no more");
  const replaced = [...builds.map(({ view }) => view), ...retired].flatMap((name) => live.get(name)?.tables ?? []);
  // As they are written now, before anything moves: a definition names the place where its tables stand.
  const foreign = await foreignViews(db, LIVE, replaced, ours);
  // Views are seen to below.
  const other = leaves ? undefined : (await clingingTo(db, LIVE, replaced)).find(({ isView }) => !isView);
  if (other !== undefined) throw clings(other, "it cannot be made to stand on the new build");
  for (const name of [...builds.map(({ view }) => view), ...retired]) {
    const before = previous.get(name);
    if (before !== undefined && !builds.includes(before)) await (leaves ? dropOrLeave : dropGeneration)(db, before);
    const old = live.get(name);
    if (old === undefined || old.kind === "sql") continue;
    const place = placeOf(old.generation);
    await db.query(`CREATE SCHEMA IF NOT EXISTS ${q(place)}`);
    for (const table of old.tables) {
      grants.set(table, await grantsOn(db, table));
      kept.set(table, await keptOn(db, table));
      await db.query(`ALTER TABLE ${at(LIVE, table)} SET SCHEMA ${q(place)}`);
    }
    await db.query(
      "UPDATE tributary.generation SET state = 'previous', place = $3, positions = $4 WHERE view = $1 AND generation = $2",
      [name, old.generation, place, JSON.stringify(positions.map((position) => position?.toString() ?? null))],
    );
  }
  // What stands in the way and is nobody's was a view before the tables that knew it were lost: the log has all of it.
  const known = new Set([...live.values()].flatMap(({ tables }) => tables));
  for (const { name } of [...sqlViews].reverse()) if (!live.has(name)) await db.query(`DROP VIEW IF EXISTS ${at(LIVE, name)}`);
  for (const { view, generation, place, tables } of builds) {
    for (const table of tables) {
      if (known.has(table)) continue;
      grants.set(table, await grantsOn(db, table));
      const [held] = await clingingTo(db, LIVE, [table]);
      if (held !== undefined) throw clings(held, "it is in the way of its new build");
      await db.query(`DROP TABLE IF EXISTS ${at(LIVE, table)}`);
    }
    for (const table of tables) await db.query(`ALTER TABLE ${at(place, table)} SET SCHEMA ${q(LIVE)}`);
    await db.query(
      `UPDATE tributary.generation SET state = 'live', place = $3, positions = NULL, live_at = now() WHERE view = $1 AND generation = $2`,
      [view, generation, LIVE],
    );
  }
  for (const view of sqlViews) {
    await makeSqlView(db, view);
    await db.query(
      `INSERT INTO tributary.generation (view, generation, state, place, kind, shape, live_at)
       VALUES ($1, nextval('tributary.generation_number'), 'live', $2, 'sql', $3, now())`,
      [view.name, LIVE, shapeOf(view)],
    );
  }
  for (const [name, granted] of grants) {
    const { rows } = await db.query<{ column: string }>(
      "SELECT attname AS column FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0",
      [at(LIVE, name)],
    );
    const columns = new Set(rows.map(({ column }) => column));
    for (const { statement, column } of granted)
      if (columns.size > 0 && (column === null || columns.has(column))) await db.query(statement);
  }
  // All at once: they may read one another.
  if (gone.length > 0) await db.query(`DROP VIEW IF EXISTS ${gone.map((view) => at(LIVE, view)).join(", ")}`);
  for (const view of foreign) {
    const why = await readAnew(db, view);
    if (why !== null && !leaves) throw clings(asClinging(view), why);
  }
  const built = new Set(builds.flatMap(({ tables }) => tables));
  for (const [table, statements] of kept) if (built.has(table)) for (const each of statements) await carryOver(db, table, each);
  for (const { place } of builds) {
    const { rows } = await db.query("SELECT 1 FROM tributary.generation WHERE place = $1 LIMIT 1", [place]);
    if (rows.length === 0 && place !== LIVE) await db.query(`DROP SCHEMA IF EXISTS ${q(place)}`);
  }
  // Every process at work on the old views finds its shards' layout changed, and looks again.
  await db.query("UPDATE tributary.shard SET layout = layout + 1");
}

interface Grant {
  readonly statement: string;
  /** `null`: on the whole table. */
  readonly column: string | null;
}

/** What others than the owner may do with a table, or with columns of it, as statements that grant it again. */
async function grantsOn(db: Client, table: string): Promise<Grant[]> {
  const { rows } = await db.query<Grant>(
    `SELECT g.column, format('GRANT %s%s ON views.%I TO %s%s', a.privilege_type, ' (' || quote_ident(g.column) || ')', c.relname,
       CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
       CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS statement
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     CROSS JOIN LATERAL (SELECT NULL::text AS column, c.relacl AS acl UNION ALL SELECT attname, attacl FROM pg_attribute WHERE attrelid = c.oid) g
     CROSS JOIN LATERAL aclexplode(g.acl) a
     WHERE n.nspname = 'views' AND c.relname = $1 AND a.grantee <> c.relowner`,
    [table],
  );
  return rows;
}

/** Something that somebody made on a view's table, as the statement that makes it again. */
interface Kept {
  readonly what: string;
  readonly statement: string;
}

/** Policies of row-level security, whether it is on, and indexes that are not the declaration's. */
async function keptOn(db: Client, table: string): Promise<Kept[]> {
  const { rows } = await db.query<Kept>(
    `SELECT 'the policy ' || policyname AS what, format('CREATE POLICY %I ON views.%I AS %s FOR %s TO %s%s%s', policyname, tablename, permissive, cmd,
         (SELECT string_agg(CASE WHEN r = 'public' THEN 'PUBLIC' ELSE quote_ident(r) END, ', ') FROM unnest(roles::text[]) r),
         ' USING (' || qual || ')', ' WITH CHECK (' || with_check || ')') AS statement
       FROM pg_policies WHERE schemaname = 'views' AND tablename = $1
     UNION ALL
     SELECT 'row-level security', format('ALTER TABLE views.%I ENABLE ROW LEVEL SECURITY', relname)
       FROM pg_class WHERE relnamespace = 'views'::regnamespace AND relname = $1 AND relrowsecurity
     UNION ALL
     SELECT 'row-level security', format('ALTER TABLE views.%I FORCE ROW LEVEL SECURITY', relname)
       FROM pg_class WHERE relnamespace = 'views'::regnamespace AND relname = $1 AND relforcerowsecurity
     UNION ALL
     SELECT 'the index ' || i.relname, pg_get_indexdef(i.oid) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
       WHERE t.relnamespace = 'views'::regnamespace AND t.relname = $1 AND NOT x.indisprimary AND i.relname NOT LIKE 'by\\_%'`,
    [table],
  );
  return rows;
}

async function carryOver(db: Client, table: string, { what, statement }: Kept): Promise<void> {
  try {
    await db.query(statement);
  } catch (error) {
    throw new TributaryError(
      "usage",
      `${what} on views.${table} cannot be carried over to its new build: ${(error as Error).message}`,
      "Drop it, or change it so that it fits the new columns; the live views were left as they are.",
      { cause: error },
    );
  }
}

/** Views that are built together with `names`. Throws `not-found` for a name that is not declared. */
export function familyOf(views: readonly View[], names: readonly string[]): (Projection | Totals)[] {
  for (const name of names) {
    const view = views.find((candidate) => candidate.name === name);
    if (view === undefined)
      throw new TributaryError("not-found", `there is no view ${name}`, `There are: ${views.map((v) => v.name).join(", ")}.`);
  }
  return closureOf(views, names);
}
