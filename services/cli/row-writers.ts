/** Rows on their way out, page by page: as a table, as CSV, as one JSON document. A writer waits until each page has been taken, and stops where nobody reads any more. */
import { csvLine, forTerminal, type JsonValue, jsonForTerminal, positionToText } from "../core/index.ts";
import type { FoundRows } from "../views/index.ts";
import { type Cell, type Output, tableWriter } from "./output.ts";

/** Writes all rows in some form. Returns the id of the last one; `null`: there was none, or the view has no ids. */
export type RowWriter = (found: FoundRows, out: Output) => Promise<string | null>;

/** A value in a cell. */
const cellOf = (value: JsonValue): Cell => (value !== null && typeof value === "object" ? JSON.stringify(value) : value);

export const asTable: RowWriter = async ({ columns, pages }, out) => {
  const table = tableWriter(columns);
  let last: string | null = null;
  let isEmpty = true;
  for await (const page of pages) {
    isEmpty = false;
    last = page.at(-1)?.id ?? null;
    if (!(await out.piece(`${table.piece(page.map(({ cells }) => cells.map(cellOf)))}\n`))) return last;
  }
  if (isEmpty) await out.piece(`${table.piece([])}\n`);
  return last;
};

/** A header and the rows. To a file or a pipe all texts go as they are; at a terminal they are written so that none of them can steer it. */
export const asCsv: RowWriter = async ({ columns, pages }, out) => {
  const isTerminal = process.stdout.isTTY === true;
  const shown = (value: JsonValue): JsonValue => (isTerminal && typeof value === "string" ? forTerminal(value) : value);
  let last: string | null = null;
  if (!(await out.piece(csvLine(columns.map(shown))))) return last;
  for await (const page of pages) {
    last = page.at(-1)?.id ?? null;
    if (!(await out.piece(page.map(({ cells }) => csvLine(cells.map(shown))).join("")))) return last;
  }
  return last;
};

const pretty = (value: JsonValue, indent: string): string => JSON.stringify(value, null, 2).replaceAll("\n", `\n${indent}`);

/** One document: the view, how many rows there are, the rows, whether there are more, and the id to go on after. */
export const asJson =
  (limit: number | null): RowWriter =>
  async ({ view, columns, total, through, hasMore, pages }, out) => {
    const names = columns.map((name) => JSON.stringify(name));
    const rowText = (cells: readonly JsonValue[]): string =>
      `    {${cells.map((value, i) => `\n      ${names[i]}: ${pretty(value, "      ")}`).join(",")}\n    }`;
    const head = { view, total, limit, ...(through === null ? {} : { through: positionToText(through) }) };
    const members = Object.entries(head).map(([name, value]) => `  ${JSON.stringify(name)}: ${JSON.stringify(value)},\n`);
    let last: string | null = null;
    let isFirst = true;
    if (!(await out.piece(jsonForTerminal(`{\n${members.join("")}  "rows": [`)))) return last;
    for await (const page of pages) {
      last = page.at(-1)?.id ?? null;
      const text = `${isFirst ? "" : ","}\n${page.map(({ cells }) => rowText(cells)).join(",\n")}`;
      isFirst = false;
      if (!(await out.piece(jsonForTerminal(text)))) return last;
    }
    const next = hasMore ? last : null;
    await out.piece(jsonForTerminal(`${isFirst ? "" : "\n  "}],\n  "more": ${hasMore},\n  "next": ${JSON.stringify(next)}\n}\n`));
    return last;
  };
