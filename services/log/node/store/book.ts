import { type Position, position, positionFromNumber, positionToNumber } from "../../../core/index.ts";
import { encodeEvent, type ProposedEvent, TOMBSTONE_REVISION } from "../messages.ts";
import type { StoredEvent } from "./contract.ts";
import { forgetOldest, type Head, type Heads, openHeads } from "./heads.ts";
import type { Statements } from "./statements.ts";

/** Events whose ids are remembered for the idempotence of appends that expect any revision; the real server's is bounded, too. */
const MAX_IDS = 200_000;

/** The log's end, to which everything is written, within a transaction that somebody else opens and ends. */
export interface Book {
  readonly sql: Statements;
  readonly heads: Heads;
  /** The last position written; 0 for an empty log. */
  end(): Position;
  /** Writes an event at the end of its stream, or the stream's tombstone; returns its position. */
  record(head: Head, event: ProposedEvent, tombstone: boolean): Position;
  /** The revision at which a stream has an event of this id, if that was lately. */
  revisionOf(head: Head, id: string): number | undefined;
  /** What was recorded since somebody last asked. */
  take(): StoredEvent[];
  /** The transaction failed: nothing of it stands. */
  undo(end: Position): void;
}

export function openBook(sql: Statements, now: () => number): Book {
  const heads = openHeads(sql);
  const ids = new Map<string, number>();
  const idIn = (stream: number, id: string): string => `${stream}/${id}`;
  let end = positionFromNumber(Number(sql.end.get()?.position ?? 0));
  let committed: StoredEvent[] = [];

  const record = (head: Head, event: ProposedEvent, tombstone: boolean): Position => {
    const createdMs = now();
    const revision = tombstone ? -1 : head.last + 1;
    // Positions are offsets, as in a real log: they grow by the room that the event before takes.
    end = position(end + BigInt(64 + event.data.length + event.metadata.length));
    const message = encodeEvent(event, {
      stream: head.name,
      revision: tombstone ? TOMBSTONE_REVISION : revision,
      position: end,
      createdMs,
    });
    sql.add.run(positionToNumber(end), head.id, revision, event.id, event.type, Math.trunc(createdMs), message);
    if (tombstone) head.tombstoned = true;
    else {
      head.last = revision;
      if (ids.size >= MAX_IDS) forgetOldest(ids);
      ids.set(idIn(head.id, event.id), revision);
    }
    committed.push({ position: end, revision, stream: head.name, type: event.type, createdMs, message });
    return end;
  };

  return {
    sql,
    heads,
    end: () => end,
    record,
    revisionOf: (head, id) => ids.get(idIn(head.id, id)),
    take() {
      const events = committed;
      committed = [];
      return events;
    },
    undo(before) {
      end = before;
      committed = [];
      heads.forget();
      ids.clear();
    },
  };
}
