/** SQL views: our own, and those of others that read ours. */
import { TributaryError } from "../core/index.ts";
import type { SqlView } from "../merge/engine.ts";
import { type Clinging, clings } from "./clinging.ts";
import { type Db, inSavepoint } from "./connect.ts";
import { at, LIVE } from "./names.ts";
import { showAll } from "./owned.ts";

/** Somebody's own view that reads tables. */
export interface ForeignView {
  readonly name: string;
  readonly table: string;
  readonly isMaterialized: boolean;
  readonly definition: string;
}

/** Views that are not ours and that read these tables or views. `ours`: the names of our own SQL views. */
export async function foreignViews(
  db: Db,
  namespace: string,
  tables: readonly string[],
  ours: readonly string[],
): Promise<ForeignView[]> {
  const { rows } = await db.query<ForeignView>(
    `SELECT DISTINCT format('%I.%I', vn.nspname, v.relname) AS name, t.relname AS table, v.relkind = 'm' AS "isMaterialized",
       pg_get_viewdef(v.oid) AS definition
     FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid JOIN pg_class v ON v.oid = r.ev_class
     JOIN pg_namespace vn ON vn.oid = v.relnamespace JOIN pg_class t ON d.refclassid = 'pg_class'::regclass AND t.oid = d.refobjid
     JOIN pg_namespace tn ON tn.oid = t.relnamespace
     WHERE tn.nspname = $1 AND t.relname = ANY($2) AND v.oid <> t.oid AND NOT (vn.nspname = '${LIVE}' AND v.relname = ANY($3)) ORDER BY 1`,
    [namespace, tables, ours],
  );
  return rows;
}

export const asClinging = ({ name, table }: ForeignView): Clinging => ({ object: name, table, isView: true });

/** Makes somebody's own view read the tables that stand under its names now. Returns why that cannot be done, or `null`. */
export async function readAnew(db: Db, view: ForeignView): Promise<string | null> {
  if (view.isMaterialized) return "a materialized view cannot be made to read its new build";
  try {
    await inSavepoint(db, () => db.query(`CREATE OR REPLACE VIEW ${view.name} AS ${view.definition}`));
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

/** Makes an SQL view, or makes it read the tables that stand now. One whose columns change is dropped first; throws `usage` where something else reads it. */
export async function makeSqlView(db: Db, view: SqlView): Promise<void> {
  await makeOrReplace(db, view);
  // It shows rows of all organisations.
  await showAll(db, at(LIVE, view.name));
}

async function makeOrReplace(db: Db, { name, sql }: SqlView): Promise<void> {
  await db.query("SAVEPOINT made");
  try {
    await db.query(`CREATE OR REPLACE VIEW ${at(LIVE, name)} AS ${sql}`);
  } catch {
    await db.query("ROLLBACK TO SAVEPOINT made");
    const [reader] = await foreignViews(db, LIVE, [name], []);
    if (reader !== undefined) throw clings(asClinging(reader), "its columns change");
    await db.query(`DROP VIEW IF EXISTS ${at(LIVE, name)}`);
    try {
      await db.query(`CREATE VIEW ${at(LIVE, name)} AS ${sql}`);
    } catch (error) {
      throw new TributaryError(
        "projection-malformed",
        `projection ${name}: PostgreSQL refuses its SQL: ${(error as Error).message}`,
        "Correct its file in projections/ and start again.",
        { cause: error },
      );
    }
  }
}
