/** The rows of an import that failed, as a CSV file to be mended and imported again. */
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { csvCell, messageOf, TributaryError } from "../core/index.ts";
import { type FailedRow, PROBLEM_COLUMN } from "../field/index.ts";

export interface Report {
  /** Writes a row down, under the columns of its file. */
  add(row: FailedRow, columns: readonly string[]): void;
  /** Puts the report in place; `false`: no row failed, so there is no report. */
  finish(): boolean;
  [Symbol.dispose](): void;
}

const row = (cells: readonly string[]): string => `${cells.map(csvCell).join(",")}\n`;

/**
 * Opens a report. Its rows are on disk before the import that handed them back ends; the file itself appears when all of them are there. Throws `usage` where
 * a file of that name is there already: it may be a report that somebody is mending.
 */
export function openReport(file: string): Report {
  if (existsSync(file))
    throw new TributaryError(
      "usage",
      `${file} is there already`,
      "Import what it holds and remove it, or name another file for the report.",
    );
  const temporary = `${file}.new`;
  let handle: number;
  try {
    handle = openSync(temporary, "w", 0o600);
  } catch (error) {
    throw new TributaryError(
      "usage",
      `${file} cannot be written: ${messageOf(error)}`,
      "Name a file in a folder that you may write to.",
      { cause: error },
    );
  }
  let rows = 0;
  let isOpen = true;
  const close = (): void => {
    if (!isOpen) return;
    isOpen = false;
    closeSync(handle);
  };
  return {
    add({ cells, problems }, columns) {
      if (rows++ === 0) writeSync(handle, `\uFEFF${row([PROBLEM_COLUMN, ...columns])}`);
      writeSync(handle, row([problems.join("; "), ...cells]));
    },
    finish() {
      fsyncSync(handle);
      close();
      if (rows === 0) {
        rmSync(temporary);
        return false;
      }
      renameSync(temporary, file);
      return true;
    },
    [Symbol.dispose]() {
      close();
      // The rows that were handed back before the import failed are still in the file that was imported.
      rmSync(temporary, { force: true });
    },
  };
}
