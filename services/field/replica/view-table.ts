import type { JsonValue } from "../../core/index.ts";
import type { Column, Projection } from "../../merge/engine.ts";
import { rowTable, shownColumns } from "./view-rows.ts";

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
}

/** The table of a view on a device, and what stands in all of its rows. */
export interface ViewTable {
  readonly name: string;
  /** The table's name in SQLite, in quotes. */
  readonly sql: string;
  /** By the names that people use, in the order in which they are read. */
  readonly columns: ReadonlyMap<string, SqlColumn>;
  /** Members that all rows have alike. */
  readonly same: Readonly<Record<string, JsonValue>>;
}

const fact = (name: string, type: Column["type"], isNullable = false): SqlColumn => ({
  name,
  sql: `"${name}"`,
  type,
  declared: null,
  isNullable,
});

/** `isOlder`: the view is folded by another declaration than the hub's. */
export function viewTable(view: Projection, isOlder: boolean): ViewTable {
  const declared = shownColumns(view).map(
    ([name, column]): SqlColumn => ({ name, sql: `"${name}"`, type: column.type, declared: column, isNullable: true }),
  );
  const columns = [
    fact("id", "text"),
    ...declared,
    fact("deleted", "boolean"),
    fact("conflicts", "integer"),
    fact("_own", "text", true),
    fact("_problem", "text", true),
  ];
  return {
    name: view.name,
    sql: rowTable(view.name),
    columns: new Map(columns.map((column) => [column.name, column])),
    same: { _olderRules: isOlder },
  };
}
