import type { Projection } from "../../merge/engine.ts";
import type { ViewRow } from "../changes.ts";
import { arrays, declaredColumns, rowColumns, sqlType, toSql } from "../columns.ts";
import type { Db } from "../connect.ts";
import { type Cell, copyText, line } from "../copy.ts";
import { at, q, statementName } from "../names.ts";

/** Writes rows of an entity view: new ones by COPY, which is half the work, and the others by an upsert. */
export async function writeRows(db: Db, projection: Projection, namespace: string, rows: readonly ViewRow[]): Promise<void> {
  const known = rows.filter(({ isNew }) => !isNew);
  const fresh = rows.filter(({ isNew }) => isNew);
  if (known.length > 0) await upsertRows(db, projection, namespace, known);
  if (fresh.length > 0) await copyRows(db, projection, namespace, fresh);
}

/** One statement for any number of rows: `unnest` of one array a column. */
async function upsertRows(db: Db, projection: Projection, namespace: string, rows: readonly ViewRow[]): Promise<void> {
  const columns = declaredColumns(projection);
  const names = rowColumns(columns);
  const types = [
    "text",
    ...columns.map(([, column]) => sqlType(column)),
    "boolean",
    "integer",
    "json",
    "bigint",
    "bigint",
    "text",
  ];
  const updates = names
    .filter((name) => name !== "id" && name !== "first_position")
    .map((name) => `${q(name)} = excluded.${q(name)}`)
    .join(", ");
  await db.query({
    name: statementName("view", namespace, projection.name),
    text: `INSERT INTO ${at(namespace, projection.name)} (${names.map(q).join(", ")})
      SELECT * FROM unnest(${arrays(types)})
      ON CONFLICT (id) DO UPDATE SET ${updates}`,
    values: [
      rows.map(({ id }) => id),
      ...columns.map(([name, column]) => rows.map(({ row }) => toSql(column, row.values[name]))),
      rows.map(({ row }) => row.deleted),
      rows.map(({ row }) => row.conflicts),
      rows.map(({ waitingFor }) => waitingFor),
      rows.map(({ firstPosition }) => firstPosition),
      rows.map(({ lastPosition }) => lastPosition),
      rows.map(({ state }) => state),
    ],
  });
}

async function copyRows(db: Db, projection: Projection, namespace: string, rows: readonly ViewRow[]): Promise<void> {
  const columns = declaredColumns(projection);
  const lines = rows.map(({ id, row, waitingFor, firstPosition, lastPosition, state }) =>
    line([
      id,
      ...columns.map(([name, column]): Cell => {
        const value = toSql(column, row.values[name]);
        return typeof value === "boolean" ? (value ? "t" : "f") : (value as Cell);
      }),
      row.deleted ? "t" : "f",
      row.conflicts,
      waitingFor,
      firstPosition,
      lastPosition,
      state,
    ]),
  );
  await copyText(
    db,
    `COPY ${at(namespace, projection.name)} (${rowColumns(columns).map(q).join(", ")}) FROM STDIN`,
    lines.join(""),
  );
}
