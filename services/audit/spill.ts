import { DatabaseSync } from "node:sqlite";
import type { CountedEntry, JsonObject, LogEntry } from "../core/index.ts";

/** How much SQLite keeps of the file in memory and sorts at a time. */
const CACHE_KIB = 4_096;
/** Events in one transaction. */
const BATCH = 5_000;

/** An event that counts for views, as it is read back. */
export interface SpilledEvent {
  readonly entry: Pick<CountedEntry, "head" | "clock" | "clips" | "position" | "recordedAtMs" | "places">;
  readonly data: JsonObject;
}

/** The log's events, written in log order and read entity by entity. They are on disk, so that the log may have any size. */
export interface Spill {
  put(entry: CountedEntry, data: JsonObject): void;
  /** All events about entities of a type: the entities in the byte order of their ids, the events of each in log order. `key`: the id as PostgreSQL has it. */
  byEntity(type: string): Generator<{ readonly key: string; readonly event: SpilledEvent }>;
  [Symbol.dispose](): void;
}

/** A name as PostgreSQL's text can hold it, that is, without U+0000. */
export const asKept = (id: string): string => id.replaceAll("\0", "\uFFFD");

export function openSpill(): Spill {
  // SQLite's own temporary database: a file without a name, which disappears with this process, however that ends. It holds personal data.
  const db = new DatabaseSync("");
  db.exec(`PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -${CACHE_KIB}; PRAGMA temp_store = FILE;
    CREATE TABLE event (n INTEGER PRIMARY KEY, type TEXT NOT NULL, key TEXT NOT NULL, body TEXT NOT NULL)`);
  const insert = db.prepare("INSERT INTO event (type, key, body) VALUES (?, ?, ?)");
  let inBatch = 0;
  const commit = (): void => {
    if (inBatch > 0) db.exec("COMMIT");
    inBatch = 0;
  };
  return {
    put({ head, clock, clips, position, recordedAtMs, places }, data) {
      if (inBatch === 0) db.exec("BEGIN");
      const body = JSON.stringify({ entry: { head, clock, clips, position: position.toString(), recordedAtMs, places }, data });
      insert.run(head.entity.type, asKept(head.entity.id), body);
      if (++inBatch >= BATCH) commit();
    },
    *byEntity(type) {
      commit();
      const sorted = db.prepare("SELECT key, body FROM event WHERE type = ? ORDER BY key, n");
      for (const { key, body } of sorted.iterate(type)) {
        // Written above.
        const { entry, data } = JSON.parse(String(body)) as SpilledEvent;
        yield {
          key: String(key),
          event: { entry: { ...entry, position: BigInt(entry.position) as LogEntry["position"] }, data },
        };
      }
    },
    [Symbol.dispose]() {
      db.close();
    },
  };
}
