import type { DatabaseSync, SQLOutputValue } from "node:sqlite";
import { type Hash, type IncarnationId, type OriginId, type Position, positionFromText, positionToText } from "../core/index.ts";
import { type Prepared, preparer } from "./replica/prepared.ts";

/**
 * All of the device's SQL: one function for each statement, which is prepared when it is first used and then kept. The caller knows what a statement
 * means and in which transaction it runs. `migrations.ts` makes the tables.
 */
export type Rows = ReturnType<typeof openRows>;

type Row = Record<string, SQLOutputValue>;

export interface OriginRow {
  readonly id: number;
  readonly name: OriginId;
  readonly nextSeq: number;
  readonly head: Hash;
  /** The last seq that the broker has taken, and the last that the hub has confirmed; −1: none. */
  readonly queuedThrough: number;
  readonly syncedThrough: number;
  /** The position of the last confirmed event, and the incarnation of the log that gave it. */
  readonly position: Position | null;
  readonly incarnation: IncarnationId | null;
  /** The last seq that was ever handed to the network; −1: none. */
  readonly offeredThrough: number;
  /** The last seq that stays in this epoch; `null`: all do. Later events were written again under a later epoch, or set aside. */
  readonly keptThrough: number | null;
  /** The last seq that is to be sent under this name; −1: none. */
  readonly lastSeq: number;
}

/** An event as it is written: its epoch, its seq and its texts. */
export interface NewRow {
  readonly origin: number;
  readonly seq: number;
  readonly head: string;
  readonly data: string;
  readonly hash: Hash;
  readonly fingerprint: string;
}

/** Prepares the statements. `isOld`: the database is from before events said which schema they were written with; it is only read. */
export function openRows(db: DatabaseSync, isOld = false) {
  const prepared = preparer(db);
  return {
    begin: () => db.exec("BEGIN IMMEDIATE"),
    commit: () => db.exec("COMMIT"),
    rollBack: () => {
      if (db.isTransaction) db.exec("ROLLBACK");
    },
    ...metaRows(prepared),
    ...originRows(prepared),
    ...eventRows(db, prepared, isOld),
    ...entityRows(prepared),
    ...asideRows(prepared),
    ...importRows(prepared),
    ...schemaRows(prepared),
    ...headRows(db, prepared),
  };
}

/** The connection's settings: an event is on the disk when its transaction ends, and what is deleted is overwritten. `busyTimeoutMs`: how long to wait for another program. */
export function setUp(db: DatabaseSync, busyTimeoutMs: number, maxPages?: number): void {
  db.exec(
    `PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = ${busyTimeoutMs}; PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON`,
  );
  if (maxPages !== undefined) db.exec(`PRAGMA max_page_count = ${maxPages}`);
}

const text = (value: SQLOutputValue | undefined): string | null => (typeof value === "string" ? value : null);

const positionIn = (value: SQLOutputValue | undefined): Position | null =>
  typeof value === "string" ? positionFromText(value) : null;
const textOf = (position: Position | null): string | null => (position === null ? null : positionToText(position));

const metaRows = (prepared: Prepared) => ({
  meta: (key: string): string | null => text(prepared("SELECT value FROM meta WHERE key = ?").get(key)?.value),
  setMeta(key: string, value: string): void {
    prepared("INSERT INTO meta VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value").run(key, value);
  },
  removeMeta(key: string): void {
    prepared("DELETE FROM meta WHERE key = ?").run(key);
  },
});

const originRowName = (r: Row): Pick<OriginRow, "name"> => ({ name: String(r.name) as OriginId });

/** An epoch's row. Columns that a database of an earlier version lacks get the values of a new epoch. */
const originRow = (r: Row): OriginRow => ({
  id: Number(r.id),
  // Written by this program only, which checks both.
  ...originRowName(r),
  nextSeq: Number(r.next_seq),
  head: String(r.head) as Hash,
  queuedThrough: Number(r.queued_through),
  syncedThrough: Number(r.synced_through),
  position: positionIn(r.position),
  incarnation: text(r.incarnation) as IncarnationId | null,
  offeredThrough: Number(r.offered_through ?? r.queued_through),
  keptThrough: r.kept_through == null ? null : Number(r.kept_through),
  lastSeq: r.kept_through == null ? Number(r.next_seq) - 1 : Number(r.kept_through),
});

/** Where an epoch stands, by the hub's word. */
export interface Standing {
  readonly through: number;
  readonly position: Position | null;
  readonly incarnation: string | null;
}

const originRows = (prepared: Prepared) => ({
  /** All epochs, oldest first. */
  origins: (): OriginRow[] => prepared("SELECT * FROM origin ORDER BY id").all().map(originRow),
  lastOrigin(): OriginRow | undefined {
    const row = prepared("SELECT * FROM origin ORDER BY id DESC LIMIT 1").get();
    return row && originRow(row);
  },
  addOrigin(name: OriginId, head: Hash): void {
    prepared("INSERT INTO origin (name, next_seq, head, queued_through, synced_through) VALUES (?, 0, ?, -1, -1)").run(
      name,
      head,
    );
  },
  /** The end of an epoch's chain. */
  setEnd(id: number, nextSeq: number, head: Hash): void {
    prepared("UPDATE origin SET next_seq = ?, head = ? WHERE id = ?").run(nextSeq, head, id);
  },
  /** Notes that nothing beyond `through` is confirmed or waits at a broker. */
  lowerTo(id: number, { through, position, incarnation }: Standing): void {
    prepared("UPDATE origin SET synced_through = ?1, queued_through = ?1, position = ?2, incarnation = ?3 WHERE id = ?4").run(
      through,
      textOf(position),
      incarnation,
      id,
    );
  },
  confirmTo(id: number, { through, position, incarnation }: Standing): void {
    prepared(
      `UPDATE origin SET synced_through = ?1, queued_through = max(queued_through, ?1), offered_through = max(offered_through, ?1),
        position = ?2, incarnation = coalesce(?3, incarnation) WHERE id = ?4`,
    ).run(through, textOf(position), incarnation, id);
  },
  noteOffered(id: number, offered: number, queued: number): void {
    prepared(
      "UPDATE origin SET offered_through = max(offered_through, ?1), queued_through = max(queued_through, ?2) WHERE id = ?3",
    ).run(offered, queued, id);
  },
  noteQueued(id: number, through: number): void {
    prepared("UPDATE origin SET queued_through = max(queued_through, ?) WHERE id = ?").run(through, id);
  },
  /** Ends an epoch at `through`. `isShared`: the log has all events up to there. */
  keepTo(id: number, through: number, isShared: boolean): void {
    prepared(
      `UPDATE origin SET kept_through = ?1, queued_through = min(queued_through, ?1), offered_through = min(offered_through, ?1),
        synced_through = CASE WHEN ?2 THEN ?1 ELSE min(synced_through, ?1) END WHERE id = ?3`,
    ).run(through, isShared ? 1 : 0, id);
  },
});

function eventRows(db: DatabaseSync, prepared: Prepared, isOld: boolean) {
  const columns = `seq, head, data, hash, ${isOld ? "'' AS fingerprint" : "fingerprint"}`;
  return {
    addEvent({ origin, seq, head, data, hash, fingerprint }: NewRow): void {
      prepared("INSERT INTO event (origin, seq, head, data, hash, fingerprint) VALUES (?, ?, ?, ?, ?, ?)").run(
        origin,
        seq,
        head,
        data,
        hash,
        fingerprint,
      );
    },
    eventAt: (origin: number, seq: number): Row | undefined =>
      prepared(`SELECT ${columns} FROM event WHERE origin = ? AND seq = ?`).get(origin, seq),
    /** Another way to the same row, which does not pass the pages on its other side. */
    eventFromBehind: (origin: number, seq: number): Row | undefined =>
      prepared(`SELECT ${columns} FROM event WHERE origin = ? AND seq <= ? ORDER BY seq DESC LIMIT 1`).get(origin, seq),
    /** Prepares a new statement each time, because two may be read from at once. */
    eventsBetween: (origin: number, from: number, to: number): Iterable<Row> =>
      db
        .prepare(`SELECT ${columns} FROM event WHERE origin = ? AND seq >= ? AND seq <= ? ORDER BY seq`)
        .iterate(origin, from, to),
    /** Which events beyond an epoch's end may have to be emptied, since they were written again. Reads rows of others, too: throws where one of them lies on a damaged page. */
    movedBeyond: (origin: number, head: string): number[] =>
      prepared(
        `SELECT seq FROM event WHERE origin = ?1 AND seq > (SELECT kept_through FROM origin WHERE id = ?1)
           AND head <> ?2 AND NOT EXISTS (SELECT 1 FROM aside a WHERE a.origin = ?1 AND a.seq = event.seq)`,
      )
        .all(origin, head)
        .map(({ seq }) => Number(seq)),
    /** The replica's rows of an epoch's events from a seq on whose text stands in the table `event`. Reads the replica's whole table, unless it has nothing of the epoch. */
    placedWithoutText(origin: number, from: number): { readonly n: number; readonly seq: number }[] {
      const r = prepared("SELECT r.n FROM replica_origin r JOIN origin o ON o.name = r.name WHERE o.id = ?").get(origin);
      if (r === undefined) return [];
      return prepared("SELECT n, seq FROM replica_event WHERE data IS NULL AND origin = ? AND seq >= ?")
        .all(Number(r.n), from)
        .map((row) => ({ n: Number(row.n), seq: Number(row.seq) }));
    },
    /** Writes the text of an event into its row of the replica. */
    keepText(n: number, origin: number, seq: number): void {
      prepared(
        "UPDATE replica_event SET data = (SELECT e.data FROM event e WHERE e.origin = ? AND e.seq = ?) WHERE n = ? AND data IS NULL",
      ).run(origin, seq, n);
    },
    /** Empties an event that was written again: its content stands under the new name. `head`: what stands there instead. */
    emptyMoved(origin: number, seq: number, head: string): void {
      prepared("UPDATE event SET head = ?3, data = '', fingerprint = '' WHERE origin = ?1 AND seq = ?2").run(origin, seq, head);
    },
    eventHash: (origin: number, seq: number): SQLOutputValue | undefined =>
      prepared("SELECT hash FROM event WHERE origin = ? AND seq = ?").get(origin, seq)?.hash,
    setEventHash(origin: number, seq: number, hash: Hash): void {
      prepared("UPDATE event SET hash = ? WHERE origin = ? AND seq = ?").run(hash, origin, seq);
    },
    /** Reads one column by itself: in a damaged row, each may lie elsewhere. */
    eventText: (column: "head" | "data" | "hash", origin: number, seq: number): string | null =>
      text(prepared(`SELECT ${column} AS text FROM event WHERE origin = ? AND seq = ?`).get(origin, seq)?.text),
  };
}

export interface EntityRow {
  readonly type: string;
  readonly id: string;
  readonly vector: string;
}

const entityRows = (prepared: Prepared) => ({
  vectorOf: (type: string, id: string): string | null =>
    text(prepared("SELECT vector FROM entity WHERE type = ? AND id = ?").get(type, id)?.vector),
  setVector(type: string, id: string, vector: string): void {
    prepared("INSERT INTO entity VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET vector = excluded.vector").run(type, id, vector);
  },
  /** The next entities after one, in their order. */
  entitiesAfter: (type: string, id: string, limit: number): EntityRow[] =>
    prepared("SELECT type, id, vector FROM entity WHERE (type, id) > (?, ?) ORDER BY type, id LIMIT ?")
      .all(type, id, limit)
      .map((row) => ({ type: String(row.type), id: String(row.id), vector: String(row.vector) })),
});

/** Why an event stays on the device, or waits in quarantine at the hub. */
export interface MarkRow {
  readonly seq: number;
  readonly code: string;
  readonly reason: string;
}

/** An event that is held in quarantine: its epoch, by number and by name, and its seq. */
export interface HeldRow {
  readonly origin: number;
  readonly name: OriginId;
  readonly seq: number;
}

const markOf = (row: Row): MarkRow => ({ seq: Number(row.seq), code: String(row.code), reason: String(row.reason) });

const asideRows = (prepared: Prepared) => ({
  addAside(origin: number, { seq, code, reason }: MarkRow, at: string): void {
    prepared("INSERT INTO aside VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING").run(origin, seq, code, reason, at);
  },
  removeAside(origin: number, seq: number): void {
    prepared("DELETE FROM aside WHERE origin = ? AND seq = ?").run(origin, seq);
  },
  asideOf: (origin: number): (MarkRow & { readonly at: string })[] =>
    prepared("SELECT seq, code, reason, at FROM aside WHERE origin = ? ORDER BY seq")
      .all(origin)
      .map((row) => ({ ...markOf(row), at: String(row.at) })),
  /** The events of all epochs that hubs refused, without those whose content is lost or was purged. */
  refused: (): { readonly origin: number; readonly seq: number }[] =>
    prepared("SELECT origin, seq FROM aside WHERE code NOT IN ('data-corrupt', 'purged') ORDER BY origin, seq")
      .all()
      .map((row) => ({ origin: Number(row.origin), seq: Number(row.seq) })),
  /** `false`: it was noted before. */
  addQuarantined: (origin: number, { seq, code, reason }: MarkRow): boolean =>
    prepared("INSERT INTO quarantined (origin, seq, code, reason) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING").run(
      origin,
      seq,
      code,
      reason,
    ).changes > 0,
  removeQuarantined(origin: number, after: number): void {
    prepared("DELETE FROM quarantined WHERE origin = ? AND seq > ?").run(origin, after);
  },
  /** Those that are held; and those that were rejected, with why. */
  quarantinedOf: (
    origin: number,
    through: number,
  ): (MarkRow & { readonly isRejected: boolean; readonly rejection: string | null })[] =>
    prepared(
      "SELECT seq, code, reason, state, settled_reason FROM quarantined WHERE origin = ? AND seq <= ? AND state <> 'released' ORDER BY seq",
    )
      .all(origin, through)
      .map((row) => ({ ...markOf(row), isRejected: row.state === "rejected", rejection: text(row.settled_reason) })),
  /** The next confirmed events, of all epochs, that are held in quarantine. */
  heldAfter: (origin: number, seq: number, limit: number): HeldRow[] =>
    prepared(
      `SELECT q.origin, o.name, q.seq FROM quarantined q JOIN origin o ON o.id = q.origin
       WHERE (q.origin, q.seq) > (?, ?) AND q.state = 'held' AND q.seq <= o.synced_through ORDER BY q.origin, q.seq LIMIT ?`,
    )
      .all(origin, seq, limit)
      .map((row) => ({ ...originRowName(row), origin: Number(row.origin), seq: Number(row.seq) })),
  /** `false`: it was settled before. */
  settle: (origin: number, seq: number, state: "released" | "rejected", reason: string | null): boolean =>
    prepared("UPDATE quarantined SET state = ?, settled_reason = ? WHERE origin = ? AND seq = ? AND state = 'held'").run(
      state,
      reason,
      origin,
      seq,
    ).changes > 0,
  /** All that was settled counts as held again; returns how many. */
  holdAgain: (): number =>
    Number(prepared("UPDATE quarantined SET state = 'held', settled_reason = NULL WHERE state <> 'held'").run().changes),
});

const importRows = (prepared: Prepared) => ({
  /** The digest of the last row imported about an entity as events of a type. */
  importedLast(type: string, id: string): string | null {
    const row = prepared("SELECT digest FROM imported_last WHERE type = ? AND id = ?").get(type, id);
    return row === undefined ? null : String(row.digest);
  },
  setImported(type: string, id: string, digest: string): void {
    prepared("INSERT INTO imported_last VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET digest = excluded.digest").run(
      type,
      id,
      digest,
    );
  },
  /** The file that was imported last, and how many of its rows are done. */
  lastImport(): { readonly digest: string; readonly rows: number } | null {
    const row = prepared("SELECT digest, rows FROM imported_file").get();
    return row === undefined ? null : { digest: String(row.digest), rows: Number(row.rows) };
  },
  setLastImport({ digest, rows }: { readonly digest: string; readonly rows: number }): void {
    prepared(
      "INSERT INTO imported_file VALUES (1, ?, ?) ON CONFLICT DO UPDATE SET digest = excluded.digest, rows = excluded.rows",
    ).run(digest, rows);
  },
});

export interface SchemaRow {
  readonly subject: string;
  readonly version: number;
  readonly kind: "avro" | "json";
  readonly text: string;
  readonly refs: string;
}

const schemaRows = (prepared: Prepared) => ({
  schemas: (): SchemaRow[] =>
    prepared("SELECT subject, version, kind, text, refs FROM schema ORDER BY rowid")
      .all()
      .map((row) => ({
        subject: String(row.subject),
        version: Number(row.version),
        kind: row.kind === "avro" ? "avro" : "json",
        text: String(row.text),
        refs: String(row.refs),
      })),
  setSchema({ subject, version, kind, text, refs }: SchemaRow): void {
    prepared(
      "INSERT INTO schema VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET kind = excluded.kind, text = excluded.text, refs = excluded.refs",
    ).run(subject, version, kind, text, refs);
  },
});

const headRows = (db: DatabaseSync, prepared: Prepared) => ({
  /** Databases from before heads were handed on get their table when the first one comes. */
  hasSignedHeads: (): boolean => prepared("SELECT 1 FROM sqlite_master WHERE name = 'signed_head'").get() !== undefined,
  makeSignedHeads(): void {
    db.exec(
      "CREATE TABLE signed_head (origin TEXT PRIMARY KEY, through INTEGER NOT NULL, head TEXT NOT NULL, signature TEXT NOT NULL) STRICT, WITHOUT ROWID",
    );
  },
  signedHead: (origin: string): Row | undefined =>
    prepared("SELECT origin, through, head, signature FROM signed_head WHERE origin = ?").get(origin),
  /** Keeps the furthest head of each origin. */
  keepSignedHead(origin: string, through: number, head: string, signature: string): void {
    prepared(
      `INSERT INTO signed_head VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE
       SET through = excluded.through, head = excluded.head, signature = excluded.signature WHERE excluded.through > through`,
    ).run(origin, through, head, signature);
  },
});
