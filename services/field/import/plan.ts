/** The first pass over a file: what it is, and whether it is a table. In come its bytes; out comes what its rows become. Nothing is written. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { keyAsSeen, MAX_TEXT, TributaryError } from "../../core/index.ts";
import { DAY_ORDERS, type Gate, isZone, type RowReader, rowReader, type SchemaVersion } from "../../gate/index.ts";
import { type ImportOptions, PROBLEM_COLUMN } from "./options.ts";
import {
  DELIMITERS,
  decoded,
  delimiterOf,
  type Header,
  headerOf,
  isTagRow,
  type Line,
  linesOf,
  malformed,
  shapeProblem,
} from "./table.ts";

/** How many problems of a file's form a refusal names, at most. */
const MAX_TOLD = 5;
/** How much of the file's start is read to find its delimiter. */
const DELIMITER_BYTES = 65_536;
const READ_BYTES = 262_144;

/** What a file is about to become. */
export interface Plan {
  readonly header: Header;
  readonly type: string;
  readonly schema: SchemaVersion;
  readonly entity: string;
  readonly key: string;
  readonly reader: RowReader;
  /** A digest of the file's bytes, the type and the habit: tells an import that goes on from one that begins. */
  readonly digest: string;
  readonly rows: number;
}

/** The file's bytes, from the start. */
function bytesOf({ text, file }: ImportOptions): AsyncIterable<Uint8Array> | Iterable<Uint8Array> {
  if (file !== undefined) return createReadStream(file, { highWaterMark: READ_BYTES });
  if (text === undefined) throw new TributaryError("usage", "no file is named", "Give importCsv a text or a file.");
  if (text.includes("\uFFFD")) throw malformed("the file is not UTF-8", "Save it as 'CSV UTF-8' and import it again.");
  return [new TextEncoder().encode(text)];
}

/** The rows below the header, without tags. `lines` stands behind the header. */
async function* below(lines: AsyncIterable<Line>): AsyncGenerator<Line> {
  let isFirst = true;
  for await (const line of lines) {
    if (!(isFirst && isTagRow(line))) yield line;
    isFirst = false;
  }
}

/** The rows of the file. */
export async function* rowsOf(options: ImportOptions, { delimiter }: Header): AsyncGenerator<Line> {
  const lines = linesOf(decoded(bytesOf(options)), delimiter);
  await lines.next();
  yield* below(lines);
}

/** The first pass: checks the file's form before anything is written. */
export async function inspect(gate: Gate, options: ImportOptions): Promise<Plan> {
  checkHabit(options);
  const hash = createHash("sha256");
  const delimiter = options.delimiter ?? delimiterOf(await startOf(options));
  async function* hashed(): AsyncGenerator<Uint8Array> {
    for await (const chunk of bytesOf(options)) {
      hash.update(chunk);
      yield chunk;
    }
  }
  const lines = linesOf(decoded(hashed()), delimiter);
  const first = await lines.next();
  const header = headerOf(first.done === true ? undefined : first.value, delimiter);
  const found = formOf(gate, header, options.type);
  const { schema, key, type } = found;
  const reader = rowReader(schema, options);
  checkColumns(schema, header, { reader, key, entity: found.entity });
  const wrong: string[] = [];
  let wrongRows = 0;
  let rows = 0;
  for await (const line of below(lines)) {
    rows++;
    if (options.onFailed !== undefined) continue;
    const problem = shapeProblem(header, line) ?? keyProblem(key, keyOf(header, key, line));
    if (problem !== null && ++wrongRows <= MAX_TOLD) wrong.push(`line ${line.line} ${problem}`);
  }
  if (wrongRows > 0) {
    const others = wrongRows - wrong.length;
    throw malformed(
      `${wrong.join("; ")}${others > 0 ? `; and ${others} more rows` : ""}`,
      "Mend these rows and import the file again, or write them into a report (--report FILE); nothing was taken.",
    );
  }
  hash.update(`\n${JSON.stringify([type, options.dates, options.decimal, options.zone, options.missing, delimiter])}`);
  return { header, ...found, reader, digest: hash.digest("hex"), rows };
}

async function startOf(options: ImportOptions): Promise<string> {
  for await (const chunk of bytesOf(options)) return new TextDecoder().decode(chunk.subarray(0, DELIMITER_BYTES));
  return "";
}

function checkHabit({ dates, decimal, zone, delimiter }: ImportOptions): void {
  const no = (what: string, given: string, hint: string): TributaryError =>
    new TributaryError("usage", `${JSON.stringify(given)} is not ${what}`, hint);
  if (dates !== undefined && !DAY_ORDERS.includes(dates)) throw no("an order of days", dates, `Write ${DAY_ORDERS.join(", ")}.`);
  if (decimal !== undefined && decimal !== "." && decimal !== ",") throw no("a decimal mark", decimal, "Write . or , for it.");
  if (zone !== undefined && !isZone(zone)) throw no("a time zone", zone, "Write +02:00, Z, or a name like Africa/Juba.");
  if (delimiter !== undefined && !DELIMITERS.includes(delimiter))
    throw no("a delimiter", delimiter, "Write a comma, a semicolon, a | or a tab.");
}

/** The columns that say something of an entity, in the header's order. */
export const columnsOf = ({ at }: Header): readonly string[] => [...at.keys()].filter((name) => name !== PROBLEM_COLUMN);

/** The form that the file's rows belong to. */
function formOf(gate: Gate, header: Header, asked: string | undefined): Pick<Plan, "schema" | "type" | "entity" | "key"> {
  const names = columnsOf(header);
  const schema = asked === undefined ? formWith(gate, names) : gate.subjectFor(asked);
  if (schema === undefined) {
    throw new TributaryError(
      "schema-unknown",
      `no schema declares the event type ${asked}`,
      "Check the spelling of --as; `schemas/` lists the event types.",
    );
  }
  const { entity, key, events } = schema.annotations;
  const type = asked ?? events[0];
  if (entity === null || key === undefined || type === undefined) {
    throw new TributaryError(
      "schema-malformed",
      `${schema.subject} names no key`,
      'Add "key" to the schema\'s "tributary" member.',
    );
  }
  return { schema, type, entity, key };
}

/** The form whose key is one of the columns and which knows all the others. */
function formWith(gate: Gate, names: readonly string[]): SchemaVersion {
  const fits = gate.subjects().filter(({ annotations: { key } }) => key !== undefined && names.includes(key));
  const knowing = fits.filter((schema) => {
    const { columns } = rowReader(schema);
    return names.every((name) => columns.has(name));
  });
  const [one, other] = knowing;
  if (one !== undefined && other === undefined) return one;
  throw malformed(
    one === undefined ? "no schema has this file's columns" : "more than one schema has this file's columns",
    `Name the event type with --as, for example --as beneficiary.registered. The file has: ${names.join(", ")}.`,
  );
}

function checkColumns(
  { subject }: SchemaVersion,
  header: Header,
  { reader, key, entity }: { readonly reader: RowReader; readonly key: string; readonly entity: string },
): void {
  const { at, delimiter } = header;
  const names = [...at.keys()];
  const read = `The file has: ${names.join(", ")} (read with ${delimiter === "\t" ? "a tab" : `"${delimiter}"`} between cells).`;
  if (!at.has(key)) throw malformed(`the file has no column ${key}`, `Add it: it names each ${entity}. ${read}`);
  const unknown = columnsOf(header).filter((name) => !reader.columns.has(name));
  if (unknown.length > 0)
    throw malformed(
      `the file has ${unknown.length === 1 ? "a column" : "columns"} ${unknown.join(", ")}, which ${subject} does not have`,
      `Rename or remove ${unknown.length === 1 ? "it" : "them"}. Known columns: ${[...reader.columns].join(", ")}.`,
    );
}

/** The key that a row names, as people see it: what is compared with other rows' is what is written. */
export const keyOf = ({ at }: Header, key: string, { cells }: Line): string => keyAsSeen((cells[at.get(key) ?? -1] ?? "").trim());

/** Why a key cannot name an entity, which no correction of the row's other cells would mend; `null` when it can. */
export const keyProblem = (key: string, id: string): string | null =>
  id === ""
    ? `has no ${key}`
    : id.length > MAX_TEXT
      ? `has a key of ${id.length} characters, more than ${MAX_TEXT}`
      : id.includes("\0")
        ? "has the character U+0000 in its key"
        : null;
