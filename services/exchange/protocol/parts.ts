/** What the writer and the reader of a page have in common. */
import { type Digest, entityDigest, GENESIS, type Hash } from "../../core/index.ts";

/** The branches of the union of sections, in the order of `PAGE_SCHEMA`. */
export const SECTION_KINDS = ["lines", "members", "ranges", "listed", "same", "unknown"] as const;
export const LINE_KINDS = ["enter", "event", "exit"] as const;
export const SCHEMA_KINDS = ["avro", "json"] as const;
export const CLIP_CODES = ["basis-ahead", "basis-other-entity"] as const;

/** How an event's data travels: text as it is, Avro, not at all (the asker has the event), a JSON object by its members (`shaped.ts`). */
export const ENCODINGS = ["json", "avro", "none", "shaped"] as const;

export const HASH_BYTES = 32;
/** Of a bucket's id, and of a fingerprint. */
export const HALF_BYTES = 16;
/** Of a head in `Page.ends`. */
export const END_BYTES = 8;

/** What the first event's columns are counted from: the page's `through`, or 0, and its `nowMs`. */
export interface Base {
  readonly position: number;
  readonly nowMs: number;
}

export const eventKey = (origin: string, seq: number): string => `${origin}/${seq}`;

/** The digest of the history that these events are; `null`: there are none. */
export const historyDigest = (events: readonly { readonly hash: Hash }[], digest: Digest): Hash | null =>
  events.length === 0 ? null : events.reduce((before, { hash }) => entityDigest(before, hash, digest), GENESIS);
