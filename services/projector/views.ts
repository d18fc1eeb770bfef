import { createHash } from "node:crypto";
import type { Client } from "pg";
import type { Column, Projection, Row } from "../merge/index.ts";

/** SQL of a view's table. Names come from checked declarations; quoting them is for names that SQL reserves. */
const q = (name: string): string => `"${name}"`;

/** A row on its way into a view's table. */
export interface ViewRow {
  readonly id: string;
  readonly row: Row;
  readonly waitingFor: string | null;
  readonly firstPosition: string;
  readonly lastPosition: string;
  readonly state: string;
}

const columnsOf = (projection: Projection): [string, Column][] => Object.entries(projection.columns);

/** What a change of must lead to a new table: columns, groups, resolvers and event types. Code in rules is not seen. */
export function shapeOf(projection: Projection): string {
  const registers = [...projection.registers.values()].map(({ name, columns, resolver }) => [
    name,
    columns,
    resolver.name,
    resolver.version,
  ]);
  const columns = columnsOf(projection).map(([name, { sql, index }]) => [name, sql, index]);
  return createHash("sha256")
    .update(JSON.stringify([projection.entity, columns, registers, [...projection.eventTypes].sort()]))
    .digest("hex");
}

export async function createView(db: Client, projection: Projection, schema = "views"): Promise<void> {
  const columns = columnsOf(projection).map(([name, { sql }]) => `${q(name)} ${sql},`);
  const table = `${q(schema)}.${q(projection.name)}`;
  await db.query(`CREATE TABLE ${table} (
    id text PRIMARY KEY,
    ${columns.join("\n    ")}
    deleted boolean NOT NULL,
    conflicts integer NOT NULL,
    waiting_for json,
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    state text NOT NULL
  )`);
  for (const [name, { index }] of columnsOf(projection)) if (index) await db.query(`CREATE INDEX ON ${table} (${q(name)})`);
}

/** One statement that writes any number of rows: `unnest` of one array a column. */
export function upsertView(
  projection: Projection,
  schema = "views",
): { readonly text: string; values(rows: readonly ViewRow[]): unknown[] } {
  const columns = columnsOf(projection);
  const names = [
    "id",
    ...columns.map(([name]) => name),
    "deleted",
    "conflicts",
    "waiting_for",
    "first_position",
    "last_position",
    "state",
  ];
  const types = ["text", ...columns.map(([, { sql }]) => sql), "boolean", "integer", "json", "bigint", "bigint", "text"];
  const arrays = types.map((type, i) => `$${i + 1}::${type}[]`).join(", ");
  const updates = names
    .filter((name) => name !== "id" && name !== "first_position")
    .map((name) => `${q(name)} = excluded.${q(name)}`)
    .join(", ");
  const toSql = (column: Column, value: unknown): unknown =>
    value == null ? null : column.sql === "jsonb" ? JSON.stringify(value) : value;
  return {
    text: `INSERT INTO ${q(schema)}.${q(projection.name)} (${names.map(q).join(", ")}) SELECT * FROM unnest(${arrays}) ON CONFLICT (id) DO UPDATE SET ${updates}`,
    values: (rows) => [
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
