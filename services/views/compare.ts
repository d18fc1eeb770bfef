import type { Position } from "../core/index.ts";
import type { Projection, Totals } from "../merge/engine.ts";
import type { Generation } from "./catalog.ts";
import { declaredColumns } from "./columns.ts";
import type { Db } from "./connect.ts";
import { at, LIVE, q } from "./names.ts";

/** How many of the rows that differ are named. */
const MAX_NAMED = 20;

/** How a build's rows compare with the live ones, by hash. */
export interface Comparison {
  readonly view: string;
  readonly equal: number;
  readonly differing: number;
  /** Rows that only the live view has, and rows that only the build has. */
  readonly onlyLive: number;
  readonly onlyBuilt: number;
  /** Rows that the live view has changed beyond where the build stands: they are not compared. */
  readonly changedSince: number;
  /** Some of the rows that differ. */
  readonly named: readonly string[];
}

/** The hash of a row's columns in PostgreSQL's text form, as SQL. */
export const hashOf = (alias: string, columns: readonly string[]): string =>
  `hashtextextended(${columns.map((column) => `coalesce(length(${alias}.${q(column)}::text)::text || ':' || ${alias}.${q(column)}::text, '-')`).join(" || ")}, 0)`;

/** The columns of an entity view or of totals that a comparison looks at. */
export const comparedColumns = (view: Projection | Totals): string[] =>
  view.kind === "entity"
    ? [...declaredColumns(view).map(([name]) => name), "deleted", "conflicts", "waiting_for"]
    : [...Object.keys(view.keys), ...Object.keys(view.sums), "rows"];

/** Compares a build's rows with the live ones, by the columns that both have. Rows that changed after `through` are left out. */
export async function compareBuild(
  db: Db,
  { view, namespace }: Pick<Generation, "view" | "namespace">,
  declared: Projection | Totals,
  through: Position | null,
): Promise<Comparison> {
  const nothing: Comparison = { view, equal: 0, differing: 0, onlyLive: 0, onlyBuilt: 0, changedSince: 0, named: [] };
  const { rows: existing } = await db.query<{ column_name: string }>(
    "SELECT column_name FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2",
    [LIVE, view],
  );
  if (existing.length === 0) return nothing;
  const live = new Set(existing.map(({ column_name }) => column_name));
  const columns = comparedColumns(declared).filter((name) => live.has(name));
  // Totals have no position of their own: on a hub that is idle they compare exactly, on a busy one only roughly.
  const since = declared.kind === "entity" && through !== null ? `l.last_position > ${through}` : "false";
  const { rows } = await db.query<Record<string, string> & { named: string[] | null }>(
    `WITH compared AS (
       SELECT coalesce(l.id, b.id) AS id, CASE
         WHEN l.id IS NOT NULL AND ${since} THEN 'since'
         WHEN b.id IS NULL THEN 'live'
         WHEN l.id IS NULL THEN 'built'
         WHEN ${hashOf("l", columns)} = ${hashOf("b", columns)} THEN 'equal' ELSE 'differing' END AS how
       FROM ${at(LIVE, view)} l FULL JOIN ${at(namespace, view)} b ON l.id = b.id)
     SELECT count(*) FILTER (WHERE how = 'equal') AS equal, count(*) FILTER (WHERE how = 'differing') AS differing,
       count(*) FILTER (WHERE how = 'live') AS live, count(*) FILTER (WHERE how = 'built') AS built, count(*) FILTER (WHERE how = 'since') AS since,
       (SELECT array_agg(id) FROM (SELECT id FROM compared WHERE how NOT IN ('equal', 'since') ORDER BY id LIMIT ${MAX_NAMED}) n) AS named
     FROM compared`,
  );
  const row = rows[0]!;
  return {
    view,
    equal: Number(row.equal),
    differing: Number(row.differing),
    onlyLive: Number(row.live),
    onlyBuilt: Number(row.built),
    changedSince: Number(row.since),
    named: row.named ?? [],
  };
}
