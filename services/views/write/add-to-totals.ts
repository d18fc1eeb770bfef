import type { JsonValue } from "../../core/index.ts";
import type { Column, Totals } from "../../merge/engine.ts";
import type { Addition } from "../additions.ts";
import { arrays, sqlType, toSql } from "../columns.ts";
import type { Db } from "../connect.ts";
import { at, q, statementName } from "../names.ts";

/** A total as it stands: keys as texts, amounts as numbers. */
export type TotalRow = Record<string, string | number | null>;

/** Adds to totals exactly, in the order of their keys, so that no two processes ever wait for each other. Returns the totals that changed. */
export async function addToTotals(
  db: Db,
  totals: Totals,
  namespace: string,
  additions: readonly Addition[],
): Promise<readonly TotalRow[]> {
  const keys = Object.entries(totals.keys);
  const sums = Object.entries(totals.sums);
  const types = ["text", ...keys.map(([, column]) => sqlType(column)), ...sums.map(() => "numeric"), "bigint"];
  const names = ["id", ...keys.map(([name]) => name), ...sums.map(([name]) => name), "rows"];
  const table = at(namespace, totals.name);
  const added = [...sums.map(([name]) => name), "rows"];
  // Without zeros at the end: equal amounts are then equal texts, whatever was added up.
  const exact = (name: string, sql: string): string => (isDecimal(totals.sums[name]) ? `trim_scale(${sql})` : sql);
  const { rows } = await db.query<TotalRow>({
    name: statementName("totals", namespace, totals.name),
    text: `INSERT INTO ${table} AS t (${names.map(q).join(", ")})
      SELECT id, ${keys.map(([name]) => `(array_agg(${q(name)}))[1]`).join(", ")}, ${added.map((name) => exact(name, `sum(${q(name)})`)).join(", ")}
      FROM unnest(${arrays(types)}) AS x (${names.map(q).join(", ")}) GROUP BY id ORDER BY id
      ON CONFLICT (id) DO UPDATE SET ${added.map((name) => `${q(name)} = ${exact(name, `t.${q(name)} + excluded.${q(name)}`)}`).join(", ")}
      RETURNING ${names.map((name) => (added.includes(name) ? `${q(name)}::float8` : `${q(name)}::text`)).join(", ")}`,
    values: [
      additions.map(({ key }) => key),
      ...keys.map(([name, column]) => additions.map(({ values }) => toSql(column, values[name]))),
      ...sums.map(([name]) => additions.map(({ values, sign }) => negated(values[name] ?? 0, sign))),
      additions.map(({ sign }) => sign),
    ],
  });
  return rows;
}

const isDecimal = (column: Column | undefined): boolean => column?.type === "decimal";

/** The sign goes into the text: PostgreSQL then adds decimals, not floats. */
const negated = (value: JsonValue, sign: 1 | -1): string =>
  sign === 1 ? String(value) : String(value).startsWith("-") ? String(value).slice(1) : `-${String(value)}`;

/** Deletes totals that no row adds to any more. */
export async function dropEmptyTotals(db: Db, totals: Totals, namespace: string, ids: readonly string[]): Promise<void> {
  await db.query(`DELETE FROM ${at(namespace, totals.name)} WHERE id = ANY($1) AND rows = 0`, [ids]);
}
