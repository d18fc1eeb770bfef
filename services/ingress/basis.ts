import {
  type Appendable,
  type Batch,
  type Clip,
  type Clips,
  deviceOf,
  type EnrolledKey,
  type EntityRef,
  type HeadInBatch,
  MAX_BATCH_ORIGINS,
  type OriginHead,
  type OriginId,
  runText,
  type Seq,
  TributaryError,
  type Vector,
} from "../core/index.ts";
import { isSignedBy } from "../core/node.ts";
import type { Log } from "../log/index.ts";

/**
 * What the hub notes of the bases of events that come in. In goes a batch; out come clips for what its bases claim to have seen of other origins and what nobody can
 * have seen, or that is about another entity. Whoever may speak for a device may say what it wrote under other epochs; that needs no signed head.
 *
 *   claim ─┬▶ the log holds that event ─┬▶ about the same entity ──────────────────▶ counts
 *          │                            └▶ about another ──────────────────────────▶ clipped to the event before it
 *          └▶ the log does not hold it ─┬▶ another epoch of the same device ───────▶ counts: a missing parent, awaited
 *                                       ├▶ that origin's signed head covers it ────▶ the same
 *                                       └▶ nothing shows that it exists ───────────▶ clipped to what the log holds
 */

/** The keys with which heads of these origins may be signed, if they arrived at the given time. */
export type HeadKeys = (origins: readonly OriginId[], atMs: number) => Promise<ReadonlyMap<OriginId, readonly EnrolledKey[]>>;

/** For so many events we remember what they are about: the last that came in or were asked for. For as many before them, too. */
const MAX_KNOWN_ENTITIES = 25_000;
/** So many questions of one batch are put to the log at the same time. */
const ASKED_AT_A_TIME = 16;
/**
 * Questions of one batch to the log about where origins end, at most: an honest batch needs one for each origin that its authors had seen and that the hub has not
 * dealt with lately. Beyond that the log is taken to hold no more of an origin than was seen before.
 */
const MAX_ENDS = 4_000;
/**
 * Events of others that one batch may have the hub read, to see what they are about. All are read: a claim that was not looked at would count unchecked. A batch
 * that needs more is refused, and its sender halves it; a single event never does. This rests on a sender who can: a device signs each half by itself. Whoever only carried
 * runs that others have signed could not halve one, and would need bases that are looked at over several batches instead.
 */
const MAX_READS = MAX_BATCH_ORIGINS;
/** Signatures that are checked, and claims that are gone through, before others have a turn. */
const SLICE_SIGNATURES = 16;
const SLICE_CLAIMS = 2_000;

export interface BasisNotes {
  /** The clips of those events of the batch that need some, by seq. */
  clips(batch: Batch, receivedAtMs: number, breathe: () => Promise<void>): Promise<ReadonlyMap<Seq, Clips>>;
  /** Tells it that these events are in the log now. */
  appended(run: readonly Appendable[]): void;
  forget(): void;
}

/** One thing that an event says its author had seen. */
interface Claim {
  readonly by: Seq;
  readonly entity: EntityRef;
  readonly origin: OriginId;
  readonly seq: Seq;
  /** Another epoch of the device that says so. */
  readonly isOwn: boolean;
}

const nameOf = ({ origin, seq }: Pick<Claim, "origin" | "seq">): string => `${origin}/${seq}`;

const tooManyClaims = ({ origin, firstSeq }: Batch, count: number): TributaryError =>
  new TributaryError(
    "batch-too-large",
    `the batch of ${origin} from event ${firstSeq} names ${count} events of others that the hub would have to read; ${MAX_READS} are allowed`,
    "Send fewer events at a time.",
  );

const isSame = (a: EntityRef, b: EntityRef): boolean => a.type === b.type && a.id === b.id;

/**
 * `known`: where an origin last ended in the log, as far as is known. `learn` is told where one was found to end.
 * Long because its functions share one memory of what the log holds; each is short.
 */
export function basisNotes({
  log,
  headKeys,
  known,
  learn,
}: {
  readonly log: Pick<Log, "head" | "at">;
  readonly headKeys: HeadKeys;
  readonly known: (origin: OriginId) => OriginHead | undefined;
  readonly learn: (origin: OriginId, head: OriginHead | null) => void;
}): BasisNotes {
  const memory = entityMemory();

  return {
    async clips(batch, receivedAtMs, breathe) {
      const claims = await claimsOf(batch, breathe);
      if (claims.length === 0) return NO_CLIPS;
      const ask = async <T>(asked: readonly T[], question: (item: T) => Promise<void>): Promise<void> => {
        for (let at = 0; at < asked.length; at += ASKED_AT_A_TIME) {
          await Promise.all(asked.slice(at, at + ASKED_AT_A_TIME).map(question));
          await breathe();
        }
      };

      const claimed = furthest(claims);
      const ends = new Map<OriginId, number>();
      for (const origin of claimed.keys()) ends.set(origin, known(origin)?.through ?? -1);
      // What was seen before may be old. Only the log itself can say that it holds no more.
      const doubtful = [...claimed].filter(([origin, seq]) => seq > ends.get(origin)!).slice(0, MAX_ENDS);
      await ask(doubtful, async ([origin]) => {
        const head = await log.head(origin);
        learn(origin, head);
        ends.set(origin, head?.through ?? -1);
      });
      const named = (batch.heads ?? []).filter(({ origin, through }) => claimed.has(origin) && through > ends.get(origin)!);
      const keys =
        named.length === 0
          ? NO_KEYS
          : await headKeys(
              named.map(({ origin }) => origin),
              receivedAtMs,
            );
      const proven = await provenThrough(named, keys, breathe);

      /** What is remembered now, and what is read. It is kept for this batch, whatever the memory forgets meanwhile for others. */
      const about = new Map<string, EntityRef | undefined>();
      const unread: Claim[] = [];
      for (const [i, claim] of claims.entries()) {
        if (i % SLICE_CLAIMS === SLICE_CLAIMS - 1) await breathe();
        const key = nameOf(claim);
        if (claim.seq > ends.get(claim.origin)! || about.has(key)) continue;
        const known = memory.about(claim);
        about.set(key, known);
        if (known === undefined) unread.push(claim);
      }
      if (unread.length > MAX_READS) throw tooManyClaims(batch, unread.length);
      await ask(unread, async (claim) => {
        const entry = await log.at(claim.origin, claim.seq);
        if (entry === null) return;
        about.set(nameOf(claim), entry.head.entity);
        memory.add(claim.origin, [entry.head]);
      });

      const out = new Map<Seq, Record<OriginId, Clip>>();
      for (const [i, claim] of claims.entries()) {
        if (i % SLICE_CLAIMS === SLICE_CLAIMS - 1) await breathe();
        const { by, origin } = claim;
        const clip = clipOf(claim, ends.get(origin)!, proven.get(origin) ?? -1, about.get(nameOf(claim)));
        if (clip === null) continue;
        const clips = out.get(by) ?? {};
        clips[origin] = clip;
        out.set(by, clips);
      }
      return out;
    },
    appended(run) {
      const origin = run[0]?.head.origin;
      if (origin !== undefined)
        memory.add(
          origin,
          run.map(({ head }) => head),
        );
    },
    forget: memory.forget,
  };
}

/**
 * What events are about, of the last that were added. Two generations, of which the older one goes as a whole: to take the eldest out of one
 * Map, one by one, is some thirty times as slow, since its iterator passes over all that was taken out before.
 */
function entityMemory() {
  type Known = Map<OriginId, Map<Seq, EntityRef>>;
  let [recent, before]: [Known, Known] = [new Map(), new Map()];
  let size = 0;
  return {
    add(origin: OriginId, heads: readonly { readonly seq: Seq; readonly entity: EntityRef }[]): void {
      if (size >= MAX_KNOWN_ENTITIES) {
        [recent, before] = [new Map(), recent];
        size = 0;
      }
      const of = recent.get(origin) ?? new Map<Seq, EntityRef>();
      recent.set(origin, of);
      for (const { seq, entity } of heads) of.set(seq, entity);
      size += heads.length;
    },
    about: ({ origin, seq }: Pick<Claim, "origin" | "seq">): EntityRef | undefined =>
      recent.get(origin)?.get(seq) ?? before.get(origin)?.get(seq),
    forget(): void {
      [recent, before] = [new Map(), new Map()];
      size = 0;
    },
  };
}

const NO_KEYS: ReadonlyMap<OriginId, readonly EnrolledKey[]> = new Map();
const NO_CLIPS: ReadonlyMap<Seq, Clips> = new Map();

/** All that a batch's events claim to have seen of other origins. */
async function claimsOf({ origin, events }: Batch, breathe: () => Promise<void>): Promise<Claim[]> {
  const device = deviceOf(origin);
  const claims: Claim[] = [];
  for (const { head } of events) {
    await breathe();
    const basis: Vector = head.basis;
    for (const key in basis) {
      const other = key as OriginId;
      if (other === origin) continue;
      const isOwn = deviceOf(other) === device;
      claims.push({ by: head.seq, entity: head.entity, origin: other, seq: basis[other]!, isOwn });
    }
  }
  return claims;
}

/** The furthest claim on each origin. */
function furthest(claims: readonly Claim[]): ReadonlyMap<OriginId, Seq> {
  const out = new Map<OriginId, Seq>();
  for (const { origin, seq } of claims) if (seq > (out.get(origin) ?? -1)) out.set(origin, seq);
  return out;
}

/** How far a head that the origin has signed shows that its events exist. */
async function provenThrough(
  heads: readonly HeadInBatch[],
  keys: ReadonlyMap<OriginId, readonly EnrolledKey[]>,
  breathe: () => Promise<void>,
): Promise<ReadonlyMap<OriginId, number>> {
  const out = new Map<OriginId, number>();
  for (const [i, one] of heads.entries()) {
    if (i % SLICE_SIGNATURES === SLICE_SIGNATURES - 1) await breathe();
    const { origin, through } = one;
    if (through > (out.get(origin) ?? -1) && isSigned(one, keys.get(origin) ?? [])) out.set(origin, through);
  }
  return out;
}

function isSigned({ signature, ...of }: HeadInBatch, keys: readonly EnrolledKey[]): boolean {
  const value = Buffer.from(signature).toString("base64url");
  const text = runText(of);
  return keys.some(({ key, kid }) => isSignedBy(key, text, { kid, value }));
}

/**
 * `end`: the last event that the log holds of the origin; `proven`: that its signed head covers; `about`: what the claimed event is about, where the log
 * holds it.
 */
function clipOf({ entity, seq, isOwn }: Claim, end: number, proven: number, about: EntityRef | undefined): Clip | null {
  if (seq > end) return isOwn || seq <= proven ? null : { code: "basis-ahead", to: end < 0 ? null : (end as Seq) };
  const before = seq === 0 ? null : ((seq - 1) as Seq);
  // It was read and is not there: the log was set back since, or has lost it.
  if (about === undefined) return isOwn ? null : { code: "basis-ahead", to: before };
  if (isSame(about, entity)) return null;
  // All before it counts as seen: whoever names an event names all before it of that origin.
  return { code: "basis-other-entity", to: before };
}
