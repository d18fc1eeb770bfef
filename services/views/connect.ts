import pg from "pg";
import { messageOf, TributaryError } from "../core/index.ts";

const CONNECT_TIMEOUT_MS = 5_000;

/** A connection to the database that the views stand in. Whoever is handed one hands it on to functions of `views`; its statements are theirs. */
export type Db = pg.Client;

/** Connects to PostgreSQL; throws `backend-unreachable`. `name` is shown in pg_stat_activity. */
export async function connectViews(url: string, name: string): Promise<Db> {
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
    // Whatever the server's habit: days are read as they are written, 2026-05-03.
    await client.query("SET DateStyle = ISO");
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

/** Runs `work` inside the caller's transaction: where it throws, what it wrote is undone, and the transaction goes on. Constraints are checked at its end. */
export async function inSavepoint<T>(db: Db, work: () => Promise<T>): Promise<T> {
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

const UNDONE = new Error("undone");

/** Runs `work` inside the caller's transaction and undoes it, so that nothing of it stays. Throws what it throws, or what the database's constraints say of it. */
export async function rehearse(db: Db, work: () => Promise<unknown>): Promise<void> {
  try {
    await inSavepoint(db, async () => {
      await work();
      await db.query("SET CONSTRAINTS ALL IMMEDIATE");
      throw UNDONE;
    });
  } catch (error) {
    if (error !== UNDONE) throw error;
  }
}

/** Until the caller's transaction ends, no statement waits longer for a lock than this. */
export async function waitAtMost(db: Db, lockTimeoutMs: number): Promise<void> {
  await db.query(`SET LOCAL lock_timeout = ${lockTimeoutMs}`);
}

/** A process that hangs inside a transaction keeps what it has locked from others no longer than this: then PostgreSQL ends its connection. */
const IDLE_IN_TRANSACTION_MS = 15_000;

/** Sets a connection up for writing pages. Safe: rows and places in the log are lost or kept together, and what is lost is folded again. Saves a disk flush a page. */
export async function asPageWriter(db: Db): Promise<void> {
  await db.query("SET synchronous_commit = off");
  await db.query(`SET idle_in_transaction_session_timeout = ${IDLE_IN_TRANSACTION_MS}`);
}
