import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { GENESIS, type Hash, type IncarnationId, messageOf, type OriginId, originId, TributaryError } from "../core/index.ts";
import { ownFile } from "../core/node.ts";

/** Raised with every change to the tables below. */
const SCHEMA_VERSION = 3;
/** How long a second process on the same device waits for the first to finish its transaction. */
const BUSY_TIMEOUT_MS = 5_000;

/** Came with version 2: schemas that the hub has told this device of, and which schema each event was written with. */
const SECOND = `
  CREATE TABLE schema (subject TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL, refs TEXT NOT NULL,
    PRIMARY KEY (subject, version)) STRICT;
  ALTER TABLE event ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';
`;

/** Came with version 3: which life of the log a position belongs to, how far an epoch's events were ever sent or went elsewhere, and what was set aside. */
const THIRD_COLUMNS = {
  incarnation: "TEXT",
  /** The last event that stays in this epoch; later ones were written again under a later epoch, or set aside. NULL: all stay. */
  kept_through: "INTEGER",
  /** The last event that was ever handed to the network, taken or not. */
  offered_through: "INTEGER NOT NULL DEFAULT -1",
} as const;
const ASIDE = `
  CREATE TABLE IF NOT EXISTS aside (
    origin INTEGER NOT NULL, seq INTEGER NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (origin, seq)) STRICT, WITHOUT ROWID;
`;

const TABLES = `
  CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  -- One row an epoch. The last one writes; earlier ones are only sent.
  CREATE TABLE origin (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, next_seq INTEGER NOT NULL, head TEXT NOT NULL,
    queued_through INTEGER NOT NULL, synced_through INTEGER NOT NULL, position TEXT) STRICT;
  CREATE TABLE event (
    origin INTEGER NOT NULL, seq INTEGER NOT NULL, head TEXT NOT NULL, data TEXT NOT NULL, hash TEXT NOT NULL,
    PRIMARY KEY (origin, seq)) STRICT, WITHOUT ROWID;
  -- What this device has seen of each entity: the basis of what it writes next.
  CREATE TABLE entity (type TEXT NOT NULL, id TEXT NOT NULL, vector TEXT NOT NULL, PRIMARY KEY (type, id)) STRICT, WITHOUT ROWID;
  CREATE TABLE quarantined (
    origin INTEGER NOT NULL, seq INTEGER NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (origin, seq)) STRICT, WITHOUT ROWID;
  -- Rows that an import has taken, so that it can be repeated.
  CREATE TABLE imported (digest TEXT PRIMARY KEY, origin INTEGER NOT NULL, seq INTEGER NOT NULL) STRICT, WITHOUT ROWID;
`;

export interface FieldName {
  readonly org: string;
  readonly site: string;
  readonly device: string;
}

export interface OriginRow {
  readonly id: number;
  readonly name: OriginId;
  readonly nextSeq: number;
  readonly head: Hash;
  /** Last seq that the broker has taken, that the hub has confirmed; −1: none. */
  readonly queuedThrough: number;
  readonly syncedThrough: number;
  /** Where in the log the last confirmed event stands, and the log's life that gave this position. */
  readonly position: string | null;
  readonly incarnation: IncarnationId | null;
  /** Last seq that was ever handed to the network; −1: none. */
  readonly offeredThrough: number;
  /** Last seq that stays in this epoch; `null`: all do. Later ones were written again under a later epoch, or set aside. */
  readonly keptThrough: number | null;
  /** The last seq that is to be sent under this name; −1: none. */
  readonly lastSeq: number;
}

/** The device's database: opening, transactions and the rows that all parts use. */
export interface Store {
  readonly path: string;
  readonly name: FieldName;
  readonly db: DatabaseSync;
  /** Runs `work` in one transaction, durable when it returns; undone when it throws. */
  transaction<T>(work: () => T): T;
  meta(key: string): string | null;
  setMeta(key: string, value: string): void;
  /** All epochs, oldest first; the last is the one that writes. */
  origins(): OriginRow[];
  current(): OriginRow;
  /** Starts a new epoch: events from now on belong to a new origin. */
  startEpoch(): OriginRow;
  close(): void;
}

export interface StoreOptions {
  readonly path: string;
  /** Needed to create the database; when given for an existing one it must match. */
  readonly name?: FieldName;
  readonly create: boolean;
  readonly randomEpoch: () => string;
  /** Bounds the database's size, in pages of 4 KiB: for tests of a full disk. */
  readonly maxPages?: number;
}

/**
 * Opens a field database. A copy of one (a cloned tablet, a restored backup) is noticed by the file it lives in and
 * continues under a new epoch, so that two devices never write as one origin.
 */
export function openStore(options: StoreOptions): Store {
  const { path, name, create, randomEpoch, maxPages } = options;
  if (!create && !existsSync(path)) {
    throw new TributaryError(
      "not-found",
      `there is no field database at ${path}`,
      "Make one with `tributary field init`, or name the right one with --db.",
    );
  }
  const db = openDatabase(path, create);
  try {
    db.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}; PRAGMA foreign_keys = ON`,
    );
    if (maxPages !== undefined) db.exec(`PRAGMA max_page_count = ${maxPages}`);
    const version = (db.prepare("PRAGMA user_version").get() as { user_version: number }).user_version;
    if (version > SCHEMA_VERSION) {
      throw new TributaryError("data-corrupt", `${path} was written by a newer version of this program`, "Update this program.");
    }
    const store = storeOver(db, path, randomEpoch);
    if (version === 0) {
      if (name === undefined) {
        throw new TributaryError(
          "usage",
          `${path} is new: it needs an organisation, site and device`,
          "Run `tributary field init --org … --site … --device …`.",
        );
      }
      store.transaction(() => {
        db.exec(TABLES);
        db.exec(SECOND);
        third(db);
        db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
        for (const key of ["org", "site", "device"] as const) store.setMeta(key, name[key]);
        store.setMeta("identity", identityOf(path));
        store.startEpoch();
      });
    }
    if (version === 1 || version === 2) {
      store.transaction(() => {
        if (version === 1) db.exec(SECOND);
        third(db);
        findMoved(db);
        db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
      });
    }
    checkName(store, path, name);
    if (store.meta("identity") !== identityOf(path)) {
      store.transaction(() => {
        store.setMeta("identity", identityOf(path));
        store.startEpoch();
      });
    }
    return store;
  } catch (error) {
    db.close();
    throw storeError(path, error);
  }
}

function third(db: DatabaseSync): void {
  const there = new Set(
    db
      .prepare("PRAGMA table_info(origin)")
      .all()
      .map(({ name }) => name),
  );
  for (const [name, type] of Object.entries(THIRD_COLUMNS))
    if (!there.has(name)) db.exec(`ALTER TABLE origin ADD COLUMN ${name} ${type}`);
  db.exec(ASIDE);
  db.exec("UPDATE origin SET offered_through = max(offered_through, queued_through)");
}

/**
 * Before version 3 a copy's events were written again under the next epoch and counted as confirmed under both. The clock stamps tell which: within one
 * database no two events have the same.
 */
function findMoved(db: DatabaseSync): void {
  if ((db.prepare("SELECT count(*) AS n FROM origin").get() as { n: number }).n < 2) return;
  const stamp = "CASE WHEN json_valid(head) THEN json_extract(head, '$.hlc') END";
  db.exec(`
    CREATE TEMP TABLE stamps AS SELECT origin, seq, ${stamp} AS hlc FROM event;
    CREATE INDEX temp.stamps_hlc ON stamps (hlc);
    UPDATE origin SET kept_through = (SELECT min(a.seq) - 1 FROM stamps a JOIN stamps b ON b.hlc = a.hlc AND b.origin > a.origin WHERE a.origin = origin.id);
    UPDATE origin SET synced_through = min(synced_through, kept_through), queued_through = min(queued_through, kept_through) WHERE kept_through IS NOT NULL;
    DROP TABLE stamps;
  `);
}

function openDatabase(path: string, create: boolean): DatabaseSync {
  try {
    if (path !== ":memory:") {
      if (create) mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      ownFile(path);
    }
    return new DatabaseSync(path);
  } catch (error) {
    throw storeError(path, error);
  }
}

function checkName(store: Store, path: string, name: FieldName | undefined): void {
  const own = store.name;
  if (name === undefined || (name.org === own.org && name.site === own.site && name.device === own.device)) return;
  throw new TributaryError(
    "usage",
    `${path} belongs to ${own.org}.${own.site}.${own.device}, not to ${name.org}.${name.site}.${name.device}`,
    "Use another file for another device.",
  );
}

/** An epoch's row. What a database of an earlier version does not have is as if nothing had happened. */
export const originRow = (r: Record<string, unknown>): OriginRow => ({
  id: Number(r.id),
  name: r.name as OriginId,
  nextSeq: Number(r.next_seq),
  head: r.head as Hash,
  queuedThrough: Number(r.queued_through),
  syncedThrough: Number(r.synced_through),
  position: r.position as string | null,
  incarnation: (r.incarnation ?? null) as IncarnationId | null,
  offeredThrough: Number(r.offered_through ?? r.queued_through),
  keptThrough: r.kept_through == null ? null : Number(r.kept_through),
  lastSeq: r.kept_through == null ? Number(r.next_seq) - 1 : Number(r.kept_through),
});

function storeOver(db: DatabaseSync, path: string, randomEpoch: () => string): Store {
  const store: Store = {
    path,
    db,
    get name() {
      return { org: store.meta("org")!, site: store.meta("site")!, device: store.meta("device")! };
    },
    transaction(work) {
      try {
        db.exec("BEGIN IMMEDIATE");
        try {
          const result = work();
          db.exec("COMMIT");
          return result;
        } catch (error) {
          if (db.isTransaction) db.exec("ROLLBACK");
          throw error;
        }
      } catch (error) {
        throw storeError(path, error);
      }
    },
    meta: (key) => (db.prepare("SELECT value FROM meta WHERE key = ?").get(key)?.value as string | undefined) ?? null,
    setMeta(key, value) {
      db.prepare("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value").run(key, value);
    },
    origins: () => db.prepare("SELECT * FROM origin ORDER BY id").all().map(originRow),
    current: () => originRow(db.prepare("SELECT * FROM origin ORDER BY id DESC LIMIT 1").get()!),
    startEpoch() {
      const name = originId({ ...store.name, epoch: randomEpoch() });
      db.prepare("INSERT INTO origin (name, next_seq, head, queued_through, synced_through) VALUES (?, 0, ?, -1, -1)").run(
        name,
        GENESIS,
      );
      return store.current();
    },
    close: () => {
      if (db.isOpen) db.close();
    },
  };
  return store;
}

/** What tells this database file from a copy of it: the machine, and the file's inode. */
function identityOf(path: string): string {
  if (path === ":memory:") return "memory";
  const machine = existsSync("/etc/machine-id") ? readFileSync("/etc/machine-id", "utf8").trim() : hostname();
  return createHash("sha256")
    .update(`${machine}/${statSync(path).ino}`)
    .digest("hex")
    .slice(0, 32);
}

const SQLITE_BUSY = 5;
const SQLITE_READONLY = 8;
const SQLITE_IOERR = 10;
const SQLITE_CORRUPT = 11;
const SQLITE_FULL = 13;
const SQLITE_CANTOPEN = 14;
const SQLITE_NOTADB = 26;

/** Whether SQLite found a page damaged, or lost. */
export const isCorrupt = (error: unknown): boolean =>
  [SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_IOERR].includes(((error as { errcode?: number } | null)?.errcode ?? -1) & 0xff);

/** A failure of SQLite as one of ours. */
export function storeError(path: string, error: unknown): unknown {
  if (error instanceof TributaryError) return error;
  const code = ((error as { errcode?: number }).errcode ?? -1) & 0xff;
  const because = { cause: error };
  switch (code) {
    case SQLITE_FULL:
      return new TributaryError(
        "disk-full",
        `the disk is full: nothing was written to ${path}`,
        "Free some space and try again; all earlier events are safe.",
        because,
      );
    case SQLITE_BUSY:
      return new TributaryError(
        "data-locked",
        `${path} is being written by another program`,
        "Wait until it has finished, or stop it.",
        because,
      );
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return new TributaryError(
        "data-corrupt",
        `${path} is no field database, or is damaged: ${messageOf(error)}`,
        "Keep the file. `tributary field salvage --db FILE --out EVENTS` writes what is readable of it; start a new database beside it.",
        because,
      );
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
      return new TributaryError(
        "data-corrupt",
        `${path} cannot be opened for writing: ${messageOf(error)}`,
        "Check that the folder exists and may be written.",
        because,
      );
    case SQLITE_IOERR:
      return new TributaryError(
        "disk-full",
        `the disk failed while writing ${path}: ${messageOf(error)}`,
        "Check the disk; all earlier events are safe.",
        because,
      );
    default:
      return error;
  }
}
