import { backup } from "node:sqlite";
import { positionToNumber } from "../../../core/index.ts";
import { append } from "./append.ts";
import { type Book, openBook } from "./book.ts";
import type { Store, StoredEvent, StreamView } from "./contract.ts";
import { openDatabase, type StoreOptions } from "./database.ts";
import { aboutOf, isMeta, ownEvent } from "./metadata.ts";
import { statements, stored } from "./statements.ts";
import { openWrites } from "./writes.ts";

/** Opens the events of one node. */
export function openStore(options: StoreOptions): Store {
  const { now } = options;
  const db = openDatabase(options);
  const sql = statements(db);
  const book = openBook(sql, now);
  const listeners = new Set<(events: readonly StoredEvent[]) => void>();
  const writes = openWrites(db, book, (events) => {
    for (const listener of listeners) listener(events);
  });
  if (book.end() === 0n) {
    db.exec("BEGIN IMMEDIATE");
    begin(book);
    db.exec("COMMIT");
    book.take();
  }

  return {
    write: writes.write,
    view: (stream) => viewOf(book, stream, now()),
    readStream(stream, from, limit, backwards) {
      const head = book.heads.find(stream);
      if (head === null) return [];
      if (from === -1) return sql.tombstone.all(head.id).map(stored);
      return (backwards ? sql.streamDown : sql.streamUp)(head.id, from, limit);
    },
    readAll: (from, limit, backwards) => (backwards ? sql.allDown : sql.allUp)(positionToNumber(from), limit),
    isPosition: (position) => sql.at.get(positionToNumber(position)) !== undefined,
    end: book.end,
    dataDir: options.dataDir,
    async copyTo(path, pages, onProgress) {
      // A step runs on a thread of its own over this connection. A step that meets a transaction fails the copy (Node 24: "not an error", 8 copies of 50 beside
      // a steady writer), so transactions wait for the time between steps. SQLite sees to it that what they write is in the copy, since the connection is the same.
      writes.hold();
      try {
        await backup(db, path, {
          rate: pages,
          progress: ({ totalPages, remainingPages }) => {
            writes.flush();
            onProgress(totalPages - remainingPages, totalPages);
          },
        });
      } finally {
        writes.release();
      }
    },
    onCommit(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    close() {
      writes.flushAll();
      db.close();
    },
  };
}

/** A new server begins its log with events of its own. */
function begin(book: Book): void {
  const monthly = () => [ownEvent("$metadata", "application/json", Buffer.from('{"$maxAge":2592000}'))];
  append(book, "$$$stats", { kind: "no_stream" }, monthly());
  append(book, "$$$scavenges", { kind: "no_stream" }, monthly());
  append(book, "$epoch-information", { kind: "no_stream" }, [
    ownEvent("$epoch-information", "application/json", Buffer.from("{}")),
  ]);
}

/** What a reader may see of a stream. */
function viewOf({ heads }: Book, stream: string, nowMs: number): StreamView {
  const head = heads.find(stream);
  const about = isMeta(stream) ? heads.find(aboutOf(stream)) : null;
  const last = head?.last ?? -1;
  const maxCount = isMeta(stream) ? 1 : (head?.maxCount ?? null);
  const tb = head?.truncateBefore ?? 0;
  return {
    exists: last >= 0 || head?.tombstoned === true,
    deleted: tb === Number.POSITIVE_INFINITY,
    tombstoned: head?.tombstoned === true || about?.tombstoned === true,
    last,
    first: Math.max(Number.isFinite(tb) ? tb : 0, maxCount === null ? 0 : last - maxCount + 1, 0),
    notBeforeMs: head?.maxAgeS == null ? Number.NEGATIVE_INFINITY : nowMs - head.maxAgeS * 1000,
  };
}
