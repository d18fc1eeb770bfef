/** Where a replica's entities differ from a bucket's, range by range. */
import { type BucketHead, GENESIS, type KeyRange, NO_ENTITIES, position } from "../core/index.ts";
import { fetchNamed } from "./members.ts";
import { type BucketAsk, type HeldBucket, LIST_AT } from "./protocol/index.ts";
import { ENTITY_BYTES, type Serving } from "./serving.ts";

type Comparison = Extract<BucketAsk, { kind: "compare" }>;

/** A range key has so many digits, so a range of this prefix has no parts. */
const KEY_DIGITS = 16;
/** Entities of one range key that are listed, at most. */
const MOST_LISTED = 1_000;
const RANGE_BYTES = 60;

/**
 * Compares ranges, and serves entities by name. `false`: there is more to be said than the page has room for; what it does not answer is found by comparing again.
 *
 *   the whole bucket is the same ─▶ `same`        a small range differs ─▶ its entities        a large one differs ─▶ its 16 parts
 */
export async function compare(serving: Serving, held: HeldBucket, { ranges, fetch, have = {} }: Comparison): Promise<boolean> {
  const asked = new Map(ranges.map((range) => [range.prefix, range]));
  for (const range of asked.values()) if (!(await compareRange(serving, held, range))) return false;
  return fetch.length === 0 || fetchNamed(serving, held, { entityIds: fetch, have });
}

async function compareRange(serving: Serving, { bucket }: HeldBucket, theirs: KeyRange): Promise<boolean> {
  const { store, known, room, sections } = serving;
  const { prefix } = theirs;
  if (room.isFull || !room.ask()) return false;
  const end = known.heads.get(bucket);
  const ours = prefix !== "" ? await store.range(bucket, prefix) : (end ?? { count: 0, fingerprint: NO_ENTITIES });
  if (ours.count === theirs.count && ours.fingerprint === theirs.fingerprint) {
    if (prefix === "" && room.put(0, RANGE_BYTES)) sections.push({ kind: "same", bucket, at: headOf(serving, bucket) });
    return true;
  }
  if (ours.count <= LIST_AT || prefix.length === KEY_DIGITS) {
    const found = ours.count === 0 ? [] : await store.members(bucket, { prefix, after: null }, MOST_LISTED);
    const entities = found.map(({ entityId, digest }) => ({ entityId, digest }));
    if (
      !room.put(
        0,
        entities.reduce((sum, { entityId }) => sum + ENTITY_BYTES + entityId.length, RANGE_BYTES),
      )
    )
      return false;
    sections.push({ kind: "listed", bucket, prefix, entities });
    return true;
  }
  const parts = await store.parts(bucket, prefix);
  if (!room.put(0, RANGE_BYTES * parts.length)) return false;
  sections.push({ kind: "ranges", bucket, ranges: parts });
  return true;
}

/** Where the bucket ends; a bucket that nobody has been in yet ends where it begins. */
function headOf({ known }: Serving, bucket: HeldBucket["bucket"]): BucketHead {
  const found = known.heads.get(bucket);
  if (found === undefined) return { bucket, seal: 0, through: position(0n), head: GENESIS, count: 0, fingerprint: NO_ENTITIES };
  const { end: _, ...head } = found;
  return head;
}
