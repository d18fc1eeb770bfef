import { isJsonObject, type JsonObject, type JsonValue, TributaryError } from "../core/index.ts";
import { digestName } from "./columns.ts";
import {
  type Columns,
  checkNames,
  type Invariant,
  malformed,
  type Projection,
  type RowOf,
  SYSTEM_COLUMNS,
} from "./projection.ts";

/** What one row adds to a total: keys and amounts by column. */
export type Contribution<K extends Columns = Columns, S extends Columns = Columns> = {
  readonly [C in keyof K | keyof S]: JsonValue;
};

/** The declaration of totals over the rows of entity views. Totals stay right when events come late or are corrected. */
export interface TotalsDeclaration<K extends Columns, S extends Columns> {
  readonly name: string;
  /** The key columns: there is one row of totals for each combination of their values. */
  readonly keys: K;
  /** What is added up: `decimal()` or `integer()` columns. */
  readonly sums: S;
  /** What a row of each source view adds if it is not deleted: one contribution, a list of several, or `null` for none. */
  readonly from: Readonly<
    Record<string, (row: JsonObject & { readonly id: string }) => Contribution<K, S> | readonly Contribution<K, S>[] | null>
  >;
  readonly invariants?: Readonly<Record<string, Invariant<K & S>>>;
  readonly notify?: Readonly<Record<string, readonly string[]>>;
}

export interface Totals {
  readonly kind: "totals";
  readonly name: string;
  readonly keys: Columns;
  readonly sums: Columns;
  readonly sources: ReadonlySet<string>;
  readonly invariants: Readonly<Record<string, Invariant>>;
  notified(name: string): readonly string[];
  /** What a source's row adds. Throws `projection-failed` on anything other than contributions. */
  contributions(source: string, row: JsonObject & { readonly id: string }): readonly Contribution[];
  readonly shape: JsonValue;
}

/** The declaration of a view that joins others: PostgreSQL computes it when it is read, so it is always up to date. */
export interface JoinDeclaration {
  readonly name: string;
  readonly from: string;
  /** Alias → the view joined, and which of its columns equals which column of `from` or of an alias before (`alias.column`). */
  readonly join: Readonly<Record<string, { readonly view: string; readonly on: Readonly<Record<string, string>> }>>;
  /** Column of this view → `column` of `from`, or `alias.column`. */
  readonly columns: Readonly<Record<string, string>>;
}

export interface SqlView {
  readonly kind: "sql";
  readonly name: string;
  /** Views that it reads. */
  readonly needs: readonly string[];
  readonly sql: string;
  /** Columns of other views that it names, for the check at load: view → columns. */
  readonly uses: Readonly<Record<string, readonly string[]>>;
  readonly shape: JsonValue;
}

export type View = Projection | Totals | SqlView;

/** Checks a declaration of totals. Throws `projection-malformed`, naming what is wrong. */
export function defineTotals<const K extends Columns, const S extends Columns>(declared: TotalsDeclaration<K, S>): Totals {
  const keys = Object.keys(declared.keys);
  const sums = Object.keys(declared.sums);
  checkNames(declared.name, [...keys, ...sums], Object.keys(declared.invariants ?? {}));
  if (keys.length === 0 || sums.length === 0) throw malformed(declared.name, "totals need a key and a sum");
  for (const name of [...keys, ...sums])
    if (name === "rows") throw malformed(declared.name, "all totals have a column rows already");
  for (const name of keys) if (sums.includes(name)) throw malformed(declared.name, `column ${name} is both key and sum`);
  for (const [name, column] of Object.entries(declared.sums))
    if (column.type !== "decimal" && column.type !== "integer")
      throw malformed(declared.name, `sum ${name} is ${column.type}: sums are decimal() or integer(), which add up exactly`);
  for (const [name, invariant] of Object.entries(declared.invariants ?? {}))
    if ("atMost" in invariant) throw malformed(declared.name, `invariant ${name}: totals take a problem of each row only`);
  if (Object.keys(declared.from).length === 0) throw malformed(declared.name, "it adds up no view");

  const check = (source: string, id: string, contribution: JsonValue): Contribution => {
    const wrong = (problem: string): TributaryError =>
      new TributaryError(
        "projection-failed",
        `${declared.name}, from ${source}/${id}: ${problem}`,
        "Correct the totals, then `tributary parked retry`.",
      );
    if (!isJsonObject(contribution)) throw wrong("a contribution is an object of keys and amounts");
    for (const [name, column] of Object.entries(declared.keys)) {
      const value = contribution[name] ?? null;
      if (value !== null && !column.fits(value)) throw wrong(`key ${name} is ${JSON.stringify(value)}, not ${column.type}`);
    }
    for (const [name, column] of Object.entries(declared.sums)) {
      const value = contribution[name] ?? 0;
      if (typeof value !== "number" || !Number.isFinite(value) || !column.fits(value))
        throw wrong(`amount ${name} is ${JSON.stringify(value)}`);
    }
    return contribution as Contribution;
  };
  return {
    kind: "totals",
    name: declared.name,
    keys: declared.keys,
    sums: declared.sums,
    sources: new Set(Object.keys(declared.from)),
    invariants: (declared.invariants ?? {}) as unknown as Readonly<Record<string, Invariant>>,
    notified: (name) => declared.notify?.[name] ?? declared.notify?.others ?? [],
    contributions(source, row) {
      const made = declared.from[source]?.(row) ?? null;
      if (made === null) return [];
      return (Array.isArray(made) ? made : [made]).map((one) => check(source, row.id, one as JsonValue));
    },
    shape: [
      Object.entries(declared.keys).map(([name, column]) => [name, digestName(column), column.index]),
      Object.entries(declared.sums).map(([name, column]) => [name, digestName(column)]),
      Object.entries(declared.from).map(([source, of]) => [source, String(of)]),
      Object.entries(declared.invariants ?? {}).map(([name, invariant]) => [
        name,
        "problem" in invariant ? String(invariant.problem) : null,
      ]),
    ],
  };
}

/** Checks a join. Throws `projection-malformed`, naming what is wrong. */
export function defineJoin(declared: JoinDeclaration): SqlView {
  const aliases = Object.keys(declared.join);
  checkNames(declared.name, [], [...Object.keys(declared.columns), ...aliases, declared.from]);
  if (aliases.includes(BASE)) throw malformed(declared.name, `${BASE} is what it calls ${declared.from}: take another alias`);
  // Rows that are deleted are left out, so the view that it starts from must have the column `deleted`.
  const uses: Record<string, string[]> = { [declared.from]: ["deleted"] };
  /** `column` or `alias.column` as SQL; it is noted for the check. */
  const column = (text: string, known: readonly string[]): string => {
    const [, alias, name] = /^(?:([a-z][a-z0-9_]*)\.)?([a-z][a-z0-9_]*)$/.exec(text) ?? [];
    if (name === undefined || (alias !== undefined && !known.includes(alias)))
      throw malformed(declared.name, `${JSON.stringify(text)} does not name a column of ${[declared.from, ...known].join(", ")}`);
    const view = alias === undefined ? declared.from : declared.join[alias]!.view;
    uses[view] = [...(uses[view] ?? []), name];
    return `${q(alias ?? BASE)}.${q(name)}`;
  };
  const joins = aliases.map((alias, i) => {
    const { view, on } = declared.join[alias]!;
    if (Object.keys(on).length === 0) throw malformed(declared.name, `${alias} does not say which columns it is joined on`);
    uses[view] ??= [];
    const conditions = Object.entries(on).map(([theirs, ours]) => {
      uses[view]!.push(theirs);
      return `${q(alias)}.${q(theirs)} = ${column(ours, aliases.slice(0, i))}`;
    });
    return `LEFT JOIN views.${q(view)} ${q(alias)} ON ${conditions.join(" AND ")}`;
  });
  const columns = Object.entries(declared.columns).map(([name, of]) => `${column(of, aliases)} AS ${q(name)}`);
  if (columns.length === 0) throw malformed(declared.name, "it shows no column");
  const sql = `SELECT ${columns.join(", ")} FROM views.${q(declared.from)} ${q(BASE)} ${joins.join(" ")} WHERE NOT ${q(BASE)}.deleted`;
  return { kind: "sql", name: declared.name, needs: Object.keys(uses), uses, sql, shape: ["join", sql] };
}

/** What the first view of a join is called in its SQL. */
const BASE = "base";
const q = (name: string): string => `"${name}"`;

/** For what no other declaration can say: a view in PostgreSQL's own words over `views.…`. `needs` names the views that it reads, so that it survives their rebuilding. */
export function defineSql(declared: { readonly name: string; readonly needs: readonly string[]; readonly sql: string }): SqlView {
  checkNames(declared.name, [], declared.needs);
  if (!/^\s*(select|with)\b/i.test(declared.sql)) throw malformed(declared.name, "its SQL does not begin with SELECT or WITH");
  return { kind: "sql", ...declared, uses: {}, shape: ["sql", declared.sql] };
}

/** The columns that can be read of a view, or `null` if only the database knows them. */
export function columnsOf(view: View): ReadonlySet<string> | null {
  if (view.kind === "sql") return null;
  return view.kind === "entity"
    ? new Set([...Object.keys(view.columns), ...Object.keys(view.derived), ...SYSTEM_COLUMNS])
    : new Set([...Object.keys(view.keys), ...Object.keys(view.sums), "id", "rows"]);
}

/** Checks that views fit together. Throws `projection-malformed`, naming what is wrong. */
export function checkViews(views: readonly View[]): void {
  const byName = new Map<string, View>();
  const tables = new Set<string>();
  for (const view of views) {
    if (byName.has(view.name)) throw malformed(view.name, "there is a second view of this name");
    byName.set(view.name, view);
    for (const table of view.kind === "sql" ? [view.name] : tablesOf(view)) {
      if (tables.has(table)) throw malformed(view.name, `there is another table ${table}`);
      tables.add(table);
    }
  }
  const scoped = new Map<string, string>();
  for (const view of views) {
    if (view.kind !== "entity" || view.scopeBy === null) continue;
    const other = scoped.get(view.entity);
    if (other !== undefined)
      throw malformed(view.name, `${other} says already which bucket a ${view.entity} is in: one view may`);
    scoped.set(view.entity, view.name);
  }
  for (const view of views) {
    if (view.kind === "totals") {
      for (const source of view.sources)
        if (byName.get(source)?.kind !== "entity")
          throw malformed(view.name, `it adds up ${source}, which is not a view of entities`);
    }
    if (view.kind !== "sql") continue;
    for (const needed of view.needs)
      if (!byName.has(needed)) throw malformed(view.name, `it reads ${needed}, which is not a view`);
    for (const [source, names] of Object.entries(view.uses)) {
      const known = columnsOf(byName.get(source)!);
      for (const name of names)
        if (known !== null && !known.has(name)) throw malformed(view.name, `${source} has no column ${name}`);
    }
  }
  inOrder(views.filter((view) => view.kind === "sql"));
}

/** Views of SQL, each after those that it reads. Throws `projection-malformed` if they read each other in a circle. */
export function inOrder(views: readonly SqlView[]): SqlView[] {
  const out: SqlView[] = [];
  let waiting = [...views];
  while (waiting.length > 0) {
    const ready = waiting.filter(({ needs }) => !needs.some((needed) => waiting.some(({ name }) => name === needed)));
    if (ready.length === 0)
      throw malformed(waiting[0]!.name, `it reads itself through ${waiting.map(({ name }) => name).join(", ")}`);
    out.push(...ready);
    waiting = waiting.filter((view) => !ready.includes(view));
  }
  return out;
}

/** The tables that a view is kept in, by name. */
export function tablesOf(view: View): string[] {
  if (view.kind === "sql") return [];
  if (view.kind === "totals") return [view.name];
  return [
    view.name,
    ...Object.keys(view.tables).map((table) => `${view.name}_${table}`),
    ...(view.keepsHistory ? [`${view.name}_history`] : []),
    ...(Object.keys(view.invariants).length > 0 ? [`${view.name}_claims`] : []),
  ];
}

/**
 * Views that must be built together with `names`: totals are right only if all that they add up was folded together. Views of SQL need not be
 * built.
 */
export function closureOf(views: readonly View[], names: Iterable<string>): (Projection | Totals)[] {
  const chosen = new Set(names);
  for (let grew = true; grew; ) {
    grew = false;
    for (const view of views) {
      if (view.kind !== "totals") continue;
      const family = [view.name, ...view.sources];
      if (family.some((name) => chosen.has(name)) && !family.every((name) => chosen.has(name))) {
        for (const name of family) chosen.add(name);
        grew = true;
      }
    }
  }
  return views.filter((view): view is Projection | Totals => view.kind !== "sql" && chosen.has(view.name));
}

export const entityViews = (views: readonly View[]): Projection[] =>
  views.filter((view): view is Projection => view.kind === "entity");

export type { RowOf };
