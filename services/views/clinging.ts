/**
 * What others made on the views' tables: materialized views, foreign keys, functions. It clings to a build that is replaced. In come builds that are to
 * go; out goes what clings to them, in words. A swap never fails for ever at somebody's object: a build that is clung to is left out of use, and dropped when it is
 * let go.
 *
 *   live ── swapped ──▶ previous ── to go ──▶ nothing clings ──▶ dropped
 *                                     └ something does, and nobody is there to be told ──▶ left ── let go ──▶ dropped
 */
import { TributaryError } from "../core/index.ts";
import type { Db } from "./connect.ts";

/** Something that is not ours and that depends on a table. */
export interface Clinging {
  /** As PostgreSQL calls it: `materialized view counts`. */
  readonly object: string;
  readonly table: string;
  /** Also a materialized one. */
  readonly isView: boolean;
}

/**
 * What keeps PostgreSQL from dropping a table. A view depends on the table by its rule for SELECT (`ev_type` 1). The server's words are in the language of its messages: for people, never to tell things
 * apart by. What belongs to the table itself (indexes, triggers, policies) goes with it, and has a dependency that says so.
 */
const CLINGING = `SELECT DISTINCT v.oid IS NOT NULL AS "isView", t.relname AS table,
    CASE WHEN v.oid IS NULL THEN pg_describe_object(d.classid, d.objid, d.objsubid) ELSE pg_describe_object('pg_class'::regclass, v.oid, 0) END AS object
  FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
  JOIN pg_depend d ON (d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid OR d.refclassid = 'pg_type'::regclass AND d.refobjid = t.reltype)
  LEFT JOIN (pg_rewrite r JOIN pg_class v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm') AND r.ev_type = '1') ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
  WHERE d.deptype = 'n' AND NOT EXISTS (SELECT FROM pg_depend own WHERE own.classid = d.classid AND own.objid = d.objid
    AND own.refclassid = 'pg_class'::regclass AND own.refobjid = t.oid AND own.deptype IN ('a', 'i'))`;

/** What clings to these tables in a schema. */
export async function clingingTo(db: Db, namespace: string, tables: readonly string[]): Promise<Clinging[]> {
  const { rows } = await db.query<Clinging & Record<string, unknown>>(
    `${CLINGING} AND n.nspname = $1 AND t.relname = ANY($2) ORDER BY object, 2`,
    [namespace, tables],
  );
  return rows;
}

/** What still reads builds that are no longer live, and therefore shows old data. */
export async function clingingToOld(db: Db): Promise<Clinging[]> {
  const { rows } = await db.query<Clinging & Record<string, unknown>>(
    `${CLINGING} AND n.nspname IN (SELECT place FROM tributary.generation WHERE state IN ('previous', 'left')) ORDER BY object, 2`,
  );
  return rows;
}

const WAY_OUT =
  "Drop it and make it again: then it reads the live build. Or declare it in projections/ with defineSql: then it is kept up to date.";

/** What clings to old builds, as one sentence for people; `null`: nothing does. */
export const clingingSays = (clinging: readonly Clinging[]): string | null =>
  clinging.length === 0
    ? null
    : `${clinging.map(({ object, table }) => `${object} (on ${table})`).join(", ")}: not ours, and still reads a build that is no longer live, so it shows old data. ${WAY_OUT}`;

/** The error that names something that clings to a table, and why it is in the way. */
export const clings = ({ object, table }: Clinging, why: string): TributaryError =>
  new TributaryError(
    "usage",
    `${object}, which is not ours, reads ${table}: ${why}`,
    "Drop it and make it again after the rebuild. Or declare it in projections/ with defineSql: then it is kept up to date. The live views were left as they are.",
  );
