import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { TributaryError } from "../core/index.ts";
import { type Db, inTransaction } from "./connect.ts";
import { ALIVE_LOCK } from "./leases.ts";
import { ensureRoles } from "./owned.ts";
import { changeLayout } from "./swap.ts";

const DIR = join(import.meta.dirname, "sql");
/** One migrator at a time; an arbitrary number of ours. */
const LOCK = 7_401_101;

/** The name of the connections by which projectors seal the feeds. */
export const SEALER_NAME = "tributary-projector seals";

/** The numbered files of `sql/`, in the order in which they are applied. */
export const migrations = (): string[] =>
  readdirSync(DIR)
    .filter((name) => /^\d{3}_.*\.sql$/.test(name))
    .sort();

/**
 * Brings the database's tables up to date: runs the numbered files of `sql/`, each once, in order. `last`: the last file to run. Throws `data-corrupt` for a database of a newer version.
 *
 * Projectors of the version before that still run would go on writing rows as they were before. So the views' layout changes with the tables: no page that was folded before is written after. And the connections
 * by which these processes are known as projectors, and those that seal, are ended: a projector that connects again comes here first, and is refused.
 */
export async function migrate(db: Db, last?: string): Promise<void> {
  const files = migrations();
  await inTransaction(db, async () => {
    await db.query("SELECT pg_advisory_xact_lock($1)", [LOCK]);
    await db.query("CREATE SCHEMA IF NOT EXISTS tributary");
    await db.query(
      "CREATE TABLE IF NOT EXISTS tributary.migration (name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())",
    );
    const { rows } = await db.query<{ name: string }>("SELECT name FROM tributary.migration");
    const applied = new Set(rows.map(({ name }) => name));
    for (const name of applied) {
      if (!files.includes(name)) throw preparedByNewer(name);
    }
    await ensureRoles(db);
    const due = files.filter((name) => !applied.has(name) && (last === undefined || name <= last));
    const hasOlder = due.length > 0 && (await hasShards(db));
    // First: a page that is being written has shards, and would wait for a table that is changed here, while this waits for its shards.
    if (hasOlder) await db.query("LOCK TABLE tributary.shard IN EXCLUSIVE MODE");
    for (const name of due) {
      await db.query(readFileSync(join(DIR, name), "utf8"));
      await db.query("INSERT INTO tributary.migration (name) VALUES ($1)", [name]);
    }
    if (hasOlder) await endOlder(db);
  });
}

async function hasShards(db: Db): Promise<boolean> {
  const { rows } = await db.query<{ has: boolean }>("SELECT to_regclass('tributary.shard') IS NOT NULL AS has");
  return rows[0]?.has === true;
}

/** Keeps projectors of the version before from writing anything more. Another role's connections cannot be ended: its pages are refused by the layout. */
async function endOlder(db: Db): Promise<void> {
  await changeLayout(db);
  await db.query(
    `SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
     WHERE a.datname = current_database() AND a.usename = current_user AND a.pid <> pg_backend_pid() AND (a.application_name = $2 OR EXISTS (
       SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.classid = $1::bigint AND l.objsubid = 2 AND l.mode = 'ExclusiveLock' AND l.granted))`,
    [ALIVE_LOCK, SEALER_NAME],
  );
}

/** Throws `data-corrupt` where the database was prepared by a newer version than this process's. */
export async function refuseNewer(db: Db): Promise<void> {
  const files = new Set(migrations());
  const { rows } = await db.query<{ name: string }>("SELECT name FROM tributary.migration");
  const newer = rows.find(({ name }) => !files.has(name));
  if (newer !== undefined) throw preparedByNewer(newer.name);
}

const preparedByNewer = (name: string): TributaryError =>
  new TributaryError("data-corrupt", `the database was prepared by a newer version (${name})`, "Update this program.");
