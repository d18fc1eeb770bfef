import { join } from "node:path";
import { backup, DatabaseSync, type StatementSync } from "node:sqlite";
import { messageOf, TributaryError } from "../../core/index.ts";
import { ownFile, ownFolder } from "../../core/node.ts";
import { dataIn, type Expected, encodeEvent, type ProposedEvent, TOMBSTONE_REVISION } from "./messages.ts";

const SCHEMA_VERSION = 1;
/** What one append may hold, as the real server counts: data, metadata, and two bytes a character of the type. */
export const MAX_APPEND_BYTES = 1_048_576;
/** Streams whose heads are remembered. */
const MAX_HEADS = 100_000;
/** Events whose ids are remembered for the idempotence of appends that expect any revision; the real server's is bounded, too. */
const MAX_IDS = 200_000;
/** Appends waiting for one transaction; more wait for the next. */
const MAX_GROUP = 1_000;
const MAX_QUEUED = 10_000;

/** `last`: last revision, −1 before the first event. `truncateBefore`: Infinity for a deleted stream. */
interface Head {
  readonly id: number;
  readonly name: string;
  last: number;
  tombstoned: boolean;
  maxCount: number | null;
  maxAgeS: number | null;
  truncateBefore: number;
}

export interface StoredEvent {
  readonly position: number;
  readonly revision: number;
  readonly stream: string;
  readonly type: string;
  readonly createdMs: number;
  /** The encoded ReadResp. */
  readonly message: Buffer;
}

export type WriteOutcome =
  | { readonly kind: "written"; readonly revision: number | null; readonly position: number }
  | { readonly kind: "wrong-version"; readonly expected: Expected; readonly actual: number }
  | { readonly kind: "deleted" };

export type Write =
  | { readonly kind: "append"; readonly stream: string; readonly expected: Expected; readonly events: readonly ProposedEvent[] }
  | { readonly kind: "delete" | "tombstone"; readonly stream: string; readonly expected: Expected };

/** What a reader may see of a stream. */
export interface StreamView {
  readonly exists: boolean;
  readonly deleted: boolean;
  readonly tombstoned: boolean;
  readonly last: number;
  /** The first revision that truncation leaves visible. */
  readonly first: number;
  /** Events created before this are past their age. */
  readonly notBeforeMs: number;
}

export interface Store {
  /** Writes in a transaction shared with all writes asked for at the same time; durable when it resolves. */
  write(write: Write): Promise<WriteOutcome>;
  view(stream: string): StreamView;
  /** Events of a stream, or of the whole log, from a place on: `limit` of them and `MAX_READ_BYTES` at most, but one at least where there is any. */
  readStream(stream: string, from: number, limit: number, backwards: boolean): StoredEvent[];
  readAll(from: number, limit: number, backwards: boolean): StoredEvent[];
  /** Whether an event stands at exactly this position. */
  isPosition(position: number): boolean;
  /** The last position written; 0 for an empty log. */
  end(): number;
  /** Where the database lives; `null`: in memory. */
  readonly dataDir: string | null;
  /** Copies the database to a new file while it is at work, so many pages at a time; what is committed meanwhile is in the copy. */
  copyTo(path: string, pages: number, onProgress: (done: number, total: number) => void): Promise<void>;
  /** Called after each transaction with the events it wrote. Returns the way to stop. */
  onCommit(listener: (events: readonly StoredEvent[]) => void): () => void;
  close(): void;
}

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

/** Bytes of events that one read takes into memory; one that is larger comes alone. */
export const MAX_READ_BYTES = 4 * 1_048_576;

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

function open({ dataDir, maxPages }: StoreOptions): DatabaseSync {
  if (dataDir === null) {
    const db = new DatabaseSync(":memory:");
    db.exec(TABLES);
    return db;
  }
  const path = join(dataDir, "events.db");
  ownFolder(dataDir);
  ownFile(path);
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

export function openStore(options: StoreOptions): Store {
  const { now } = options;
  const db = open(options);
  const sql = {
    stream: db.prepare("SELECT * FROM stream WHERE name = ?"),
    addStream: db.prepare("INSERT INTO stream (name, last, tombstoned) VALUES (?, -1, 0)"),
    setLast: db.prepare("UPDATE stream SET last = ?, tombstoned = ? WHERE id = ?"),
    setMeta: db.prepare("UPDATE stream SET max_count = ?, max_age_s = ?, truncate_before = ? WHERE id = ?"),
    add: db.prepare("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)"),
    idAt: db.prepare("SELECT id FROM event WHERE stream = ? AND revision = ?"),
    lastMessage: db.prepare("SELECT message FROM event WHERE stream = ? ORDER BY revision DESC LIMIT 1"),
    at: db.prepare("SELECT 1 FROM event WHERE position = ?"),
    streamUp: page("e.stream = ? AND e.revision >= ? ORDER BY e.revision LIMIT ?"),
    streamDown: page("e.stream = ? AND e.revision <= ? AND e.revision >= 0 ORDER BY e.revision DESC LIMIT ?"),
    tombstone: select("e.stream = ? AND e.revision = -1"),
    allUp: page("e.position >= ? ORDER BY e.position LIMIT ?"),
    allDown: page("e.position < ? ORDER BY e.position DESC LIMIT ?"),
  };
  function select(where: string): StatementSync {
    return db.prepare(
      `SELECT e.position, e.revision, e.type, e.created_ms, e.message, s.name FROM event e JOIN stream s ON s.id = e.stream WHERE ${where}`,
    );
  }
  /** A bounded read. What its events take is asked first, which reads none of them: a page is taken whole as a rule, at half the cost of row by row. */
  function page(where: string): (...parameters: number[]) => StoredEvent[] {
    const rows = select(where);
    const size = db.prepare(`SELECT sum(bytes) AS bytes FROM (SELECT length(e.message) AS bytes FROM event e WHERE ${where})`);
    return (...parameters) => {
      if (parameters.at(-1) === 1 || Number(size.get(...parameters)!.bytes) <= MAX_READ_BYTES)
        return rows.all(...parameters).map(stored);
      const some: StoredEvent[] = [];
      let bytes = 0;
      for (const row of rows.iterate(...parameters)) {
        const event = stored(row);
        bytes += event.message.length;
        if (some.length > 0 && bytes > MAX_READ_BYTES) break;
        some.push(event);
      }
      return some;
    };
  }

  const heads = new Map<string, Head>();
  const ids = new Map<string, number>();
  const idIn = (stream: number, id: string): string => `${stream}/${id}`;
  const listeners = new Set<(events: readonly StoredEvent[]) => void>();
  let end = Number((db.prepare("SELECT max(position) AS end FROM event").get() as { end: number | null }).end ?? 0);
  let committed: StoredEvent[] = [];

  const findHead = (name: string): Head | null => {
    const known = heads.get(name);
    if (known !== undefined) return known;
    const row = sql.stream.get(name) as Record<string, number | null> | undefined;
    if (row === undefined) return null;
    const tb = row.truncate_before;
    const head: Head = {
      id: row.id!,
      name,
      last: row.last!,
      tombstoned: row.tombstoned === 1,
      maxCount: row.max_count ?? null,
      maxAgeS: row.max_age_s ?? null,
      truncateBefore: tb == null ? 0 : tb === -1 ? Number.POSITIVE_INFINITY : tb,
    };
    if (heads.size >= MAX_HEADS) heads.delete(heads.keys().next().value!);
    heads.set(name, head);
    return head;
  };
  const makeHead = (name: string): Head => {
    const found = findHead(name);
    if (found !== null) return found;
    sql.addStream.run(name);
    return findHead(name)!;
  };
  const isMeta = (name: string): boolean => name.startsWith("$$");

  const record = (head: Head, event: ProposedEvent, tombstone: boolean): number => {
    const createdMs = now();
    const revision = tombstone ? -1 : head.last + 1;
    // Positions are offsets, as in a real log: they grow by the room that the event before takes.
    end += 64 + event.data.length + event.metadata.length;
    const message = encodeEvent(event, {
      stream: head.name,
      revision: tombstone ? TOMBSTONE_REVISION : revision,
      position: end,
      createdMs,
    });
    sql.add.run(end, head.id, revision, event.id, event.type, Math.trunc(createdMs), message);
    if (tombstone) head.tombstoned = true;
    else {
      head.last = revision;
      if (ids.size >= MAX_IDS) ids.delete(ids.keys().next().value!);
      ids.set(idIn(head.id, event.id), revision);
    }
    committed.push({ position: end, revision, stream: head.name, type: event.type, createdMs, message });
    return end;
  };

  /** A metadata event's effect on the stream that it is about. */
  const applyMeta = (metaStream: string, data: Buffer): void => {
    const head = makeHead(metaStream.slice(2));
    let meta: Record<string, unknown> = {};
    try {
      meta = JSON.parse(data.toString("utf8")) as Record<string, unknown>;
    } catch {
      // Metadata that is no JSON has no effect, as on a real server.
    }
    const whole = (value: unknown): number | null => (typeof value === "number" && value >= 0 ? value : null);
    head.maxCount = whole(meta.$maxCount);
    head.maxAgeS = whole(meta.$maxAge);
    const tb = whole(meta.$tb) ?? 0;
    head.truncateBefore = tb > Number.MAX_SAFE_INTEGER ? Number.POSITIVE_INFINITY : tb;
    sql.setMeta.run(
      head.maxCount,
      head.maxAgeS,
      head.truncateBefore === Number.POSITIVE_INFINITY ? -1 : tb === 0 ? null : tb,
      head.id,
    );
  };

  const writeMeta = (stream: string, json: string): number => {
    const head = makeHead(`$$${stream}`);
    const data = Buffer.from(json);
    const position = record(
      head,
      { id: crypto.randomUUID(), type: "$metadata", contentType: "application/json", data, metadata: Buffer.alloc(0) },
      false,
    );
    sql.setLast.run(head.last, 0, head.id);
    applyMeta(head.name, data);
    return position;
  };

  /** The stream's metadata with another `$tb`, as JSON text: 2^63 − 1 is no JavaScript number. */
  const metaWith = (stream: string, tb: string): string => {
    const head = findHead(`$$${stream}`);
    const last = head === null || head.last < 0 ? undefined : (sql.lastMessage.get(head.id)?.message as Uint8Array | undefined);
    let rest: Record<string, unknown> = {};
    if (last !== undefined) {
      try {
        const { $tb: _, ...others } = JSON.parse(dataIn(Buffer.from(last)).toString("utf8")) as Record<string, unknown>;
        rest = others;
      } catch {
        // As above.
      }
    }
    const text = JSON.stringify(rest);
    return text === "{}" ? `{"$tb":${tb}}` : `{"$tb":${tb},${text.slice(1)}`;
  };

  /**
   * What an append does, given what the stream holds. The answers are those of a real server: events that are there already, from
   * where they are expected, succeed again; some there and some not is refused.
   */
  const judge = (head: Head, expected: Expected, events: readonly ProposedEvent[]): WriteOutcome | "write" => {
    const wrong: WriteOutcome = { kind: "wrong-version", expected, actual: head.last };
    if (expected.kind === "stream_exists") {
      if (head.last < 0) return wrong;
      if (head.truncateBefore === Number.POSITIVE_INFINITY) return { kind: "deleted" };
    }
    if (expected.kind === "any" || expected.kind === "stream_exists") {
      let revision: number | null = null;
      for (const { id } of events) {
        const known = ids.get(idIn(head.id, id));
        if (known === undefined) return revision === null ? "write" : wrong;
        revision = known;
      }
      return revision === null ? "write" : again(head, revision);
    }
    const after = expected.kind === "revision" ? expected.revision : -1;
    if (after > head.last) return wrong;
    if (after === head.last) return "write";
    let revision = after;
    for (const { id } of events) {
      revision++;
      if (sql.idAt.get(head.id, revision)?.id === id) continue;
      const isRecreation = revision === after + 1 && after === -1 && head.truncateBefore === Number.POSITIVE_INFINITY;
      return isRecreation ? "write" : wrong;
    }
    return revision === after ? wrong : again(head, revision);
  };
  const again = (head: Head, revision: number): WriteOutcome => {
    const row = db.prepare("SELECT position FROM event WHERE stream = ? AND revision = ?").get(head.id, revision);
    return { kind: "written", revision, position: Number(row?.position ?? end) };
  };

  const append = (stream: string, expected: Expected, events: readonly ProposedEvent[]): WriteOutcome => {
    const head = makeHead(stream);
    const about = isMeta(stream) ? findHead(stream.slice(2)) : null;
    if (head.tombstoned || about?.tombstoned) return { kind: "deleted" };
    const judged = judge(head, expected, events);
    if (judged !== "write") return judged;
    if (events.length === 0) return { kind: "written", revision: head.last < 0 ? null : head.last, position: end };
    const wasDeleted = head.truncateBefore === Number.POSITIVE_INFINITY;
    const first = head.last + 1;
    let position = end;
    for (const event of events) position = record(head, event, false);
    sql.setLast.run(head.last, 0, head.id);
    if (isMeta(stream)) applyMeta(stream, events.at(-1)!.data);
    if (wasDeleted) writeMeta(stream, metaWith(stream, String(first)));
    return { kind: "written", revision: head.last, position };
  };

  const erase = (kind: "delete" | "tombstone", stream: string, expected: Expected): WriteOutcome => {
    const head = findHead(stream);
    const last = head?.last ?? -1;
    if (head?.tombstoned) return { kind: "deleted" };
    const wrong: WriteOutcome = { kind: "wrong-version", expected, actual: last };
    // A stream that has metadata exists in so far, though it holds no events.
    const isKnown = last >= 0 || (findHead(`$$${stream}`)?.last ?? -1) >= 0;
    if (kind === "delete" && !isKnown) return wrong;
    if (expected.kind === "revision" && expected.revision !== last) return wrong;
    if (expected.kind === "no_stream" && last >= 0) return wrong;
    if (expected.kind === "stream_exists" && last < 0) return wrong;
    if (kind === "delete")
      return { kind: "written", revision: last, position: writeMeta(stream, metaWith(stream, TOMBSTONE_REVISION.toString())) };
    const target = makeHead(stream);
    const position = record(
      target,
      {
        id: crypto.randomUUID(),
        type: "$streamDeleted",
        contentType: "application/octet-stream",
        data: Buffer.alloc(0),
        metadata: Buffer.alloc(0),
      },
      true,
    );
    sql.setLast.run(target.last, 1, target.id);
    return { kind: "written", revision: last, position };
  };

  interface Queued {
    readonly write: Write;
    readonly resolve: (outcome: WriteOutcome) => void;
    readonly reject: (error: unknown) => void;
  }
  let queue: Queued[] = [];
  let scheduled = false;

  const flush = (): void => {
    const group = queue.slice(0, MAX_GROUP);
    queue = queue.slice(MAX_GROUP);
    const outcomes: WriteOutcome[] = [];
    const endBefore = end;
    committed = [];
    try {
      db.exec("BEGIN IMMEDIATE");
      for (const { write } of group) {
        outcomes.push(
          write.kind === "append"
            ? append(write.stream, write.expected, write.events)
            : erase(write.kind, write.stream, write.expected),
        );
      }
      db.exec("COMMIT");
    } catch (error) {
      if (db.isTransaction) db.exec("ROLLBACK");
      end = endBefore;
      heads.clear();
      ids.clear();
      for (const { reject } of group) reject(error);
      if (queue.length > 0) schedule();
      return;
    }
    for (const [i, { resolve }] of group.entries()) resolve(outcomes[i]!);
    const events = committed;
    if (events.length > 0) for (const listener of listeners) listener(events);
    if (queue.length > 0) schedule();
  };
  let isCopying = false;
  const schedule = (): void => {
    // Whoever copies flushes between its steps.
    if (scheduled || isCopying) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      if (!isCopying) flush();
    });
  };

  const stored = (row: Record<string, unknown>): StoredEvent => ({
    position: Number(row.position),
    revision: Number(row.revision),
    stream: row.name as string,
    type: row.type as string,
    createdMs: Number(row.created_ms),
    message: bufferOf(row.message as Uint8Array),
  });

  // A new server begins its log with events of its own.
  if (end === 0) {
    const json = (text: string): ProposedEvent => ({
      id: crypto.randomUUID(),
      type: "$metadata",
      contentType: "application/json",
      data: Buffer.from(text),
      metadata: Buffer.alloc(0),
    });
    db.exec("BEGIN IMMEDIATE");
    append("$$$stats", { kind: "no_stream" }, [json('{"$maxAge":2592000}')]);
    append("$$$scavenges", { kind: "no_stream" }, [json('{"$maxAge":2592000}')]);
    append("$epoch-information", { kind: "no_stream" }, [{ ...json("{}"), type: "$epoch-information" }]);
    db.exec("COMMIT");
    committed = [];
  }

  return {
    write: (write) =>
      new Promise((resolve, reject) => {
        if (queue.length >= MAX_QUEUED) {
          reject(new Error(`more than ${MAX_QUEUED} writes are waiting`));
          return;
        }
        queue.push({ write, resolve, reject });
        schedule();
      }),
    view(stream) {
      const head = findHead(stream);
      const about = isMeta(stream) ? findHead(stream.slice(2)) : null;
      const last = head?.last ?? -1;
      const maxCount = isMeta(stream) ? 1 : (head?.maxCount ?? null);
      const tb = head?.truncateBefore ?? 0;
      return {
        exists: last >= 0 || head?.tombstoned === true,
        deleted: tb === Number.POSITIVE_INFINITY,
        tombstoned: head?.tombstoned === true || about?.tombstoned === true,
        last,
        first: Math.max(Number.isFinite(tb) ? tb : 0, maxCount === null ? 0 : last - maxCount + 1, 0),
        notBeforeMs: head?.maxAgeS == null ? Number.NEGATIVE_INFINITY : now() - head.maxAgeS * 1000,
      };
    },
    readStream(stream, from, limit, backwards) {
      const head = findHead(stream);
      if (head === null) return [];
      if (from === -1) return sql.tombstone.all(head.id).map(stored);
      return (backwards ? sql.streamDown : sql.streamUp)(head.id, from, limit);
    },
    readAll: (from, limit, backwards) => (backwards ? sql.allDown : sql.allUp)(from, limit),
    isPosition: (position) => sql.at.get(position) !== undefined,
    end: () => end,
    dataDir: options.dataDir,
    async copyTo(path, pages, onProgress) {
      // A step runs on a thread of its own over this connection. One that meets a transaction fails the copy (Node 24: "not an error", 8 copies of 50 beside
      // a steady writer), so transactions wait for the time between steps. What they write is in the copy: SQLite sees to that for its own connection.
      isCopying = true;
      try {
        await backup(db, path, {
          rate: pages,
          progress: ({ totalPages, remainingPages }) => {
            if (queue.length > 0) flush();
            onProgress(totalPages - remainingPages, totalPages);
          },
        });
      } finally {
        isCopying = false;
        if (queue.length > 0) schedule();
      }
    },
    onCommit(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      while (queue.length > 0) flush();
      db.close();
    },
  };
}

const bufferOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export const appendBytes = (events: readonly ProposedEvent[]): number =>
  events.reduce((sum, { data, metadata, type }) => sum + data.length + metadata.length + type.length * 2, 0);
