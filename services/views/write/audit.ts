import type { LogEntry } from "../../core/index.ts";
import type { PageChanges } from "../changes.ts";
import type { Db } from "../connect.ts";
import { type Cell, copyText, line } from "../copy.ts";
import { AUDIT, COLUMNS, type Column, cellsOf, copyTo, HELD_COLUMNS } from "./audit-row.ts";
import { NO_UUID, placeholders } from "./placeholders.ts";

const COPY = copyTo(AUDIT, COLUMNS);
const COPY_PLACEHOLDERS = copyTo(AUDIT, HELD_COLUMNS);

/** Writes a page's audit rows, as they are. */
export function copyAudit(
  db: Db,
  { entries, projectionErrors }: Pick<PageChanges, "entries" | "projectionErrors">,
): Promise<void> {
  return copyText(db, COPY, entries.map((entry, i) => line(cellsOf(entry, projectionErrors.get(i)))).join(""));
}

/** Copies audit rows into another table of the same columns. One more column there says whether the audit should have the row. */
export const copyAuditTo = (
  db: Db,
  table: string,
  entries: readonly { readonly entry: LogEntry; readonly isFolded: boolean }[],
) =>
  copyText(
    db,
    copyTo(table, [...COLUMNS, "is_folded"]),
    entries.map(({ entry, isFolded }) => line([...cellsOf(entry, undefined), isFolded ? "t" : "f"])).join(""),
  );

/** The length of a note on an audit row, in characters. */
export const MAX_NOTE = 4_000;
/** What stands before the reason in a note on a row with placeholders. */
export const AUDIT_NOTE = "audit: ";

/** Writes one event's audit row in the fullest form that the table takes; each try that fails is undone. Returns why the table takes no form at all, or `null`. */
export async function writeAuditRow(
  db: Db,
  entry: LogEntry,
  notes: readonly string[],
  /** Does what may be refused; returns the refusal, or `null`. */
  tried: (work: () => Promise<unknown>) => Promise<unknown>,
): Promise<unknown> {
  const copied = (sql: string, text: string): Promise<unknown> => tried(() => copyText(db, sql, text));
  const note = (more: readonly unknown[]): string | undefined =>
    [...notes, ...more.map((error) => `${AUDIT_NOTE}${error instanceof Error ? error.message : String(error)}`)]
      .join("; ")
      .slice(0, MAX_NOTE) || undefined;
  const asItIs = tryCells(() => cellsOf(entry, note([])));
  const first = asItIs instanceof Error ? asItIs : await copied(COPY, line(asItIs));
  if (first === null) return null;
  const fitted = await copied(COPY_PLACEHOLDERS, placeholders(entry, note([first]), false));
  if (fitted === null) return null;
  const bare = await copied(COPY_PLACEHOLDERS, placeholders(entry, note([first]), true));
  if (bare === null) return null;
  // The table may refuse the words of the note, or the column of what the others were to hold.
  const mute = await copied(COPY_PLACEHOLDERS, placeholders(entry, REFUSED, true, false));
  return mute === null ? null : bare;
}

const REFUSED = `${AUDIT_NOTE}the table took nothing of what the event says; the log has it`;

/** Writes an audit row that has nothing of any event; the caller undoes it. Throws where the table refuses even this row: then no event is to blame. */
export async function writeCanary(db: Db): Promise<void> {
  const cells: Record<Column, Cell> = {
    ...(Object.fromEntries(COLUMNS.map((column) => [column, "-"])) as Record<Column, Cell>),
    seq: -1,
    position: -1,
    id: NO_UUID,
    occurred_at: new Date(0).toISOString(),
    recorded_at: new Date(0).toISOString(),
    clock_offset_ms: null,
    schema_version: 1,
    basis: "{}",
    clipped: "{}",
    taken_by: null,
    taken_at: null,
    data: "{}",
  };
  await copyText(db, COPY, line(COLUMNS.map((column) => cells[column])));
}

function tryCells(cells: () => Cell[]): Cell[] | Error {
  try {
    return cells();
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
