import {
  type EventBody,
  eventText,
  GENESIS,
  type Hash,
  isHash,
  isHlc,
  isJsonObject,
  isOriginId,
  type OriginId,
} from "../core/index.ts";
import { chainHash } from "../core/node.ts";
import type { OriginRow } from "./rows.ts";
import { isCorrupt, type Store } from "./store.ts";

/** An event as it stands in its row. */
export interface EventRow {
  readonly seq: number;
  readonly head: string;
  readonly data: string;
  readonly hash: Hash;
  readonly fingerprint: string;
}
export type EventHead = Omit<EventBody, "data">;

/** What stands in place of the envelope of an event whose content was deleted, since this device may not hold it any more. Its hash stays: the next event's follows from it. */
export const PURGED_HEAD = "purged";

/** What stands at a seq: an event that can be read, or why it cannot. `isPurged`: its content was deleted, and nothing is damaged. */
export type Found =
  | { readonly kind: "event"; readonly row: EventRow; readonly head: EventHead }
  | { readonly kind: "damaged"; readonly seq: number; readonly reason: string; readonly isPurged?: boolean };

/** The code that a missing event is set aside with. */
export const asideCode = (found: Found): "data-corrupt" | "purged" =>
  found.kind === "damaged" && found.isPurged ? "purged" : "data-corrupt";

const isText = (value: unknown): value is string => typeof value === "string";
const isTextOrNone = (value: unknown): boolean => value === undefined || isText(value);
const isVector = (value: unknown): boolean => {
  if (!isJsonObject(value)) return false;
  for (const known in value) if (!isOriginId(known) || !Number.isSafeInteger(value[known])) return false;
  return true;
};

/** What each member of an envelope must look like: the compiler asks for a new one. */
const FORM: { readonly [M in keyof Required<EventHead>]: (value: unknown) => boolean } = {
  type: isText,
  origin: isText,
  seq: Number.isSafeInteger,
  entity: (value) => isJsonObject(value) && isText(value.type) && isText(value.id),
  schema: (value) => isJsonObject(value) && isText(value.subject) && Number.isInteger(value.version),
  actor: isText,
  org: isText,
  occurredAt: (value) => isText(value) && !Number.isNaN(Date.parse(value)),
  hlc: (value) => isText(value) && isHlc(value),
  basis: isVector,
  correlationId: isTextOrNone,
  causationId: isTextOrNone,
};
const MEMBERS = Object.entries(FORM);

/** The envelope in a row; `null` when the row was damaged. Only its form is checked: whether a hub takes its values is for the hub to say. */
export function headOf(text: string, origin: OriginId, seq: number): EventHead | null {
  let head: unknown;
  try {
    head = JSON.parse(text);
  } catch {
    return null;
  }
  if (!isJsonObject(head) || head.origin !== origin || head.seq !== seq) return null;
  for (const [member, isRight] of MEMBERS) if (!isRight(head[member])) return null;
  // All that the type asks for has just been looked at.
  return head as unknown as EventHead;
}

/** Reads events defensively: if a row was damaged or lost, or lies on a damaged page, only that row cannot be read. */
export interface EventReader {
  /** The events of an epoch from `from` up to and including `to`, in order. Each seq comes once, readable or not. */
  from(origin: OriginRow, from: number, to: number): Generator<Found>;
  at(origin: OriginRow, seq: number): Found;
  /** The hash that a row holds, whether or not it is the right one; `undefined` when there is none. */
  hashAt(origin: OriginRow, seq: number): Hash | undefined;
  /** Why the event's content cannot be what was written; `null` if the hash follows from the content. A hash that its neighbours prove wrong is corrected. */
  damageAt(origin: OriginRow, seq: number): string | null;
}

// Long because its four ways of reading share which rows lie behind a damaged page, and build on each other in their order.
export function eventReader({ rows }: Pick<Store, "rows">): EventReader {
  const mend = (right: Hash, origin: number, seq: number): void => {
    try {
      rows.setEventHash(origin, seq, right);
    } catch {
      // The row lies on a damaged page, or the file is only read: the row is checked again the next time.
    }
  };

  const damaged = (seq: number, reason: string): Found => ({ kind: "damaged", seq, reason });
  const read = (origin: OriginRow, raw: Record<string, unknown>): Found => {
    const row = raw as unknown as EventRow;
    if (row.head === PURGED_HEAD)
      return {
        kind: "damaged",
        seq: row.seq,
        reason: "it was deleted here, since its entity left what this device may hold",
        isPurged: true,
      };
    const head = headOf(row.head, origin.name, row.seq);
    if (head === null) return damaged(row.seq, "its envelope cannot be read");
    return isHash(row.hash) ? { kind: "event", row, head } : damaged(row.seq, "its hash cannot be read");
  };
  /** Events that only the other way of reading reaches. With these known, the damaged page is not read again. */
  const behind = new Set<string>();
  const at = (origin: OriginRow, seq: number): Found => {
    const key = behind.size > 0 ? `${origin.id}/${seq}` : "";
    try {
      const raw = behind.has(key) ? rows.eventFromBehind(origin.id, seq) : rows.eventAt(origin.id, seq);
      return raw === undefined ? damaged(seq, "it is not in the database any more") : read(origin, raw);
    } catch (error) {
      if (!isCorrupt(error)) throw error;
    }
    try {
      const raw = rows.eventFromBehind(origin.id, seq);
      if (raw !== undefined && raw.seq === seq) {
        behind.add(`${origin.id}/${seq}`);
        return read(origin, raw);
      }
    } catch (error) {
      if (!isCorrupt(error)) throw error;
    }
    return damaged(seq, "the page that holds it is damaged");
  };

  function* from(origin: OriginRow, first: number, to: number): Generator<Found> {
    let seq = first;
    while (seq <= to) {
      try {
        for (const raw of rows.eventsBetween(origin.id, seq, to)) {
          const there = Number(raw.seq);
          while (seq < there) yield at(origin, seq++);
          yield read(origin, raw);
          seq++;
        }
        // What the table does not hold at its end.
        while (seq <= to) yield at(origin, seq++);
      } catch (error) {
        if (!isCorrupt(error)) throw error;
        yield at(origin, seq++);
      }
    }
  }

  const hashAt: EventReader["hashAt"] = (origin, seq) => {
    try {
      const found = rows.eventHash(origin.id, seq);
      return isText(found) && isHash(found) ? found : undefined;
    } catch (error) {
      if (!isCorrupt(error)) throw error;
      const found = at(origin, seq);
      return found.kind === "event" ? found.row.hash : undefined;
    }
  };

  const follows = (prev: Hash, { head, row }: { head: EventHead; row: EventRow }): Hash =>
    chainHash(prev, eventText(head, row.data));

  const damageAt: EventReader["damageAt"] = (origin, seq) => {
    const found = at(origin, seq);
    if (found.kind === "damaged") return found.reason;
    const prev = seq === 0 ? GENESIS : hashAt(origin, seq - 1);
    // If the event before is lost, nothing speaks for this one, and nothing against it.
    if (prev === undefined || follows(prev, found) === found.row.hash) return null;
    // If the event before has the right content but a wrong hash, this event's hash follows from the computed one.
    const before = seq === 0 ? null : at(origin, seq - 1);
    const beforeThat = seq < 2 ? GENESIS : hashAt(origin, seq - 2);
    if (before?.kind === "event" && beforeThat !== undefined) {
      const computed = follows(beforeThat, before);
      if (follows(computed, found) === found.row.hash) {
        mend(computed, origin.id, seq - 1);
        return null;
      }
    }
    // If only this event's own hash is wrong, the next event's hash follows from the computed one.
    const next = seq >= origin.nextSeq - 1 ? null : at(origin, seq + 1);
    if (next?.kind === "event") {
      const computed = follows(prev, found);
      if (follows(computed, next) === next.row.hash) {
        mend(computed, origin.id, seq);
        return null;
      }
    }
    return "its hash does not follow from its content";
  };
  return { from, at, hashAt, damageAt };
}
