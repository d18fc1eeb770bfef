import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { TributaryError } from "../core/index.ts";
import { type Db, inTransaction } from "./connect.ts";
import { ensureRoles } from "./owned.ts";

const DIR = join(import.meta.dirname, "sql");
/** One migrator at a time; an arbitrary number of ours. */
const LOCK = 7_401_101;

/** The numbered files of `sql/`, in the order in which they are applied. */
export const migrations = (): string[] =>
  readdirSync(DIR)
    .filter((name) => /^\d{3}_.*\.sql$/.test(name))
    .sort();

/** Brings the database's tables up to date: runs the numbered files of `sql/`, each once, in order. `last`: the last file to run. Throws `data-corrupt` for a database of a newer version. */
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
      if (!files.includes(name)) {
        throw new TributaryError(
          "data-corrupt",
          `the database was prepared by a newer version (${name})`,
          "Update this program.",
        );
      }
    }
    await ensureRoles(db);
    for (const name of files) {
      if (applied.has(name)) continue;
      if (last !== undefined && name > last) break;
      await db.query(readFileSync(join(DIR, name), "utf8"));
      await db.query("INSERT INTO tributary.migration (name) VALUES ($1)", [name]);
    }
  });
}
