import pg from "pg";
import { messageOf, TributaryError } from "../core/index.ts";

const CONNECT_TIMEOUT_MS = 5_000;

/** Connects to PostgreSQL; throws `backend-unreachable`. `name` is shown in pg_stat_activity. */
export async function connectViews(url: string, name: string): Promise<pg.Client> {
  const client = new pg.Client({
    connectionString: url,
    application_name: name,
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    keepAlive: true,
  });
  // A connection lost while idle is reported here; the next query fails and says so.
  client.on("error", () => {});
  try {
    await client.connect();
    return client;
  } catch (error) {
    throw new TributaryError(
      "backend-unreachable",
      `PostgreSQL does not answer: ${messageOf(error)}`,
      "Start it, or check TRIBUTARY_POSTGRES_URL.",
      {
        cause: error,
      },
    );
  }
}

/** Runs `work` in a transaction: all that it writes stays, or none of it where it throws. */
export async function inTransaction<T>(db: pg.Client, work: () => Promise<T>): Promise<T> {
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

/** Runs `work` inside the caller's transaction: where it throws, what it wrote is undone, and the transaction goes on. Constraints are checked at its end. */
export async function inSavepoint<T>(db: pg.Client, work: () => Promise<T>): Promise<T> {
  await db.query("SAVEPOINT part");
  try {
    const result = await work();
    await db.query("SET CONSTRAINTS ALL IMMEDIATE");
    await db.query("RELEASE SAVEPOINT part");
    return result;
  } catch (error) {
    await db.query("ROLLBACK TO SAVEPOINT part").catch(() => {});
    await db.query("RELEASE SAVEPOINT part").catch(() => {});
    throw error;
  }
}
