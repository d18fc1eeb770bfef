/**
 * What others made on the views' tables and what therefore stands on a build when it is replaced: materialized views, foreign keys, functions. In come builds that are to
 * go; out goes what clings to them, in words. Never a swap that fails for ever at somebody's object: a build that is clung to is left out of use, and dropped when it is
 * let go.
 *
 *   live ── swapped ──▶ previous ── to go ──▶ nothing clings ──▶ dropped
 *                                     └ something does, and nobody is there to be told ──▶ left ── let go ──▶ dropped
 */
import { TributaryError } from "../core/index.ts";
import type { Db } from "./connect.ts";

/** Something that is not ours and that stands on a table. */
export interface Clinging {
  /** As PostgreSQL calls it: `materialized view counts`. */
  readonly object: string;
  readonly table: string;
  /** Also a materialized one. */
  readonly isView: boolean;
}

/**
 * What PostgreSQL would not let go with a table. A view stands on it by its rule for SELECT (`ev_type` 1). The server's words are in the language of its messages: for people, never to tell things
 * apart by. What belongs to the table itself (indexes, triggers, policies) goes with it, and has a dependency that says so.
 */
const CLINGING = `SELECT DISTINCT v.oid IS NOT NULL AS "isView", t.relname AS table,
    CASE WHEN v.oid IS NULL THEN pg_describe_object(d.classid, d.objid, d.objsubid) ELSE pg_describe_object('pg_class'::regclass, v.oid, 0) END AS object
  FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
  JOIN pg_depend d ON (d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid OR d.refclassid = 'pg_type'::regclass AND d.refobjid = t.reltype)
  LEFT JOIN (pg_rewrite r JOIN pg_class v ON v.oid = r.ev_class AND v.relkind IN ('v', 'm') AND r.ev_type = '1') ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
  WHERE d.deptype = 'n' AND NOT EXISTS (SELECT FROM pg_depend own WHERE own.classid = d.classid AND own.objid = d.objid
    AND own.refclassid = 'pg_class'::regclass AND own.refobjid = t.oid AND own.deptype IN ('a', 'i'))`;

/** What clings to tables in a schema. */
export async function clingingTo(db: Db, place: string, tables: readonly string[]): Promise<Clinging[]> {
  const { rows } = await db.query<Clinging & Record<string, unknown>>(
    `${CLINGING} AND n.nspname = $1 AND t.relname = ANY($2) ORDER BY object, 2`,
    [place, tables],
  );
  return rows;
}

/** What reads builds that are not live any more: it shows what once was. */
export async function clingingToOld(db: Db): Promise<Clinging[]> {
  const { rows } = await db.query<Clinging & Record<string, unknown>>(
    `${CLINGING} AND n.nspname IN (SELECT place FROM tributary.generation WHERE state IN ('previous', 'left')) ORDER BY object, 2`,
  );
  return rows;
}

const WAY_OUT =
  "Drop it and make it anew, then it is of the live build; or declare it in projections/ with defineSql, then it is kept up.";

/** What clings to old builds, as one sentence for people; `null`: nothing does. */
export const clingingSays = (clinging: readonly Clinging[]): string | null =>
  clinging.length === 0
    ? null
    : `${clinging.map(({ object, table }) => `${object} (on ${table})`).join(", ")}: not ours, and still of a build that is no longer live, so that it shows what once was. ${WAY_OUT}`;

export const clings = ({ object, table }: Clinging, why: string): TributaryError =>
  new TributaryError(
    "usage",
    `${object}, which is not ours, reads ${table}: ${why}`,
    "Drop it and make it anew after the rebuild; or declare it in projections/ with defineSql, then it is kept up. The live views were left as they are.",
  );
