import { type Position, position, positionFromNumber, positionToNumber } from "../../../core/index.ts";
import { encodeEvent, type ProposedEvent, TOMBSTONE_REVISION } from "../messages.ts";
import type { StoredEvent } from "./contract.ts";
import { forgetOldest, type Head, type Heads, openHeads } from "./heads.ts";
import type { Statements } from "./statements.ts";

/** How many events' ids are remembered, so that appends that expect any revision are idempotent. A real server remembers only so many, too. */
const MAX_IDS = 200_000;

/** The log's end, where everything is written, within a transaction that the caller opens and ends. */
export interface Book {
  readonly sql: Statements;
  readonly heads: Heads;
  /** The last position written; 0 for an empty log. */
  end(): Position;
  /** Writes an event at the end of its stream, or the stream's tombstone. Returns its position. */
  record(head: Head, event: ProposedEvent, tombstone: boolean): Position;
  /** The revision at which a stream has an event of this id, if the event was written lately. */
  revisionOf(head: Head, id: string): number | undefined;
  /** The events that were recorded since the last call. */
  take(): StoredEvent[];
  /** Forgets what was recorded in a transaction that failed. `end`: the log's end before it. */
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
    // Positions are offsets, as in a real log: each is larger by about the event's bytes.
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
