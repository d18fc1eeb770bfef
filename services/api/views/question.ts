/** What is asked of a view in the query of an address. In come parameters as they are written; out comes a question, or a refusal that names the parameter. */
import { isTributaryError, type JsonValue, MAX_WALL_MS, TributaryError } from "../../core/index.ts";
import { type AsOf, type Db, positionAsked, type RowCursor } from "../../views/index.ts";

/** Rows of a page, by default and at most. Files have all rows. */
export const DEFAULT_PAGE_ROWS = 100;
export const MAX_PAGE_ROWS = 1_000;
/** Conditions at most, and characters of one: a question is not a program. */
export const MAX_CONDITIONS = 30;
const MAX_CONDITION_CHARS = 2_000;

/** How rows are written. */
export type Format = "json" | "csv" | "ndjson";
export const MEDIA_TYPES: Readonly<Record<Format, string>> = {
  json: "application/json",
  csv: "text/csv; charset=utf-8; header=present",
  ndjson: "application/x-ndjson; charset=utf-8",
};

/** A question as its address has it, not looked up in any view yet. */
export interface ViewQuery {
  readonly where: readonly string[];
  readonly columns: string | undefined;
  readonly sort: string | undefined;
  readonly asOf: string | undefined;
  /** `null`: all, which only files give. */
  readonly limit: number | null;
  readonly behind: RowCursor | undefined;
  readonly counts: boolean;
  readonly format: Format;
}

const refused = (name: string, problem: string, hint: string): TributaryError =>
  new TributaryError("usage", `the parameter ${name} ${problem}`, hint);

/** Reads the query of an address (`instance`: path and query as they came). `accept`: the header of that name. Throws `usage`. */
export function viewQuery(instance: string, accept: string | undefined): ViewQuery {
  const query = new URL(instance, "http://here").searchParams;
  for (const name of query.keys())
    if (!PARAMETERS.has(name))
      throw refused(name, "is not known here", `There are: ${[...PARAMETERS].join(", ")}. A condition is where=COLUMN=VALUE.`);
  for (const [name, value] of query)
    if (value.includes("\0")) throw refused(name, "has a character that no value has (U+0000)", "Leave it out.");
  const where = query.getAll("where");
  if (where.length > MAX_CONDITIONS)
    throw refused("where", `is given ${where.length} times`, `At most ${MAX_CONDITIONS} conditions can be asked.`);
  const long = where.find(({ length }) => length > MAX_CONDITION_CHARS);
  if (long !== undefined) throw refused("where", "is too long", `A condition has at most ${MAX_CONDITION_CHARS} characters.`);
  const format = formatOf(query.get("format"), accept);
  return {
    where,
    columns: query.get("columns") ?? undefined,
    sort: query.get("sort") ?? undefined,
    asOf: query.get("as_of") ?? undefined,
    limit: limitOf(query.get("limit"), format),
    behind: cursorIn(query.get("after")),
    counts: query.get("count") === "true",
    format,
  };
}

/** The parameters, each with what it says. */
export const PARAMETER_WORDS = {
  where: "A condition, like `household_size>=5`; = != > < >= <= and ~ (contains). May be given several times: all must hold.",
  columns: "The columns to show, with commas between them. Default: all.",
  sort: "A column, with `:desc` behind it or without. Default: by id.",
  as_of: "The rows as they were known at a position of the log (a number), or at a time (ISO 8601). Default: now.",
  limit: `Rows at most. JSON: ${DEFAULT_PAGE_ROWS} by default, ${MAX_PAGE_ROWS} at most. Files: all by default.`,
  after: "Goes on behind the page whose `next` this is.",
  count: "`true`: also tells how many rows there are in all.",
  format: "`json` (default), `csv` or `ndjson`. Without it, the header Accept decides.",
} as const;
const PARAMETERS: ReadonlySet<string> = new Set(Object.keys(PARAMETER_WORDS));

function formatOf(given: string | null, accept: string | undefined): Format {
  if (given === "json" || given === "csv" || given === "ndjson") return given;
  if (given !== null) throw refused("format", `is ${JSON.stringify(given)}`, "Write json, csv or ndjson.");
  const wanted = accept?.toLowerCase() ?? "";
  if (wanted.includes("text/csv")) return "csv";
  return wanted.includes("ndjson") ? "ndjson" : "json";
}

function limitOf(given: string | null, format: Format): number | null {
  if (given === null) return format === "json" ? DEFAULT_PAGE_ROWS : null;
  const limit = /^\d{1,9}$/.test(given) ? Number(given) : 0;
  if (limit < 1) throw refused("limit", `is ${JSON.stringify(given)}`, "Write a whole number from 1.");
  if (format === "json" && limit > MAX_PAGE_ROWS)
    throw refused(
      "limit",
      `is more than ${MAX_PAGE_ROWS}`,
      "Ask for pages, one after the other, or for a file: format=csv or format=ndjson.",
    );
  return limit;
}

/** A cursor as it is written in answers: opaque to whoever gets it. */
export const cursorText = ({ value, id }: RowCursor): string => Buffer.from(JSON.stringify([value, id])).toString("base64url");

function cursorIn(given: string | null): RowCursor | undefined {
  if (given === null) return undefined;
  const unreadable = refused("after", "cannot be read", "Give `next` of the page before, as it is.");
  let read: unknown;
  try {
    read = JSON.parse(Buffer.from(given, "base64url").toString());
  } catch {
    throw unreadable;
  }
  if (!Array.isArray(read) || read.length !== 2) throw unreadable;
  const [value, id] = read as [JsonValue, JsonValue];
  if (typeof id !== "string" || (value !== null && typeof value !== "string")) throw unreadable;
  return { value, id };
}

/** The moment that is asked for, as text: a position or a time. Throws `usage`. */
export async function momentIn(db: Db, given: string): Promise<AsOf> {
  if (/^(?:[^:]*:)?\d{1,19}$/.test(given)) return { position: await positionAsked(db, given) };
  const ms = ISO.test(given) ? Date.parse(given) : Number.NaN;
  // As PostgreSQL can hold it, and as text of four digits.
  if (Number.isNaN(ms) || ms < EARLIEST_MS || ms > MAX_WALL_MS)
    throw refused("as_of", `is ${JSON.stringify(given)}`, "Write a position, or a time like 2026-05-03T12:00Z.");
  return { time: new Date(ms).toISOString() };
}
const EARLIEST_MS = Date.parse("0001-01-01T00:00:00Z");
const ISO = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d))?$/;

/** Runs `work`; what it complains of in the words of the command line is said in those of an address. */
export async function inWordsOfAddress<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isTributaryError(error) || error.code !== "usage") throw error;
    const said = (text: string): string =>
      text.replaceAll(/--(where|columns|sort|after|limit) '?/g, "$1=").replaceAll(/--(where|columns|sort|after|limit)/g, "$1");
    throw new TributaryError("usage", said(error.message), said(error.hint), { cause: error });
  }
}
