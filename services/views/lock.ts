/** The lock for rebuilding and swapping: one process at a time. */
import { TributaryError } from "../core/index.ts";
import type { Db } from "./connect.ts";

/** One rebuild at a time; an arbitrary number of ours. */
const REBUILD_LOCK = 7_401_105;
/** How long a process that keeps projectors waiting may be silent. */
const HOLD_IDLE_MS = 60_000;

/** Runs `work` while no other process rebuilds or swaps. Where one does, waits for it; with `wait: false`, throws `already-running` instead. */
export async function alone<T>(db: Db, wait: boolean, work: () => Promise<T>): Promise<T> {
  if (wait) await db.query("SELECT pg_advisory_lock($1)", [REBUILD_LOCK]);
  else {
    const { rows } = await db.query<{ got: boolean }>("SELECT pg_try_advisory_lock($1) AS got", [REBUILD_LOCK]);
    if (!rows[0]?.got)
      throw new TributaryError(
        "already-running",
        "another process is rebuilding views",
        "Wait until that has ended. It can be interrupted; the same command continues it later.",
      );
  }
  try {
    return await work();
  } finally {
    await db.query("SELECT pg_advisory_unlock($1)", [REBUILD_LOCK]).catch(() => {});
  }
}

/** Whether a process waits for the lock. That may be a projector, which cannot fold until it has had its turn. */
export async function isWaitedFor(db: Db): Promise<boolean> {
  const { rows } = await db.query(
    `SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND classid = 0 AND objid = $1
       AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND NOT granted LIMIT 1`,
    [REBUILD_LOCK],
  );
  return rows.length > 0;
}

/** Keeps projectors from writing until the caller's transaction ends. If the caller hangs, PostgreSQL ends it. */
export async function holdShards(db: Db): Promise<void> {
  await db.query(`SET LOCAL idle_in_transaction_session_timeout = ${HOLD_IDLE_MS}`);
  await db.query("LOCK TABLE tributary.shard IN EXCLUSIVE MODE");
}

/** Lets the caller's transaction be lost if the machine fails, since its work can be done again. That saves a disk flush. */
export async function mayBeLost(db: Db): Promise<void> {
  await db.query("SET LOCAL synchronous_commit = off");
}
