import { forTerminal, isTributaryError, jsonForTerminal, messageOf, TributaryError } from "../core/index.ts";
import { operatingFailure } from "./system-errors.ts";

/** Where a command's words go. Results go to stdout; progress and errors to stderr, so that `--json` output is one clean document. */
export interface Output {
  readonly json: boolean;
  /** A line for people; nothing with `--json`. */
  line(text?: string): void;
  /** The command's result as one JSON document; nothing without `--json`. */
  result(value: unknown): void;
  /** A piece of a long result on stdout, as it stands. Resolves when it has been taken; `false`: nobody reads any more. */
  piece(text: string): Promise<boolean>;
  /** What is going on, on stderr: at a terminal each text replaces the one before. */
  progress(text: string): void;
  /** Something that happened, on stderr, to stay there. */
  notice(text: string): void;
}

export function output(json: boolean): Output {
  const isTerminal = process.stderr.isTTY === true;
  return {
    json,
    line: (text = "") => {
      if (!json) process.stdout.write(`${forTerminal(text)}\n`);
    },
    result: (value) => {
      if (json) process.stdout.write(`${jsonForTerminal(JSON.stringify(value, replacer, 2))}\n`);
    },
    piece: (text) =>
      text === ""
        ? Promise.resolve(true)
        : new Promise((resolve) => process.stdout.write(text, (error) => resolve(error == null))),
    notice: (text) => process.stderr.write(`${isTerminal ? "\r\x1b[2K" : ""}${forTerminal(text)}\n`),
    progress: (text) => process.stderr.write(isTerminal ? `\r\x1b[2K${forTerminal(text)}` : `${forTerminal(text)}\n`),
  };
}

const replacer = (_: string, value: unknown): unknown => (typeof value === "bigint" ? value.toString() : value);

/** How many columns a text takes: marks that combine take none, wide scripts two. */
function width(text: string): number {
  let columns = 0;
  for (const char of text) {
    const code = char.codePointAt(0)!;
    if (/\p{Mark}|\p{Cf}/u.test(char)) continue;
    columns +=
      (code >= 0x1100 && code <= 0x115f) ||
      (code >= 0x2e80 && code <= 0xa4cf) ||
      (code >= 0xac00 && code <= 0xd7a3) ||
      code >= 0x1f300
        ? 2
        : 1;
  }
  return columns;
}

export type Cell = string | number | boolean | null | undefined;

/** A table that is written piece by piece: its first rows say how wide the columns are, and a wider cell widens its column from there on. */
export interface TableWriter {
  /** Rows as lines; the first piece begins with the header. */
  piece(rows: readonly (readonly Cell[])[]): string;
}

export function tableWriter(header: readonly string[], indent = ""): TableWriter {
  const names = header.map((name) => forTerminal(name));
  const widths = names.map(width);
  let right: readonly boolean[] | null = null;
  const pad = (value: string, i: number): string => {
    const gap = " ".repeat(Math.max(0, (widths[i] ?? 0) - width(value)));
    return right?.[i] ? gap + value : value + gap;
  };
  const line = (cells: readonly string[]): string => indent + cells.map(pad).join("  ").trimEnd();
  return {
    piece(rows) {
      const text = rows.map((row) =>
        row.map((cell) => (cell === null || cell === undefined ? "–" : forTerminal(String(cell)).replaceAll(/[\n\t]/g, " "))),
      );
      for (const row of text) for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, width(cell));
      const isFirst = right === null;
      right ??= header.map((_, i) => rows.length > 0 && rows.every((row) => typeof row[i] === "number"));
      const head = isFirst ? [line(names), indent + widths.map((w) => "─".repeat(w)).join("  ")] : [];
      return [...head, ...text.map(line)].join("\n");
    },
  };
}

/** Rows as aligned columns. Numbers stand to the right. */
export const table = (header: readonly string[], rows: readonly (readonly Cell[])[], indent = ""): string =>
  tableWriter(header, indent).piece(rows);

/** A count with its noun: “1 row”, “3 entities”. */
export const counted = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`;

/** A text of somebody's, without line ends, because these could pass for lines of ours. */
const oneLine = (text: string): string => text.replaceAll("\n", "␊").replaceAll("\t", " ");

/** A value as it stands in a sentence. */
export const shown = (value: unknown): string =>
  value === null || value === undefined ? "empty" : typeof value === "string" ? `“${oneLine(value)}”` : JSON.stringify(value);

/** Why a part of the result could not be written to stdout. */
let unwritten: NodeJS.ErrnoException | null = null;

const isFull = (error: unknown): boolean =>
  error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT");
const diskFull = (error: unknown): TributaryError =>
  new TributaryError("disk-full", messageOf(error), "Make room, and try again.");

/**
 * A reader who has read enough (`| head`) closes the pipe: the rest of the output is dropped, and the command works on to its own end and exit code. The same holds for
 * output to a file on a full disk: a hub must not end because its output cannot be written; `exitCodeOf` then says that the command's result is incomplete.
 */
export function mindTheReader(): void {
  for (const stream of [process.stdout, process.stderr])
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (isFull(error)) {
        if (stream === process.stdout) unwritten = error;
      } else if (error.code !== "EPIPE" && error.code !== "ERR_STREAM_DESTROYED") throw error;
    });
}

/** The exit code of a command that has ended with `code`. Writes the reason to stderr when the result is incomplete. */
export function exitCodeOf(code: number): number {
  if (code !== 0 || unwritten === null) return code;
  const { message, hint, exitCode } = diskFull(unwritten);
  process.stderr.write(`tributary: the result is incomplete: ${message}\n${hint}\n`);
  return exitCode;
}

/** Reports a failure, in the form that was asked for, and returns its exit code. */
export function reportFailure(error: unknown, json: boolean): number {
  const known = isTributaryError(error) ? error : isFull(error) ? diskFull(error) : operatingFailure(error);
  if (json) {
    process.stdout.write(
      `${JSON.stringify({ error: { code: known?.code ?? "internal", message: known?.message ?? messageOf(error), hint: known?.hint ?? "This is a bug; please report it with the log." } })}\n`,
    );
  }
  process.stderr.write(
    known === null
      ? `tributary: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`
      : `${forTerminal(`tributary: ${known.message}\n${known.hint}`)}\n`,
  );
  return known?.exitCode ?? 1;
}
