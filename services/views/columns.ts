/** How PostgreSQL keeps the columns of the projection language: its types, and values on their way in and out. */
import type { Column, Projection } from "../merge/index.ts";
import { q } from "./names.ts";

/** PostgreSQL's type for a column. */
export const sqlType = ({ sql }: Column): string => sql;

/** Columns of an entity view that follow from its declaration. */
export const declaredColumns = ({ columns, derived }: Projection): [string, Column][] => [
  ...Object.entries(columns),
  ...Object.entries(derived).map(([name, { column }]): [string, Column] => [name, column]),
];

/** Columns as a CREATE TABLE has them. */
export const columnDefinitions = (columns: Iterable<readonly [string, Column]>): string =>
  Array.from(columns, ([name, column]) => `${q(name)} ${sqlType(column)},`).join("\n    ");

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

/** A value as the driver is given it. */
export const toSql = (column: Column, value: unknown): unknown =>
  value == null ? null : sqlType(column) === "jsonb" ? JSON.stringify(value) : value;

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

/** Arrays of these types as a statement's parameters: `$1::text[], $2::bigint[]`. */
export const arrays = (types: readonly string[]): string => types.map((type, i) => `$${i + 1}::${type}[]`).join(", ");
