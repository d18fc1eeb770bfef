/** What others made on a live table, or were granted on it. The table of the new build gets the same. */
import { TributaryError } from "../core/index.ts";
import type { Db } from "./connect.ts";
import { at, LIVE } from "./names.ts";
import { POLICIES, rolesOf } from "./owned.ts";

export interface Grant {
  readonly statement: string;
  /** `null`: on the whole table. */
  readonly column: string | null;
}

/** What roles other than the owner may do with a table or with columns of it, as statements that grant it again. */
export async function grantsOn(db: Db, table: string): Promise<Grant[]> {
  const { reader, overseer } = await rolesOf(db);
  const { rows } = await db.query<Grant>(
    `SELECT g.column, format('GRANT %s%s ON views.%I TO %s%s', a.privilege_type, ' (' || quote_ident(g.column) || ')', c.relname,
       CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
       CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) AS statement
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     CROSS JOIN LATERAL (SELECT NULL::text AS column, c.relacl AS acl UNION ALL SELECT attname, attacl FROM pg_attribute WHERE attrelid = c.oid) g
     CROSS JOIN LATERAL aclexplode(g.acl) a
     WHERE n.nspname = 'views' AND c.relname = $1 AND a.grantee <> c.relowner
       AND (a.grantee = 0 OR pg_get_userbyid(a.grantee) <> ALL ($2))`,
    // A new table has its own for these.
    [table, [reader, overseer]],
  );
  return rows;
}

/** Something that somebody made on a view's table, with the statement that makes it again. */
export interface Kept {
  readonly what: string;
  readonly statement: string;
}

/** Policies of row-level security that somebody else made, whether it is forced on the owner, and indexes that are not the declaration's. */
export async function keptOn(db: Db, table: string): Promise<Kept[]> {
  const { rows } = await db.query<Kept>(
    `SELECT 'the policy ' || policyname AS what, format('CREATE POLICY %I ON views.%I AS %s FOR %s TO %s%s%s', policyname, tablename, permissive, cmd,
         (SELECT string_agg(CASE WHEN r = 'public' THEN 'PUBLIC' ELSE quote_ident(r) END, ', ') FROM unnest(roles::text[]) r),
         ' USING (' || qual || ')', ' WITH CHECK (' || with_check || ')') AS statement
       FROM pg_policies WHERE schemaname = 'views' AND tablename = $1 AND policyname <> ALL ($2)
     UNION ALL
     SELECT 'row-level security', format('ALTER TABLE views.%I FORCE ROW LEVEL SECURITY', relname)
       FROM pg_class WHERE relnamespace = 'views'::regnamespace AND relname = $1 AND relforcerowsecurity
     UNION ALL
     SELECT 'the index ' || i.relname, pg_get_indexdef(i.oid) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
       WHERE t.relnamespace = 'views'::regnamespace AND t.relname = $1 AND NOT x.indisprimary AND i.relname NOT LIKE 'by\\_%'`,
    [table, POLICIES],
  );
  return rows;
}

/** Makes on the new table what stood on the old one. Throws `usage` where it does not fit. */
export async function carryOver(db: Db, table: string, { what, statement }: Kept): Promise<void> {
  try {
    await db.query(statement);
  } catch (error) {
    throw new TributaryError(
      "usage",
      `${what} on views.${table} cannot be carried over to its new build: ${(error as Error).message}`,
      "Drop it, or change it so that it fits the new columns. The live views were left as they are.",
      { cause: error },
    );
  }
}

/** Grants again what was granted on a table, as far as the table has the columns. */
export async function grantAgain(db: Db, table: string, granted: readonly Grant[]): Promise<void> {
  const { rows } = await db.query<{ column: string }>(
    "SELECT attname AS column FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum > 0",
    [at(LIVE, table)],
  );
  const columns = new Set(rows.map(({ column }) => column));
  for (const { statement, column } of granted)
    if (columns.size > 0 && (column === null || columns.has(column))) await db.query(statement);
}
