import type { JsonValue } from "../core/index.ts";

/** What a column holds. Each store has a type of its own for it. */
export type ColumnType = "text" | "integer" | "number" | "decimal" | "boolean" | "date" | "instant" | "json";

/** A column: its type, and the check that a value fits before it reaches a store. */
export interface Column<T extends JsonValue = JsonValue> {
  readonly type: ColumnType;
  /** Whether a non-null value fits. */
  fits(value: JsonValue): boolean;
  readonly index: boolean;
  /** Never set: carries the type of the column's values. */
  readonly value?: T;
}

/** What a type is called in the digest of a declaration. Never change these names: every view would be built again. */
const DIGEST_NAMES: Readonly<Record<ColumnType, string>> = {
  text: "text",
  integer: "bigint",
  number: "double precision",
  decimal: "numeric",
  boolean: "boolean",
  date: "date",
  instant: "timestamptz",
  json: "jsonb",
};
/** A column's type as the digest of a declaration names it. */
export const digestName = ({ type }: Column): string => DIGEST_NAMES[type];

const WORDS: Readonly<Record<ColumnType, string>> = {
  text: "a text column",
  integer: "an integer column",
  number: "a number column",
  decimal: "a decimal column",
  boolean: "a boolean column",
  date: "a date column",
  instant: "a timestamp column",
  json: "a json column",
};
/** What a column is, in words of the projection language: `an integer column`. */
export const columnWords = ({ type }: Pick<Column, "type">): string => WORDS[type];

/** A value as its column keeps it: one form for all ways to write it. */
export const normal = ({ type }: Column, value: JsonValue): JsonValue =>
  type === "instant" && typeof value === "string" ? new Date(value).toISOString() : value;

interface ColumnOptions {
  /** Adds a database index for lookups by this column. */
  readonly index?: boolean;
}

const DATE = /^\d{4}-\d\d-\d\d$/;
const DAYS = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/** Whether a text is a day of the (proleptic Gregorian) calendar. Arithmetic: it runs for each event, and Date is ten times slower. */
function isDate(text: string): boolean {
  if (!DATE.test(text)) return false;
  const year = Number(text.slice(0, 4));
  const month = Number(text.slice(5, 7));
  const day = Number(text.slice(8));
  if (year === 0 || month < 1 || month > 12 || day < 1 || day > DAYS[month - 1]!) return false;
  return month !== 2 || day < 29 || (year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0));
}

function column<T extends JsonValue>(
  type: ColumnType,
  fits: (value: JsonValue) => boolean,
  options: ColumnOptions = {},
): Column<T> {
  return { type, fits, index: options.index ?? false };
}

/** At most so many characters in a text that is indexed: an entry of a PostgreSQL index has at most 2,704 bytes, a character up to four. */
export const MAX_INDEXED_CHARS = 600;

// PostgreSQL's text cannot hold U+0000.
export const text = (options?: ColumnOptions): Column<string> =>
  column(
    "text",
    (v) => typeof v === "string" && !v.includes("\0") && !(options?.index === true && v.length > MAX_INDEXED_CHARS),
    options,
  );
export const integer = (options?: ColumnOptions): Column<number> => column("integer", (v) => Number.isSafeInteger(v), options);
export const number = (options?: ColumnOptions): Column<number> => column("number", Number.isFinite, options);
/** The greatest amount: larger than any real one, and small enough that sums of amounts still fit in a number. */
export const MAX_AMOUNT = 1e30;
/** A number kept and added up exactly, as its shortest decimal form says: for amounts. */
export const decimal = (options?: ColumnOptions): Column<number> =>
  column("decimal", (v) => typeof v === "number" && Math.abs(v) <= MAX_AMOUNT, options);
export const boolean = (options?: ColumnOptions): Column<boolean> => column("boolean", (v) => typeof v === "boolean", options);
/** A calendar day, `YYYY-MM-DD`. */
export const date = (options?: ColumnOptions): Column<string> =>
  column("date", (v) => typeof v === "string" && isDate(v), options);
/** ISO 8601 with its zone. The database reads other forms that `Date.parse` takes differently, or not at all. */
const INSTANT = /^(?!0000)\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?(Z|[+-](0\d|1[0-4]):[0-5]\d)$/;
/** Checked in UTC, because a zone may carry an instant over the edge of the calendar. */
const [FIRST_MS, LAST_MS] = [Date.parse("0001-01-01T00:00:00.000Z"), Date.parse("9999-12-31T23:59:59.999Z")];
function isInstant(text: string): boolean {
  if (!INSTANT.test(text) || !isDate(text.slice(0, 10))) return false;
  const ms = Date.parse(text);
  return ms >= FIRST_MS && ms <= LAST_MS;
}
/** An instant, ISO 8601 with its zone. Kept in UTC and to the millisecond, so that one instant is one value. */
export const timestamp = (options?: ColumnOptions): Column<string> =>
  column("instant", (v) => typeof v === "string" && isInstant(v), options);
/** U+0000, or half of a surrogate pair, as JSON text escapes them. An even number of backslashes stands before it; otherwise the text only speaks of the escape. */
const UNHELD = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/;
/** Any JSON value. */
export const json = (): Column<JsonValue> => column("json", (v) => !UNHELD.test(JSON.stringify(v)));

/** Why a value does not fit a column, in words that follow the value in a sentence. `where` names the column. */
export function whyNot({ type, index }: Column, value: JsonValue, where: string): string {
  const no = (what: string): string => `is not a ${what}, which ${where} needs`;
  const isTooLarge = `is too large a number for ${where}`;
  const holdsNul = `holds the character U+0000, which ${where} cannot hold`;
  switch (type) {
    case "text":
      if (typeof value !== "string") return no("text");
      return index && value.length > MAX_INDEXED_CHARS
        ? `has ${value.length} characters, and ${where} takes at most ${MAX_INDEXED_CHARS}`
        : holdsNul;
    case "integer":
      return Number.isInteger(value) ? isTooLarge : no("whole number");
    case "number":
      return no("number");
    case "decimal":
      return typeof value === "number" ? isTooLarge : no("number");
    case "boolean":
      return `is neither true nor false, which ${where} needs`;
    case "date":
      return no("day like 2026-05-03");
    case "instant":
      return no("time like 2026-05-03T08:00:00Z");
    case "json":
      return holdsNul;
  }
}
