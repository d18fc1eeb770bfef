/**
 * The heads of sealed segments, as facts in the log: numbers and heads go on from them when PostgreSQL is lost.
 *
 *   feed.sealed { seal, through, heads: { bucket: head } }      many heads: several facts of one seal, each with `part` and `of`
 */
import {
  type BucketId,
  type Fact,
  type Hash,
  isBucketId,
  isHash,
  isJsonObject,
  type Journal,
  type Position,
  position,
  positionToText,
} from "../core/index.ts";

/** The stream of these facts. */
export const FEED_STREAM = "feed";
const SEALED = "feed.sealed";
/** The most heads in one fact: each takes 102 bytes, and the event store takes 1 MiB. */
const MAX_HEADS = 4_000;
const POSITION = /^\d{1,20}$/;

/** What is written down of a seal. */
export interface SealedHeads {
  readonly seal: number;
  /** The position up to which the feed is complete. */
  readonly through: Position;
  /** The head of each bucket that has a segment under this seal. */
  readonly heads: ReadonlyMap<BucketId, Hash>;
}

/** What the facts say so far. */
export interface HeadsSoFar {
  /** The revision of the last fact that was read; −1: there is none. */
  readonly revision: number;
  /** The highest number of a seal; 0: none. */
  readonly seal: number;
  readonly through: Position | null;
  /** The last head of each bucket. */
  readonly heads: ReadonlyMap<BucketId, Hash>;
}

/** Writes a seal down after the fact of revision `after`. Returns the revision of its last fact; `null`: somebody else wrote meanwhile, so the seal must not come about under this number. */
export async function noteHeads(
  journal: Pick<Journal, "append">,
  after: number,
  { seal, through, heads }: SealedHeads,
  maxHeads = MAX_HEADS,
): Promise<number | null> {
  const all = [...heads];
  const of = Math.max(1, Math.ceil(all.length / maxHeads));
  for (let part = 0; part < of; part++) {
    const data = {
      seal,
      through: positionToText(through),
      ...(of === 1 ? {} : { part: part + 1, of }),
      heads: Object.fromEntries(all.slice(part * maxHeads, (part + 1) * maxHeads)),
    };
    const written = await journal.append(FEED_STREAM, after + part, { type: SEALED, data, by: { actor: "hub" } });
    if (written === null) return null;
  }
  return after + of;
}

/** What the facts from a revision on say. */
export async function readHeads(journal: Pick<Journal, "read">, from = 0): Promise<HeadsSoFar> {
  const facts = await journal.read(FEED_STREAM, from);
  const heads = new Map<BucketId, Hash>();
  let last: { readonly seal: number; readonly through: Position } | null = null;
  for (const fact of facts) {
    const read = sealIn(fact);
    if (read === null) continue;
    if (last === null || read.seal >= last.seal) last = read;
    for (const [bucket, head] of read.heads) heads.set(bucket, head);
  }
  return { revision: facts.at(-1)?.revision ?? from - 1, seal: last?.seal ?? 0, through: last?.through ?? null, heads };
}

/** Reads a fact; `null`: it is of another form, and says nothing. */
function sealIn({ type, data: { seal, through, heads } }: Fact): SealedHeads | null {
  if (type !== SEALED || typeof seal !== "number" || !Number.isSafeInteger(seal) || !isJsonObject(heads)) return null;
  if (typeof through !== "string" || !POSITION.test(through)) return null;
  const read = new Map<BucketId, Hash>();
  for (const [bucket, head] of Object.entries(heads))
    if (isBucketId(bucket) && typeof head === "string" && isHash(head)) read.set(bucket, head);
  return { seal, through: position(BigInt(through)), heads: read };
}
