/** Comma-separated values: RFC 4180. */
import type { JsonValue } from "./json.ts";

/** A cell of CSV (RFC 4180), in quotes where it needs them. */
export const csvCell = (text: string): string => (/[",\r\n]|^\s|\s$/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/**
 * A line of CSV (RFC 4180). No value is written as nothing at all; an empty text is written as quotes, so that the two can be told apart.
 */
export const csvLine = (cells: readonly JsonValue[]): string =>
  `${cells
    .map((value) => {
      if (value === null) return "";
      const text = typeof value === "object" ? JSON.stringify(value) : String(value);
      return text === "" ? '""' : csvCell(text);
    })
    .join(",")}\r\n`;
