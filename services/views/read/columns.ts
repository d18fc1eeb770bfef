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

/** SQL that reads a column as a JSON value, whatever its type: the driver would turn days and instants into times of some zone, and wide numbers into texts. */
export function readAs(name: string, sql: string): string {
  const column = quoted(name);
  if (PLAIN.has(sql)) return column;
  if (sql === "date") return `${column}::text AS ${column}`;
  if (sql === "bigint" || sql === "numeric") return `${column}::float8 AS ${column}`;
  if (sql === "timestamptz" || sql === "timestamp with time zone")
    return `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') AS ${column}`;
  return `to_jsonb(${column}) AS ${column}`;
}

/** The columns that an entity view declares, each with its type in PostgreSQL. */
export const declaredTypes = (projection: Projection): readonly (readonly [name: string, sql: string])[] =>
  declaredColumns(projection).map(([name, column]) => [name, sqlType(column)] as const);

/** The columns that an entity view declares, each as SQL that reads it as a JSON value. */
export const readColumns = (projection: Projection): readonly string[] =>
  declaredTypes(projection).map(([name, sql]) => readAs(name, sql));
