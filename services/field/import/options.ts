/** What an import is told, and what it tells. */
import type { CellHabit } from "../../gate/index.ts";

/** The column of a report that says why its row failed; an import passes over it, so that the mended report can be imported as it is. */
export const PROBLEM_COLUMN = "import_problem";

/** A row that was not taken, to be mended and imported again. */
export interface FailedRow {
  readonly line: number;
  /** The cells of the columns that have a name, as they are written, in the header's order. */
  readonly cells: readonly string[];
  readonly problems: readonly string[];
}

export interface ImportOptions extends CellHabit {
  /** The CSV file's text, or where the file is. A file is read in pieces: its size does not matter. */
  readonly text?: string;
  readonly file?: string;
  /** The event type that each row becomes, for example `beneficiary.registered`. Default: the first of the form that has the file's columns. */
  readonly type?: string;
  readonly actor: string;
  /** What stands between cells: `,` `;` `|` or a tab. Default: what the first line has most of. */
  readonly delimiter?: string;
  /** Rows that do not fit are handed over here, and are not taken. Without it they are kept on the device. */
  readonly onFailed?: (row: FailedRow, columns: readonly string[]) => void;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface ImportResult {
  /** The event type that the rows became. */
  readonly type: string;
  readonly rows: number;
  /** Rows that became events. */
  readonly imported: number;
  /** Rows that say what the last row imported about the same entity said. */
  readonly repeated: number;
  /** Rows that do not fit, and were handed to `onFailed` instead of being taken. */
  readonly failed: number;
  /** Rows that do not fit their schema or a view: kept, and quarantined by the hub until mended, or handed to `onFailed`. The first thousand of them. */
  readonly misfits: readonly Misfit[];
  /** How many there are. */
  readonly misfitRows: number;
}

export interface Misfit {
  readonly line: number;
  readonly entity: string;
  /** Everything that is wrong with the row, in one sentence each. */
  readonly problems: readonly string[];
  /** The same as one text. */
  readonly message: string;
}
