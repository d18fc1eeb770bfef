import { finished } from "node:stream/promises";
import { from as copyFrom } from "pg-copy-streams";
import type { Db } from "./connect.ts";

/** A text without U+0000, which PostgreSQL's text cannot hold: the replacement character stands in its place. */
export const withoutNul = (text: string): string => (text.includes("\0") ? text.replaceAll("\0", "\uFFFD") : text);

const SPECIAL = /[\\\n\r\t]/;
const ESCAPES: Record<string, string> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

export type Cell = string | number | bigint | null | undefined;

/** A value in COPY's text form. */
function cell(value: Cell): string {
  if (value === null || value === undefined) return "\\N";
  const text = withoutNul(String(value));
  return SPECIAL.test(text) ? text.replace(/[\\\n\r\t]/g, (c) => ESCAPES[c]!) : text;
}

/** A row in COPY's text form. */
export const line = (cells: readonly Cell[]): string => `${cells.map(cell).join("\t")}\n`;

/** Hands rows to a COPY statement. */
export async function copyText(db: Db, sql: string, text: string): Promise<void> {
  const copying = db.query(copyFrom(sql));
  copying.end(Buffer.from(text));
  await finished(copying);
}
