import type { JsonValue } from "../core/index.ts";

/** A column's type: its SQL type, and the check that a value fits before it reaches the database. */
export interface Column<T extends JsonValue = JsonValue> {
  readonly sql: "text" | "bigint" | "double precision" | "numeric" | "boolean" | "date" | "timestamptz" | "jsonb";
  /** Whether a non-null value fits. */
  fits(value: JsonValue): boolean;
  readonly index: boolean;
  /** Never set: carries the type of the column's values. */
  readonly value?: T;
}

/** A value as its column keeps it: of the ways to write it the one. */
export const normal = ({ sql }: Column, value: JsonValue): JsonValue =>
  sql === "timestamptz" && typeof value === "string" ? new Date(value).toISOString() : value;

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
  sql: Column["sql"],
  fits: (value: JsonValue) => boolean,
  options: ColumnOptions = {},
): Column<T> {
  return { sql, fits, index: options.index ?? false };
}

/** Characters of a text that is indexed, at most: an entry of a PostgreSQL index is 2,704 bytes, a character up to four. */
const MAX_INDEXED = 600;

// PostgreSQL's text cannot hold U+0000.
export const text = (options?: ColumnOptions): Column<string> =>
  column(
    "text",
    (v) => typeof v === "string" && !v.includes("\0") && !(options?.index === true && v.length > MAX_INDEXED),
    options,
  );
export const integer = (options?: ColumnOptions): Column<number> => column("bigint", (v) => Number.isSafeInteger(v), options);
export const number = (options?: ColumnOptions): Column<number> => column("double precision", Number.isFinite, options);
/** Far beyond any amount, and far from where sums of amounts could not be told as a number any more. */
const MAX_AMOUNT = 1e30;
/** A number kept and added up exactly, as its shortest decimal form says: for amounts. */
export const decimal = (options?: ColumnOptions): Column<number> =>
  column("numeric", (v) => typeof v === "number" && Math.abs(v) <= MAX_AMOUNT, options);
export const boolean = (options?: ColumnOptions): Column<boolean> => column("boolean", (v) => typeof v === "boolean", options);
/** A calendar day, `YYYY-MM-DD`. */
export const date = (options?: ColumnOptions): Column<string> =>
  column("date", (v) => typeof v === "string" && isDate(v), options);
/** ISO 8601 with its zone. What else `Date.parse` takes, the database reads otherwise or not at all. */
const INSTANT = /^(?!0000)\d{4}-\d\d-\d\dT([01]\d|2[0-3]):[0-5]\d(:[0-5]\d(\.\d{1,9})?)?(Z|[+-](0\d|1[0-4]):[0-5]\d)$/;
/** An instant, ISO 8601 with its zone. Kept in UTC and to the millisecond, so that one instant is one value. */
export const timestamp = (options?: ColumnOptions): Column<string> =>
  column(
    "timestamptz",
    (v) => typeof v === "string" && INSTANT.test(v) && isDate(v.slice(0, 10)) && !Number.isNaN(Date.parse(v)),
    options,
  );
/** U+0000 as JSON text escapes it: behind an even number of backslashes, or it is a text about it. */
const NUL = /(?<!\\)(?:\\\\)*\\u0000/;
/** Anything JSON. */
export const json = (): Column<JsonValue> => column("jsonb", (v) => !NUL.test(JSON.stringify(v)));
