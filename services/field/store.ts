import { createHash } from "node:crypto";
import { existsSync, readFileSync, statSync } from "node:fs";
import { hostname } from "node:os";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { GENESIS, messageOf, originId, TributaryError } from "../core/index.ts";
import { closeDatabaseFile, makeFolder, ownNewFile } from "../core/node.ts";
import { migrate, SCHEMA_VERSION, versionOf } from "./migrations.ts";
import { type OriginRow, openRows, type Rows, setUp } from "./rows.ts";

/** How long a second process on the same device waits for the first to finish its transaction. */
const BUSY_TIMEOUT_MS = 5_000;
/** The smallest SQLite database has one page of this many bytes. */
const LEAST_BYTES = 512;

export interface FieldName {
  readonly org: string;
  readonly site: string;
  readonly device: string;
}

/** The device's database: opening, transactions and the rows that all parts use. */
export interface Store {
  readonly path: string;
  readonly name: FieldName;
  /** The connection itself, for tests and for copying the file; all our SQL is in `rows`. */
  readonly db: DatabaseSync;
  readonly rows: Rows;
  /** Runs `work` in one transaction, which is durable when this returns, and undone if it throws. */
  transaction<T>(work: () => T): T;
  meta(key: string): string | null;
  setMeta(key: string, value: string): void;
  /** All epochs, oldest first; the last is the one that writes. */
  origins(): OriginRow[];
  /** The epoch of this id, which must exist. */
  origin(id: number): OriginRow;
  current(): OriginRow;
  /** Starts a new epoch: events from now on belong to a new origin. */
  startEpoch(): OriginRow;
  close(): void;
}

export interface StoreOptions {
  readonly path: string;
  /** Needed to create the database. If it is given for an existing one, it must match. */
  readonly name?: FieldName;
  readonly create: boolean;
  readonly randomEpoch: () => string;
  /** Bounds the database's size, in pages of 4 KiB: for tests of a full disk. */
  readonly maxPages?: number;
}

/**
 * Opens a field database. A copy (a cloned tablet, a restored backup) is recognised by the file that it lives in,
 * and continues under a new epoch, so two devices never write as one origin.
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
  // Before anything is made: a name that is none leaves no file behind.
  if (name !== undefined) originId({ ...name, epoch: "none" });
  const db = openDatabase(path, create);
  try {
    setUp(db, BUSY_TIMEOUT_MS, maxPages);
    const version = versionOf(db);
    if (version > SCHEMA_VERSION) {
      throw new TributaryError("data-corrupt", `${path} was written by a newer version of this program`, "Update this program.");
    }
    const store = storeOver(db, path, randomEpoch);
    if (version === 0) begin(store, name);
    else if (version < SCHEMA_VERSION) store.transaction(() => migrate(db));
    checkName(store, path, name);
    if (path !== ":memory:") closeDatabaseFile(path);
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

/** Makes the tables of a new database, which belongs to a device from now on. */
function begin(store: Store, name: FieldName | undefined): void {
  if (name === undefined) {
    throw new TributaryError(
      "usage",
      `${store.path} is new: it needs an organisation, site and device`,
      "Run `tributary field init --org … --site … --device …`.",
    );
  }
  store.transaction(() => {
    migrate(store.db);
    for (const key of ["org", "site", "device"] as const) store.setMeta(key, name[key]);
    store.setMeta("identity", identityOf(store.path));
    store.startEpoch();
  });
}

function openDatabase(path: string, create: boolean): DatabaseSync {
  try {
    if (path !== ":memory:") {
      mustBeOurs(path);
      if (create) makeFolder(dirname(path), 0o700);
      ownNewFile(path);
    }
    return new DatabaseSync(path);
  } catch (error) {
    throw storeError(path, error);
  }
}

/** Throws `data-corrupt` or `path-unusable` for what is there and cannot be a database: it keeps its content and its rights. */
function mustBeOurs(path: string): void {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isFile())
    throw new TributaryError(
      "path-unusable",
      `${path} is not a file, as a field database must be`,
      "Name a file with --db, for example juba.db.",
    );
  // SQLite looks at longer files itself. They are not opened here: closing one would take away the locks that this process has on it as a database.
  if (found.size > 0 && found.size < LEAST_BYTES) throw notADatabase(path, undefined);
}

const notADatabase = (path: string, cause: unknown): TributaryError =>
  new TributaryError(
    "data-corrupt",
    `${path} is not a field database, or is damaged: it does not begin like one`,
    "Keep the file. Name another with --db; if it was a field database, `tributary field salvage --db FILE --out EVENTS` writes what is readable of it.",
    { cause },
  );

function checkName(store: Store, path: string, name: FieldName | undefined): void {
  const own = store.name;
  if (name === undefined || (name.org === own.org && name.site === own.site && name.device === own.device)) return;
  throw new TributaryError(
    "usage",
    `${path} belongs to ${own.org}.${own.site}.${own.device}, not to ${name.org}.${name.site}.${name.device}`,
    "Use another file for another device.",
  );
}

function storeOver(db: DatabaseSync, path: string, randomEpoch: () => string): Store {
  const rows = openRows(db);
  const named = (key: string): string => {
    const value = rows.meta(key);
    if (value !== null) return value;
    throw new TributaryError(
      "data-corrupt",
      `${path} does not say which device it belongs to`,
      "Keep the file, and start a new database.",
    );
  };
  const store: Store = {
    path,
    db,
    rows,
    get name() {
      return { org: named("org"), site: named("site"), device: named("device") };
    },
    transaction(work) {
      try {
        rows.begin();
        try {
          const result = work();
          rows.commit();
          return result;
        } catch (error) {
          rows.rollBack();
          throw error;
        }
      } catch (error) {
        throw storeError(path, error);
      }
    },
    meta: rows.meta,
    setMeta: rows.setMeta,
    origins: rows.origins,
    origin(id) {
      const found = rows.origins().find((origin) => origin.id === id);
      if (found === undefined) throw new TypeError(`no epoch ${id}`);
      return found;
    },
    current() {
      const last = rows.lastOrigin();
      if (last !== undefined) return last;
      throw new TributaryError("data-corrupt", `${path} has no origin in it`, "Keep the file, and start a new database.");
    },
    startEpoch() {
      rows.addOrigin(originId({ ...store.name, epoch: randomEpoch() }), GENESIS);
      return store.current();
    },
    close: () => {
      if (db.isOpen) db.close();
    },
  };
  return store;
}

/** What distinguishes this database file from a copy: the machine, and the file's inode. */
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

const codeOf = (error: unknown): number => ((error as { errcode?: number } | null)?.errcode ?? -1) & 0xff;

/** Whether SQLite found what a file says to be damaged. */
export const isDamaged = (error: unknown): boolean => [SQLITE_CORRUPT, SQLITE_NOTADB].includes(codeOf(error));

/** Whether SQLite found a page damaged, or could not read it: the disk may give it another time. */
export const isCorrupt = (error: unknown): boolean => isDamaged(error) || codeOf(error) === SQLITE_IOERR;

/** A failure of SQLite as one of our errors. */
export function storeError(path: string, error: unknown): unknown {
  if (error instanceof TributaryError) return error;
  const code = codeOf(error);
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
      return notADatabase(path, error);
    case SQLITE_CORRUPT:
      return new TributaryError(
        "data-corrupt",
        `${path} is not a field database, or is damaged: ${messageOf(error)}`,
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
        "Check the disk and try again; all earlier events are safe.",
        because,
      );
    default:
      return error;
  }
}
