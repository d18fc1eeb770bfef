/**
 * The feed of a bucket: lines that say which entities entered it, which events came for them, and which left; sealed in segments. Whoever has the lines computes the
 * same heads and digests as the hub, so an equal head proves that nothing is missing, and an equal fingerprint that two sides hold the same histories.
 *
 *   digest of an entity   d  ← SHA-256(d ‖ hash of the event), from GENESIS, in the order in which the hub counts its events
 *   digest of a segment   s  ← SHA-256(s ‖ line), from GENESIS
 *   head after a segment  h  ← SHA-256(h ‖ seal ‖ through ‖ s), from GENESIS
 *   fingerprint           the sum, modulo 2^128, of the first half of SHA-256(entity's name ‖ its digest), over the bucket's entities
 */
import { type BucketId, GENESIS, type Hash, type Position, positionToText } from "./ids.ts";

/** SHA-256 of a text's UTF-8 bytes, in hexadecimal. Passed in, because Node and browsers differ. */
export type Digest = (text: string) => string;

export type LineKind = "enter" | "event" | "exit";

/** One line of a bucket's feed. */
export interface Line {
  readonly kind: LineKind;
  /** Where in the hub's log this was decided. */
  readonly position: Position;
  readonly entityId: string;
  /** The digest of the entity's history after this line; for an exit: as of its last line in this bucket. */
  readonly digest: Hash;
}

/** Where a reader of a bucket's feed stands: after so many lines of the segment that follows a seal. */
export interface Cursor {
  /** The number of the last seal whose segment of this bucket was read to its end; 0: none. */
  readonly seal: number;
  /** The head after that segment. */
  readonly head: Hash;
  /** Lines read of the segment after it, and their digest. */
  readonly line: number;
  readonly digest: Hash;
}

/** Where the feed of a bucket begins. */
export const FEED_START: Cursor = { seal: 0, head: GENESIS, line: 0, digest: GENESIS };

/** The digest of an entity's history after one more event. */
export const entityDigest = (before: Hash, event: Hash, digest: Digest): Hash => digest(before + event) as Hash;

export const lineText = ({ kind, position, entityId, digest }: Line): string =>
  `${kind} ${positionToText(position)} ${digest} ${entityId}`;

/** The digest of a segment after one more line. */
export const segmentDigest = (before: Hash, line: Line, digest: Digest): Hash => digest(`${before} ${lineText(line)}`) as Hash;

/** The head after a segment: `seal` is the number under which it was sealed, `through` the position up to which the feed is complete then. */
export const headAfter = (
  before: Hash,
  { seal, through, digest: segment }: { readonly seal: number; readonly through: Position; readonly digest: Hash },
  digest: Digest,
): Hash => digest(`${before} ${seal} ${positionToText(through)} ${segment}`) as Hash;

/** An unsigned number of 128 bits as 32 hexadecimal digits. */
export type Fingerprint = string;

export const NO_ENTITIES: Fingerprint = "0".repeat(32);
const MODULUS = 1n << 128n;

/** What an entity with this history adds to a fingerprint. */
export const partOf = (entityId: string, history: Hash, digest: Digest): bigint =>
  BigInt(`0x${digest(`${history} ${entityId}`).slice(0, 32)}`);

export const fingerprintOf = (sum: bigint): Fingerprint => (((sum % MODULUS) + MODULUS) % MODULUS).toString(16).padStart(32, "0");

/** A fingerprint with entities added and others taken away, each given as `partOf` gives it. */
export const changedBy = (before: Fingerprint, added: bigint, removed: bigint): Fingerprint =>
  fingerprintOf(BigInt(`0x${before}`) + added - removed);

/** Entities are ordered, and cut into ranges, by these 16 hexadecimal digits. */
export const rangeKey = (entityId: string, digest: Digest): string => digest(entityId).slice(0, 16);

/** The entities of a bucket whose range keys begin with `prefix`: 16 ranges a level. */
export interface KeyRange {
  readonly prefix: string;
  readonly count: number;
  readonly fingerprint: Fingerprint;
}

/** A bucket's end as of a seal. */
export interface BucketHead {
  readonly bucket: BucketId;
  /** The seal under which the bucket's last segment was sealed. */
  readonly seal: number;
  readonly through: Position;
  readonly head: Hash;
  readonly count: number;
  readonly fingerprint: Fingerprint;
}
