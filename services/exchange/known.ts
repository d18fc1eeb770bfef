import {
  type Bucket,
  type BucketHead,
  type BucketId,
  bucketIdOf,
  type IncarnationId,
  POLICY_ENTITY,
  type Policy,
  SITE_ENTITY,
  TributaryError,
} from "../core/index.ts";
import type { FeedStore, Seal } from "./store.ts";

/** A bucket's end, as it is remembered. `of`: what the bucket is. `end`: the first digits of its head, as a summary has them. */
export interface KnownHead extends BucketHead {
  readonly of: Bucket;
  readonly end: string;
}

/** The ends of buckets. */
export interface KnownHeads {
  get(bucket: BucketId): KnownHead | undefined;
  has(bucket: BucketId): boolean;
}

export interface KnownBucket {
  readonly id: BucketId;
  readonly bucket: Bucket;
}

/** What serving remembers of a feed as of a seal. It never changes: a later seal makes another one. */
export interface Known {
  readonly seal: Seal;
  readonly heads: KnownHeads;
  /** All buckets, in the order in which they became known. Of two that are remembered one after the other, and are of the same `life`, one is the beginning of the other. */
  readonly buckets: readonly KnownBucket[];
  /** The same list while the same policies hold. */
  readonly policies: readonly Policy[];
  /** The buckets that have changed after a seal; `null`: that is not remembered any more, or they are many. */
  changedAfter(seal: number): readonly BucketId[] | null;
  /** The roles of sites, by `org.site`. */
  readonly roles: ReadonlyMap<string, readonly string[]>;
  /** What is remembered was forgotten so many times. */
  readonly life: number;
}

/** Seals whose buckets are remembered, and the most of these buckets. */
const MAX_RECENT = 64;
const MAX_CHANGED = 1_000;
/** Ends that have changed stand in a small map before the large one until there are so many: then a new large one is made. */
const MAX_NEWER = 1_000;
/** So many digits of a head stand in a summary. */
const END_DIGITS = 16;
/** A pull that began earlier than another may see less of the feed than is remembered. It looks again, at most so often. */
const MAX_LOOKS = 5;

const POLICIES = bucketIdOf({ entityType: POLICY_ENTITY, values: [] });

const NOTHING: Remembered = {
  seal: { number: 0, through: null },
  heads: new Map(),
  buckets: [],
  policies: [],
  changedAfter: () => null,
  roles: new Map(),
  life: 0,
  ...{ newer: new Map(), older: new Map(), recent: [] },
};

/**
 * What is remembered of a feed between pulls. While the newest seal is the same, nothing is asked for but its number.
 *
 *   the same seal ─▶ as before        a later one ─▶ the heads since, and the policies and the sites' roles if their buckets are among them        an earlier one, another incarnation ─▶ all anew
 *   another reach ─▶ policies and roles, whatever the seal
 */
export function memoryOf(store: FeedStore) {
  let known = NOTHING;
  let last: Seal | null = null;
  let incarnation: IncarnationId | null = null;
  let looking: Promise<void> | null = null;

  /** What is known as of a seal that a store shows, or a later one. What two have found out at the same time is not mixed: the later one looks again. */
  const advance = async (from: FeedStore, seal: Seal): Promise<Remembered> => {
    for (;;) {
      const base = known;
      if (seal.number <= base.seal.number) return base;
      const made = await later(from, base, seal);
      if (known !== base) continue;
      known = made;
      return made;
    }
  };
  /** What policies and roles give is asked for once more. The same lists stay: what was made of them stays, too. */
  const lookAtReach = async (): Promise<void> => {
    const base = known;
    const [policies, roles] = [await store.policies(), await store.roles()];
    if (known !== base) return lookAtReach();
    known = { ...base, policies: sameOr(base.policies, policies), roles: sameOr(base.roles, roles) };
  };
  const lookAgain = async (present: IncarnationId, seal: Seal): Promise<void> => {
    const isSetBack = incarnation !== null && (present !== incarnation || (last !== null && seal.number < last.number));
    if (isSetBack) known = { ...NOTHING, life: known.life + 1 };
    await advance(store, seal);
    // What is known for the first time was read after `seal` was asked for.
    if (last !== null && !isSetBack && seal.reach !== last.reach) await lookAtReach();
    [last, incarnation] = [seal, present];
  };

  return {
    /** What is known now. Costs no more than `newest` while nothing has changed, and all who ask at the same time wait for one answer. `told`: the newest seal that the asker knows of. */
    async now(present: IncarnationId, told = 0): Promise<Known> {
      for (let looks = 1; ; looks++) {
        const seal = await store.newest(told);
        if (seal.number === last?.number && seal.reach === last.reach && present === incarnation) return known;
        looking ??= lookAgain(present, seal).finally(() => {
          looking = null;
        });
        await looking;
        // Another one's look may have begun before that seal stood.
        if (known.seal.number >= Math.min(seal.number, told) || looks >= MAX_LOOKS) return known;
      }
    },
    /** Runs `work` with a store that shows one moment, and what is known as of that moment. */
    async atOnce<T>(work: (store: FeedStore, known: Known) => Promise<T>): Promise<T> {
      for (let looks = 1; ; looks++) {
        const { life } = known;
        const look = async (from: FeedStore): Promise<{ readonly value: T } | null> => {
          // Asked once: a store that shows one moment, or does not change while it is read, would say the same again.
          const seal = await from.newest();
          const seen = await advance(from, seal);
          // The feed is being made again: whoever were answered from it now would be told that there is nothing.
          if (seal.number === 0) throw inTheMaking();
          if (seal.number >= seen.seal.number && seen.life === life) return { value: await work(from, seen) };
          // Somebody who began later has seen more already, or all was forgotten meanwhile.
          if (looks >= MAX_LOOKS) throw inTheMaking();
          return null;
        };
        const done = store.atOnce === undefined ? await look(store) : await store.atOnce(look);
        if (done !== null) return done.value;
      }
    },
  };
}

const textOf = (of: readonly Policy[] | ReadonlyMap<string, readonly string[]>): string =>
  JSON.stringify(of instanceof Map ? [...of].sort(([a], [b]) => (a < b ? -1 : 1)) : of);
/** What was known before, where it is the same. */
const sameOr = <T extends readonly Policy[] | ReadonlyMap<string, readonly string[]>>(before: T, now: T): T =>
  textOf(before) === textOf(now) ? before : now;

/** What is remembered, and what the next seal's is made of. */
interface Remembered extends Known {
  readonly newer: ReadonlyMap<BucketId, KnownHead>;
  readonly older: ReadonlyMap<BucketId, KnownHead>;
  readonly recent: readonly Change[];
}

/** The buckets that changed between two seals, of which `after` is the earlier one. */
interface Change {
  readonly after: number;
  readonly buckets: readonly BucketId[];
}

/** What is known as of a later seal. What it costs depends on what has changed, and hardly on how many buckets there are. */
async function later(from: FeedStore, base: Remembered, seal: Seal): Promise<Remembered> {
  const heads = await from.headsAfter(base.seal.number);
  const policies = heads.some(({ bucket }) => bucket === POLICIES) ? await from.policies() : base.policies;
  const roles = heads.some(({ of }) => of.entityType === SITE_ENTITY) ? await from.roles() : base.roles;
  const added = heads.filter(({ bucket }) => !base.heads.has(bucket)).map(({ bucket: id, of: bucket }) => ({ id, bucket }));
  const next = heads.map((head): [BucketId, KnownHead] => [head.bucket, { ...head, end: head.head.slice(0, END_DIGITS) }]);
  const isMuch = base.newer.size + next.length > MAX_NEWER;
  const older = isMuch ? new Map([...base.older, ...base.newer, ...next]) : base.older;
  const newer = isMuch ? new Map<BucketId, KnownHead>() : new Map([...base.newer, ...next]);
  const recent = recently(
    base,
    next.map(([bucket]) => bucket),
  );
  return {
    seal,
    heads: {
      get: (bucket) => newer.get(bucket) ?? older.get(bucket),
      has: (bucket) => newer.has(bucket) || older.has(bucket),
    },
    buckets: added.length === 0 ? base.buckets : [...base.buckets, ...added],
    policies,
    changedAfter: (number) => changedSince(recent, seal.number, number),
    roles,
    life: base.life,
    ...{ newer, older, recent },
  };
}

function recently(base: Remembered, buckets: readonly BucketId[]): readonly Change[] {
  if (buckets.length > MAX_CHANGED) return [];
  return [...base.recent.slice(1 - MAX_RECENT), { after: base.seal.number, buckets }];
}

function changedSince(recent: readonly Change[], now: number, seal: number): readonly BucketId[] | null {
  if (seal === now) return [];
  const from = recent.findIndex(({ after }) => after === seal);
  if (from < 0) return null;
  const changed = recent.slice(from).flatMap(({ buckets }) => buckets);
  return changed.length > MAX_CHANGED ? null : changed;
}

const inTheMaking = (): TributaryError =>
  new TributaryError(
    "backend-unreachable",
    "the hub is putting the feeds of its buckets in order",
    "Pull again in a few seconds. What is on this device stays.",
  );
