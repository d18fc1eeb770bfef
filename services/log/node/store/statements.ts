import type { DatabaseSync, StatementSync } from "node:sqlite";
import { positionFromNumber } from "../../../core/index.ts";
import { MAX_READ_BYTES, type StoredEvent } from "./contract.ts";

export type Statements = ReturnType<typeof statements>;

/** Every statement of the event database, prepared once. */
export function statements(db: DatabaseSync) {
  return {
    stream: db.prepare("SELECT * FROM stream WHERE name = ?"),
    addStream: db.prepare("INSERT INTO stream (name, last, tombstoned) VALUES (?, -1, 0)"),
    setLast: db.prepare("UPDATE stream SET last = ?, tombstoned = ? WHERE id = ?"),
    setMeta: db.prepare("UPDATE stream SET max_count = ?, max_age_s = ?, truncate_before = ? WHERE id = ?"),
    add: db.prepare("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?)"),
    idAt: db.prepare("SELECT id FROM event WHERE stream = ? AND revision = ?"),
    positionAt: db.prepare("SELECT position FROM event WHERE stream = ? AND revision = ?"),
    lastMessage: db.prepare("SELECT message FROM event WHERE stream = ? ORDER BY revision DESC LIMIT 1"),
    at: db.prepare("SELECT 1 FROM event WHERE position = ?"),
    end: db.prepare("SELECT max(position) AS position FROM event"),
    streamUp: page(db, "e.stream = ? AND e.revision >= ? ORDER BY e.revision LIMIT ?"),
    streamDown: page(db, "e.stream = ? AND e.revision <= ? AND e.revision >= 0 ORDER BY e.revision DESC LIMIT ?"),
    tombstone: select(db, "e.stream = ? AND e.revision = -1"),
    allUp: page(db, "e.position >= ? ORDER BY e.position LIMIT ?"),
    allDown: page(db, "e.position < ? ORDER BY e.position DESC LIMIT ?"),
  };
}

function select(db: DatabaseSync, where: string): StatementSync {
  return db.prepare(
    `SELECT e.position, e.revision, e.type, e.created_ms, e.message, s.name FROM event e JOIN stream s ON s.id = e.stream WHERE ${where}`,
  );
}
/** A bounded read. It asks first how many bytes its events take, which reads none of them: mostly the page is then taken at once, at half the cost of row by row. */
function page(db: DatabaseSync, where: string): (...parameters: number[]) => StoredEvent[] {
  const rows = select(db, where);
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

/** A row of the two tables as an event. */
export const stored = (row: Record<string, unknown>): StoredEvent => ({
  position: positionFromNumber(Number(row.position)),
  revision: Number(row.revision),
  stream: row.name as string,
  type: row.type as string,
  createdMs: Number(row.created_ms),
  message: bufferOf(row.message as Uint8Array),
});

const bufferOf = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
