/**
 * What a replica asks of each bucket next, and where it stands with it.
 *
 *   new ─▶ states ─▶ events ─▶ compare ─ same ─▶ follow ⇄ lines
 *            │ states only ─────▶ ▲ ▲                │
 *            └────────────────────┘ └── unknown, or what came does not come out
 */
import {
  type Cursor,
  changedBy,
  FEED_START,
  type Fingerprint,
  fingerprintOf,
  GENESIS,
  type KeyRange,
  NO_ENTITIES,
  partOf,
} from "../../core/index.ts";
import { sha256Hex } from "../../core/node.ts";
import { type BucketAsk, LIST_AT, MAX_FETCHED, MAX_RANGES } from "../../exchange/protocol/index.ts";
import type { BucketRow, ReplicaRows } from "./rows.ts";

/** At most so many entities are asked for by name at a time: about what a page holds. */
const FETCHED_AT_ONCE = Math.min(MAX_FETCHED, 4 * LIST_AT);
/** Digits of a head that stand for it in summaries. */
const END_DIGITS = 16;
/** The range that holds all entities. */
const ROOT = "";

/** The head as summaries have it; empty: no segment has been read. */
export const endOf = ({ head }: Pick<Cursor, "head">): string => (head === GENESIS ? "" : head.slice(0, END_DIGITS));

/** The range of a replica's entities in a bucket whose keys begin with `prefix`. */
export function rangeOf(rows: ReplicaRows, bucket: number, prefix: string): KeyRange {
  const members = rows.membersIn(bucket, prefix);
  const sum = members.reduce((total, { id, digest }) => total + partOf(id, digest, sha256Hex), 0n);
  return { prefix, count: members.length, fingerprint: members.length === 0 ? NO_ENTITIES : fingerprintOf(sum) };
}

/** The 16 parts of a range, by prefix. */
export function partsOf(rows: ReplicaRows, bucket: number, prefix: string): ReadonlyMap<string, KeyRange> {
  const out = new Map<string, KeyRange>();
  for (const { key, id, digest } of rows.membersIn(bucket, prefix)) {
    const part = key.slice(0, prefix.length + 1);
    const before = out.get(part) ?? { prefix: part, count: 0, fingerprint: NO_ENTITIES as Fingerprint };
    const fingerprint = changedBy(before.fingerprint, partOf(id, digest, sha256Hex), 0n);
    out.set(part, { prefix: part, count: before.count + 1, fingerprint });
  }
  return out;
}

/** What is asked of a bucket; `null`: nothing, as far as the hub has told. */
export function askOf(rows: ReplicaRows, bucket: BucketRow): BucketAsk | null {
  const { n, phase, after, cursor, hubEnd } = bucket;
  switch (phase) {
    case "states":
      return { kind: "members", after, want: "states" };
    case "events":
      return { kind: "members", after, want: "events" };
    case "compare":
      return comparing(rows, n);
    case "follow":
      return hubEnd === endOf(cursor) && cursor.line === 0 ? null : { kind: "follow", at: cursor };
  }
}

function comparing(rows: ReplicaRows, bucket: number): BucketAsk {
  const fetch = rows.todo(bucket, "fetch", FETCHED_AT_ONCE);
  const prefixes = fetch.length > 0 ? [] : rows.todo(bucket, "range", MAX_RANGES);
  const ranges = (prefixes.length === 0 && fetch.length === 0 ? [ROOT] : prefixes).map((prefix) => rangeOf(rows, bucket, prefix));
  const have = partsHere(rows, bucket, fetch);
  return { kind: "compare", ranges, fetch, ...(have === null ? {} : { have }) };
}

/** Of histories that are longer than a page: how many of their first events are here; `null`: there are none. */
function partsHere(rows: ReplicaRows, bucket: number, fetch: readonly string[]): Record<string, number> | null {
  const have: Record<string, number> = {};
  for (const id of fetch) {
    const parts = rows.countParts(bucket, id);
    if (parts > 0) have[id] = parts;
  }
  return Object.keys(have).length === 0 ? null : have;
}

/** Begins to compare a bucket, from all of it on. */
export function compareAll(rows: ReplicaRows, bucket: number): void {
  rows.clearTodo(bucket);
  dropParts(rows, bucket);
  rows.setPhase(bucket, "compare", null);
}

/** Deletes the parts of histories of which the rest will not come: of a bucket, or of one entity. */
export function dropParts(rows: ReplicaRows, bucket: number, entityId?: string): void {
  const had = entityId === undefined ? rows.removeParts(bucket) : rows.removePartsOf(bucket, entityId);
  if (had) rows.noteDeleted();
}

/** Fetches all of a bucket once more, whatever is here: what its hub says of each entity beside the history is another now. */
export function fillAnew(rows: ReplicaRows, { n, statesOnly }: BucketRow): void {
  rows.staleMembers(n, GENESIS);
  rows.clearTodo(n);
  dropParts(rows, n);
  rows.setPhase(n, statesOnly ? "states" : "events", null);
}

/** The next phase once all members have come. */
export function filled(rows: ReplicaRows, { n, phase, statesOnly }: BucketRow): void {
  rows.setPhase(n, phase === "states" && !statesOnly ? "events" : "compare", null);
}

/** Fills a bucket of which nothing is here; compares any other. */
export function fillOrCompare(rows: ReplicaRows, bucket: number): void {
  compareAll(rows, bucket);
  if (rows.countMembers(bucket) === 0) rows.setPhase(bucket, "states", null);
}

/** A bucket that the hub has nothing of is followed from its beginning. */
export function begun(rows: ReplicaRows, { n, phase, after, hubEnd }: BucketRow): void {
  if (phase === "states" && after === null && hubEnd === "" && rows.countMembers(n) === 0) rows.setCursor(n, FEED_START);
}
