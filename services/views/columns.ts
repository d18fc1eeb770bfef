/** How PostgreSQL keeps the columns of the projection language: its types, and values on their way in and out. */
import type { Column, Projection } from "../merge/engine.ts";
import { q } from "./names.ts";

const SQL_TYPES: Readonly<Record<Column["type"], string>> = {
  text: "text",
  integer: "bigint",
  number: "double precision",
  decimal: "numeric",
  boolean: "boolean",
  date: "date",
  instant: "timestamptz",
  json: "jsonb",
};
/** PostgreSQL's type for a column. */
export const sqlType = ({ type }: Column): string => SQL_TYPES[type];

/** The columns of an entity view that its declaration names. */
export const declaredColumns = ({ columns, derived }: Projection): [string, Column][] => [
  ...Object.entries(columns),
  ...Object.entries(derived).map(([name, { column }]): [string, Column] => [name, column]),
];

/** Columns as text for CREATE TABLE. */
export const columnDefinitions = (columns: Iterable<readonly [string, Column]>): string =>
  Array.from(columns, ([name, column]) => `${q(name)} ${sqlType(column)},`).join("\n    ");

/** A value in the form that the driver takes. */
export const toSql = (column: Column, value: unknown): unknown =>
  value == null ? null : column.type === "json" ? JSON.stringify(value) : value;

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
