/** What an import is given, and what it reports. */
import type { CellHabit } from "../../gate/index.ts";

/** The column of a report that says why a row failed. An import ignores this column, so that the mended report can be imported as it is. */
export const PROBLEM_COLUMN = "import_problem";

/** A row that was not taken, to be mended and imported again. */
export interface FailedRow {
  readonly line: number;
  /** The cells of the named columns, as they are written, in the header's order. */
  readonly cells: readonly string[];
  readonly problems: readonly string[];
}

export interface ImportOptions extends CellHabit {
  /** The CSV file's text, or where the file is. A file is read in pieces: its size does not matter. */
  readonly text?: string;
  readonly file?: string;
  /** The event type that each row becomes, for example `beneficiary.registered`. Default: the first event type of the form that has the file's columns. */
  readonly type?: string;
  readonly actor: string;
  /** What stands between cells: `,` `;` `|` or a tab. Default: the one that the first line has most often. */
  readonly delimiter?: string;
  /** Is handed the rows that do not fit; they are not taken then. Without it they are kept on the device. */
  readonly onFailed?: (row: FailedRow, columns: readonly string[]) => void;
  readonly onProgress?: (done: number, total: number) => void;
}

export interface ImportResult {
  /** The event type that the rows became. */
  readonly type: string;
  readonly rows: number;
  /** Rows that became events. */
  readonly imported: number;
  /** Rows that say the same as the last row imported about their entity. */
  readonly repeated: number;
  /** Rows that do not fit and were handed to `onFailed` instead of being taken. */
  readonly failed: number;
  /** The first thousand rows that do not fit their schema or a view. They are kept, and quarantined by the hub until mended, or were handed to `onFailed`. */
  readonly misfits: readonly Misfit[];
  /** How many such rows there are. */
  readonly misfitRows: number;
}

export interface Misfit {
  readonly line: number;
  readonly entity: string;
  /** Everything that is wrong with the row, in one sentence each. */
  readonly problems: readonly string[];
  /** The same problems as one text. */
  readonly message: string;
}
