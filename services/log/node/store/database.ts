import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { messageOf, TributaryError } from "../../../core/index.ts";
import { closeDatabaseFile, ownFolder, ownNewFile } from "../../../core/node.ts";

const SCHEMA_VERSION = 1;

export interface StoreOptions {
  readonly dataDir: string | null;
  readonly now: () => number;
  /** Bounds the database in pages of 4 KiB: for tests of a full disk. */
  readonly maxPages?: number;
}

const TABLES = `
  CREATE TABLE stream (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, last INTEGER NOT NULL, tombstoned INTEGER NOT NULL,
    max_count INTEGER, max_age_s INTEGER, truncate_before INTEGER) STRICT;
  -- revision −1: the tombstone. truncate_before −1: deleted.
  CREATE TABLE event (
    position INTEGER PRIMARY KEY, stream INTEGER NOT NULL, revision INTEGER NOT NULL, id TEXT NOT NULL, type TEXT NOT NULL,
    created_ms INTEGER NOT NULL, message BLOB NOT NULL) STRICT;
  CREATE UNIQUE INDEX event_in_stream ON event (stream, revision);
`;

const SQLITE_CORRUPT = 11;
const SQLITE_NOTADB = 26;

/** Whether SQLite says that the file is not what it was. */
export const isDamage = (error: unknown): boolean => {
  const code = ((error as { errcode?: number } | null)?.errcode ?? 0) & 0xff;
  return code === SQLITE_CORRUPT || code === SQLITE_NOTADB;
};

export const damaged = (path: string, cause: unknown): TributaryError =>
  new TributaryError(
    "data-corrupt",
    `${path} is damaged: ${messageOf(cause)}`,
    "Keep this folder as it is, check the disk, and restore the last backup into a new one (`tributary restore BACKUP --data NEW`): devices send again what it lacks.",
    { cause },
  );

const unopened = (path: string, cause: unknown): TributaryError =>
  new TributaryError(
    "backend-failed",
    `${path} cannot be opened: ${messageOf(cause)}`,
    "Check the folder, its rights, and the room on its disk.",
    { cause },
  );

/** Opens the database, alone: another process that has it open is told of, and so is damage. */
export function openDatabase({ dataDir, maxPages }: StoreOptions): DatabaseSync {
  if (dataDir === null) {
    const db = new DatabaseSync(":memory:");
    db.exec(TABLES);
    return db;
  }
  const path = join(dataDir, "events.db");
  ownFolder(dataDir);
  ownNewFile(path);
  closeDatabaseFile(path);
  let db: DatabaseSync;
  try {
    db = new DatabaseSync(path);
  } catch (error) {
    throw unopened(path, error);
  }
  try {
    // Exclusive: a second process is refused, and the lock goes with the process that held it.
    db.exec("PRAGMA busy_timeout = 1000; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
    db.exec("BEGIN EXCLUSIVE; COMMIT; PRAGMA cache_size = -65536; PRAGMA wal_autocheckpoint = 4000");
    if (maxPages !== undefined) db.exec(`PRAGMA max_page_count = ${maxPages}`);
    const { user_version: version } = db.prepare("PRAGMA user_version").get() as { user_version: number };
    if (version > SCHEMA_VERSION) {
      throw new TributaryError("data-corrupt", `${path} was written by a newer version of this program`, "Update this program.");
    }
    if (version === 0) db.exec(`BEGIN; ${TABLES} PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT`);
    return db;
  } catch (error) {
    db.close();
    if (error instanceof TributaryError) throw error;
    if (/locked|busy/i.test(messageOf(error))) {
      throw new TributaryError(
        "data-locked",
        `another process has ${path} open`,
        "Stop it, or give this one another --data folder.",
        { cause: error },
      );
    }
    if (isDamage(error)) throw damaged(path, error);
    throw unopened(path, error);
  }
}
