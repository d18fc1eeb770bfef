import type { Projection } from "../../merge/index.ts";
import { declaredColumns, sqlType } from "../columns.ts";

/** A name as SQL has it. Names come from checked declarations; quoting them is for names that SQL reserves. */
export const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** PostgreSQL's types that come as plain values. What else there is comes as JSON has it. */
const PLAIN = new Set([
  "text",
  "boolean",
  "smallint",
  "integer",
  "real",
  "double precision",
  "json",
  "jsonb",
  "bool",
  "float8",
  "int4",
]);

/** An expression as a JSON value, whatever type it is of: of days and instants the driver would make times in some zone, of wide numbers texts. */
export function jsonOf(expression: string, sql: string): string {
  if (PLAIN.has(sql)) return expression;
  if (sql === "date") return `${expression}::text`;
  if (sql === "bigint" || sql === "numeric") return `${expression}::float8`;
  if (sql === "timestamptz" || sql === "timestamp with time zone")
    return `to_char(${expression} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
  return `to_jsonb(${expression})`;
}

/** A column as a JSON value, under its name. */
export const readAs = (name: string, sql: string): string =>
  PLAIN.has(sql) ? quoted(name) : `${jsonOf(quoted(name), sql)} AS ${quoted(name)}`;

/** The columns that a view of entities declares, each with the type that it is kept as. */
export const declaredTypes = (projection: Projection): readonly (readonly [name: string, sql: string])[] =>
  declaredColumns(projection).map(([name, column]) => [name, sqlType(column)] as const);

/** The columns that a view of entities declares, each as it is read as a JSON value. */
export const readColumns = (projection: Projection): readonly string[] =>
  declaredTypes(projection).map(([name, sql]) => readAs(name, sql));
