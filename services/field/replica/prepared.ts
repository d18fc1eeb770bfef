import type { DatabaseSync, SQLOutputValue, StatementSync } from "node:sqlite";

export type Row = Record<string, SQLOutputValue>;
/** `as`: rows come as arrays of their values instead, which take a third less time to make. */
export type Prepared = (sql: string, as?: "arrays") => StatementSync;

/** Prepares a statement when it is first used, and keeps it. */
export function preparer(db: DatabaseSync): Prepared {
  const statements = new Map<string, StatementSync>();
  return (sql, as) => {
    let statement = statements.get(sql);
    if (statement === undefined) {
      statement = db.prepare(sql);
      if (as === "arrays") statement.setReturnArrays(true);
      statements.set(sql, statement);
    }
    return statement;
  };
}

export const textOrNull = (value: SQLOutputValue | undefined): string | null => (typeof value === "string" ? value : null);
export const numberOrNull = (value: SQLOutputValue | undefined): number | null => (value == null ? null : Number(value));
