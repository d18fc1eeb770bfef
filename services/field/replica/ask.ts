/** Runs questions against the device's views, and keeps the indexes that make them quick. */
import type { DatabaseSync, SQLOutputValue, StatementSync } from "node:sqlite";
import type { JsonValue } from "../../core/index.ts";
import type { Column } from "../../merge/engine.ts";
import { type Asking, askingOf, type LooseQuery, type ReplicaRow, readColumns } from "./query.ts";
import { namesIn, valueFromSql } from "./view-rows.ts";
import type { ViewTable } from "./view-table.ts";

/** A view with no more rows is read whole: an index would cost more than it saves. */
const FEW_ROWS = 500;
/** Each index slows down every change of a row; questions beyond these many kinds are answered by looking at more rows. */
const MAX_INDEXES = 16;
/** Statements that are kept ready. */
const MAX_PREPARED = 200;

export type LooseRow = ReplicaRow;

export interface Asker {
  /** The rows that a question chooses, in its order. */
  rows(table: ViewTable, query: LooseQuery): LooseRow[];
  /** SQLite's own words for how it answers a question. For tests. */
  plan(table: ViewTable, query: LooseQuery): string[];
}

const factOf = (type: Column["type"], value: SQLOutputValue | undefined): JsonValue =>
  value === null || value === undefined
    ? null
    : type === "boolean"
      ? value === 1
      : typeof value === "string"
        ? value
        : Number(value);

/**
 * An index is made the first time that a question needs it, and stays: an app's questions are few, and nobody knows them before they are asked. The
 * index is an aid; where the disk is full or another program writes, the question is answered without it.
 */
// Long because a question's steps, each short, share the prepared statements and the indexes that are known to be there.
export function openAsker(db: DatabaseSync, makeIndex: (view: string, columns: readonly string[]) => unknown): Asker {
  const prepared = new Map<string, StatementSync>();
  const indexed = new Set<string>();
  let schema: SQLOutputValue | undefined;
  const statement = (sql: string): StatementSync => {
    const known = prepared.get(sql);
    if (known !== undefined) return known;
    if (prepared.size >= MAX_PREPARED) prepared.clear();
    const made = db.prepare(sql);
    prepared.set(sql, made);
    return made;
  };
  const isLarge = (table: ViewTable): boolean =>
    statement(`SELECT 1 AS there FROM ${table.sql} LIMIT 1 OFFSET ${FEW_ROWS}`).get() !== undefined;
  const countIndexes = (table: ViewTable): number =>
    statement("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name = ?").all(
      `view_${table.name}`,
    ).length;

  const index = (table: ViewTable, parts: readonly string[]): void => {
    if (parts.length === 0) return;
    const name = `${table.name}: ${parts.join(", ")}`;
    // Tables were made anew, here or by another program, or an index was taken back with its transaction.
    const now = statement("PRAGMA schema_version").get()?.schema_version;
    if (now !== schema) indexed.clear();
    schema = now;
    if (indexed.has(name) || db.isTransaction || !isLarge(table) || countIndexes(table) >= MAX_INDEXES) return;
    try {
      makeIndex(table.name, parts);
    } catch {
      return;
    }
    indexed.add(name);
  };

  const read = (table: ViewTable, row: Readonly<Record<string, SQLOutputValue>>): LooseRow => {
    const values: Record<string, JsonValue> = {};
    for (const { name, type, declared } of table.columns.values())
      values[name] = declared === null ? factOf(type, row[name]) : valueFromSql(declared, row[name]);
    // The table has a column for each fact, and `same` the others.
    return { ...values, ...table.same, _withheld: namesIn(row._withheld) } as unknown as LooseRow;
  };

  const rowAt =
    (table: ViewTable) =>
    (id: string): LooseRow | null => {
      const columns = readColumns(table);
      const found = statement(`SELECT ${columns} FROM ${table.sql} WHERE ${table.columns.get("id")!.sql} = ?`).get(id);
      return found === undefined ? null : read(table, found);
    };

  const ask = (table: ViewTable, query: LooseQuery): Asking => {
    const asking = askingOf(table, query, rowAt(table));
    index(table, asking.index);
    return asking;
  };
  return {
    rows(table, query) {
      const { parts, limit } = ask(table, query);
      const found: LooseRow[] = [];
      for (const { sql, values } of parts) {
        const left = limit === null ? -1 : limit - found.length;
        if (left !== 0) for (const row of statement(sql).all(...values, left)) found.push(read(table, row));
      }
      return found;
    },
    plan: (table, query) =>
      ask(table, query).parts.flatMap(({ sql, values }) =>
        db
          .prepare(`EXPLAIN QUERY PLAN ${sql}`)
          .all(...values, -1)
          .map(({ detail }) => String(detail)),
      ),
  };
}
