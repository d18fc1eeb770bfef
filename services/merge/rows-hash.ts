import { canonicalize, type JsonObject, type JsonValue, type Vector } from "../core/index.ts";
import type { FullRow } from "./fold.ts";
import { DELETED } from "./projection.ts";

/** What a replica may not see of a row. */
export type Withheld = Pick<FullRow, "withheld" | "withheldTables">;

/**
 * All that a view shows of an entity, as text: two sides that show the same have the same text. What is withheld from one side, or from the other (`there`), is left out of it, and named instead; with
 * it the number of conflicts, which nobody can count who does not see all.
 */
export function rowText(id: string, row: FullRow, waitingFor: Vector, there: Withheld = {}): string {
  const { values, deleted, conflicts, tables } = row;
  if (row.withheld === undefined && there.withheld === undefined)
    return canonicalize([id, { values, deleted, conflicts, tables } as unknown as JsonValue, waitingFor as JsonObject]);
  const hidden = both(row.withheld, there.withheld);
  const hiddenTables = both(row.withheldTables, there.withheldTables);
  const shown = {
    ...{ values: without(values, hidden), tables: without(tables as unknown as JsonObject, hiddenTables) },
    deleted: hidden.includes(DELETED) ? null : deleted,
    withheld: [hidden, hiddenTables],
  };
  return canonicalize([id, shown as unknown as JsonValue, waitingFor as JsonObject]);
}

const both = (a: readonly string[] = [], b: readonly string[] = []): readonly string[] => [...new Set([...a, ...b])].sort();

const without = (of: JsonObject, names: readonly string[]): JsonObject =>
  Object.fromEntries(Object.entries(of).filter(([name]) => !names.includes(name)));

/** A hash over rows' texts, in any order. `digest`: SHA-256 of a text, in hexadecimal. */
export const rowsHash = (texts: readonly string[], digest: (text: string) => string): string =>
  digest(texts.toSorted().join("\n"));
