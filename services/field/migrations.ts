import type { DatabaseSync } from "node:sqlite";

/**
 * How the device's database came to have its tables. Each change has a number, and a database says which number it has. When a database with an earlier number is opened,
 * it is brought up to the last one in one transaction. `test/field/versions/` has one database of each number, and a test opens them.
 *
 * To change the tables, add a migration (never edit one), and add a database of the number before to the test.
 */
export interface Migration {
  readonly version: number;
  readonly what: string;
  readonly up: (db: DatabaseSync) => void;
}

const FIRST = `
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

const SECOND = `
  CREATE TABLE schema (subject TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL, refs TEXT NOT NULL,
    PRIMARY KEY (subject, version)) STRICT;
  ALTER TABLE event ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';
`;

const THIRD_COLUMNS = {
  incarnation: "TEXT",
  /** The last event that stays in this epoch; later ones were written again under a later epoch, or set aside. NULL: all stay. */
  kept_through: "INTEGER",
  /** The last event that was ever handed to the network, whether or not it was taken. */
  offered_through: "INTEGER NOT NULL DEFAULT -1",
} as const;
const ASIDE = `
  CREATE TABLE IF NOT EXISTS aside (
    origin INTEGER NOT NULL, seq INTEGER NOT NULL, code TEXT NOT NULL, reason TEXT NOT NULL, at TEXT NOT NULL,
    PRIMARY KEY (origin, seq)) STRICT, WITHOUT ROWID;
`;

/** A repeated import is recognised by what the last row about an entity said, so a value that a later file changes back counts. */
const FOURTH = `
  CREATE TABLE imported_last (type TEXT NOT NULL, id TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (type, id)) STRICT, WITHOUT ROWID;
  INSERT OR REPLACE INTO imported_last
    SELECT json_extract(e.head, '$.type'), json_extract(e.head, '$.entity.id'), i.digest
    FROM imported i JOIN event e ON e.origin = i.origin AND e.seq = i.seq
    WHERE json_valid(e.head) AND json_extract(e.head, '$.type') IS NOT NULL AND json_extract(e.head, '$.entity.id') IS NOT NULL
    ORDER BY i.origin, i.seq;
  DROP TABLE imported;
  CREATE TABLE imported_file (only INTEGER PRIMARY KEY CHECK (only = 1), digest TEXT NOT NULL, rows INTEGER NOT NULL) STRICT;
`;

/** What the hub's people have said of a quarantined event: held, released or rejected, and why. */
const FIFTH = `
  ALTER TABLE quarantined ADD COLUMN state TEXT NOT NULL DEFAULT 'held';
  ALTER TABLE quarantined ADD COLUMN settled_reason TEXT;
`;

/**
 * What the hub's feeds have brought: buckets, which entities are in them, these entities' events, and which of the device's own events are among them. The tables of the views are
 * made when the views are known (`replica/view-rows.ts`).
 */
const SIXTH = `
  CREATE TABLE replica_bucket (
    n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL, scope TEXT NOT NULL, rank INTEGER NOT NULL, priority INTEGER NOT NULL,
    states_only INTEGER NOT NULL, phase TEXT NOT NULL, after TEXT, seal INTEGER NOT NULL, head TEXT NOT NULL, line INTEGER NOT NULL, digest TEXT NOT NULL,
    hub_end TEXT) STRICT;
  -- What is to be compared, or fetched by name.
  CREATE TABLE replica_todo (bucket INTEGER NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, PRIMARY KEY (bucket, kind, name)) STRICT, WITHOUT ROWID;
  -- Histories that are longer than a page, as far as they have come.
  CREATE TABLE replica_part (bucket INTEGER NOT NULL, id TEXT NOT NULL, n INTEGER NOT NULL, event TEXT NOT NULL, PRIMARY KEY (bucket, id, n)) STRICT, WITHOUT ROWID;
  -- All entities that the replica or the device's own events know. leaving: it left, and own events of it are still here; the number of the purge that waits for these, or 0.
  CREATE TABLE replica_entity (n INTEGER PRIMARY KEY, type TEXT NOT NULL, id TEXT NOT NULL, leaving INTEGER, UNIQUE (type, id)) STRICT;
  CREATE INDEX replica_entity_leaving ON replica_entity (leaving) WHERE leaving IS NOT NULL;
  CREATE TABLE replica_member (
    bucket INTEGER NOT NULL, key TEXT NOT NULL, entity INTEGER NOT NULL, digest TEXT NOT NULL, has_events INTEGER NOT NULL,
    PRIMARY KEY (bucket, key, entity)) STRICT, WITHOUT ROWID;
  CREATE INDEX replica_member_entity ON replica_member (entity);
  CREATE TABLE replica_origin (n INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
  -- In the order in which they came, so that they are written at the table's end. data NULL: it stands in the table event, since this device wrote it.
  CREATE TABLE replica_event (
    n INTEGER PRIMARY KEY, entity INTEGER NOT NULL, origin INTEGER NOT NULL, seq INTEGER NOT NULL, position INTEGER NOT NULL, recorded_at INTEGER NOT NULL,
    prev BLOB NOT NULL, hash BLOB NOT NULL, note TEXT, head TEXT NOT NULL, data TEXT, UNIQUE (entity, origin, seq)) STRICT;
  -- This device's own events by entity. placed: the hub's feed has brought it back, with its position.
  CREATE TABLE replica_own (
    origin INTEGER NOT NULL, seq INTEGER NOT NULL, entity INTEGER NOT NULL, state TEXT NOT NULL, placed INTEGER NOT NULL,
    PRIMARY KEY (origin, seq)) STRICT, WITHOUT ROWID;
  CREATE INDEX replica_own_entity ON replica_own (entity, state, placed);
  CREATE INDEX replica_own_pending ON replica_own (origin, seq) WHERE state = 'pending';
  CREATE INDEX replica_own_apart ON replica_own (origin, seq) WHERE state IN ('quarantined', 'settled', 'aside');
  -- How far an epoch's events are noted there, and the first whose content was purged.
  CREATE TABLE replica_own_through (origin INTEGER PRIMARY KEY, through INTEGER NOT NULL, purged_from INTEGER) STRICT;
  -- Purges that are not confirmed by an event yet.
  CREATE TABLE replica_purge (
    n INTEGER PRIMARY KEY, bucket TEXT NOT NULL, seal INTEGER NOT NULL, entities INTEGER NOT NULL, events INTEGER NOT NULL, fingerprint TEXT NOT NULL,
    reason TEXT NOT NULL) STRICT;
  CREATE TABLE replica_view (name TEXT PRIMARY KEY, shape TEXT NOT NULL, readers TEXT NOT NULL, is_older INTEGER NOT NULL) STRICT, WITHOUT ROWID;
`;

/** No view has this shape: so all are made anew, and folded again from the events that are here. */
const SEVENTH = "UPDATE replica_view SET shape = ''";

export const MIGRATIONS: readonly Migration[] = [
  { version: 1, what: "events, epochs, what was seen, imported and quarantined", up: (db) => db.exec(FIRST) },
  {
    version: 2,
    what: "schemas that the hub has told this device of, and which schema each event was written with",
    up: (db) => db.exec(SECOND),
  },
  {
    version: 3,
    what: "which life of the log a position belongs to, how far an epoch was ever sent or went elsewhere, what was set aside",
    up(db) {
      third(db);
      findMoved(db);
    },
  },
  { version: 4, what: "what the last imported row about each entity said, and the last file", up: (db) => db.exec(FOURTH) },
  { version: 5, what: "what became of quarantined events", up: (db) => db.exec(FIFTH) },
  { version: 6, what: "what the hub's feeds have brought", up: (db) => db.exec(SIXTH) },
  {
    version: 7,
    what: "tables of views in which a declared column may be called n: they are made once more",
    up: (db) => db.exec(SEVENTH),
  },
];

/** The number that databases of this program have. */
export const SCHEMA_VERSION = MIGRATIONS.length;

/** A database's number; 0: it is new. */
export const versionOf = (db: DatabaseSync): number => Number(db.prepare("PRAGMA user_version").get()?.user_version ?? 0);

/** Makes the changes that a database lacks, inside the caller's transaction. */
export function migrate(db: DatabaseSync): void {
  const there = versionOf(db);
  for (const { version, up } of MIGRATIONS) if (version > there) up(db);
  db.exec(`PRAGMA user_version = ${SCHEMA_VERSION}`);
}

function third(db: DatabaseSync): void {
  const columns = db.prepare("PRAGMA table_info(origin)").all();
  const there = new Set(columns.map(({ name }) => name));
  for (const [name, type] of Object.entries(THIRD_COLUMNS))
    if (!there.has(name)) db.exec(`ALTER TABLE origin ADD COLUMN ${name} ${type}`);
  db.exec(ASIDE);
  db.exec("UPDATE origin SET offered_through = max(offered_through, queued_through)");
}

/**
 * Before version 3, a copy's events were written again under the next epoch and counted as confirmed under both. Their clock stamps show which events
 * these are: otherwise no two events in one database have the same stamp.
 */
function findMoved(db: DatabaseSync): void {
  if (Number(db.prepare("SELECT count(*) AS n FROM origin").get()?.n) < 2) return;
  const stamp = "CASE WHEN json_valid(head) THEN json_extract(head, '$.hlc') END";
  db.exec(`
    CREATE TEMP TABLE stamps AS SELECT origin, seq, ${stamp} AS hlc FROM event;
    CREATE INDEX temp.stamps_hlc ON stamps (hlc);
    UPDATE origin SET kept_through = (SELECT min(a.seq) - 1 FROM stamps a JOIN stamps b ON b.hlc = a.hlc AND b.origin > a.origin WHERE a.origin = origin.id);
    UPDATE origin SET synced_through = min(synced_through, kept_through), queued_through = min(queued_through, kept_through) WHERE kept_through IS NOT NULL;
    DROP TABLE stamps;
  `);
}
