/**
 * The tables of one view in SQLite, made from its declaration, and their SQL. Each view has a table of rows, one of states, and one for each of its further tables:
 *
 *   view_<name>           _n (the entity's number), id, the declared columns, deleted, conflicts, waiting_for, last_position, last_changed, _own, _problem,
 *                         _withheld (the columns that this device may not see, as a JSON list; NULL: none)
 *   state_<name>          n, placed (what the hub's feed has brought, packed), shown (the same with own events on top; NULL: there are none)
 *   view_<name>_<table>   _n, _at, the table's columns
 *
 * No declared name begins with `_`, or is one that every view has.
 */
import type { DatabaseSync, SQLInputValue, SQLOutputValue } from "node:sqlite";
import { isJsonObject, type JsonValue, type Vector } from "../../core/index.ts";
import type { Column, Columns, FullRow, Projection } from "../../merge/engine.ts";
import { type Prepared, textOrNull } from "./prepared.ts";

const SQL_TYPES: Readonly<Record<Column["type"], string>> = {
  text: "TEXT",
  integer: "INTEGER",
  number: "REAL",
  decimal: "REAL",
  boolean: "INTEGER",
  date: "TEXT",
  instant: "TEXT",
  json: "TEXT",
};

const q = (name: string): string => `"${name}"`;

/** A view's table of rows. */
export const rowTable = (view: string): string => q(`view_${view}`);
const stateTable = (view: string): string => q(`state_${view}`);
const childTable = (view: string, table: string): string => q(`view_${view}_${table}`);

/** The columns that a view's declaration names, derived ones last. */
export const shownColumns = ({
  columns,
  derived,
}: Pick<Projection, "columns" | "derived">): readonly (readonly [string, Column])[] => [
  ...Object.entries(columns),
  ...Object.entries(derived).map(([name, { column }]) => [name, column] as const),
];

/** A value as SQLite keeps it. */
export const valueToSql = ({ type }: Column, value: JsonValue | undefined): SQLInputValue =>
  value === null || value === undefined
    ? null
    : type === "json"
      ? JSON.stringify(value)
      : typeof value === "boolean"
        ? Number(value)
        : typeof value === "object"
          ? JSON.stringify(value)
          : value;

/** A value as SQLite gives it back. */
export function valueFromSql({ type }: Column, value: SQLOutputValue | undefined): JsonValue {
  if (value === null || value === undefined) return null;
  if (type === "boolean") return value === 1;
  // Written by `valueToSql`.
  if (type === "json") return JSON.parse(String(value)) as JsonValue;
  return typeof value === "string" ? value : Number(value);
}

/** What an own event makes of a row: `null` where this device wrote nothing of it. */
export type Own = "pending" | "confirmed" | "quarantined" | null;

/** What is written of an entity in a view. */
export interface Shown {
  readonly row: FullRow;
  /** The packed state of what the feed has brought; `null`: nothing. */
  readonly placed: string | null;
  /** The packed state with own events; `null`: there are none on top. */
  readonly shown: string | null;
  readonly waitingFor: Vector;
  readonly lastPosition: number | null;
  readonly lastChangedMs: number | null;
  readonly own: Own;
  /** Why the newest events of the entity could not be folded; `null`: they could. */
  readonly problem: string | null;
}

/** What is known of an entity in a view. */
export interface Known extends Pick<Shown, "placed" | "shown" | "lastPosition" | "lastChangedMs" | "problem"> {
  /** The row as it stands in the table. */
  readonly cells: Cells;
}

/** What the statement `known` gives: the entity's number, its states, and then the row's values as SQLite keeps them, in the order of the columns. */
type Cells = Readonly<Record<number, SQLOutputValue>>;
const FIRST_CELL = 3;

/** Statements that write other columns each: an app's events write few combinations of columns. */
const MAX_UPDATES = 64;

/** A row as it stands in the table. */
export interface StoredRow {
  readonly n: number;
  readonly id: string;
  readonly row: FullRow;
  readonly waitingFor: Vector;
  readonly own: Own;
  readonly problem: string | null;
  readonly lastPosition: number | null;
}

export type ViewRows = ReturnType<typeof openViewRows>;

const definitions = (columns: readonly (readonly [string, Column])[]): string =>
  columns.map(([name, { type }]) => `${q(name)} ${SQL_TYPES[type]}, `).join("");

/** Makes a view's tables anew, empty. */
export function makeTables(db: DatabaseSync, view: Projection): void {
  dropTables(db, view.name);
  const { name } = view;
  db.exec(
    `CREATE TABLE ${rowTable(name)} (_n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, ${definitions(shownColumns(view))}
       deleted INTEGER NOT NULL, conflicts INTEGER NOT NULL, waiting_for TEXT, last_position INTEGER, last_changed TEXT, _own TEXT, _problem TEXT, _withheld TEXT) STRICT`,
  );
  db.exec(`CREATE TABLE ${stateTable(name)} (n INTEGER PRIMARY KEY, placed TEXT, shown TEXT) STRICT`);
  for (const [table, { columns }] of Object.entries(view.tables))
    db.exec(
      `CREATE TABLE ${childTable(name, table)} (_n INTEGER NOT NULL, _at INTEGER NOT NULL, ${definitions(Object.entries(columns))}
         PRIMARY KEY (_n, _at)) STRICT, WITHOUT ROWID`,
    );
  for (const [column, { index }] of shownColumns(view)) if (index) addIndex(db, name, [q(column)]);
}

/** Adds the column `_withheld` to a table that was made before there was one. Its rows may be seen whole. */
export function addWithheld(db: DatabaseSync, view: string): void {
  if (db.prepare("SELECT 1 FROM pragma_table_info(?) WHERE name = '_withheld'").get(`view_${view}`) === undefined)
    db.exec(`ALTER TABLE ${rowTable(view)} ADD COLUMN _withheld TEXT`);
}

/** Drops the tables of a view, whatever its declaration said when they were made. */
export function dropTables(db: DatabaseSync, view: string): void {
  const names = db
    .prepare(
      "SELECT name FROM sqlite_master WHERE type = 'table' AND (name = ?1 OR name = ?2 OR substr(name, 1, length(?1) + 1) = ?1 || '_')",
    )
    .all(`view_${view}`, `state_${view}`)
    .map(({ name }) => String(name));
  const others = new Set(
    db
      .prepare("SELECT name FROM replica_view WHERE name <> ?")
      .all(view)
      .map(({ name }) => `view_${name}`),
  );
  // `view_a_b` is the table b of the view a, unless there is a view a_b.
  const isOthers = (table: string): boolean =>
    [...others].some((other) => other.length > `view_${view}`.length && (table === other || table.startsWith(`${other}_`)));
  for (const name of names) if (!isOthers(name)) db.exec(`DROP TABLE ${q(name)}`);
}

/**
 * Makes an index of a view's rows that is not there yet. `columns`: columns in quotes, or expressions over them, each with its direction.
 * @returns whether it is new.
 */
export function addIndex(db: DatabaseSync, view: string, columns: readonly string[]): boolean {
  const name = `view_${view}: ${columns.join(", ").replaceAll('"', "")}`;
  if (db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?").get(name) !== undefined) return false;
  db.exec(`CREATE INDEX ${q(name)} ON ${rowTable(view)} (${columns.join(", ")})`);
  return true;
}

const vectorIn = (value: SQLOutputValue | undefined): Vector => {
  const found: unknown = typeof value === "string" ? JSON.parse(value) : {};
  return (isJsonObject(found) ? found : {}) as Vector;
};
/** The names in a list of columns; none, where nothing is withheld. */
export const namesIn = (value: SQLOutputValue | undefined): readonly string[] =>
  typeof value === "string" ? (JSON.parse(value) as string[]) : [];
const OWN: readonly Own[] = ["pending", "confirmed", "quarantined"];

// Long because its statements share the names of the columns.
/** The SQL of one view's tables. `prepared` must be made anew when the tables are. */
export function openViewRows(view: Projection, prepared: Prepared) {
  const columns = shownColumns(view);
  const names = [
    ...columns.map(([name]) => name),
    "deleted",
    "conflicts",
    "waiting_for",
    "last_position",
    "last_changed",
    "_own",
    "_problem",
    "_withheld",
  ];
  const [rows, states] = [rowTable(view.name), stateTable(view.name)];
  const setting = (of: readonly string[], from: (name: string) => string): string =>
    of.map((name) => `${q(name)} = ${from(name)}`).join(", ");
  const write = `INSERT INTO ${rows} (_n, id, ${names.map(q).join(", ")}) VALUES (?, ?, ${names.map(() => "?").join(", ")})
    ON CONFLICT (_n) DO UPDATE SET ${setting(names, (name) => `excluded.${q(name)}`)}`;
  const known = `SELECT s.n, s.placed, s.shown, ${names.map((name) => `r.${q(name)}`).join(", ")}
    FROM json_each(?) w CROSS JOIN ${states} s ON s.n = w.value JOIN ${rows} r ON r._n = s.n`;
  const cellOf = (name: string): number => FIRST_CELL + names.indexOf(name);
  const [atPosition, atChanged, atProblem] = [cellOf("last_position"), cellOf("last_changed"), cellOf("_problem")];
  const writeStates = `INSERT INTO ${states} VALUES (?, ?, ?) ON CONFLICT (n) DO UPDATE SET placed = excluded.placed, shown = excluded.shown`;
  const children = childRows(view, prepared);
  const updates = new Map<string, string>();
  /** The statement that writes these columns; `undefined`: there are too many already. */
  const updateOf = (changed: readonly string[]): string | undefined => {
    const key = changed.join(",");
    const there = updates.get(key);
    if (there !== undefined || updates.size >= MAX_UPDATES) return there;
    const sql = `UPDATE ${rows} SET ${setting(changed, () => "?")} WHERE _n = ?`;
    updates.set(key, sql);
    return sql;
  };
  /** Writes what differs only: SQLite writes an index again whose column is written, whatever its value. */
  const writeRow = (n: number, id: string, values: readonly SQLInputValue[], before: Cells | undefined): void => {
    const changed: string[] = [];
    const set: SQLInputValue[] = [];
    if (before !== undefined)
      for (let i = 0; i < names.length; i++) {
        const value = values[i] ?? null;
        if (value === before[FIRST_CELL + i]) continue;
        changed.push(names[i] ?? "");
        set.push(value);
      }
    if (before !== undefined && changed.length === 0) return;
    const update = before === undefined ? undefined : updateOf(changed);
    if (update === undefined) prepared(write).run(n, id, ...values);
    else prepared(update).run(...set, n);
  };
  const knownIn = (row: Cells): Known => {
    const [position, changedAt] = [row[atPosition], row[atChanged]];
    return {
      placed: textOrNull(row[1]),
      shown: textOrNull(row[2]),
      lastPosition: position == null ? null : Number(position),
      lastChangedMs: typeof changedAt === "string" ? Date.parse(changedAt) : null,
      problem: textOrNull(row[atProblem]),
      cells: row,
    };
  };

  const stored = (r: Record<string, SQLOutputValue>): StoredRow => ({
    n: Number(r._n),
    id: String(r.id),
    row: {
      values: Object.fromEntries(columns.map(([name, column]) => [name, valueFromSql(column, r[name])])),
      deleted: r.deleted === 1,
      conflicts: Number(r.conflicts),
      tables: children.read(Number(r._n)),
      ...(r._withheld == null ? {} : { withheld: namesIn(r._withheld) }),
    },
    waitingFor: vectorIn(r.waiting_for),
    own: OWN.find((own) => own === r._own) ?? null,
    problem: textOrNull(r._problem),
    lastPosition: r.last_position == null ? null : Number(r.last_position),
  });

  return {
    view,
    /** What is known of an entity and needed to fold its next event. */
    known(n: number): Known | undefined {
      const row = prepared(known, "arrays").get(`[${n}]`);
      return row && knownIn(row);
    },
    /** The same of many entities, which takes a third of the time for each. */
    knownOf: (entities: readonly number[]): ReadonlyMap<number, Known> =>
      new Map(
        prepared(known, "arrays")
          .all(JSON.stringify(entities))
          .map((row) => [Number(row[0]), knownIn(row)]),
      ),
    /** `before`: what was known of the entity just now. Without it, all of the row is written. */
    write(n: number, id: string, now: Shown, before?: Known): void {
      const { row, placed, shown, waitingFor, lastPosition, lastChangedMs, own, problem } = now;
      const values: SQLInputValue[] = [];
      for (const [name, column] of columns) values.push(valueToSql(column, row.values[name]));
      const waits = Object.keys(waitingFor).length === 0 ? null : JSON.stringify(waitingFor);
      const withheld = row.withheld === undefined ? null : JSON.stringify(row.withheld);
      const changedAt = lastChangedMs === null ? null : new Date(lastChangedMs).toISOString();
      values.push(row.deleted ? 1 : 0, row.conflicts, waits, lastPosition, changedAt, own, problem, withheld);
      writeRow(n, id, values, before?.cells);
      prepared(writeStates).run(n, placed, shown);
      children.write(n, row.tables);
    },
    setOwn(n: number, own: Own): void {
      prepared(`UPDATE ${rows} SET _own = ? WHERE _n = ?`).run(own, n);
    },
    remove(n: number): void {
      prepared(`DELETE FROM ${rows} WHERE _n = ?`).run(n);
      prepared(`DELETE FROM ${states} WHERE n = ?`).run(n);
      children.remove(n);
    },
    row(n: number): StoredRow | undefined {
      const row = prepared(`SELECT * FROM ${rows} WHERE _n = ?`).get(n);
      return row && stored(row);
    },
    count: (): number => Number(prepared(`SELECT count(*) AS n FROM ${rows}`).get()?.n ?? 0),
  };
}

/** The SQL of a view's further tables. */
function childRows(view: Projection, prepared: Prepared) {
  const tables = Object.entries(view.tables).map(([name, { columns }]) => {
    const named = Object.entries(columns as Columns);
    const table = childTable(view.name, name);
    const into = ["_n", "_at", ...named.map(([column]) => column)];
    return {
      name,
      named,
      table,
      insert: `INSERT INTO ${table} (${into.map(q).join(", ")}) VALUES (${into.map(() => "?").join(", ")})`,
    };
  });
  return {
    write(n: number, rows: FullRow["tables"]): void {
      for (const { name, named, table, insert } of tables) {
        prepared(`DELETE FROM ${table} WHERE _n = ?`).run(n);
        for (const [at, row] of (rows[name] ?? []).entries())
          prepared(insert).run(n, at, ...named.map(([column, of]) => valueToSql(of, row[column])));
      }
    },
    read: (n: number): FullRow["tables"] =>
      Object.fromEntries(
        tables.map(({ name, named, table }) => [
          name,
          prepared(`SELECT * FROM ${table} WHERE _n = ? ORDER BY _at`)
            .all(n)
            .map((row) => Object.fromEntries(named.map(([column, of]) => [column, valueFromSql(of, row[column])]))),
        ]),
      ),
    remove(n: number): void {
      for (const { table } of tables) prepared(`DELETE FROM ${table} WHERE _n = ?`).run(n);
    },
  };
}
