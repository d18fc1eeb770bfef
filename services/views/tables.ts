import { createHash } from "node:crypto";
import { type Column, type Projection, type Totals, tablesOf, type View } from "../merge/engine.ts";
import { columnDefinitions, declaredColumns } from "./columns.ts";
import type { Db } from "./connect.ts";
import { at, LIVE, NEVER, q } from "./names.ts";
import { ownerIsSeen, protect, type Roles, rolesOf, showAll, unguarded } from "./owned.ts";

/** A hash of all that a view's declaration says, functions as their texts. When it changes, the view must be rebuilt. */
export const shapeOf = ({ name, shape }: View): string =>
  createHash("sha256")
    .update(JSON.stringify([name, shape]))
    .digest("hex");

/** Makes the indexes that a declaration asks for and that are not there yet. That is cheaper once the tables are full. */
export async function createIndexes(db: Db, view: Projection | Totals, namespace: string): Promise<void> {
  const wanted: [string, [string, Column][]][] =
    view.kind === "totals"
      ? [[view.name, Object.entries(view.keys)]]
      : [
          [view.name, declaredColumns(view)],
          ...Object.entries(view.tables).map(([name, { columns }]): [string, [string, Column][]] => [
            `${view.name}_${name}`,
            Object.entries(columns),
          ]),
        ];
  for (const [table, columns] of wanted) {
    for (const [column, { index }] of columns) {
      if (!index) continue;
      const name = `by_${createHash("sha256").update(`${table}.${column}`).digest("hex").slice(0, 24)}`;
      await db.query(`CREATE INDEX IF NOT EXISTS ${q(name)} ON ${at(namespace, table)} (${q(column)})`);
    }
  }
}

/** Makes the tables of a view in a schema, and the schema where it is missing. `createIndexes` comes later. */
export async function createTables(db: Db, view: Projection | Totals, namespace: string): Promise<void> {
  await db.query(`CREATE SCHEMA IF NOT EXISTS ${q(namespace)}`);
  const table = at(namespace, view.name);
  if (view.kind === "totals") {
    const keys = Object.entries(view.keys);
    await db.query(`CREATE TABLE ${table} (
    id text PRIMARY KEY,
    ${columnDefinitions([...keys, ...Object.entries(view.sums)])}
    rows bigint NOT NULL
  )`);
    await protectTables(db, view, namespace);
    return;
  }
  const columns = declaredColumns(view);
  await db.query(`CREATE TABLE ${table} (
    id text PRIMARY KEY,
    ${columnDefinitions(columns)}
    deleted boolean NOT NULL,
    conflicts integer NOT NULL,
    waiting_for json,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    state text NOT NULL
  )`);
  for (const [name, child] of Object.entries(view.tables)) {
    const table = `${view.name}_${name}`;
    await db.query(
      `CREATE TABLE ${at(namespace, table)} (id text NOT NULL, n integer NOT NULL, ${columnDefinitions(Object.entries(child.columns))} PRIMARY KEY (id, n))`,
    );
  }
  const names = tablesOf(view);
  if (names.includes(`${view.name}_history`)) {
    // A version holds until the next one of the same row. A version that was replaced stays, with the position at which it was superseded: 013_superseded.sql.
    await db.query(
      `CREATE TABLE ${at(namespace, `${view.name}_history`)} (id text NOT NULL, position bigint NOT NULL, recorded_at timestamptz NOT NULL,
        deleted boolean NOT NULL, values json NOT NULL, known_from bigint, superseded_at bigint NOT NULL DEFAULT ${NEVER},
        PRIMARY KEY (id, position, superseded_at))`,
    );
  }
  if (names.includes(`${view.name}_claims`)) {
    await db.query(
      `CREATE TABLE ${at(namespace, `${view.name}_claims`)} (invariant text NOT NULL, key text NOT NULL, entity_id text NOT NULL, events json NOT NULL,
        PRIMARY KEY (invariant, key, entity_id))`,
    );
  }
  await protectTables(db, view, namespace);
}

/** Whose the rows of a build's tables are. Totals add up rows of several organisations: only who sees all of them sees these. */
const guardsOf = (view: Projection | Totals, namespace: string) =>
  tablesOf(view).map((table) => ({
    name: at(namespace, table),
    seen:
      view.kind === "totals"
        ? null
        : ownerIsSeen(`'${view.entity}'`, `${q(table)}.${table === `${view.name}_claims` ? "entity_id" : "id"}`),
  }));

/** Makes policies and grants where they are missing, of builds that an earlier version made, or that were copied from another server. Inside the caller's transaction. */
export async function protectBuilds(db: Db, views: readonly View[], roles: Roles): Promise<boolean> {
  const { rows } = await db.query<{ name: string; namespace: string }>(
    "SELECT view AS name, place AS namespace FROM tributary.generation WHERE state <> 'left'",
  );
  const tables = rows.flatMap(({ name, namespace }) => {
    const view = views.find((each) => each.name === name);
    return view === undefined || view.kind === "sql" ? [] : guardsOf(view, namespace);
  });
  const missing = await unguarded(db, tables, roles);
  for (const table of missing) await protect(db, table, roles);
  for (const { name, namespace } of rows)
    if (views.some((view) => view.name === name && view.kind === "sql") && namespace === LIVE)
      await showAll(db, at(namespace, name));
  return missing.length > 0;
}

async function protectTables(db: Db, view: Projection | Totals, namespace: string): Promise<void> {
  const roles = await rolesOf(db);
  for (const table of guardsOf(view, namespace)) await protect(db, table, roles);
}
