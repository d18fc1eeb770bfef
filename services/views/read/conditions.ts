/** What people ask of rows, as they write it: `household_size>=5`. In come texts and the columns that there are; out comes SQL whose values are bound. */
import { type JsonValue, TributaryError, textAsSeen } from "../../core/index.ts";
import { date, json, timestamp } from "../../merge/index.ts";
import { jsonOf, quoted } from "./columns.ts";

/** Longer ones first, as `>=` begins like `>`. */
const SIGNS = { ">=": ">=", "<=": "<=", "!=": "!=", "<>": "!=", "==": "=", "=": "=", ">": ">", "<": "<", "~": "~" } as const;
type Operator = (typeof SIGNS)[keyof typeof SIGNS];

/** A condition on one column: its value as it was written, not read yet. */
export interface Condition {
  readonly column: string;
  readonly operator: Operator;
  readonly value: string;
}

const isSign = (text: string): text is keyof typeof SIGNS => Object.hasOwn(SIGNS, text);

/** Reads `COLUMN OPERATOR VALUE`, with spaces around the operator or without. Throws `usage` for what is not a condition, or names no column of `view`. */
export function conditionIn(text: string, view: string, columns: readonly string[]): Condition {
  const named = columns.filter((name) => text.startsWith(name)).sort((a, b) => b.length - a.length);
  for (const column of named) {
    const found = signAt(text.slice(column.length));
    if (found !== null) return { column, ...found };
  }
  const [, column] = /^(.*?)\s*(?:[<>]=?|[!=]=|=|~)/s.exec(text) ?? [];
  if (column === undefined || column === "")
    throw new TributaryError(
      "usage",
      `--where ${JSON.stringify(text)} is not a condition`,
      "Write COLUMN=VALUE, or with !=, >, <, >=, <= or ~ (contains), in quotes: --where 'household_size>=5'.",
    );
  throw noColumn(view, column, columns);
}

export const noColumn = (view: string, column: string, columns: readonly string[]): TributaryError =>
  new TributaryError("usage", `${view} has no column ${JSON.stringify(column)}`, `Its columns are ${columns.join(", ")}.`);

function signAt(rest: string): Pick<Condition, "operator" | "value"> | null {
  const text = rest.trimStart();
  const sign = [text.slice(0, 2), text.slice(0, 1)].find(isSign);
  return sign === undefined ? null : { operator: SIGNS[sign], value: text.slice(sign.length).trimStart() };
}

type Kind = "text" | "whole" | "number" | "boolean" | "day" | "instant" | "json" | "other";

/** Columns by what PostgreSQL calls their types. */
const KINDS: Readonly<Record<string, Kind>> = {
  text: "text",
  "character varying": "text",
  character: "text",
  smallint: "whole",
  integer: "whole",
  bigint: "whole",
  real: "number",
  "double precision": "number",
  numeric: "number",
  boolean: "boolean",
  date: "day",
  "timestamp with time zone": "instant",
  json: "json",
  jsonb: "json",
};
const kindOf = (type: string): Kind => KINDS[type] ?? "other";

/** Whether rows can be put in the order of a column of this type. */
export const isOrdered = (type: string): boolean => kindOf(type) !== "other" && kindOf(type) !== "json";

/** What a column holds, and a condition on it as an example. */
const WORDS: Readonly<Record<Kind, readonly [holds: string, example: string]>> = {
  text: ["text", "=VALUE"],
  whole: ["whole numbers", ">=5"],
  number: ["numbers", ">=2.5"],
  boolean: ["true or false", "=true"],
  day: ["days", ">=2026-05-03"],
  instant: ["times", ">=2026-05-03T08:00:00Z"],
  json: ["JSON", "~WORD"],
  other: ["values that are compared as text", "=VALUE"],
};

/** A condition as SQL on the table named `t`; `bind` takes a value and gives its parameter (`$1`). Throws `usage` where the column cannot hold the value, or has no such order. */
export function conditionSql({ column, operator, value }: Condition, type: string, bind: (value: JsonValue) => string): string {
  const kind = kindOf(type);
  const [holds, example] = WORDS[kind];
  const at = `t.${quoted(column)}`;
  const write = `Write for example --where '${column}${example}'.`;
  if (value === "") {
    const isEmpty = kind === "text" ? `coalesce(${at}, '') = ''` : `${at} IS NULL`;
    if (operator === "=") return isEmpty;
    if (operator === "!=") return `NOT (${isEmpty})`;
    throw new TributaryError("usage", `--where ${column}${operator} has no value`, write);
  }
  if (operator === "~") return contains(`(${jsonOf(at, type)})::text`, value, bind);
  if (operator !== "=" && operator !== "!=" && (kind === "boolean" || kind === "json" || kind === "other"))
    throw new TributaryError("usage", `${column} has no order: ${operator} cannot be asked of it`, write);
  const compared = COMPARED[kind]({ at, type, value, operator: operator === "!=" ? "=" : operator, bind });
  if (compared === null)
    throw new TributaryError("usage", `${column} holds ${holds}, and ${JSON.stringify(value)} is not one of them`, write);
  // A row where it is empty holds another value, too.
  return operator === "!=" ? `(${compared}) IS NOT TRUE` : compared;
}

/** A condition that a program states. Nothing in it is read as people write it: an empty text is an empty text. */
export type Stated =
  | { readonly column: string; readonly operator: Operator; readonly value: string | number | boolean }
  | { readonly column: string; readonly in: readonly (string | number | boolean)[] }
  | { readonly column: string; readonly isNull: boolean };

/** A stated condition as SQL on the table named `t`. Throws `input-malformed` where the column cannot hold the value, or has no such order. */
export function statedSql(stated: Stated, type: string, bind: (value: JsonValue) => string): string {
  const { column } = stated;
  const kind = kindOf(type);
  const at = `t.${quoted(column)}`;
  const compared = (operator: Asked["operator"], value: string | number | boolean): string => {
    const found = COMPARED[kind]({ at, type, value: String(value), operator, bind });
    if (found !== null) return found;
    throw new TributaryError(
      "input-malformed",
      `${column} holds ${WORDS[kind][0]}, and ${JSON.stringify(value)} is not one of them`,
      "Ask with a value of that kind.",
    );
  };
  if ("isNull" in stated) return `${at} IS ${stated.isNull ? "" : "NOT "}NULL`;
  if ("in" in stated)
    return stated.in.length === 0 ? "false" : `(${stated.in.map((value) => compared("=", value)).join(" OR ")})`;
  const { operator, value } = stated;
  if (operator === "~") return contains(`(${jsonOf(at, type)})::text`, String(value), bind);
  if (operator === "=") return compared("=", value);
  if (operator === "!=") return `(${compared("=", value)}) IS NOT TRUE`;
  if (kind === "boolean" || kind === "json" || kind === "other")
    throw new TributaryError("input-malformed", `${column} has no order`, "Ask whether it equals a value.");
  return compared(operator, value);
}

/** However its letters are composed; of the case, what the database's locale knows, which is A to Z at least. */
function contains(shown: string, value: string, bind: (value: JsonValue) => string): string {
  const forms = [...new Set([value, textAsSeen(value)])];
  return `(${forms.map((form) => `position(lower(${bind(form)}::text) in lower(${shown})) > 0`).join(" OR ")})`;
}

interface Asked {
  /** The column, as SQL has it. */
  readonly at: string;
  readonly type: string;
  readonly value: string;
  readonly operator: "=" | "<" | ">" | "<=" | ">=";
  readonly bind: (value: JsonValue) => string;
}

const [LEAST_WHOLE, MOST_WHOLE] = [-(2n ** 63n), 2n ** 63n - 1n];
const NUMBER = /^[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,3})?$/;

/** A comparison by what the column holds; `null`: it cannot hold the value. */
const COMPARED: Readonly<Record<Kind, (asked: Asked) => string | null>> = {
  text: ({ at, value, operator, bind }) =>
    operator === "=" ? `${at} IN (${bind(value)}, ${bind(textAsSeen(value))})` : `${at} ${operator} ${bind(textAsSeen(value))}`,
  whole({ at, value, operator, bind }) {
    if (!/^[+-]?\d{1,19}$/.test(value)) return null;
    const whole = BigInt(value.replace("+", ""));
    return whole < LEAST_WHOLE || whole > MOST_WHOLE ? null : `${at} ${operator} ${bind(whole.toString())}::bigint`;
  },
  number({ at, type, value, operator, bind }) {
    if (!NUMBER.test(value) || !Number.isFinite(Number(value))) return null;
    // Amounts are compared by their digits; what is written with an exponent has no more of them than a number has.
    const isExact = type === "numeric" && !/e/i.test(value);
    return `${at} ${operator} ${bind(isExact ? value : String(Number(value)))}::${type === "numeric" ? "numeric" : "double precision"}`;
  },
  boolean: ({ at, value, operator, bind }) =>
    value === "true" || value === "false" ? `${at} ${operator} ${bind(value)}::boolean` : null,
  day: ({ at, value, operator, bind }) => (date().fits(value) ? `${at} ${operator} ${bind(value)}::date` : null),
  instant({ at, value, operator, bind }) {
    const isDay = date().fits(value);
    if (!isDay && !timestamp().fits(value)) return null;
    // A day is all of its instants in UTC; an instant is kept to the millisecond.
    const start = `${bind(isDay ? `${value}T00:00:00Z` : new Date(value).toISOString())}::timestamptz`;
    const end = `${start} + interval '${isDay ? "1 day" : "1 millisecond"}'`;
    if (operator === "=") return `(${at} >= ${start} AND ${at} < ${end})`;
    return operator === "<" || operator === ">=" ? `${at} ${operator} ${start}` : `${at} ${operator === ">" ? ">=" : "<"} ${end}`;
  },
  json({ at, value, operator, bind }) {
    const read = jsonIn(value);
    return json().fits(read) ? `${at}::jsonb ${operator} ${bind(JSON.stringify(read))}::jsonb` : null;
  },
  other: ({ at, value, operator, bind }) => `${at}::text ${operator} ${bind(value)}`,
};

/** A value of a JSON column as somebody types it: JSON, or a text without quotes. */
function jsonIn(text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    return text;
  }
}
