import { type EntityRef, type JsonValue, type Position, TributaryError } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { wasKnownAt } from "../names.ts";
import { commonPosition } from "../shard-positions.ts";
import { asPosition } from "../shards.ts";
import { jsonOf, quoted, readAs } from "./columns.ts";
import { type Condition, conditionIn, conditionSql, noColumn } from "./conditions.ts";
import { openCursor } from "./cursor.ts";
import { columnsIn, type Sort, sortIn } from "./order.ts";
import { inSnapshot } from "./snapshot.ts";

/** The moment of which rows are asked for: a position in the log, or a time by the hub's clock. */
export type AsOf = { readonly position: Position } | { readonly time: string };

/** Which rows of which view are asked for, in which order, and how many. What is asked of columns is written as people write it. */
export interface RowsQuestion {
  readonly view: string;
  /** The row of one entity. */
  readonly id?: string;
  /** Conditions that all hold, each like `household_size>=5`. */
  readonly where?: readonly string[];
  /** The columns that are shown, like `given_name,village`; default: all. */
  readonly columns?: string;
  /** A column, with `:desc` behind it or without; rows that are alike there come in the order of their ids. Default: by id. */
  readonly sort?: string;
  /** `undefined`: as they are now. */
  readonly asOf?: AsOf;
  /** Whether the columns that only the fold uses may be asked for: `state` has all that events say of the entity. Default: yes. */
  readonly inner?: boolean;
  readonly page: { readonly limit?: number /** Rows after the one of this id. */; readonly after?: string };
}

/** Rows as they are shown; days and instants as text. */
export interface Rows {
  readonly view: string;
  readonly columns: readonly string[];
  /** How many there are in all, on every page. */
  readonly total: number;
  readonly rows: readonly Readonly<Record<string, JsonValue>>[];
  /**
   * The position up to which the answer is complete. An answer about the past shows nothing later; rows as they are now may show later
   * events of the shards that are further. `null`: some shards have not begun.
   */
  readonly through: Position | null;
}

/** Rows that are read while they are used: a view of any size needs the memory of one fetch. */
export interface FoundRows extends Omit<Rows, "rows"> {
  /** How many come. */
  readonly shown: number;
  /** Whether there are others behind them. */
  readonly hasMore: boolean;
  /** The rows, in the order of `columns`; only once. */
  readonly pages: AsyncIterable<readonly FoundRow[]>;
}

export interface FoundRow {
  /** `null` in a view that has no column `id`. */
  readonly id: string | null;
  readonly cells: readonly JsonValue[];
}

/** Columns that only the fold uses. */
const INNER = ["state", "first_position", "last_position"];
const isFolded = (types: ReadonlyMap<string, string>): boolean => INNER.every((name) => types.has(name));

/** The columns of a view without those that only the fold uses. */
export const withoutInner = (types: ReadonlyMap<string, string>): ReadonlyMap<string, string> =>
  isFolded(types) ? new Map([...types].filter(([name]) => !INNER.includes(name))) : types;

/** Columns that the past versions of a row do not have. */
const PRESENT_ONLY = new Set(["conflicts", "waiting_for"]);

/** The names of the live views. */
export async function viewNames(db: Db): Promise<readonly string[]> {
  const { rows } = await db.query<{ name: string }>("SELECT name FROM tributary.view ORDER BY name");
  return rows.map(({ name }) => name);
}

/** Throws `not-found` where no live view has this name. */
export async function mustBeView(db: Db, view: string): Promise<void> {
  const names = await viewNames(db);
  if (!names.includes(view)) throw new TributaryError("not-found", `there is no view ${view}`, `There are: ${names.join(", ")}.`);
}

/** The columns of a view's table in their order, each with its type in PostgreSQL; empty where there is no such view. */
export async function columnTypes(db: Db, view: string): Promise<ReadonlyMap<string, string>> {
  const { rows } = await db.query<{ name: string; type: string }>(
    `SELECT column_name AS name, data_type AS type FROM information_schema.columns
     WHERE table_schema = 'views' AND table_name = $1 ORDER BY ordinal_position`,
    [view],
  );
  return new Map(rows.map(({ name, type }) => [name, type]));
}

/** A view's rows, all at once: for few of them. See `withRows`. */
export const rows = (db: Db, question: RowsQuestion): Promise<Rows> =>
  withRows(db, question, async ({ view, columns, total, through, pages }) => {
    const found: Readonly<Record<string, JsonValue>>[] = [];
    for await (const page of pages)
      for (const { cells } of page) found.push(Object.fromEntries(columns.map((name, i) => [name, cells[i] ?? null])));
    return { view, columns, total, rows: found, through };
  });

/**
 * Runs `work` with a view's rows, as they are at one moment, however long it takes. Throws `not-found` for a view that there is not, or whose past is not kept; `usage`
 * for a column that it has not, and for what its columns cannot be asked. A question about the past is answered up to the position that all shards have reached. An
 * answer about the present shows the newest rows; `through` says up to which position they are complete.
 */
export async function withRows<T>(db: Db, question: RowsQuestion, work: (found: FoundRows) => Promise<T>): Promise<T> {
  return inSnapshot(db, async () => {
    const { view, asOf, page, inner = true } = question;
    const types = await typesOf(db, view);
    const plan = planOf(question, inner ? types : withoutInner(types));
    const common = await commonPosition(db);
    const past = asOf === undefined ? null : await pastOf(db, view, asOf, common);
    const values: unknown[] = [...(past?.values ?? [])];
    const bind = (value: JsonValue): string => `$${values.push(value)}`;
    const conditions = plan.conditions.map(({ condition, type }) => conditionSql(condition, type, bind));
    const table = `${past?.source ?? `views.${quoted(view)}`} t`;
    const source = `${table} WHERE ${["true", ...conditions].join(" AND ")}`;
    const total = await countOf(db, source, values);
    const behind =
      page.after === undefined ? "true" : await behindOf(db, { table, plan, past: past?.values ?? [], after: page.after, bind });
    const rest = page.after === undefined ? total : await countOf(db, `${source} AND ${behind}`, values);
    const shown = Math.min(page.limit ?? rest, rest);
    const select = plan.columns.map((name, i) => `${jsonOf(`t.${quoted(name)}`, plan.types.get(name) ?? "")} AS c${i}`);
    const id = plan.types.has("id") ? "t.id::text AS id" : "NULL AS id";
    const sql = `SELECT ${[id, ...select].join(", ")} FROM ${source} AND ${behind} ${plan.order} LIMIT ${shown}`;
    const pages = pagesOf(db, sql, { values, columns: plan.columns.length });
    return work({
      view,
      columns: plan.columns,
      total,
      shown,
      hasMore: rest > shown,
      pages,
      through: past === null ? common : past.through,
    });
  });
}

/** What is asked of a view, with its columns known. */
export interface Plan {
  readonly types: ReadonlyMap<string, string>;
  /** Those that are shown. */
  readonly columns: readonly string[];
  readonly conditions: readonly { readonly condition: Condition; readonly type: string }[];
  readonly sort: Sort | null;
  /** The order of the rows, as SQL. */
  readonly order: string;
}

/** Throws `not-found` and `usage` as `withRows` does. */
export function planOf({ view, id, where = [], columns, sort, asOf }: RowsQuestion, types: ReadonlyMap<string, string>): Plan {
  const shown = [...withoutInner(types).keys()].filter((name) => !(asOf !== undefined && PRESENT_ONLY.has(name)));
  const askable = [...shown, ...(isFolded(types) ? INNER : [])];
  const conditions = where.map((text) => conditionIn(text, view, askable));
  if (id !== undefined) {
    if (!types.has("id")) throw noColumn(view, "id", shown);
    conditions.push({ column: "id", operator: "=", value: id });
  }
  const by = sort === undefined ? null : sortIn(sort, view, { columns: askable, types });
  const last = types.has("id") ? ["t.id"] : [];
  const first = by === null || by.column === "id" ? [] : [`t.${quoted(by.column)} ${by.isDown ? "DESC" : "ASC"} NULLS LAST`];
  const order = by?.column === "id" && by.isDown ? ["t.id DESC"] : [...first, ...last];
  return {
    types,
    columns: columns === undefined ? shown : columnsIn(columns, view, askable),
    conditions: conditions.map((condition) => ({ condition, type: types.get(condition.column) ?? "" })),
    sort: by,
    order: order.length === 0 ? "" : `ORDER BY ${order.join(", ")}`,
  };
}

export async function countOf(db: Db, source: string, values: readonly unknown[]): Promise<number> {
  const { rows: counted } = await db.query<{ count: number }>(`SELECT count(*)::float8 AS count FROM ${source}`, [...values]);
  return counted[0]?.count ?? 0;
}

/** The rows that come after the one of an id, as SQL. Throws `usage` where the order needs that row, and it is not there. */
async function behindOf(
  db: Db,
  {
    table,
    plan: { types, sort },
    past,
    after,
    bind,
  }: {
    readonly table: string;
    readonly plan: Plan;
    readonly past: readonly unknown[];
    readonly after: string;
    readonly bind: (value: JsonValue) => string;
  },
): Promise<string> {
  const idType = types.get("id");
  if (idType === undefined)
    throw new TributaryError("usage", "--after goes by ids, and this view has none", "Leave it out, or give a greater --limit.");
  if (sort === null || sort.column === "id") return `t.id ${sort?.isDown ? "<" : ">"} ${bind(after)}::${idType}`;
  const column = quoted(sort.column);
  const { rows: found } = await db.query<{ value: string | null }>(
    `SELECT t.${column}::text AS value FROM ${table} WHERE t.id::text = $${past.length + 1}`,
    [...past, after],
  );
  const row = found[0];
  if (row === undefined)
    throw new TributaryError(
      "usage",
      `--after ${after}: there is no row of this id, and with --sort its ${sort.column} says where to go on`,
      "Take the id of the last row that you have seen.",
    );
  const later = `t.id > ${bind(after)}::${idType}`;
  if (row.value === null) return `(t.${column} IS NULL AND ${later})`;
  const value = `${bind(row.value)}::${types.get(sort.column)}`;
  return `(t.${column} ${sort.isDown ? "<" : ">"} ${value} OR t.${column} = ${value} AND ${later} OR t.${column} IS NULL)`;
}

async function* pagesOf(
  db: Db,
  sql: string,
  { values, columns }: { readonly values: readonly unknown[]; readonly columns: number },
): AsyncGenerator<readonly FoundRow[]> {
  const cursor = await openCursor<Record<string, JsonValue>>(db, sql, values);
  let page: FoundRow[] = [];
  for (let row = await cursor.next(); row !== null; row = await cursor.next()) {
    const { id, ...cells } = row;
    page.push({
      id: typeof id === "string" ? id : null,
      cells: Array.from({ length: columns }, (_, i) => cells[`c${i}`] ?? null),
    });
    if (!cursor.isFetchEnd()) continue;
    yield page;
    page = [];
  }
  await cursor.close();
}

/** The columns of a view, each with its type. Throws `not-found` where there is no such view, or somebody has dropped its table. */
export async function typesOf(db: Db, view: string): Promise<ReadonlyMap<string, string>> {
  await mustBeView(db, view);
  const types = await columnTypes(db, view);
  if (types.size > 0) return types;
  throw new TributaryError(
    "not-found",
    `the table of the view ${view} is gone from PostgreSQL: somebody has dropped it`,
    `\`tributary rebuild ${view}\` makes it again from the log.`,
  );
}

/** The rows as they were known at a moment: of each row the last version that was recorded by then. The columns are those of the view now; a column that a version lacks is null. */
export async function pastOf(
  db: Db,
  view: string,
  asOf: AsOf,
  common: Position | null,
): Promise<{ readonly source: string; readonly values: readonly unknown[]; readonly through: Position | null }> {
  if (!(await isThere(db, `${view}_history`)))
    throw new TributaryError(
      "not-found",
      `the past of ${view} is not kept`,
      "Views of entities keep it, unless their declaration says history: false.",
    );
  const asked = "position" in asOf ? asOf.position : await positionAt(db, asOf.time);
  const through = asked === null || common === null ? null : asked < common ? asked : common;
  return {
    source: `(
      SELECT r.* FROM (
        SELECT DISTINCT ON (v.id) v.id, v.deleted, v.values FROM views.${quoted(`${view}_history`)} v
        WHERE ${wasKnownAt("v", "$1::bigint")} AND v.recorded_at <= $2::timestamptz
        ORDER BY v.id, v.position DESC) h,
      LATERAL jsonb_populate_record(NULL::views.${quoted(view)}, h.values::jsonb || jsonb_build_object('id', h.id, 'deleted', h.deleted)) r)`,
    values: [through, "time" in asOf ? asOf.time : "infinity"],
    through,
  };
}

/** The position of the last folded event that was recorded by a time, whoever asks and whosever it is; `null`: there is none. */
async function positionAt(db: Db, time: string): Promise<Position | null> {
  const { rows: found } = await db.query<{ position: string | null }>(
    "SELECT tributary.position_at($1::timestamptz) AS position",
    [time],
  );
  return asPosition(found[0]?.position);
}

/** Whether a table of this name stands among the live ones. */
async function isThere(db: Db, table: string): Promise<boolean> {
  const { rows: found } = await db.query<{ isThere: boolean }>('SELECT to_regclass($1) IS NOT NULL AS "isThere"', [
    `views.${quoted(table)}`,
  ]);
  return found[0]!.isThere;
}

/** The packed state of an entity in a view; `null`: the view has no row of it; `undefined`: there is no such view. */
export async function packedState(db: Db, view: string, { id }: Pick<EntityRef, "id">): Promise<string | null | undefined> {
  if (!(await isThere(db, view))) return undefined;
  const { rows } = await db.query<{ state: string }>(`SELECT state FROM views.${quoted(view)} WHERE id = $1`, [id]);
  return rows[0]?.state ?? null;
}

/** A row's values by column, and how many of its registers are contested. */
export interface RowById {
  readonly values: Readonly<Record<string, JsonValue>>;
  readonly conflicts: number;
}

/** Rows of a view by their ids. `columns`: the columns that are read, each with its type in PostgreSQL. */
export async function rowsById(
  db: Db,
  view: string,
  columns: ReadonlyMap<string, string>,
  ids: readonly string[],
): Promise<ReadonlyMap<string, RowById>> {
  // By the types in the table, not those declared: a text column that is now declared as a number cannot be read as one.
  const read = [...columns].map(([name, type]) => readAs(name, type));
  const { rows: found } = await db.query<Record<string, JsonValue>>(
    `SELECT ${["id", "conflicts", ...read].join(", ")} FROM views.${quoted(view)} WHERE id = ANY($1)`,
    [ids],
  );
  return new Map(found.map(({ id, conflicts, ...values }) => [String(id), { values, conflicts: Number(conflicts) }]));
}
