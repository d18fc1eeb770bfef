import type { EventBody } from "../event.ts";
import type { Hash, OriginId, Seq } from "../ids.ts";

/**
 * The wire form of a run of one origin's events.
 *
 * A frame is three bytes, `T`, `B` and one that says the version (above) and the compression (below: 0 none, 1 zstd), then one Avro record
 * (`BATCH_SCHEMA`). Version 1 has a 0 for its number, and no `more`. A reader passes over what it does not know in `more`, or behind it. Texts that
 * repeat (types, schemas, actors, origins, entities) stand once in dictionaries; the events themselves are columns, so
 * that equal neighbours compress to next to nothing. Neither ids nor hashes travel: both follow from the content, and
 * `prev` and `head` pin the chain's two ends.
 */
export interface Batch {
  readonly origin: OriginId;
  readonly firstSeq: Seq;
  /** Hash of the event before the batch's first event, and hash of its last event. */
  readonly prev: Hash;
  readonly head: Hash;
  /** The device's wall clock when it sent this: lets the hub notice a wrong clock. Not covered by any hash. */
  readonly sentAtMs: number;
  readonly events: readonly PackedEvent[];
  /** The origin's Ed25519 signature of the run's end, where the batch came with one. */
  readonly signature?: Uint8Array;
  /** Signed heads of other origins that the events' bases name, as far as the sender was given them. They show that the events which the bases name exist. */
  readonly heads?: readonly HeadInBatch[];
}

/** Where a run of an origin ended, with that origin's signature of it (`runText`): it stands for all of the origin's events up to there. */
export interface HeadInBatch {
  readonly origin: OriginId;
  readonly through: Seq;
  readonly head: Hash;
  readonly signature: Uint8Array;
}

/** An event as it travels: the envelope, and the data, still in the encoding that its schema gives it. */
export interface PackedEvent {
  readonly head: Omit<EventBody, "data">;
  /**
   * The first 16 hexadecimal digits of the fingerprint of the schema that the writer calls `head.schema`: a hub that knows another schema by that name
   * must not take the data for it.
   */
  readonly fingerprint?: string;
  /** `json`: canonical JSON text as UTF-8. `avro`: the body that `head.schema` writes. */
  readonly encoding: "json" | "avro";
  readonly payload: Uint8Array;
}

export interface Compression {
  compress(bytes: Uint8Array): Uint8Array;
  /** Must throw rather than return more than `maxBytes`. */
  decompress(bytes: Uint8Array, maxBytes: number): Uint8Array;
}

export const MAX_BATCH_EVENTS = 2_000;
/** A frame on the wire: below the broker's default payload limit of 1 MiB. */
export const MAX_FRAME_BYTES = 1_000_000;
/** The same, decompressed: a frame that grows larger is refused unread. */
export const MAX_BATCH_BYTES = 8 * 1_048_576;

/** At most so many origins, and so many numbers, in the bases of a batch's events. An entity that many devices write must not make a batch unreadable. */
export const MAX_BATCH_ORIGINS = 16_000;
export const MAX_BATCH_BASIS = 1_000_000;
/** Signed heads of other origins in one batch, at most; each takes some 150 bytes. */
export const MAX_BATCH_HEADS = 1_000;
