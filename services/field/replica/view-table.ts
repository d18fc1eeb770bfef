import type { JsonValue } from "../../core/index.ts";
import type { Column, Projection } from "../../merge/engine.ts";

/** A column of a view's table in SQLite. */
export interface SqlColumn {
  /** What people call it. */
  readonly name: string;
  /** What SQLite calls it, in quotes. */
  readonly sql: string;
  readonly type: Column["type"];
  /** The declared column; `null`: one that every view has. */
  readonly declared: Column | null;
  readonly isNullable: boolean;
  /** Whether rows can be chosen and ordered by it. */
  readonly isAskable: boolean;
}

/** The table of a view on a device. */
export interface ViewTable {
  readonly name: string;
  /** The table's name in SQLite, in quotes. */
  readonly sql: string;
  readonly view: Projection;
  /** By the names that people use, in the order in which they are read. */
  readonly columns: ReadonlyMap<string, SqlColumn>;
}

export type SqlValue = string | number | bigint | null | Uint8Array;

/** A value as SQLite keeps it. */
export const toSql = (type: Column["type"], value: JsonValue): string | number | null =>
  value === null
    ? null
    : type === "json"
      ? JSON.stringify(value)
      : typeof value === "boolean"
        ? Number(value)
        : (value as string | number);

/** A value as SQLite gives it back. */
export function fromSql(type: Column["type"], value: SqlValue | undefined): JsonValue {
  if (value === null || value === undefined) return null;
  if (type === "boolean") return Number(value) === 1;
  if (type === "json") return JSON.parse(String(value)) as JsonValue;
  return typeof value === "string" ? value : Number(value);
}
