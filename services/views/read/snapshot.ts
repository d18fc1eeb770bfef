import type { Db } from "../connect.ts";

/** Connections that show one moment now. */
const still = new WeakSet<Db>();

/** Runs `work` in a transaction that sees one moment of the database and writes nothing; inside another one, in that. */
export async function inSnapshot<T>(db: Db, work: () => Promise<T>): Promise<T> {
  if (still.has(db)) return work();
  await db.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
  still.add(db);
  try {
    return await work();
  } finally {
    still.delete(db);
    // On a lost connection there is nothing to end.
    await db.query("ROLLBACK").catch(() => {});
  }
}

/**
 * Runs `work` on one moment of the database, however long it takes, and undoes all that it wrote. No build is swapped in before it ends.
 */
export async function inComparison<T>(db: Db, work: () => Promise<T>): Promise<T> {
  const { rows } = await db.query<{ table: string }>(
    "SELECT format('%I.%I', schemaname, tablename) AS table FROM pg_tables WHERE schemaname = 'views' ORDER BY 1",
  );
  await db.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
  try {
    await db.query("SET LOCAL idle_in_transaction_session_timeout = 0");
    await db.query("SET LOCAL statement_timeout = 0");
    // Before the snapshot: views that are swapped after it would be seen without rows.
    if (rows.length > 0) await db.query(`LOCK TABLE ${rows.map(({ table }) => table).join(", ")} IN ACCESS SHARE MODE`);
    return await work();
  } finally {
    await db.query("ROLLBACK").catch(() => {});
  }
}
