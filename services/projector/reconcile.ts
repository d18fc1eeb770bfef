import type { Client } from "pg";
import { type Position, TributaryError } from "../core/index.ts";
import type { Projection, Totals } from "../merge/index.ts";
import { comparedColumns, hashOf } from "./compare.ts";
import { beginBuild, dropGeneration, familyOf, type Generation, generationsOf, least, livePositions } from "./generations.ts";
import { holdShards, openBuild, type RebuildDeps, type RebuildOptions, unhurried } from "./rebuild.ts";
import { at, LIVE, q, shapeOf } from "./tables.ts";

/** Leaves of the checksum tree: rows are dealt out to them by the hash of their id. */
const LEAVES = 4_096;
/** Each inner node has so many children, so that a differing leaf is found in three steps. */
const FAN = 16;
/** Rows that are named, of those that differ; all are counted, and mended. */
const MAX_NAMED = 50;

export interface Reconciled {
  readonly view: string;
  readonly rows: number;
  /** Checksums that were compared: one where all is well. */
  readonly comparisons: number;
  readonly differing: number;
  readonly named: readonly string[];
  readonly repaired: boolean;
  readonly position: string | null;
}

/**
 * Balances the books: folds the log of `names` (and what is built with them) anew beside the live views, and compares both by checksums, from the whole
 * down to the rows that differ. With `repair` those rows, their rows of many, claims and totals are put right in the transaction that compared.
 * Nothing else of the live views is touched; projectors wait while checksums are compared, readers never.
 */
export async function reconcile(
  deps: RebuildDeps,
  options: Pick<RebuildOptions, "names" | "maxEventsPerSecond" | "onProgress" | "signal"> & { readonly repair: boolean },
): Promise<Reconciled[]> {
  const { db, gate, views } = deps;
  const family = familyOf(views, options.names);
  const standing = await generationsOf(db, "live");
  for (const view of family)
    if (standing.get(view.name)?.shape !== shapeOf(view))
      throw new TributaryError(
        "projection-malformed",
        `${view.name} is declared otherwise than the live view was built`,
        "`tributary rebuild` brings the view in line with its declaration; books are balanced after that.",
      );
  const builds = await beginBuild(db, gate, family, true);
  try {
    const build = await openBuild(deps, family, builds);
    await unhurried(deps, build, options);
    await db.query("BEGIN");
    try {
      await holdShards(db);
      const live = await livePositions(db);
      await build.foldRest(live);
      const out: Reconciled[] = [];
      for (const each of builds)
        out.push(await balance(db, each, family.find(({ name }) => name === each.view)!, least(live), options.repair));
      // States that projectors hold in memory may be of the rows that were wrong: they look again.
      if (out.some(({ repaired }) => repaired)) await db.query("UPDATE tributary.shard SET layout = layout + 1");
      for (const { position, view, rows, comparisons, named, repaired } of out) {
        await db.query(
          "INSERT INTO tributary.reconciliation (position, view, rows, comparisons, differing, repaired) VALUES ($1, $2, $3, $4, $5, $6)",
          [position, view, rows, comparisons, JSON.stringify(named), repaired],
        );
      }
      await db.query("COMMIT");
      return out;
    } catch (error) {
      await db.query("ROLLBACK").catch(() => {});
      throw error;
    }
  } finally {
    for (const each of builds) await dropGeneration(db, each).catch(() => {});
  }
}

async function balance(
  db: Client,
  { view, place, tables }: Generation,
  declared: Projection | Totals,
  position: Position | null,
  repair: boolean,
): Promise<Reconciled> {
  // The state too: what comes later is built on it.
  const columns = [
    ...comparedColumns(declared),
    ...(declared.kind === "entity" ? ["first_position", "last_position", "state"] : []),
  ];
  const [live, built] = [await leavesOf(db, LIVE, view, columns), await leavesOf(db, place, view, columns)];
  const { differing, comparisons } = differingLeaves(live.sums, built.sums);
  const ids = differing.length === 0 ? [] : await differingRows(db, view, place, columns, differing);
  const isRepaired = repair && ids.length > 0;
  if (isRepaired) {
    for (const table of tables) {
      if (table.endsWith("_history")) continue;
      const key = table.endsWith("_claims") && table !== view ? "entity_id" : "id";
      await db.query(`DELETE FROM ${at(LIVE, table)} WHERE ${q(key)} = ANY($1)`, [ids]);
      await db.query(`INSERT INTO ${at(LIVE, table)} SELECT * FROM ${at(place, table)} WHERE ${q(key)} = ANY($1)`, [ids]);
    }
  }
  return {
    view,
    rows: built.rows,
    comparisons,
    differing: ids.length,
    named: ids.slice(0, MAX_NAMED),
    repaired: isRepaired,
    position: position?.toString() ?? null,
  };
}

/** The checksum of each leaf: the exclusive or of its rows' hashes, and how many they are. */
async function leavesOf(
  db: Client,
  place: string,
  view: string,
  columns: readonly string[],
): Promise<{ readonly sums: readonly string[]; readonly rows: number }> {
  const { rows } = await db.query<{ leaf: number; sum: string; count: string }>(
    `SELECT (hashtextextended(t.id, 1) & ${LEAVES - 1})::int AS leaf, bit_xor(${hashOf("t", ["id", ...columns])})::text AS sum, count(*) AS count
     FROM ${at(place, view)} t GROUP BY 1`,
  );
  const sums: string[] = Array.from({ length: LEAVES }, () => "");
  let total = 0;
  for (const { leaf, sum, count } of rows) {
    sums[leaf] = `${sum}/${count}`;
    total += Number(count);
  }
  return { sums, rows: total };
}

/** Leaves whose checksums differ, found from the root down; what agrees above is not looked into. */
export function differingLeaves(
  a: readonly string[],
  b: readonly string[],
): { readonly differing: number[]; readonly comparisons: number } {
  let comparisons = 0;
  const differing: number[] = [];
  const look = (from: number, width: number): void => {
    comparisons++;
    const isEqual = a.slice(from, from + width).join(";") === b.slice(from, from + width).join(";");
    if (isEqual) return;
    if (width === 1) differing.push(from);
    else for (let child = 0; child < FAN; child++) look(from + (child * width) / FAN, width / FAN);
  };
  look(0, a.length);
  return { differing, comparisons };
}

async function differingRows(
  db: Client,
  view: string,
  place: string,
  columns: readonly string[],
  leaves: readonly number[],
): Promise<string[]> {
  const inLeaves = (place: string): string =>
    `(SELECT * FROM ${at(place, view)} t WHERE (hashtextextended(t.id, 1) & ${LEAVES - 1})::int = ANY($1))`;
  const { rows } = await db.query<{ id: string }>(
    `SELECT coalesce(l.id, b.id) AS id FROM ${inLeaves(LIVE)} l FULL JOIN ${inLeaves(place)} b ON l.id = b.id
     WHERE l.id IS NULL OR b.id IS NULL OR ${hashOf("l", columns)} <> ${hashOf("b", columns)} ORDER BY 1`,
    [leaves],
  );
  return rows.map(({ id }) => id);
}
