/** Columns and orders as people write them: `given_name,village` and `registered_on:desc`. A view's own SQL may give a column any name: what is one as a whole comes first. */
import { TributaryError } from "../../core/index.ts";
import { isOrdered, noColumn } from "./conditions.ts";

export interface Sort {
  readonly column: string;
  /** From the greatest to the least. */
  readonly isDown: boolean;
}

/** Columns by their names, in this order; a name with a comma stands in quotes. Throws `usage` for one that `view` has not. */
export function columnsIn(text: string, view: string, columns: readonly string[]): readonly string[] {
  if (columns.includes(text)) return [text];
  const names = Array.from(text.matchAll(/\s*(?:"((?:[^"]|"")*)"|([^,]*))\s*(?:,|$)/gy), ([, inQuotes, plain]) =>
    inQuotes === undefined ? (plain ?? "").trim() : inQuotes.replaceAll('""', '"'),
  ).filter((name) => name !== "");
  if (names.length === 0)
    throw new TributaryError("usage", "--columns names no column", `Write --columns ${columns.slice(0, 2).join(",")}.`);
  for (const name of names) if (!columns.includes(name)) throw noColumn(view, name, columns);
  return [...new Set(names)];
}

/** An order, by one column. Throws `usage` for a column that `view` has not, and for one that has no order. */
export function sortIn(
  text: string,
  view: string,
  { columns, types }: { readonly columns: readonly string[]; readonly types: ReadonlyMap<string, string> },
): Sort {
  const [, name = text, direction] = columns.includes(text) ? [] : (/^(.*):([a-z]*)$/is.exec(text) ?? []);
  if (!columns.includes(name)) throw noColumn(view, name, columns);
  const way = direction?.toLowerCase() ?? "asc";
  if (way !== "asc" && way !== "desc")
    throw new TributaryError(
      "usage",
      `--sort ${text}: ${direction} is not a direction`,
      `Write --sort ${name} or --sort ${name}:desc.`,
    );
  if (!isOrdered(types.get(name) ?? ""))
    throw new TributaryError(
      "usage",
      `rows have no order by ${name}`,
      `Sort by one of ${columns.filter((column) => isOrdered(types.get(column) ?? "")).join(", ")}.`,
    );
  return { column: name, isDown: way === "desc" };
}
