import type { Projection } from "../../merge/engine.ts";
import type { ViewRow } from "../changes.ts";
import { arrays, sqlType, toSql } from "../columns.ts";
import type { Db } from "../connect.ts";
import { at } from "../names.ts";

/** Replaces the rows of these entities in an entity view's table of many. */
export async function replaceMany(
  db: Db,
  projection: Projection,
  { name, namespace }: { readonly name: string; readonly namespace: string },
  rows: readonly ViewRow[],
): Promise<void> {
  const table = at(namespace, `${projection.name}_${name}`);
  const columns = Object.entries(projection.tables[name]!.columns);
  const children = rows.flatMap(({ id, row }) => (row.tables[name] ?? []).map((child, n) => ({ id, n, child })));
  const types = ["text", "integer", ...columns.map(([, column]) => sqlType(column))];
  await db.query(`DELETE FROM ${table} WHERE id = ANY($1)`, [rows.map(({ id }) => id)]);
  if (children.length === 0) return;
  await db.query(`INSERT INTO ${table} SELECT * FROM unnest(${arrays(types)})`, [
    children.map(({ id }) => id),
    children.map(({ n }) => n),
    ...columns.map(([column, type]) => children.map(({ child }) => toSql(type, child[column]))),
  ]);
}
