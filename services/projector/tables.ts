import { createHash } from "node:crypto";
import type { Client } from "pg";
import type { JsonValue } from "../core/index.ts";
import { type FullRow, type Totals, tablesOf } from "../merge/engine.ts";
import type { Column, Columns, Projection, View } from "../merge/index.ts";

/** SQL of views' tables. Names come from checked declarations; quoting them is for names that SQL reserves. */
export const q = (name: string): string => `"${name}"`;
export const at = (place: string, table: string): string => `${q(place)}.${q(table)}`;

/** Where views stand that people read. */
export const LIVE = "views";

/** A row on its way into a view's table. */
export interface ViewRow {
  readonly id: string;
  /** Whether the table has no row of it yet. */
  readonly isNew: boolean;
  readonly row: FullRow;
  readonly waitingFor: string | null;
  readonly firstPosition: string;
  readonly lastPosition: string;
  readonly state: string;
}

/** What a change of must lead to a view built anew: all that its declaration says, functions as their texts. */
export const shapeOf = ({ name, shape }: View): string =>
  createHash("sha256")
    .update(JSON.stringify([name, shape]))
    .digest("hex");

/** Columns of an entity view that follow from its declaration. */
export const declaredColumns = ({ columns, derived }: Projection): [string, Column][] => [
  ...Object.entries(columns),
  ...Object.entries(derived).map(([name, { column }]): [string, Column] => [name, column]),
];
const sqlColumns = (columns: readonly [string, Column][]): string =>
  columns.map(([name, { sql }]) => `${q(name)} ${sql},`).join("\n    ");

/** A column as a JSON value, whatever it is kept as. */
export const readColumn = (name: string, sql: string): string =>
  // Days as text: the driver would make midnights of them in some time zone.
  sql === "date"
    ? `"${name}"::text AS "${name}"`
    : sql === "bigint" || sql === "numeric"
      ? `"${name}"::float8 AS "${name}"`
      : sql === "timestamptz"
        ? `to_char("${name}" AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS "${name}"`
        : `"${name}"`;

/** Makes the indexes that a declaration asks for, where they are not there yet. Cheaper once the tables are full. */
export async function createIndexes(db: Client, view: Projection | Totals, place: string): Promise<void> {
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
      await db.query(`CREATE INDEX IF NOT EXISTS ${q(name)} ON ${at(place, table)} (${q(column)})`);
    }
  }
}

/** Makes the tables of a view in a schema, which is made too; `createIndexes` comes later. */
export async function createTables(db: Client, view: Projection | Totals, place: string): Promise<void> {
  await db.query(`CREATE SCHEMA IF NOT EXISTS ${q(place)}`);
  const table = at(place, view.name);
  if (view.kind === "totals") {
    const keys = Object.entries(view.keys);
    await db.query(`CREATE TABLE ${table} (
    id text PRIMARY KEY,
    ${sqlColumns([...keys, ...Object.entries(view.sums)])}
    rows bigint NOT NULL
  )`);
    return;
  }
  const columns = declaredColumns(view);
  await db.query(`CREATE TABLE ${table} (
    id text PRIMARY KEY,
    ${sqlColumns(columns)}
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
      `CREATE TABLE ${at(place, table)} (id text NOT NULL, n integer NOT NULL, ${sqlColumns(Object.entries(child.columns))} PRIMARY KEY (id, n))`,
    );
  }
  const names = tablesOf(view);
  if (names.includes(`${view.name}_history`)) {
    // A row's validity ends where the next version of the same row begins: nothing here is ever changed.
    await db.query(
      `CREATE TABLE ${at(place, `${view.name}_history`)} (id text NOT NULL, position bigint NOT NULL, recorded_at timestamptz NOT NULL,
        deleted boolean NOT NULL, values json NOT NULL, PRIMARY KEY (id, position))`,
    );
  }
  if (names.includes(`${view.name}_claims`)) {
    await db.query(
      `CREATE TABLE ${at(place, `${view.name}_claims`)} (invariant text NOT NULL, key text NOT NULL, entity_id text NOT NULL, events json NOT NULL,
        PRIMARY KEY (invariant, key, entity_id))`,
    );
  }
}

/** A value as the driver is given it. */
const toSql = (column: Column, value: unknown): unknown =>
  value == null ? null : column.sql === "jsonb" ? JSON.stringify(value) : value;

interface Statement {
  readonly text: string;
  readonly values: unknown[];
  readonly name: string;
}

/** All columns of an entity view's table. */
export const rowColumns = (columns: readonly [string, Column][]): string[] => [
  "id",
  ...columns.map(([name]) => name),
  "deleted",
  "conflicts",
  "waiting_for",
  "first_position",
  "last_position",
  "state",
];

/** Rows of entities that the table does not have yet, for COPY: half the work of an upsert. */
export function copyRows(
  projection: Projection,
  place: string,
  rows: readonly ViewRow[],
): { readonly sql: string; readonly lines: readonly (string | number | null)[][] } {
  const columns = declaredColumns(projection);
  return {
    sql: `COPY ${at(place, projection.name)} (${rowColumns(columns).map(q).join(", ")}) FROM STDIN`,
    lines: rows.map(({ id, row, waitingFor, firstPosition, lastPosition, state }) => [
      id,
      ...columns.map(([name, column]): string | number | null => {
        const value = toSql(column, row.values[name]);
        return typeof value === "boolean" ? (value ? "t" : "f") : (value as string | number | null);
      }),
      row.deleted ? "t" : "f",
      row.conflicts,
      waitingFor,
      firstPosition,
      lastPosition,
      state,
    ]),
  };
}

/** One statement that writes any number of rows: `unnest` of one array a column. */
export function upsertRows(projection: Projection, place: string, rows: readonly ViewRow[]): Statement {
  const columns = declaredColumns(projection);
  const names = rowColumns(columns);
  const types = ["text", ...columns.map(([, { sql }]) => sql), "boolean", "integer", "json", "bigint", "bigint", "text"];
  const arrays = types.map((type, i) => `$${i + 1}::${type}[]`).join(", ");
  const updates = names
    .filter((name) => name !== "id" && name !== "first_position")
    .map((name) => `${q(name)} = excluded.${q(name)}`)
    .join(", ");
  return {
    name: statementName("view", place, projection.name),
    text: `INSERT INTO ${at(place, projection.name)} (${names.map(q).join(", ")}) SELECT * FROM unnest(${arrays}) ON CONFLICT (id) DO UPDATE SET ${updates}`,
    values: [
      rows.map(({ id }) => id),
      ...columns.map(([name, column]) => rows.map(({ row }) => toSql(column, row.values[name]))),
      rows.map(({ row }) => row.deleted),
      rows.map(({ row }) => row.conflicts),
      rows.map(({ waitingFor }) => waitingFor),
      rows.map(({ firstPosition }) => firstPosition),
      rows.map(({ lastPosition }) => lastPosition),
      rows.map(({ state }) => state),
    ],
  };
}

/** The driver keeps 63 bytes of a statement's name. */
const statementName = (kind: string, place: string, view: string): string =>
  `${kind}:${createHash("sha256").update(`${place}.${view}`).digest("hex").slice(0, 32)}`;

/** Replaces the rows of an entity view's table of many for these entities. */
export function replaceMany(
  projection: Projection,
  name: string,
  place: string,
  rows: readonly ViewRow[],
): readonly { readonly text: string; readonly values: unknown[] }[] {
  const table = at(place, `${projection.name}_${name}`);
  const columns = Object.entries(projection.tables[name]!.columns);
  const children = rows.flatMap(({ id, row }) => (row.tables[name] ?? []).map((child, n) => ({ id, n, child })));
  const types = ["text", "integer", ...columns.map(([, { sql }]) => sql)];
  return [
    { text: `DELETE FROM ${table} WHERE id = ANY($1)`, values: [rows.map(({ id }) => id)] },
    ...(children.length === 0
      ? []
      : [
          {
            text: `INSERT INTO ${table} SELECT * FROM unnest(${types.map((type, i) => `$${i + 1}::${type}[]`).join(", ")})`,
            values: [
              children.map(({ id }) => id),
              children.map(({ n }) => n),
              ...columns.map(([column, type]) => children.map(({ child }) => toSql(type, child[column]))),
            ],
          },
        ]),
  ];
}

/** What changes in one total: amounts to add, and rows that count. */
export interface Addition {
  readonly key: string;
  /** The row that it comes from. */
  readonly entityId: string;
  readonly values: Readonly<Record<string, JsonValue>>;
  /** 1: the row counts from now on; -1: it does no longer. */
  readonly sign: 1 | -1;
}

/** Adds to totals, each exactly, in the order of their keys so that two processes never wait for each other crosswise. */
export function addTotals(totals: Totals, place: string, additions: readonly Addition[]): Statement {
  const keys = Object.entries(totals.keys);
  const sums = Object.entries(totals.sums);
  const types = ["text", ...keys.map(([, { sql }]) => sql), ...sums.map(() => "numeric"), "bigint"];
  const names = ["id", ...keys.map(([name]) => name), ...sums.map(([name]) => name), "rows"];
  const arrays = types.map((type, i) => `$${i + 1}::${type}[]`).join(", ");
  const table = at(place, totals.name);
  const added = [...sums.map(([name]) => name), "rows"];
  // Without zeros at the end, so that equal amounts are equal texts, however they came together.
  const exact = (name: string, sql: string): string => (totals.sums[name]?.sql === "numeric" ? `trim_scale(${sql})` : sql);
  return {
    name: statementName("totals", place, totals.name),
    text: `INSERT INTO ${table} AS t (${names.map(q).join(", ")})
      SELECT id, ${keys.map(([name]) => `(array_agg(${q(name)}))[1]`).join(", ")}, ${added.map((name) => exact(name, `sum(${q(name)})`)).join(", ")}
      FROM unnest(${arrays}) AS x (${names.map(q).join(", ")}) GROUP BY id ORDER BY id
      ON CONFLICT (id) DO UPDATE SET ${added.map((name) => `${q(name)} = ${exact(name, `t.${q(name)} + excluded.${q(name)}`)}`).join(", ")}
      RETURNING ${names.map((name) => (added.includes(name) ? `${q(name)}::float8` : `${q(name)}::text`)).join(", ")}`,
    values: [
      additions.map(({ key }) => key),
      ...keys.map(([name, column]) => additions.map(({ values }) => toSql(column, values[name]))),
      ...sums.map(([name]) => additions.map(({ values, sign }) => negated(values[name] ?? 0, sign))),
      additions.map(({ sign }) => sign),
    ],
  };
}

/** The sign goes into the text: PostgreSQL then adds decimals, not floats. */
const negated = (value: JsonValue, sign: 1 | -1): string =>
  sign === 1 ? String(value) : String(value).startsWith("-") ? String(value).slice(1) : `-${String(value)}`;

export type { Columns };
