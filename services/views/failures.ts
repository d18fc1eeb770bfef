import pg from "pg";
import { isTributaryError, messageOf } from "../core/index.ts";
import { tablesOf } from "../merge/engine.ts";
import type { ViewBuild } from "./changes.ts";
import { declaredColumns, rowColumns } from "./columns.ts";
import type { Db } from "./connect.ts";
import { at, q } from "./names.ts";

/**
 * What a failure while a page is written is about. A failure of *operation* is waited out, and the page is tried again as it is; a failure of the *data* is narrowed down to its
 * event. What PostgreSQL says (SQLSTATE), by class:
 *
 *   operation  08 connection   28 authorization   3D no such database   40001, 40P01 serialization, deadlock   25P03 idle too long
 *              53 disk full, memory, too many connections   55 lock not available, in use   57 shut down, cancelled   58, F0, XX the machine, files
 *              42P01, 42703, 3F a table, column or schema is missing, 42501 a right: where the views' own tables are the cause (`areTablesInPlace`)
 *   data       all else: 21, 22 values, 23 constraints, 44 check option, 54 limits, P0 what a trigger raises, 0A, 42 in a trigger's own words …
 *
 * A failure that calls itself one of operation and comes again and again at the same page is taken for one of the data (`MAX_REPEATS`): a trigger may raise
 * anything. Only codes that say nothing about a statement (`IS_AWAY`) are waited out for ever.
 */
const OPERATION = /^(08|28|3D|53|55|57|58|F0|XX|40001|40P01|40003|25)/;
const IS_AWAY = /^(08|28|3D|53|57P|58)/;
/** How often the same error may end the same page before the page is narrowed down all the same. */
export const MAX_REPEATS = 5;

/** PostgreSQL's code of an error; `null`: the error is not PostgreSQL's. */
export const sqlState = (error: unknown): string | null =>
  error instanceof pg.DatabaseError && typeof error.code === "string" ? error.code : null;

/** PostgreSQL's codes for a table or a schema that is not there. */
const MISSING = new Set(["42P01", "3F000"]);

/** Whether an error says that tables are gone. */
export const isMissing = (error: unknown): boolean => MISSING.has(sqlState(error) ?? "");

/** Whether a statement gave up because others held a lock that it needs (`lock_timeout`). */
export const isLockedOut = (error: unknown): boolean => sqlState(error) === "55P03";

/** PostgreSQL's code of a missing right. */
export const LACKS_A_RIGHT = "42501";

/** Whether an error is about a value that PostgreSQL cannot read as what it is compared with (class 22, data exception). */
export const isOfValues = (error: unknown): boolean => sqlState(error)?.startsWith("22") === true;

/** Why something is not in a view, in the words of whoever refused it. */
export const wordsOf = (error: unknown): string =>
  sqlState(error) === null ? messageOf(error) : `PostgreSQL cannot hold it: ${messageOf(error)}`;

/** Whether an error says that an event is in the audit already: shards stand before what was folded, or the log was set back. No event is to blame for that. */
export const isAudited = (error: unknown): boolean =>
  error instanceof pg.DatabaseError && error.code === "23505" && error.constraint === "audit_pkey";

/** Whether a failure that keeps coming may be about the data although it does not say so. */
export const mayBeOfData = (error: unknown): boolean => {
  const code = sqlState(error);
  return code !== null && !IS_AWAY.test(code);
};

/** The codes that may mean that a table of ours is not as it was made. */
const IS_OF_TABLES = /^(42|3F)/;

/**
 * Whether an error is about the data that was being read or written, so that going on event by event will find the event. Asks the database whether it still answers
 * and has its tables. `insists`: the error has come again and again.
 */
export async function isOfData(db: Db, targets: readonly ViewBuild[], error: unknown, insists = false): Promise<boolean> {
  if (isTributaryError(error)) return error.code === "projection-failed" || error.code === "event-invalid";
  const code = sqlState(error);
  // An error of the network or of files says so by a code of its own; `ERR_…` are Node's complaints about values.
  const own = code === null ? (error as { code?: unknown } | null)?.code : undefined;
  if (typeof own === "string" && !own.startsWith("ERR_")) return false;
  if (isAudited(error) && !insists) return false;
  if (code !== null && OPERATION.test(code) && !(insists && mayBeOfData(error))) return false;
  try {
    await db.query("SELECT 1");
    return code === null || !IS_OF_TABLES.test(code) || (await areTablesInPlace(db, targets));
  } catch {
    return false;
  }
}

/** The hub's own tables that a page writes besides the views. */
const OWN = [
  ...["audit", "quarantine", "origin", "case_row", "case_note", "decision_row", "parked", "refold", "notification"],
  ...["bucket", "member", "feed", "feed_note"],
];

/** Whether all tables that a page is written to are there, with their columns, and may be written. */
async function areTablesInPlace(db: Db, targets: readonly ViewBuild[]): Promise<boolean> {
  const tables = [
    ...OWN.map((name) => at("tributary", name)),
    ...targets.flatMap(({ projection, namespace, totals }) =>
      [projection, ...totals].flatMap((view) => tablesOf(view).map((name) => at(namespace, name))),
    ),
  ];
  const { rows } = await db.query<{ ok: boolean }>(
    `SELECT coalesce(bool_and(CASE WHEN to_regclass(name) IS NULL THEN false ELSE
       has_table_privilege(to_regclass(name), 'INSERT') AND has_table_privilege(to_regclass(name), 'UPDATE') END), true) AS ok FROM unnest($1::text[]) name`,
    [tables],
  );
  if (!rows[0]!.ok) return false;
  for (const { projection, namespace } of targets)
    await db.query(
      `SELECT ${rowColumns(declaredColumns(projection)).map(q).join(", ")} FROM ${at(namespace, projection.name)} LIMIT 0`,
    );
  return true;
}
