import { parse } from "csv-parse/sync";
import { type JsonObject, type JsonValue, messageOf, TributaryError } from "../core/index.ts";
import type { SchemaVersion } from "./schema.ts";

export interface Table {
  readonly header: readonly string[];
  readonly rows: readonly { readonly line: number; readonly cells: Readonly<Record<string, string>> }[];
}

const malformed = (problem: string, hint: string, cause?: unknown): TributaryError =>
  new TributaryError("input-malformed", problem, hint, { cause });

/**
 * Reads CSV text (RFC 4180; a byte order mark and either line end are fine). Throws `input-malformed` with the line when a quote
 * is not closed, a row has too many or too few cells, or the header names a column twice or not at all.
 */
export function readTable(text: string): Table {
  if (text.includes("\uFFFD")) throw malformed("the file is not UTF-8", "Save it as 'CSV UTF-8' and import it again.");
  let records: { record: string[]; info: { lines: number } }[];
  try {
    records = parse(text, { bom: true, info: true, skip_empty_lines: true }) as unknown as typeof records;
  } catch (error) {
    const { code, lines } = error as { code?: string; lines?: number };
    const line = lines === undefined ? "" : `line ${lines}: `;
    if (code === "CSV_RECORD_INCONSISTENT_FIELDS_LENGTH") {
      throw malformed(
        `${line}the row has another number of cells than the header`,
        "A comma inside a cell needs quotes around the cell.",
        error,
      );
    }
    if (code === "CSV_QUOTE_NOT_CLOSED")
      throw malformed(`${line}a quote is opened and not closed`, 'Close it, or write a quote inside a cell as "".', error);
    throw malformed(`${line}the file is not CSV: ${messageOf(error)}`, "Save it as 'CSV UTF-8' and import it again.", error);
  }
  const header = records[0]?.record.map((name) => name.trim());
  if (header === undefined) throw malformed("the file is empty", "Its first line must name the columns.");
  for (const [i, name] of header.entries()) {
    if (name === "") throw malformed(`column ${i + 1} has no name`, "Give it one in the first line.");
    if (header.indexOf(name) !== i) throw malformed(`two columns are named ${name}`, "Name each column once.");
  }
  return {
    header,
    rows: records.slice(1).map(({ record, info }) => ({
      line: info.lines,
      cells: Object.fromEntries(header.map((name, i) => [name, record[i]!.trim()])),
    })),
  };
}

type Kind = "integer" | "number" | "boolean" | "string";

/** Which members a schema has, and what a cell of each is read as. */
function membersOf(schema: SchemaVersion): Map<string, { readonly kind: Kind; readonly nullable: boolean }> {
  const parsed = JSON.parse(schema.text) as JsonObject;
  const members = new Map<string, { kind: Kind; nullable: boolean }>();
  if (schema.kind === "json") {
    for (const [name, property] of Object.entries((parsed.properties ?? {}) as Record<string, JsonObject>)) {
      const types = [property.type].flat() as string[];
      const kind = (["integer", "number", "boolean"] as const).find((type) => types.includes(type)) ?? "string";
      members.set(name, { kind, nullable: false });
    }
    return members;
  }
  for (const field of parsed.fields as unknown as { name: string; type: JsonValue }[]) {
    const branches = [field.type].flat();
    const named = branches.map((branch) => (typeof branch === "object" ? "string" : branch));
    const kind = named.some((t) => t === "int" || t === "long")
      ? "integer"
      : named.some((t) => t === "float" || t === "double")
        ? "number"
        : named.includes("boolean")
          ? "boolean"
          : "string";
    members.set(field.name, { kind, nullable: named.includes("null") });
  }
  return members;
}

/**
 * A row's cells as data of a schema: numbers and booleans where the schema has them, empty cells left out. A cell that cannot be
 * read as its type stays a text, so that validation names it. Throws `input-malformed` for a column the schema does not have.
 */
export function rowToData(schema: SchemaVersion, cells: Readonly<Record<string, string>>): JsonObject {
  const members = membersOf(schema);
  const data: Record<string, JsonValue> = {};
  for (const [name, cell] of Object.entries(cells)) {
    const member = members.get(name);
    if (member === undefined) {
      throw malformed(
        `the file has a column ${name}, which ${schema.subject} does not`,
        `Rename or remove it. Known columns: ${[...members.keys()].join(", ")}.`,
      );
    }
    if (cell !== "") data[name] = cellValue(member.kind, cell);
    else if (member.nullable) data[name] = null;
  }
  return data;
}

function cellValue(kind: Kind, cell: string): JsonValue {
  switch (kind) {
    case "integer":
      return /^-?\d{1,15}$/.test(cell) ? Number(cell) : cell;
    case "number":
      return /^-?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(cell) && Number.isFinite(Number(cell)) ? Number(cell) : cell;
    case "boolean":
      return /^(true|yes|1)$/i.test(cell) ? true : /^(false|no|0)$/i.test(cell) ? false : cell;
    case "string":
      return cell;
  }
}
