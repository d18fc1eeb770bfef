import type { FullRow, Totals } from "../../merge/engine.ts";
import { type Addition, additionsOf } from "../additions.ts";
import { comparedColumns } from "../compare.ts";
import type { Db } from "../connect.ts";
import { at, LIVE, q } from "../names.ts";
import { addToTotals } from "../write/add-to-totals.ts";
import { type Differences, MAX_RETURNED, text } from "./differing.ts";

/** The schema that totals are added up in. */
const TEMPORARY = "pg_temp";
/** How many contributions are added in one statement. */
const MAX_ADDITIONS = 2_000;

/** Totals that are added up again from the rows that count, and how the live ones differ from them. */
export interface TotalsBooks {
  /** Adds the row that a view shows of an entity. */
  add(source: string, id: string, row: FullRow): Promise<void>;
  differences(): Promise<ReadonlyMap<string, Differences & { readonly rows: number }>>;
}

/** Opens the totals; nothing is added up yet. */
export async function openTotals(db: Db, all: readonly Totals[]): Promise<TotalsBooks> {
  const waiting = new Map<Totals, Addition[]>(all.map((totals) => [totals, []]));
  for (const { name } of all) {
    await db.query(`DROP TABLE IF EXISTS ${at(TEMPORARY, name)}`);
    await db.query(`CREATE TEMPORARY TABLE ${q(name)} (LIKE ${at(LIVE, name)} INCLUDING INDEXES)`);
  }
  const flush = async (totals: Totals): Promise<void> => {
    const additions = waiting.get(totals)!.splice(0);
    if (additions.length > 0) await addToTotals(db, totals, TEMPORARY, additions);
  };
  return {
    async add(source, id, row) {
      for (const totals of all) {
        if (!totals.sources.has(source)) continue;
        const added = waiting.get(totals)!;
        added.push(...additionsOf(totals, source, { id, before: null, after: row }));
        if (added.length >= MAX_ADDITIONS) await flush(totals);
      }
    },
    async differences() {
      const found = new Map<string, Differences & { readonly rows: number }>();
      for (const totals of all) {
        await flush(totals);
        found.set(totals.name, await totalsDifferences(db, totals));
      }
      return found;
    },
  };
}

async function totalsDifferences(db: Db, totals: Totals): Promise<Differences & { readonly rows: number }> {
  const columns = comparedColumns(totals);
  const { rows: counted } = await db.query<{ count: string }>(`SELECT count(*) FROM ${at(LIVE, totals.name)}`);
  await db.query(`ANALYZE ${at(TEMPORARY, totals.name)}`);
  const { rows } = await db.query<{ key: string; what: string; total: string }>(
    `SELECT coalesce(e.id, v.id) AS key, d.what, count(*) OVER () AS total
     FROM ${at(TEMPORARY, totals.name)} e FULL JOIN ${at(LIVE, totals.name)} v ON v.id = e.id
     CROSS JOIN LATERAL (SELECT CASE WHEN v.id IS NULL THEN 'the total is missing' WHEN e.id IS NULL THEN 'no row adds to this total'
       ELSE array_to_string(ARRAY[${columns
         .map(
           (name) =>
             `CASE WHEN ${text("v", name)} IS DISTINCT FROM ${text("e", name)} THEN '${name} is ' || coalesce(${text("v", name)}, 'nothing') || ' and adds up to ' || coalesce(${text("e", name)}, 'nothing') END`,
         )
         .join(", ")}], ', ') END AS what) d
     WHERE d.what <> '' ORDER BY 1 LIMIT ${MAX_RETURNED}`,
  );
  return { rows: Number(counted[0]!.count), count: Number(rows[0]?.total ?? 0), named: rows };
}
