/** The names that a declaration may use, and the complaint about one that it may not. */
import { TributaryError } from "../core/index.ts";

/** The register that says whether an entity is deleted. */
export const DELETED = "deleted";
/** The one register of a view whose records change as a whole. */
export const RECORD = "record";

export const NAME = /^[a-z][a-z0-9_]{0,50}$/;
/** Columns that every view has; a declaration cannot use these names. */
export const SYSTEM_COLUMNS = [
  "id",
  DELETED,
  "conflicts",
  "waiting_for",
  "events",
  "first_position",
  "last_position",
  "last_changed",
  "state",
];

/** Columns that PostgreSQL keeps in every table for itself; no table of ours can have another of this name. */
const STORE_COLUMNS = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];
/** PostgreSQL tells tables apart by this many letters of their names. */
export const MAX_TABLE_NAME = 63;

/** A complaint about a declaration, naming it. */
export const malformed = (view: string, problem: string): TributaryError =>
  new TributaryError(
    "projection-malformed",
    `projection ${view}: ${problem}`,
    "Correct its file in projections/ and start again.",
  );

/** Checks the names of a view and its columns. */
export function checkNames(view: string, columns: readonly string[], others: readonly string[] = []): void {
  // Every object has a `constructor`: it would be found although nobody declared it.
  for (const name of [view, ...columns, ...others])
    if (!NAME.test(name) || name === "constructor")
      throw malformed(view, `${JSON.stringify(name)} is not a valid name (lower-case letters, digits, _; at most 51)`);
  for (const name of columns) {
    if (SYSTEM_COLUMNS.includes(name)) throw malformed(view, `every view has a column ${name} already`);
    checkStoreColumn(view, name);
  }
}

export function checkStoreColumn(view: string, name: string): void {
  if (STORE_COLUMNS.includes(name))
    throw malformed(view, `it cannot have a column ${name}: PostgreSQL keeps one of this name in every table; take another`);
}
