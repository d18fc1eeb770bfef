/** Pages of rows for programs: conditions that are stated, and cursors that say where a page ended. In comes a question; out come rows and a cursor. */
import { type JsonValue, type Position, TributaryError } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { isOfValues } from "../failures.ts";
import { commonPosition } from "../shard-positions.ts";
import { jsonOf, quoted } from "./columns.ts";
import { conditionSql, type Stated, statedSql } from "./conditions.ts";
import { openCursor } from "./cursor.ts";
import { countOf, type Plan, pastOf, planOf, type RowsQuestion, typesOf, withoutInner } from "./rows.ts";
import { inSnapshot } from "./snapshot.ts";

/** Where a page ended: the last row's id, and what stood in the column that rows are sorted by, as text. Rows that change meanwhile neither lose it nor repeat other rows. */
export interface RowCursor {
  /** `null`: the column was empty, or rows are sorted by id. */
  readonly value: string | null;
  readonly id: string;
}

export interface PageQuestion extends Pick<RowsQuestion, "view" | "where" | "columns" | "sort" | "asOf"> {
  /** Conditions that all hold. */
  readonly stated?: readonly Stated[];
  /** Rows at most. */
  readonly limit: number;
  /** Rows after this place. */
  readonly behind?: RowCursor;
  /** Whether all rows that the conditions hold for are counted. */
  readonly counts?: boolean;
}

export interface RowsPage {
  readonly columns: readonly string[];
  readonly rows: readonly { readonly id: string; readonly values: Readonly<Record<string, JsonValue>> }[];
  /** How many rows there are in all; `null`: that was not asked. */
  readonly total: number | null;
  /** Where to go on; `null`: there are no more. */
  readonly next: RowCursor | null;
  /** As in `Rows`. */
  readonly through: Position | null;
}

/** A page of a view's rows, of one moment. Throws `not-found` for a view that there is not, or whose past is not kept; `usage` and `input-malformed` for what its columns cannot be asked. */
export const rowsPage = (db: Db, question: PageQuestion): Promise<RowsPage> =>
  inSnapshot(db, async () => {
    const { view, asOf, stated = [], limit, behind, counts = false } = question;
    const types = withoutInner(await typesOf(db, view));
    const plan = planOf({ ...question, page: {} }, types);
    if (!types.has("id"))
      throw new TributaryError(
        "usage",
        `the rows of ${view} have no ids, so there are no pages of them`,
        "Ask for the view as a file: GET /v1/views/…",
      );
    const common = await commonPosition(db);
    const past = asOf === undefined ? null : await pastOf(db, view, asOf, common);
    const values: unknown[] = [...(past?.values ?? [])];
    const bind = (value: JsonValue): string => `$${values.push(value)}`;
    const conditions = [
      ...plan.conditions.map(({ condition, type }) => conditionSql(condition, type, bind)),
      ...stated.map((each) => statedSql(each, typeFor(types, view, each.column), bind)),
    ];
    const source = `${past?.source ?? `views.${quoted(view)}`} t WHERE ${["true", ...conditions].join(" AND ")}`;
    const total = counts ? await countOf(db, source, values) : null;
    const after = behind === undefined ? "true" : behindSql(plan, behind, bind);
    const by = plan.sort === null || plan.sort.column === "id" ? "NULL" : `t.${quoted(plan.sort.column)}::text`;
    const select = plan.columns.map((name, i) => `${jsonOf(`t.${quoted(name)}`, types.get(name) ?? "")} AS c${i}`);
    const rows = await fitting(
      db,
      `SELECT ${["t.id::text AS id", `${by} AS by`, ...select].join(", ")} FROM ${source} AND ${after} ${plan.order} LIMIT ${Math.trunc(limit) + 1}`,
      values,
    );
    const shown = rows.found.slice(0, limit);
    const last = rows.isCut || rows.found.length > limit ? shown.at(-1) : undefined;
    return {
      columns: plan.columns,
      rows: shown.map((row) => ({
        id: String(row.id),
        values: Object.fromEntries(plan.columns.map((name, i) => [name, row[`c${i}`] ?? null])),
      })),
      total,
      next: last === undefined ? null : { value: last.by == null ? null : String(last.by), id: String(last.id) },
      through: past === null ? common : past.through,
    };
  }).catch((error: unknown) => {
    throw readAsked(error);
  });

/** A page has about so many bytes at most, and at least one row: what follows is on the next one. */
const MAX_PAGE_BYTES = 2 * 1_048_576;

/** The rows of a query as far as they fit in a page. */
async function fitting(
  db: Db,
  sql: string,
  values: readonly unknown[],
): Promise<{ readonly found: readonly Record<string, JsonValue>[]; readonly isCut: boolean }> {
  const cursor = await openCursor<Record<string, JsonValue>>(db, sql, values);
  const found: Record<string, JsonValue>[] = [];
  let bytes = 0;
  for (let row = await cursor.next(); row !== null; row = await cursor.next()) {
    found.push(row);
    bytes += Buffer.byteLength(JSON.stringify(row));
    if (bytes >= MAX_PAGE_BYTES) break;
  }
  const isCut = bytes >= MAX_PAGE_BYTES && (await cursor.next()) !== null;
  await cursor.close();
  return { found, isCut };
}

/** An error about a value that was asked with, as a refusal. */
export const readAsked = (error: unknown): unknown =>
  isOfValues(error)
    ? new TributaryError(
        "input-malformed",
        "a value that was asked with, or the place to go on after, cannot be read as its column holds it",
        "Correct it; give `next` of a page as it is.",
        { cause: error },
      )
    : error;
/** What PostgreSQL calls the type of a column. Throws `input-malformed` where there is no such column. */
export function typeFor(types: ReadonlyMap<string, string>, view: string, column: string): string {
  const type = types.get(column);
  if (type === undefined)
    throw new TributaryError(
      "input-malformed",
      `${view} has no column ${JSON.stringify(column)}`,
      `Its columns are ${[...types.keys()].join(", ")}.`,
    );
  return type;
}

/** The rows after a place in an order, as SQL. Empty values come last, whichever way the order goes. */
function behindSql({ types, sort }: Plan, { value, id }: RowCursor, bind: (value: JsonValue) => string): string {
  const at = `${bind(id)}::${types.get("id")}`;
  if (sort === null || sort.column === "id") return `t.id ${sort?.isDown ? "<" : ">"} ${at}`;
  const column = `t.${quoted(sort.column)}`;
  if (value === null) return `(${column} IS NULL AND t.id > ${at})`;
  const of = `${bind(value)}::${types.get(sort.column)}`;
  return `(${column} ${sort.isDown ? "<" : ">"} ${of} OR ${column} = ${of} AND t.id > ${at} OR ${column} IS NULL)`;
}
