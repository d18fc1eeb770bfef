import type { Projection } from "../../merge/engine.ts";
import { declaredColumns, sqlType } from "../columns.ts";

/** A name in SQL. Names come from checked declarations; they are quoted since SQL may reserve them. */
export const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** The types of PostgreSQL that the driver gives as plain JSON values. */
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

/** SQL that reads an expression as a JSON value, whatever its type: the driver would turn days and instants into times of some zone, and wide numbers into texts. */
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

/** The columns that an entity view declares, each with its type in PostgreSQL. */
export const declaredTypes = (projection: Projection): readonly (readonly [name: string, sql: string])[] =>
  declaredColumns(projection).map(([name, column]) => [name, sqlType(column)] as const);

/** The columns that an entity view declares, each as SQL that reads it as a JSON value. */
export const readColumns = (projection: Projection): readonly string[] =>
  declaredTypes(projection).map(([name, sql]) => readAs(name, sql));
