import pg from "pg";
import { messageOf, TributaryError } from "../core/index.ts";
import { roleSql } from "./names.ts";

const CONNECT_TIMEOUT_MS = 5_000;

/** A connection to the database that the views stand in. Other folders only hand it on to functions of `views`, which alone write SQL. */
export type Db = pg.Client;

/** Whoever is shown only some rows is told so by an error, and does not take them for all: unless PostgreSQL was told that this user may see all of them. */
const OR_ALL_ROWS = `SELECT set_config('row_security',
  CASE WHEN EXISTS (SELECT FROM pg_roles WHERE rolname = current_user AND rolsuper
    OR rolname IN (${roleSql("'overseer'")}, ${roleSql("'all_rows'")}) AND pg_has_role(oid, 'MEMBER')) THEN 'on' ELSE 'off' END, false)`;

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
    // Whatever the server's setting is: days are read as they are written, 2026-05-03.
    await client.query("SET DateStyle = ISO");
    await client.query(OR_ALL_ROWS);
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

/** Runs `work` in a transaction. All that it writes stays; where it throws, none of it does. */
export async function inTransaction<T>(db: Db, work: () => Promise<T>): Promise<T> {
  await db.query("BEGIN");
  try {
    const result = await work();
    await db.query("COMMIT");
    return result;
  } catch (error) {
    // On a lost connection there is nothing to roll back; the first error is thrown all the same.
    await db.query("ROLLBACK").catch(() => {});
    throw error;
  }
}

/** Runs `work` inside the caller's transaction and checks the constraints at its end. Where it throws, what it wrote is undone, and the transaction can go on. */
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

/** Runs `work` inside the caller's transaction and undoes all of it. Throws what `work` throws, or what the database's constraints say of it. */
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

/** Bounds how long a statement waits for a lock, until the caller's transaction ends. */
export async function waitAtMost(db: Db, lockTimeoutMs: number): Promise<void> {
  await db.query(`SET LOCAL lock_timeout = ${lockTimeoutMs}`);
}

/** How long a process that hangs inside a transaction keeps its locks: then PostgreSQL ends its connection. */
const IDLE_IN_TRANSACTION_MS = 15_000;

/** Sets a connection up for writing pages: it saves a disk flush a page. That is safe: rows and shards' positions are lost or kept together, and what is lost is folded again. */
export async function asPageWriter(db: Db): Promise<void> {
  await db.query("SET synchronous_commit = off");
  await db.query(`SET idle_in_transaction_session_timeout = ${IDLE_IN_TRANSACTION_MS}`);
}
