import type { LogEntry } from "./entry.ts";
import type { EntityRef, SchemaRef } from "./event.ts";
import { type Hash, isHash, isOriginId, type OriginId, type Seq } from "./ids.ts";
import { isJsonObject, type JsonObject } from "./json.ts";

/**
 * How a quarantined event is settled: by an ordinary event of the hub's own origin. A release names the event by origin, seq and hash, and
 * carries the data that counts from now on; a rejection carries the reason.
 */
export const RELEASED = "quarantine.released";
export const REJECTED = "quarantine.rejected";
/** The entity that releases and rejections are about: `quarantine/<origin>/<seq>`. */
export const QUARANTINE_ENTITY = "quarantine";

export interface Settled {
  readonly origin: OriginId;
  readonly seq: Seq;
  readonly hash: Hash;
}

export interface Release extends Settled {
  readonly type: string;
  readonly entity: EntityRef;
  readonly schema: SchemaRef;
  readonly data: JsonObject;
  readonly note?: string;
}

export interface Rejection extends Settled {
  readonly reason: string;
}

/** Which event a release or rejection settles; `null` for any other event. */
export function settledBy(type: string, data: JsonObject): Settled | null {
  if (type !== RELEASED && type !== REJECTED) return null;
  const { origin, seq, hash } = data;
  if (typeof origin !== "string" || !isOriginId(origin) || typeof hash !== "string" || !isHash(hash)) return null;
  // A seq that no stream can have names no event; asking the log for it would fail for ever.
  if (!Number.isSafeInteger(seq) || (seq as number) < 0) return null;
  return { origin, seq: seq as Seq, hash };
}

/** An event's data as a release; `null` when the event is not one. The gate has checked the data against its schema. */
export function releaseOf(type: string, data: JsonObject): Release | null {
  const settled = type === RELEASED ? settledBy(type, data) : null;
  return settled !== null && isJsonObject(data.data) && isJsonObject(data.schema) && isJsonObject(data.entity)
    ? { ...(data as unknown as Release), ...settled }
    : null;
}

/** What the hub's people said of a quarantined event: the first release or rejection, which is the one that counts, with its entry in the log. */
export interface Settlement {
  readonly of: Settled;
  /** The release; `null`: the event is rejected. */
  readonly release: Release | null;
  readonly by: LogEntry;
}
