import type { Position } from "../../core/index.ts";
import type { HistoryRow, ViewBuild } from "../changes.ts";
import type { Db } from "../connect.ts";
import { type Cell, copyText, line } from "../copy.ts";
import { at, isKnownNow } from "../names.ts";

/** Adds versions to the past of a view's rows. `knownFrom`: the position from which on they are known, where that is not their own. */
export async function writeHistory(
  db: Db,
  { projection, namespace }: ViewBuild,
  history: readonly HistoryRow[],
  knownFrom: Position | null = null,
): Promise<void> {
  if (history.length === 0) return;
  await copyText(
    db,
    `COPY ${at(namespace, `${projection.name}_history`)} (id, position, recorded_at, deleted, values, known_from) FROM STDIN`,
    history.map((version) => line([...cellsOf(version), knownFrom])).join(""),
  );
}

const cellsOf = ({ id, position, recordedAtMs, row }: HistoryRow): Cell[] => [
  id,
  position,
  new Date(recordedAtMs).toISOString(),
  row.deleted ? "t" : "f",
  textOf({ row }),
];

/** A version's values as they are kept. */
const textOf = ({ row }: Pick<HistoryRow, "row">): string => JSON.stringify(row.values);

/** Deletes the versions of an entity that are known now, in a build that nobody reads yet. Superseded ones stay: they were carried over from the live build. */
export async function dropHistory(db: Db, { projection, namespace }: ViewBuild, id: string): Promise<void> {
  await db.query(`DELETE FROM ${at(namespace, `${projection.name}_history`)} h WHERE h.id = $1 AND ${isKnownNow("h")}`, [id]);
}

/**
 * Lets `versions` take the place of an entity's known past, from a position on. A version that is the same stays as it is; one that differs is kept as
 * superseded. Returns the versions that remain to be written.
 */
export async function supersede(
  db: Db,
  { projection, namespace }: ViewBuild,
  { id, from }: { readonly id: string; readonly from: Position },
  versions: readonly HistoryRow[],
): Promise<HistoryRow[]> {
  const table = at(namespace, `${projection.name}_history`);
  const { rows } = await db.query<{ position: string; deleted: boolean; values: string }>(
    `SELECT h.position, h.deleted, h.values::text AS values FROM ${table} h WHERE h.id = $1 AND ${isKnownNow("h")}`,
    [id],
  );
  const known = new Map(rows.map(({ position, deleted, values }) => [position, `${deleted} ${values}`]));
  const news = versions.filter(
    (version) => known.get(version.position.toString()) !== `${version.row.deleted} ${textOf(version)}`,
  );
  const same = new Set(versions.filter((version) => !news.includes(version)).map(({ position }) => position.toString()));
  const replaced = rows.map(({ position }) => position).filter((position) => !same.has(position));
  if (replaced.length === 0) return news;
  // Such a version was never known at any position: what replaces it was folded at the same one.
  await db.query(
    `DELETE FROM ${table} h WHERE h.id = $1 AND h.position = ANY($2::bigint[]) AND h.known_from >= $3 AND ${isKnownNow("h")}`,
    [id, replaced, from],
  );
  await db.query(
    `UPDATE ${table} h SET superseded_at = $3 WHERE h.id = $1 AND h.position = ANY($2::bigint[]) AND ${isKnownNow("h")}`,
    [id, replaced, from],
  );
  return news;
}
