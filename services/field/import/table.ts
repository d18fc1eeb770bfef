/** Reads a CSV file row by row. In comes its text in pieces; out come its rows, with the line that each begins on. The file is never in memory as a whole. */
import { pipeline, Readable } from "node:stream";
import { type CsvError, type Options, parse } from "csv-parse";
import { messageOf, TributaryError } from "../../core/index.ts";

/** The cells of one row, as they are written. */
export interface Line {
  readonly line: number;
  readonly cells: readonly string[];
}

/** What the first row says. `at`: the index of each column in a row; columns without a name are left out. */
export interface Header {
  readonly delimiter: string;
  readonly names: readonly string[];
  readonly at: ReadonlyMap<string, number>;
}

export const DELIMITERS: readonly string[] = [",", ";", "\t", "|"];

export const malformed = (problem: string, hint: string, cause?: unknown): TributaryError =>
  new TributaryError("input-malformed", problem, hint, { cause });

/** How many characters a row may have: an event holds hardly more. */
const MAX_ROW_CHARS = 900_000;
const NOT_UTF8 = "Save it as 'CSV UTF-8' and import it again.";
const isBlank = (cell: string): boolean => cell.trim() === "";

/** Bytes as text. Throws `input-malformed` where they are not UTF-8. */
export async function* decoded(chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  try {
    for await (const chunk of chunks) yield decoder.decode(chunk, { stream: true });
    yield decoder.decode();
  } catch (error) {
    if (error instanceof TypeError) throw malformed("the file is not UTF-8", NOT_UTF8, error);
    throw error;
  }
}

/**
 * The rows of a CSV text (RFC 4180; a byte order mark and either line end are fine), including the first, which names the columns. Empty rows are passed
 * over. Throws `input-malformed` with the line where a quote is not closed.
 */
export async function* linesOf(chunks: AsyncIterable<string>, delimiter: string): AsyncGenerator<Line> {
  const options: Options = {
    bom: true,
    max_record_size: MAX_ROW_CHARS,
    delimiter,
    info: true,
    skip_empty_lines: true,
    relax_column_count: true,
  };
  // Ends the source when the reader stops early, and the reader when the source fails.
  const parser = pipeline(Readable.from(chunks), parse(options), () => {});
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: string[]; info: { lines: number } }>) {
      if (!record.every(isBlank)) yield { line: info.lines, cells: record };
    }
  } catch (error) {
    throw error instanceof TributaryError ? error : problemOf(error as CsvError);
  }
}

function problemOf(error: Partial<CsvError> & { readonly lines?: number }): TributaryError {
  const line = error.lines === undefined ? "" : `line ${error.lines}: `;
  if (error.code === "CSV_MAX_RECORD_SIZE")
    return malformed(
      `${line}a row has more than ${MAX_ROW_CHARS} characters`,
      "Perhaps a quote is opened and not closed before it.",
      error,
    );
  return error.code === "CSV_QUOTE_NOT_CLOSED"
    ? malformed(`${line}a quote is opened and not closed`, 'Close it, or write a quote inside a cell as "".', error)
    : malformed(`${line}the file is not CSV: ${messageOf(error)}`, NOT_UTF8, error);
}

/** The delimiter that a file's first line has most often, outside of quotes. */
export function delimiterOf(text: string): string {
  const start = text.replace(/^\uFEFF?\s*/, "");
  const counts = new Map(DELIMITERS.map((each) => [each, 0]));
  let isQuoted = false;
  for (const char of start) {
    if (char === '"') isQuoted = !isQuoted;
    else if (!isQuoted && (char === "\n" || char === "\r")) break;
    else if (!isQuoted && counts.has(char)) counts.set(char, counts.get(char)! + 1);
  }
  return [...counts].reduce((best, each) => (each[1] > best[1] ? each : best))[0];
}

/** What the first row says. Throws `input-malformed` where two columns have the same name, or none has a name. */
export function headerOf(first: Line | undefined, delimiter: string): Header {
  const names = first?.cells.map((name) => name.trim()) ?? [];
  if (names.every((name) => name === "")) throw malformed("the file is empty", "Its first line must name the columns.");
  const at = new Map<string, number>();
  for (const [i, name] of names.entries()) {
    if (name === "") continue;
    if (name.includes("\0")) throw malformed("the file is not UTF-8", NOT_UTF8);
    if (at.has(name)) throw malformed(`two columns are named ${name}`, "Name each column once.");
    at.set(name, i);
  }
  return { delimiter, names, at };
}

/** What is wrong with the form of a row: cells that belong to no column, or columns without a cell; `null`: nothing is wrong. */
export function shapeProblem({ names, delimiter }: Header, { cells }: Line): string | null {
  const stray = cells.findIndex((cell, i) => (names[i] ?? "") === "" && !isBlank(cell));
  if (stray >= 0 && stray < names.length) return `column ${stray + 1} has no name`;
  if (stray >= 0 || cells.length < names.findLastIndex((name) => name !== "") + 1)
    return `the row has another number of cells than the header; a ${delimiter === "," ? "comma" : `"${delimiter}"`} inside a cell needs quotes around the cell`;
  return null;
}

/** Whether a row holds the tags of the Humanitarian Exchange Language, which some sheets have below the column names. */
export const isTagRow = ({ cells }: Line): boolean => cells.every((cell) => isBlank(cell) || cell.trim().startsWith("#"));
