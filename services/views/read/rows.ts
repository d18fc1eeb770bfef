import { type EntityRef, type JsonValue, type Position, TributaryError } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { wasKnownAt } from "../names.ts";
import { commonPosition } from "../places.ts";
import { asPosition } from "../shards.ts";
import { quoted, readAs } from "./columns.ts";

/** The moment of which rows are asked for: a position in the log, or a time by the hub's clock. */
export type AsOf = { readonly position: Position } | { readonly time: string };

/** Which rows of which view are asked for, and how many. */
export interface RowsQuestion {
  readonly view: string;
  /** The row of one entity. */
  readonly id?: string;
  /** Only rows whose column holds this value, written as PostgreSQL writes it. */
  readonly where?: { readonly column: string; readonly value: string };
  /** `undefined`: rows as they are now. */
  readonly asOf?: AsOf;
  readonly page: { readonly limit: number /** Rows after this one, by id. */; readonly after?: string };
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

/** Columns that only the fold uses. */
const INNER = new Set(["state", "first_position", "last_position"]);
/** Columns that the past versions of a row do not have. */
const PRESENT_ONLY = new Set(["conflicts", "waiting_for"]);

/** The names of the live views. */
export async function viewNames(db: Db): Promise<readonly string[]> {
  const { rows } = await db.query<{ name: string }>("SELECT name FROM tributary.view ORDER BY name");
  return rows.map(({ name }) => name);
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

/**
 * A view's rows, in the order of their ids. Throws `not-found` for a view that does not exist, or whose past is not kept; `usage` for a column that the view does not have.
 * A question about the past is answered up to the position that all shards have reached. An answer about the present shows the newest rows, since a view
 * without a past has no others; `through` says up to which position they are complete.
 */
export async function rows(db: Db, question: RowsQuestion): Promise<Rows> {
  const { view, id, where, asOf, page } = question;
  const types = await typesOf(db, view);
  const columns = [...types.keys()].filter((name) => !INNER.has(name) && !(asOf !== undefined && PRESENT_ONLY.has(name)));
  if (where !== undefined && !types.has(where.column))
    throw new TributaryError(
      "usage",
      `${view} has no column ${JSON.stringify(where.column)}`,
      `Its columns are ${[...types.keys()].join(", ")}.`,
    );
  const common = await commonPosition(db);
  const past = asOf === undefined ? null : await pastOf(db, view, asOf, common);
  const values: unknown[] = [...(past?.values ?? [])];
  const conditions = ["true"];
  if (id !== undefined) conditions.push(`id = $${values.push(id)}`);
  if (where !== undefined) conditions.push(`${quoted(where.column)}::text = $${values.push(where.value)}`);
  const source = `${past?.source ?? `views.${quoted(view)}`} t WHERE ${conditions.join(" AND ")}`;
  const { rows: counted } = await db.query<{ count: number }>(`SELECT count(*)::float8 AS count FROM ${source}`, values);
  const after = page.after === undefined ? "" : `AND id > $${values.push(page.after)}`;
  const { rows: found } = await db.query<Record<string, JsonValue>>(
    `SELECT ${columns.map((name) => readAs(name, types.get(name)!)).join(", ")}
     FROM (SELECT * FROM ${source} ${after} ORDER BY id LIMIT $${values.push(page.limit)}) v`,
    values,
  );
  return { view, columns, total: counted[0]!.count, rows: found, through: past === null ? common : past.through };
}

async function typesOf(db: Db, view: string): Promise<ReadonlyMap<string, string>> {
  const names = await viewNames(db);
  if (!names.includes(view)) throw new TributaryError("not-found", `there is no view ${view}`, `There are: ${names.join(", ")}.`);
  return columnTypes(db, view);
}

/** The rows as they were known at a moment: of each row the last version that was recorded by then. The columns are those of the view now; a column that a version lacks is null. */
async function pastOf(
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

/** The position of the last folded event that was recorded by a time; `null`: there is none. */
async function positionAt(db: Db, time: string): Promise<Position | null> {
  const { rows: found } = await db.query<{ position: string }>(
    "SELECT position FROM tributary.audit WHERE recorded_at <= $1::timestamptz ORDER BY position DESC LIMIT 1",
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
