/** How builds are removed: at once, or when nothing that others made clings to them any more. */
import type { Generation } from "./catalog.ts";
import { clingingTo, clings } from "./clinging.ts";
import { type Db, inTransaction, waitAtMost } from "./connect.ts";
import { at, LIVE, q } from "./names.ts";

/** How long, at a time, the removal of a build waits for its last readers. */
const LET_GO_TIMEOUT_MS = 500;

/** A build and its tables in the database. */
type Tables = Pick<Generation, "view" | "generation" | "namespace" | "tables">;

/** Removes what was kept for a build beside its tables. */
async function forgetKept(db: Db, { view, generation }: Tables): Promise<void> {
  for (const kept of ["decision_row", "case_row", "parked"])
    await db.query(`DELETE FROM tributary.${kept} WHERE view = $1 AND generation = $2`, [view, generation]);
}

/** Removes a build; one that something clings to is put out of use, and removed when it is let go. For work that no person watches. */
export async function dropOrLeave(db: Db, build: Tables): Promise<void> {
  if ((await clingingTo(db, build.namespace, build.tables)).length === 0) return dropGeneration(db, build);
  await forgetKept(db, build);
  await db.query("UPDATE tributary.generation SET state = 'left' WHERE view = $1 AND generation = $2", [
    build.view,
    build.generation,
  ]);
}

/** Whether nothing clings any more to some build that was left. Changes nothing. */
export async function isAnyLetGo(db: Db): Promise<boolean> {
  // One view may have several such builds.
  const { rows } = await db.query<Pick<Tables, "namespace" | "tables">>(
    "SELECT place AS namespace, tables FROM tributary.generation WHERE state = 'left'",
  );
  for (const { namespace, tables } of rows) if ((await clingingTo(db, namespace, tables)).length === 0) return true;
  return false;
}

/** Removes, in a transaction, the builds that were left and that nothing clings to any more; several processes may do so at once. Returns how many. */
export async function dropLetGo(db: Db): Promise<number> {
  return inTransaction(db, async () => {
    await waitAtMost(db, LET_GO_TIMEOUT_MS);
    const { rows } = await db.query<Tables>(
      `SELECT view, generation, place AS namespace, tables FROM tributary.generation
       WHERE state = 'left' ORDER BY generation, view FOR UPDATE SKIP LOCKED`,
    );
    let dropped = 0;
    for (const build of rows) {
      if ((await clingingTo(db, build.namespace, build.tables)).length > 0) continue;
      await dropGeneration(db, build);
      dropped++;
    }
    return dropped;
  });
}

/** Removes a build with all that was kept for it. Throws `usage` where something clings to it. */
export async function dropGeneration(db: Db, build: Tables): Promise<void> {
  const { view, generation, namespace, tables } = build;
  const [held] = await clingingTo(db, namespace, tables);
  if (held !== undefined) throw clings(held, "it is of an earlier build, which is to go");
  for (const table of [...tables].reverse()) await db.query(`DROP TABLE IF EXISTS ${at(namespace, table)}`);
  await forgetKept(db, build);
  await db.query("DELETE FROM tributary.generation WHERE view = $1 AND generation = $2", [view, generation]);
  const { rows } = await db.query("SELECT 1 FROM tributary.generation WHERE place = $1 LIMIT 1", [namespace]);
  if (rows.length === 0 && namespace !== LIVE) await db.query(`DROP SCHEMA IF EXISTS ${q(namespace)} CASCADE`);
}
