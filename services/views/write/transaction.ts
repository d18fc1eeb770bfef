import type { Db } from "../read/db.ts";

/** Runs `work` in a transaction: all that it writes stays, or none of it where it throws. */
export async function inTransaction<T>(db: Db, work: () => Promise<T>): Promise<T> {
  await db.query("BEGIN");
  try {
    const result = await work();
    await db.query("COMMIT");
    return result;
  } catch (error) {
    // On a connection that is lost there is nothing to roll back; what went wrong is told all the same.
    await db.query("ROLLBACK").catch(() => {});
    throw error;
  }
}
