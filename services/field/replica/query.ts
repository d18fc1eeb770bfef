/**
 * Questions to a view's rows on a device. A question comes in as plain data; SQL whose values are bound comes out, and the index that makes it quick. What cannot be asked is refused with
 * what there is.
 */
import { isJsonObject, type JsonValue, TributaryError, textAsSeen } from "../../core/index.ts";
import { type Column, columnWords, normal } from "../../merge/engine.ts";
import type { SqlColumn, ViewTable } from "./view-table.ts";

/** A value that columns can be compared with. */
export type Scalar = string | number | boolean;
type ScalarOf<V> = Extract<V, Scalar>;

/** Conditions that a column's value must all meet. A row without a value meets none of the comparisons. */
export interface Comparison<V = Scalar> {
  readonly gt?: V;
  readonly gte?: V;
  readonly lt?: V;
  readonly lte?: V;
  /** Texts that begin so. */
  readonly prefix?: V extends string ? string : never;
  /** Anything but this, or these. `null`: rows that have a value. A row without a value is not equal to any. */
  readonly not?: V | null | readonly (V | null)[];
}

/** What a column must be: a value, `null` for none, one of several, or what a comparison says. */
export type Condition<V = Scalar> = V | null | readonly (V | null)[] | Comparison<V>;

/** What a device knows of a row beside its columns. No column's name begins with `_`. */
export interface RowFacts {
  readonly id: string;
  readonly deleted: boolean;
  /** How many of its registers are contested. */
  readonly conflicts: number;
  /**
   * What this device itself wrote of it: `pending` while the hub has not confirmed all of it, `quarantined` while some of it is held there and does not count, else `confirmed`; `null`: it wrote
   * nothing of it.
   */
  readonly _own: "pending" | "confirmed" | "quarantined" | null;
  /** Why its newest events could not be folded: it is shown as it was before them. `null`: they could. */
  readonly _problem: string | null;
  /** The view is folded by another declaration than the hub's, which may show something else. */
  readonly _olderRules: boolean;
  /** Columns whose values this device may not see, and `deleted` if it cannot tell that. They are `null` (and `false`) here. No condition on such a column holds. */
  readonly _withheld: readonly string[];
}

export type ReplicaRow<R = Readonly<Record<string, JsonValue>>> = RowFacts & R;

/** Facts that rows can be chosen by, as by columns. */
type AskedFacts = Pick<RowFacts, "id" | "deleted" | "conflicts" | "_own" | "_problem">;
type Asked<R> = R & AskedFacts;
type ColumnName<R> = keyof Asked<R> & string;

export type Order<C extends string = string> = C | { readonly column: C; readonly descending?: boolean };

/** A question to one view. */
export interface Query<R = Readonly<Record<string, JsonValue>>> {
  /** All of these hold. Deleted rows are left out, unless `deleted` stands here. */
  readonly where?: { readonly [C in ColumnName<R>]?: Condition<ScalarOf<Asked<R>[C]>> };
  /** By which columns rows are ordered, the least first; rows without a value come last. Default, and among equals: by id. */
  readonly order?: Order<ColumnName<R>> | readonly Order<ColumnName<R>>[];
  /** At most so many rows; default: all. */
  readonly limit?: number;
  /** Rows after this one, in the same order: the last row of the page before, or its id. */
  readonly after?: string | (Readonly<Record<string, unknown>> & { readonly id: string });
}

/** The question as SQL. */
export interface Asking {
  /** Statements whose rows follow each other. Each takes its values, and then how many rows at most (−1: all). */
  readonly parts: readonly { readonly sql: string; readonly values: readonly (string | number)[] }[];
  readonly limit: number | null;
  /** The columns or expressions of the index that answers it without looking at other rows; empty: none is needed. */
  readonly index: readonly string[];
}

/** A question whose columns and values are not checked by a compiler. */
export type LooseQuery = Query<Readonly<Record<string, JsonValue>>>;

const usage = (message: string, hint: string): TributaryError => new TributaryError("usage", message, hint);

/** The question as SQL. `rowAt`: finds a row by its id, for `after`. Throws `usage` for columns and values that the view does not have. */
export function askingOf(
  table: ViewTable,
  query: LooseQuery,
  rowAt: (id: string) => Readonly<Record<string, unknown>> | null,
): Asking {
  checkMembers(table, query);
  const conditions = conditionsOf(table, query);
  const order = orderOf(table, query, conditions);
  const limit = limitOf(query);
  const after = afterOf(table, query, rowAt);
  const { index, isOrdered } = choiceOf(conditions, order, query);
  const part = (
    by: readonly Ordered[],
    also: string | null,
    from: Readonly<Record<string, unknown>> | null,
  ): Asking["parts"][number] => {
    const values: (string | number)[] = [];
    const bind = (value: string | number): string => {
      values.push(value);
      return "?";
    };
    const where = conditions.flatMap(({ column, terms }) => terms.map((term) => term(column.sql, bind)));
    if (also !== null) where.push(also);
    if (from !== null) where.push(keysetSql(by, from, bind));
    const columns = readColumns(table);
    const chosen = where.length === 0 ? "" : ` WHERE ${where.join(" AND ")}`;
    const ordered = by.map((each) => orderSql(each, isOrdered ? "" : "+")).join(", ");
    return { sql: `SELECT ${columns} FROM ${table.sql}${chosen} ORDER BY ${ordered} LIMIT ?`, values };
  };
  const [first, ...rest] = order;
  if (first === undefined || !isOrdered || !first.hasNulls) return { parts: [part(order, null, after)], limit, index };
  // Rows with a value, then rows without: so one index enters either where the page before ended.
  const isAmongNulls = after !== null && (after[first.column.name] ?? null) === null;
  const withValue = isAmongNulls
    ? []
    : [part([{ ...first, hasNulls: false }, ...rest], `${first.column.sql} IS NOT NULL`, after)];
  const without = part(rest, `${first.column.sql} IS NULL`, isAmongNulls ? after : null);
  return { parts: [...withValue, without], limit, index };
}

/** What is read of each row. */
export const readColumns = ({ columns }: ViewTable): string =>
  [...[...columns.values()].map(({ sql }) => sql), "_withheld"].join(", ");

const MEMBERS: readonly string[] = ["where", "order", "limit", "after"] satisfies (keyof Query)[];

function checkMembers({ name }: ViewTable, query: LooseQuery): void {
  if (!isJsonObject(query as JsonValue))
    throw usage(`the question to ${name} is not an object`, "Write { where, order, limit, after }.");
  const extra = Object.keys(query).find((member) => !MEMBERS.includes(member));
  if (extra !== undefined) throw usage(`a question has no member ${JSON.stringify(extra)}`, `It may have ${MEMBERS.join(", ")}.`);
}

function columnOf({ name, columns }: ViewTable, column: string): SqlColumn {
  const found = columns.get(column);
  if (found !== undefined) return found;
  throw usage(`${name} has no column ${JSON.stringify(column)}`, `Its columns are ${[...columns.keys()].join(", ")}.`);
}

type Bind = (value: string | number) => string;
type Term = (column: string, bind: Bind) => string;

/** What a question says of one column. */
interface Conditioned {
  readonly column: SqlColumn;
  readonly terms: readonly Term[];
  /** `fixed`: all rows have the same value; `range`: their values lie side by side; `any`: neither. */
  readonly spread: "fixed" | "range" | "any";
  /** Whether rows without a value are left out. */
  readonly isSet: boolean;
}

function conditionsOf(table: ViewTable, { where = {} }: LooseQuery): readonly Conditioned[] {
  const given = Object.entries(where).filter(([, condition]) => condition !== undefined);
  const all = given.map(([name, condition]) => seen(conditionOf(table, columnOf(table, name), condition)));
  const isAboutDeleted = given.some(([name]) => name === "deleted");
  const deleted = table.columns.get("deleted");
  return isAboutDeleted || deleted === undefined ? all : [...all, conditionOf(table, deleted, false)];
}

/** The same condition, where the device may see the value: of what it may not see, nothing holds. */
function seen(condition: Conditioned): Conditioned {
  const { column, terms, isSet } = condition;
  // What is withheld has no value here, so it meets no condition that asks for one.
  if (isSet || (column.declared === null && column.name !== "deleted")) return condition;
  return { ...condition, terms: [...terms, () => `("_withheld" IS NULL OR instr("_withheld", '"${column.name}"') = 0)`] };
}

const IS_NULL: Term = (column) => `${column} IS NULL`;
const SIGNS = { gt: ">", gte: ">=", lt: "<", lte: "<=" } as const;
const COMPARISONS: readonly string[] = ["gt", "gte", "lt", "lte", "prefix", "not"] satisfies (keyof Comparison)[];

function conditionOf(table: ViewTable, column: SqlColumn, condition: unknown): Conditioned {
  if (condition === null) return { column, terms: [IS_NULL], spread: "fixed", isSet: false };
  if (Array.isArray(condition)) return oneOf(table, column, condition);
  if (typeof condition !== "object") {
    const [value, ...others] = valuesOf(table, column, condition);
    if (others.length > 0) return oneOf(table, column, [condition]);
    return { column, terms: [(at, bind) => `${at} = ${bind(value!)}`], spread: "fixed", isSet: true };
  }
  const comparison = Object.entries(condition as object).filter(([, value]) => value !== undefined);
  if (comparison.length === 0)
    throw usage(`the condition on ${column.name} says nothing`, `Give it a value, or one of ${COMPARISONS.join(", ")}.`);
  const terms = comparison.map(([name, value]) => comparisonTerm(table, column, name, value));
  const isRange = comparison.some(([name]) => name !== "not");
  return { column, terms, spread: isRange ? "range" : "any", isSet: isRange };
}

function oneOf(table: ViewTable, column: SqlColumn, condition: readonly unknown[]): Conditioned {
  const values = condition.filter((value) => value !== null).flatMap((value) => valuesOf(table, column, value));
  const hasNull = condition.includes(null);
  const term: Term = (at, bind) => {
    const among = `${at} IN (${values.map(bind).join(", ")})`;
    return hasNull ? (values.length === 0 ? IS_NULL(at, bind) : `(${among} OR ${at} IS NULL)`) : among;
  };
  return { column, terms: [term], spread: hasNull ? "any" : "range", isSet: !hasNull };
}

function comparisonTerm(table: ViewTable, column: SqlColumn, name: string, value: unknown): Term {
  if (name === "not") {
    const inner = conditionOf(table, column, value);
    // A row without a value is not equal to any value.
    return (at, bind) => `(${inner.terms.map((term) => term(at, bind)).join(" AND ")}) IS NOT TRUE`;
  }
  if (name === "prefix") return prefixTerm(column, value);
  if (!Object.hasOwn(SIGNS, name))
    throw usage(`a condition has no member ${JSON.stringify(name)}`, `It may have ${COMPARISONS.join(", ")}.`);
  if (column.type === "boolean")
    throw usage(`${column.name} has no order: ${name} cannot be asked of it`, "Ask for true or false.");
  const sign = SIGNS[name as keyof typeof SIGNS];
  const [bound] = valuesOf(table, column, value).slice(-1);
  return (at, bind) => `${at} ${sign} ${bind(bound!)}`;
}

function prefixTerm({ name, type }: SqlColumn, value: unknown): Term {
  if (type !== "text" || typeof value !== "string")
    throw usage(`prefix cannot be asked of ${name}`, "It takes a text, and is asked of columns of texts.");
  const from = textAsSeen(value);
  const end = afterPrefix(from);
  return (at, bind) => (end === null ? `${at} >= ${bind(from)}` : `${at} >= ${bind(from)} AND ${at} < ${bind(end)}`);
}

/** The least text that is greater than all texts with a prefix, in the order of their code points; `null`: there is none. */
export function afterPrefix(prefix: string): string | null {
  const points = [...prefix].map((char) => char.codePointAt(0)!);
  while (points.length > 0) {
    const last = points.pop()!;
    if (last >= 0x10ffff) continue;
    // Halves of surrogate pairs stand in no text.
    return String.fromCodePoint(...points, last === 0xd7ff ? 0xe000 : last + 1);
  }
  return null;
}

const OTHERWISE: Readonly<Record<string, string>> = {
  _own: "Give pending, confirmed or quarantined.",
};

/** The forms in which SQLite may hold a value. Throws `usage` where the column can hold no such value. */
function valuesOf({ name: view }: ViewTable, column: SqlColumn, value: unknown): readonly (string | number)[] {
  const { name, type, declared } = column;
  const wrong = (): TributaryError =>
    usage(
      `${view}.${name} is ${columnWords({ type })}, and ${String(JSON.stringify(value)).slice(0, 80)} does not fit it`,
      OTHERWISE[name] ?? EXAMPLES[type],
    );
  if (type === "json") throw usage(`${view}.${name} holds JSON: it can only be asked for null, or { not: null }`, EXAMPLES.json);
  if (typeof value !== "string" && typeof value !== "number" && typeof value !== "boolean") throw wrong();
  if (type === "text") {
    if (typeof value !== "string") throw wrong();
    // Data is kept as people see it; an entity's id may be older than that.
    return [...new Set([value, textAsSeen(value)])];
  }
  const fits =
    declared !== null ? declared.fits(value) : type === "boolean" ? typeof value === "boolean" : Number.isSafeInteger(value);
  if (!fits) throw wrong();
  const kept = declared === null ? value : normal(declared, value);
  return [typeof kept === "boolean" ? Number(kept) : (kept as string | number)];
}

const EXAMPLES: Readonly<Record<Column["type"], string>> = {
  text: "Give a text.",
  integer: "Give a whole number.",
  number: "Give a number.",
  decimal: "Give a number.",
  boolean: "Give true or false.",
  date: "Give a day like 2026-05-03.",
  instant: "Give a time like 2026-05-03T08:00:00Z.",
  json: "Choose by another column.",
};

/** A column that rows are ordered by. */
interface Ordered {
  readonly column: SqlColumn;
  readonly isDescending: boolean;
  /** Whether some of the rows may have no value: these come last, whichever way the others go. */
  readonly hasNulls: boolean;
}

function orderOf(table: ViewTable, { order }: LooseQuery, conditions: readonly Conditioned[]): readonly Ordered[] {
  const given = order === undefined ? [] : Array.isArray(order) ? (order as readonly Order[]) : [order as Order];
  const out: Ordered[] = [];
  for (const each of [...given, "id"]) {
    const { column: name, descending = false } = typeof each === "string" ? { column: each } : each;
    const column = columnOf(table, String(name));
    if (column.type === "json")
      throw usage(`${table.name}.${column.name} holds JSON, which has no order`, "Order by another column.");
    if (out.some((other) => other.column === column)) continue;
    const said = conditions.find((condition) => condition.column === column);
    if (said?.spread === "fixed") continue;
    out.push({ column, isDescending: descending === true, hasNulls: column.isNullable && said?.isSet !== true });
    // No two rows have one id.
    if (column.name === "id") break;
  }
  return out.length > 0 ? out : [{ column: columnOf(table, "id"), isDescending: false, hasNulls: false }];
}

const direction = ({ isDescending }: Ordered): string => (isDescending ? " DESC" : "");
/** With a sign before it, SQLite does not take an index for the sake of the order: it would read all rows to sort none. */
const orderSql = (ordered: Ordered, sign: "" | "+"): string =>
  `${ordered.hasNulls ? `${ordered.column.sql} IS NULL, ` : ""}${sign}${ordered.column.sql}${direction(ordered)}`;
/** The same for an index, which is entered at the first of these columns: its rows without a value are read by themselves. */
const indexed = (order: readonly Ordered[]): readonly string[] =>
  order.flatMap((ordered, i) => [
    ...(ordered.hasNulls && i > 0 ? [`${ordered.column.sql} IS NULL`] : []),
    `${ordered.column.sql}${direction(ordered)}`,
  ]);

function limitOf({ limit }: LooseQuery): number | null {
  if (limit === undefined) return null;
  if (Number.isSafeInteger(limit) && limit >= 1) return limit;
  throw usage(`limit is ${JSON.stringify(limit)}, not a whole number of 1 or more`, "Leave it out to get all rows.");
}

function afterOf(
  table: ViewTable,
  { after }: LooseQuery,
  rowAt: (id: string) => Readonly<Record<string, unknown>> | null,
): Readonly<Record<string, unknown>> | null {
  if (after === undefined) return null;
  if (typeof after !== "string") {
    if (typeof after?.id === "string") return after;
    throw usage("after is neither a row nor an id", "Give the last row of the page before.");
  }
  const found = rowAt(after);
  if (found !== null) return found;
  throw new TributaryError(
    "not-found",
    `${table.name} has no row ${JSON.stringify(after)} to continue after`,
    "Begin again; or give the last row itself, which need not be there any more.",
  );
}

/** That a row comes after another in an order. */
function keysetSql(order: readonly Ordered[], after: Readonly<Record<string, unknown>>, bind: Bind): string {
  const keptOf = ({ column }: Ordered): string | number | null => {
    const value = after[column.name] ?? null;
    return typeof value === "boolean" ? Number(value) : typeof value === "string" || typeof value === "number" ? value : null;
  };
  const isAfter = (ordered: Ordered): string => {
    const { column, isDescending, hasNulls } = ordered;
    const value = keptOf(ordered);
    if (value === null) return "0";
    const beyond = `${column.sql} ${isDescending ? "<" : ">"} ${bind(value)}`;
    return hasNulls ? `(${beyond} OR ${column.sql} IS NULL)` : beyond;
  };
  const isSame = (ordered: Ordered): string => {
    const value = keptOf(ordered);
    return value === null ? `${ordered.column.sql} IS NULL` : `${ordered.column.sql} = ${bind(value)}`;
  };
  const seek = seekSql(order[0]!, keptOf(order[0]!), bind);
  const cases = order.map((last, i) => [...order.slice(0, i).map(isSame), isAfter(last)].join(" AND "));
  return `${seek}(${cases.map((each) => `(${each})`).join(" OR ")})`;
}

/** Where the index is entered: without this, the rows of all pages before would be read again. */
const seekSql = ({ column, isDescending, hasNulls }: Ordered, value: string | number | null, bind: Bind): string =>
  hasNulls || value === null ? "" : `${column.sql} ${isDescending ? "<=" : ">="} ${bind(value)} AND `;

interface Choice {
  readonly index: readonly string[];
  /** Whether the index gives the rows in their order, so that a page is cut without looking at the rest. */
  readonly isOrdered: boolean;
}

/** The index for a question: what is fixed, then either the order in which a page is cut, or what narrows most. */
function choiceOf(conditions: readonly Conditioned[], order: readonly Ordered[], { limit }: LooseQuery): Choice {
  const useful = conditions.filter(({ column }) => column.name !== "deleted");
  const fixed = useful.filter(({ spread }) => spread === "fixed");
  if (fixed.some(({ column }) => column.name === "id")) return { index: [], isOrdered: true };
  const first = fixed.map(({ column }) => column.sql).sort();
  const narrowing = useful.find(({ spread }) => spread === "range");
  const isById = order[0]!.column.name === "id";
  if (limit !== undefined && !isById) return { index: [...first, ...indexed(order)], isOrdered: true };
  if (narrowing !== undefined) return { index: [...first, narrowing.column.sql], isOrdered: false };
  return first.length === 0 ? { index: [], isOrdered: isById } : { index: [...first, ...indexed(order)], isOrdered: true };
}
