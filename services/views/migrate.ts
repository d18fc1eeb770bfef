import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { TributaryError } from "../core/index.ts";
import type { View } from "../merge/engine.ts";
import { type Db, inTransaction, waitAtMost } from "./connect.ts";
import { isLockedOut, sqlState } from "./failures.ts";
import { ALIVE_LOCK } from "./leases.ts";
import { ensureRoles, protectOwn } from "./owned.ts";
import { changeLayout } from "./swap.ts";
import { protectBuilds } from "./tables.ts";

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

/** How often bringing the tables up to date is tried where others hold locks on them, and how long it waits for a lock. */
const MAX_TRIES = 5;
const LOCK_TIMEOUT_MS = 20_000;

export interface MigrateOptions {
  /** The last file to run; default: all. */
  readonly last?: string;
  /** The declared views: their builds get the policies that they lack. */
  readonly views?: readonly View[];
}

/**
 * Brings the database's tables up to date: runs the numbered files of `sql/`, each once, in order, and makes the policies that are missing. Throws `data-corrupt` for a database of a newer version.
 *
 * Projectors of the version before that still run would go on writing rows as they were before. So the views' layout changes with the tables: no page that was folded before is written after. And the connections
 * by which these processes are known as projectors, and those that seal, are ended: a projector that connects again comes here first, and is refused.
 *
 * Others read several of these tables in a transaction, in an order of their own. Where one of them and this wait for one another, PostgreSQL ends either; this begins again.
 */
export async function migrate(db: Db, options: MigrateOptions = {}): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await inTransaction(db, () => bringUpToDate(db, options));
    } catch (error) {
      if (tries === MAX_TRIES || !isPassing(error)) throw error;
    }
  }
}

async function bringUpToDate(db: Db, { last, views = [] }: MigrateOptions): Promise<void> {
  const files = migrations();
  await waitAtMost(db, LOCK_TIMEOUT_MS);
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
  const roles = await ensureRoles(db);
  const due = files.filter((name) => !applied.has(name) && (last === undefined || name <= last));
  const hasOlder = due.length > 0 && (await hasShards(db));
  // First: a page that is being written has shards, and would wait for a table that is changed here, while this waits for its shards.
  if (hasOlder) await db.query("LOCK TABLE tributary.shard IN EXCLUSIVE MODE");
  for (const name of due) {
    await db.query(readFileSync(join(DIR, name), "utf8"));
    await db.query("INSERT INTO tributary.migration (name) VALUES ($1)", [name]);
  }
  if (hasOlder) await endOlder(db);
  // Tables of an earlier version lack columns that the policies name.
  if (last !== undefined) return;
  await protectOwn(db, roles);
  await protectBuilds(db, views, roles);
}

/** Whether others were in the way of a change of tables. */
const isPassing = (error: unknown): boolean => isLockedOut(error) || sqlState(error) === DEADLOCK;
const DEADLOCK = "40P01";

async function hasShards(db: Db): Promise<boolean> {
  const { rows } = await db.query<{ has: boolean }>("SELECT to_regclass('tributary.shard') IS NOT NULL AS has");
  return rows[0]?.has === true;
}

/** Keeps projectors of the version before from writing anything more. Connections of a role that this one is no member of cannot be ended: such a projector is refused when it takes its shards again. */
async function endOlder(db: Db): Promise<void> {
  await changeLayout(db);
  await db.query(
    `SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a
     WHERE a.datname = current_database() AND pg_has_role(a.usesysid, 'MEMBER') AND a.pid <> pg_backend_pid() AND (a.application_name = $2 OR EXISTS (
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
