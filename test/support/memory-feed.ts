import {
  type Bucket,
  type BucketHead,
  type BucketId,
  entityDigest,
  fingerprintOf,
  GENESIS,
  type Hash,
  headAfter,
  type KeyRange,
  NO_ENTITIES,
  type Position,
  partOf,
  position,
  rangeKey,
} from "../../services/core/index.ts";
import { sha256Hex } from "../../services/core/node.ts";
import type { Debt, EventRef, FeedStore, Member, Seal, StoredLine } from "../../services/exchange/index.ts";
import { entityName, type FeedRow, feedChanges, type Placement } from "../../services/views/feed/lines.ts";
import { type SealedRow, seal } from "../../services/views/feed/sealing.ts";

/** What the log keeps of seals, so that numbers and heads go on after the feed is lost. */
export interface SealFact {
  readonly seal: number;
  readonly through: Position;
  readonly heads: Readonly<Record<BucketId, Hash>>;
}

interface Sealed extends SealedRow {
  readonly seal: number;
  readonly through: Position;
  /** How many events the entity's history has up to this line. */
  readonly history: number;
}

/** The tables of a hub's feed, in memory. */
export interface MemoryFeed extends Omit<FeedStore, "states" | "events" | "policies" | "roles"> {
  readonly debts: readonly Debt[];
  /** The bucket that each entity is in, sealed or not, by `entityName`. */
  readonly placed: ReadonlyMap<string, BucketId>;
  readonly buckets: ReadonlyMap<BucketId, Bucket>;
  /** All lines, sealed or not. */
  readonly rows: readonly FeedRow[];
  place(placements: readonly Placement[]): void;
  /** Until the next seal, readers are shown a feed in which nothing was sealed: what is placed is of other columns. */
  shut(): void;
  /** Seals the lines up to a position. `null`: there was nothing to seal. */
  seal(through: Position, hashOf: (ref: EventRef) => Hash): SealFact | null;
}

const byPosition = (a: FeedRow, b: FeedRow): number =>
  a.position < b.position ? -1 : a.position > b.position ? 1 : a.ordinal - b.ordinal;

/** `last`: the heads as the log has them, of a feed that was lost; all its buckets get a segment with the first seal, so that no old head stays the newest. */
export function memoryFeed(last: SealFact | null = null): MemoryFeed {
  const placed = new Map<string, BucketId>();
  const buckets = new Map<BucketId, Bucket>();
  const rows: FeedRow[] = [];
  let unsealed: FeedRow[] = [];
  const taken = new Map<Position, number>();
  const debts = new Map<string, Debt>();
  const tables = sealedTables(last, buckets);
  return {
    placed,
    buckets,
    rows,
    get debts() {
      return [...debts.values()];
    },
    place(placements) {
      const made = feedChanges(placed, placements, taken);
      for (const [id, bucket] of made.buckets) buckets.set(id, bucket);
      for (const { entityType, entityId, to } of made.moves) {
        const name = entityName(entityType, entityId);
        if (to === null) placed.delete(name);
        else placed.set(name, to);
      }
      for (const row of made.rows) {
        taken.set(row.position, row.ordinal + 1);
        rows.push(row);
        unsealed.push(row);
      }
    },
    seal(through, hashOf) {
      const ready = unsealed.filter((row) => row.position <= through).sort(byPosition);
      tables.open();
      if (ready.length === 0 && !tables.isAnew()) return null;
      unsealed = unsealed.filter((row) => row.position > through);
      return tables.seal(ready, through, hashOf);
    },
    shut: tables.shut,
    ...tables.reads,
    async owes(debt) {
      const { device, bucket, seal: at, entityIds } = debt;
      if (entityIds === null) {
        const key = `${device} ${bucket} all`;
        if (!debts.has(key)) debts.set(key, debt);
        return;
      }
      for (const id of entityIds) {
        const key = `${device} ${bucket} ${at} ${id}`;
        if (!debts.has(key)) debts.set(key, { ...debt, entityIds: [id] });
      }
    },
  };
}

/** What readers see: only what is sealed. */
function sealedTables(last: SealFact | null, buckets: ReadonlyMap<BucketId, Bucket>) {
  const lines = new Map<BucketId, Sealed[]>();
  const heads = new Map<BucketId, BucketHead>();
  const past = new Map<string, Hash>();
  const histories = new Map<string, EventRef[]>();
  const held = new Map<BucketId, Map<string, Member>>();
  const digests = new Map<string, Hash>();
  const sorted = new Map<BucketId, readonly Member[]>();
  // Until something is sealed again, readers are shown a feed in which nothing was.
  let newest: Seal = { number: 0, through: null };
  let isShut = false;
  let numbered = last?.seal ?? 0;
  let anew: Record<BucketId, Hash> | null = last === null ? null : { ...last.heads };

  const seal_ = (ready: readonly FeedRow[], through: Position, hashOf: (ref: EventRef) => Hash): SealFact => {
    const number = ++numbered;
    const before = new Map(heads);
    for (const [id, head] of Object.entries(anew ?? {}))
      before.set(id as BucketId, { bucket: id as BucketId, seal: 0, through, head, count: 0, fingerprint: NO_ENTITIES });
    const sealed = seal(
      ready.map((row) => ({ ...row, hash: row.event === null ? null : hashOf(row.event) })),
      { heads: before, digests },
      { number, through },
      sha256Hex,
    );
    for (const row of sealed.rows) {
      const name = entityName(row.entityType, row.entityId);
      const history = histories.get(name) ?? [];
      histories.set(name, history);
      if (row.event !== null) history.push(row.event);
      const of = lines.get(row.bucket) ?? [];
      lines.set(row.bucket, of);
      of.push({ ...row, seal: number, through, history: history.length });
      sorted.delete(row.bucket);
      const there = held.get(row.bucket) ?? new Map<string, Member>();
      held.set(row.bucket, there);
      if (row.kind === "exit") there.delete(row.entityId);
      else there.set(row.entityId, { entityId: row.entityId, key: rangeKey(row.entityId, sha256Hex), digest: row.digest });
      digests.set(name, row.digest);
    }
    const made = new Map(sealed.heads.map((head) => [head.bucket, head]));
    for (const [id, head] of Object.entries(anew ?? {})) {
      const bucket = id as BucketId;
      if (made.has(bucket)) continue;
      const end = headAfter(head, { seal: number, through, digest: GENESIS }, sha256Hex);
      made.set(bucket, { bucket, seal: number, through, head: end, count: 0, fingerprint: NO_ENTITIES });
    }
    anew = null;
    newest = { number, through };
    for (const head of made.values()) {
      heads.set(head.bucket, head);
      past.set(`${head.bucket} ${head.seal}`, head.head);
    }
    const all = Object.fromEntries([...heads].map(([id, { head }]) => [id, head]));
    return { seal: number, through, heads: all as Record<BucketId, Hash> };
  };

  const sortedOf = (bucket: BucketId): readonly Member[] => {
    let found = sorted.get(bucket);
    if (found === undefined) {
      found = [...(held.get(bucket)?.values() ?? [])].sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
      sorted.set(bucket, found);
    }
    return found;
  };
  const within = (bucket: BucketId, prefix: string): readonly Member[] =>
    sortedOf(bucket).filter(({ key }) => key.startsWith(prefix));
  const rangeOf = (found: readonly Member[]): Omit<KeyRange, "prefix"> => ({
    count: found.length,
    fingerprint: fingerprintOf(found.reduce((sum, { entityId, digest }) => sum + partOf(entityId, digest, sha256Hex), 0n)),
  });
  const typeOf = (bucket: BucketId): string => buckets.get(bucket)?.entityType ?? "";
  const historyOf = (bucket: BucketId, entityId: string): readonly EventRef[] =>
    histories.get(entityName(typeOf(bucket), entityId)) ?? [];
  const asLine = (bucket: BucketId, row: Sealed): StoredLine => ({
    kind: row.kind,
    position: row.position,
    entityId: row.entityId,
    digest: row.digest,
    seal: row.seal,
    through: row.through,
    events:
      row.kind === "enter"
        ? historyOf(bucket, row.entityId).slice(0, row.history)
        : row.kind === "event" && row.event !== null
          ? [row.event]
          : [],
  });

  const reads: Pick<
    FeedStore,
    "newest" | "headsAfter" | "hasHead" | "lines" | "members" | "named" | "parts" | "range" | "histories"
  > = {
    newest: async () => (isShut ? { number: 0, through: null } : newest),
    headsAfter: async (after) =>
      [...heads.values()]
        .filter((head) => head.seal > after)
        // Nobody knows what a bucket is that nothing has entered since the feed was lost.
        .flatMap((head) => {
          const of = buckets.get(head.bucket);
          return of === undefined ? [] : [{ ...head, of }];
        }),
    hasHead: async (bucket, at, head) => (at === 0 ? head === GENESIS : past.get(`${bucket} ${at}`) === head),
    lines: async (bucket, { seal: after, skip }, limit) =>
      (lines.get(bucket) ?? [])
        .filter((row) => row.seal > after)
        .slice(skip, skip + limit)
        .map((row) => asLine(bucket, row)),
    members: async (bucket, { prefix, after }, limit) =>
      within(bucket, prefix)
        .filter(({ key }) => after === null || key > after)
        .slice(0, limit),
    named: async (bucket, entityIds) => {
      const there = held.get(bucket);
      return [...new Set(entityIds)].flatMap((id) => there?.get(id) ?? []);
    },
    parts: async (bucket, prefix) =>
      [..."0123456789abcdef"].map((digit) => ({ prefix: prefix + digit, ...rangeOf(within(bucket, prefix + digit)) })),
    range: async (bucket, prefix) => rangeOf(within(bucket, prefix)),
    histories: async (bucket, entityIds) =>
      new Map(entityIds.filter((id) => held.get(bucket)?.has(id)).map((id) => [id, [...historyOf(bucket, id)]] as const)),
  };
  return {
    seal: seal_,
    isAnew: () => anew !== null,
    shut: () => {
      isShut = true;
    },
    open: () => {
      isShut = false;
    },
    reads,
  };
}

/** The digest that a history has, as the contract says it. */
export const digestOf = (hashes: readonly Hash[]): Hash =>
  hashes.reduce((before, hash) => entityDigest(before, hash, sha256Hex), GENESIS);

export const AT_START = position(0n);
