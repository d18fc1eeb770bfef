/**
 * The replica on a device: what the hub's feeds have brought, folded by the same rules as at the hub, and the device's own events on top.
 *
 *   asks ─▶ the hub's page ─▶ take: each section is checked, and written or refused as a whole ─▶ changed rows, and what was deleted
 */
import { type BucketId, isTributaryError, type JsonObject, type OriginId, type Seq } from "../../core/index.ts";
import { sha256Hex } from "../../core/node.ts";
import {
  type BucketAsk,
  MAX_BUCKETS,
  type Page,
  PURGED,
  type Purge,
  REPLICA_ENTITY,
  summaryText,
} from "../../exchange/protocol/index.ts";
import type { Gate, Pins } from "../../gate/index.ts";
import { rowsHash, scopedViews, unpackState, type View } from "../../merge/engine.ts";
import { lifeTold, noteLife } from "../life.ts";
import { emptyMoved } from "../move.ts";
import type { NewEvent } from "../outbox.ts";
import { headOf, PURGED_HEAD } from "../reading.ts";
import { isCorrupt, type Store } from "../store.ts";
import { askOf, endOf, fillAnew } from "./asks.ts";
import { type OpenView, openEntities } from "./entities.ts";
import { rowHashesOf, rowTexts, withheldIn } from "./hash.ts";
import { HOLDING, type HoldingDeps, withdraw } from "./holding.ts";
import { noteWritten, refreshOwn } from "./own.ts";
import { purgeLeaving, purgeOwn } from "./purge.ts";
import { type BucketRow, openReplicaRows, type ReplicaRows } from "./rows.ts";
import { openScrubber } from "./scrub.ts";
import { ownEvents, type PageTaken, takePage } from "./take.ts";
import type { HistoryEvent, Replica } from "./types.ts";
import { addIndex } from "./view-rows.ts";
import { HUB, openViews } from "./views.ts";

export interface ReplicaOptions {
  readonly store: Store;
  readonly gate: Pick<Gate, "openAs" | "rights" | "withholds" | "pins" | "store" | "subjectFor">;
  /** The hub's views, as far as this device knows them. */
  readonly views: readonly View[];
  /** The device's wall clock, milliseconds. */
  readonly now: () => number;
  /** Writes events of this device, inside the replica's transaction. */
  readonly append: (events: readonly NewEvent[]) => void;
}

const SEAL = "replica_seal";
/** In which older versions the hub's views read, as JSON. */
const READERS = "replica_readers";
/** So many buckets are asked for at a time, unless the caller chooses. */
const ASKED_AT_ONCE = 64;
const REFOLDED_AT_ONCE = 1_000;

// Long because it gives its parts to each other, and its answers to those who ask.
/** Opens the replica in a device's database. Views whose declaration has changed are folded again, from the events that are here. */
export function openReplica({ store, gate, views: declared, now, append }: ReplicaOptions): Replica {
  const rows = openReplicaRows(store.db);
  rows.makeRoom();
  const views = openViews({ store, rows, gate, told: () => toldReaders(store) }, declared);
  const entities = openEntities({ store, rows, gate, viewsOf: views.of });
  const homes = scopedViews(declared);
  const deps = { store, rows, entities };
  const scrubber = openScrubber(rows, now);
  /** Whether confirmations were written since a page was taken. */
  let hasWritten = false;
  let pins = "";
  let asked: Readonly<Record<BucketId, BucketAsk>> = {};

  /** Opens the views, and folds again those that are new, changed, or read with other versions of schemas. */
  const openAll = (): void => {
    const anew = views.open();
    pins = JSON.stringify(gate.pins());
    for (const open of anew) refold(open);
    const types = new Set(anew.map(({ view }) => view.entity));
    for (const bucket of rows.buckets()) if (types.has(bucket.entityType)) statesAnew(bucket);
  };
  const refold = (open: OpenView): void => {
    for (let after = 0; ; ) {
      const found = rows.entitiesAfter(after, REFOLDED_AT_ONCE);
      for (const entity of found) {
        after = entity.n;
        if (entity.type === open.view.entity) entities.refold(open, entity.n, entity);
      }
      if (found.length < REFOLDED_AT_ONCE) return;
    }
  };
  /** States that came packed are asked for again: they are of other rules now. */
  const statesAnew = (bucket: BucketRow): void => {
    if (bucket.statesOnly) fillAnew(rows, bucket);
  };
  const homeOf = (type: string): OpenView | undefined => {
    const open = views.named(homes.get(type)?.name ?? "");
    return open?.isOlder ? undefined : open;
  };
  const holdingDeps = (seal: number): HoldingDeps => ({ ...deps, seal, homeOf });

  /** Writes what is confirmed of purges, as far as this device has the form for it, and none of what was deleted stands in the files any more. */
  const confirmPurges = (): void => {
    if (gate.subjectFor(PURGED) === undefined || rows.donePurges().length === 0) return;
    const { org, site, device } = store.name;
    let hasConfirmed = false;
    const entity = { type: REPLICA_ENTITY, id: `${org}.${site}.${device}` };
    store.transaction(() => {
      // Another program may have deleted more, or confirmed this, since it was looked at.
      const done = scrubber.isClean() ? rows.donePurges() : [];
      for (const { n, ...purge } of done) {
        append([{ type: PURGED, entity, actor: device, data: purge as unknown as JsonObject }]);
        rows.removePurge(n);
      }
      hasConfirmed = done.length > 0;
    });
    hasWritten ||= hasConfirmed;
  };
  /** Takes what was deleted out of the files, and then confirms it. What fails of that is tried again later: after the next page, and when the replica is opened. */
  const finishPurges = (isNow: boolean): void => {
    try {
      if (rows.isClean() && rows.donePurges().length === 0) return;
      // What was written again under another name is part of what is deleted.
      const isEmptied = emptyLeft(store, rows);
      scrubber.scrub(isNow);
      if (isEmptied) confirmPurges();
    } catch (error) {
      entities.forget();
      if (!isTributaryError(error)) throw error;
    }
  };
  /** Runs work on the replica in one transaction. What it deleted is taken out of the files afterwards, unless more is to come. */
  const working = <T>(work: () => T, { hasMore = false, isLast = false } = {}): T => {
    const before = { open: views.all(), pins };
    const damaged = rows.countDamaged();
    let result: T;
    try {
      result = store.transaction(work);
    } catch (error) {
      // What is in memory is as the database is again: else the tables of new views would be missed.
      views.restore(before.open);
      pins = before.pins;
      entities.forget();
      // It met own events that cannot be read, and does without them now.
      if (rows.countDamaged() > damaged) return working(work, { hasMore, isLast });
      throw error;
    }
    if (!hasMore) finishPurges(isLast);
    return result;
  };

  emptyLeft(store, rows);
  working(() => {
    openAll();
    refreshOwn(deps);
    purgeLeaving(deps);
  });

  const replica: Replica = {
    hub: () => store.meta(HUB),
    asks(limit = ASKED_AT_ONCE) {
      const out: Record<BucketId, BucketAsk> = {};
      let left = Math.min(limit, MAX_BUCKETS);
      for (const bucket of inOrder(rows.buckets())) {
        if (left === 0) break;
        const ask = askOf(rows, bucket);
        if (ask === null) continue;
        out[bucket.id] = ask;
        left--;
      }
      asked = out;
      return out;
    },
    summary() {
      const holding = store.meta(HOLDING);
      if (holding === null) return { holding };
      const ends = rows.buckets().map(({ phase, cursor }) => (phase === "follow" && cursor.line === 0 ? endOf(cursor) : ""));
      return { holding, summary: sha256Hex(summaryText(holding, ends)) };
    },
    seal: () => sealTold(store),
    own: () =>
      Object.fromEntries(
        store.origins().flatMap(({ id, name, lastSeq }): [OriginId, Seq][] => {
          const through = Math.min(lastSeq, (rows.purgedFrom(id) ?? Number.POSITIVE_INFINITY) - 1);
          return through < 0 ? [] : [[name, through as Seq]];
        }),
      ),
    take(page) {
      const isSetBack = isFromBackup(store, page);
      // What was asked about the log that was lost is not answered any more.
      const answered = isSetBack ? {} : asked;
      asked = {};
      const own = ownEvents(deps, page);
      const taken = working(
        (): PageTaken => {
          noteLife(store, page.incarnation, isSetBack);
          if (isSetBack) for (const bucket of rows.buckets()) fillAnew(rows, bucket);
          refreshOwn(deps);
          if (noteReaders(store, page) || JSON.stringify(gate.pins()) !== pins) openAll();
          const shape = new Map(views.all().map(({ view, shape: of }) => [view.name, of]));
          if (views.compare(page.shapes)) for (const bucket of rows.buckets()) statesAnew(bucket);
          const isSame = (view: string): boolean => page.shapes[view] === shape.get(view);
          // Folding looks at it, where a rule names the hub whose order counts.
          if (store.meta(HUB) !== page.hub) store.setMeta(HUB, page.hub);
          const made = takePage({ ...holdingDeps(page.seal), now, isSame, own }, page, answered);
          purgeLeaving(deps);
          if (page.seal !== 0 && store.meta(SEAL) !== String(page.seal)) store.setMeta(SEAL, String(page.seal));
          return made;
        },
        { hasMore: page.more },
      );
      const wrote = hasWritten;
      hasWritten = false;
      return { ...taken, hasWritten: wrote };
    },
    refresh() {
      working(() => {
        refreshOwn(deps);
        purgeLeaving(deps);
      });
    },
    purgeAll: (reason) =>
      working(
        () => {
          refreshOwn(deps);
          const of = holdingDeps(sealTold(store));
          const purges = rows.buckets().map((bucket): Purge => withdraw(of, bucket, reason));
          if (reason === "revoked") purgeOwn(deps);
          store.setMeta(HOLDING, "");
          rows.noteDeleted();
          return purges;
        },
        { isLast: true },
      ),
    close: () => finishPurges(true),
    changes: entities.changes,
    buckets: () =>
      rows.buckets().map((bucket) => {
        const { id, n, entityType, values, priority, statesOnly, phase, cursor } = bucket;
        const isCurrent = phase === "follow" && askOf(rows, bucket) === null;
        const where = { bucket: id, entityType, values, priority, statesOnly, phase };
        return { ...where, seal: cursor.seal, head: cursor.head, entities: rows.countMembers(n), isCurrent };
      }),
    views: () => views.all().map(({ view, rows: of, isOlder }) => ({ view: view.name, rows: of.count(), olderRules: isOlder })),
    row(view, id) {
      const open = views.named(view);
      const n = open === undefined ? undefined : rows.entityBy(open.view.entity, id)?.n;
      return n === undefined ? null : (open?.rows.row(n) ?? null);
    },
    state(view, id) {
      const open = views.named(view);
      const n = open === undefined ? undefined : rows.entityBy(open.view.entity, id)?.n;
      const known = n === undefined ? undefined : open?.rows.known(n);
      const packed = known?.shown ?? known?.placed;
      return packed == null ? null : unpackState(packed);
    },
    isSent(view, id) {
      const open = views.named(view);
      const n = open === undefined ? undefined : rows.entityBy(open.view.entity, id)?.n;
      return n !== undefined && open?.rows.known(n)?.placed != null;
    },
    history({ type, id }) {
      const n = rows.entityBy(type, id)?.n;
      return n === undefined ? [] : historyOf(n);
    },
    rowsHash(view, bucket, there) {
      const open = views.named(view);
      const row = rows.bucketBy(bucket);
      if (open === undefined || open.isOlder || row === undefined || row.phase !== "follow") return null;
      return rowsHash([...rowTexts(deps, open, bucket, there).values()], sha256Hex);
    },
    rowHashes(view, bucket, there) {
      const open = views.named(view);
      return open === undefined ? new Map() : rowHashesOf(rowTexts(deps, open, bucket, there));
    },
    withheld(view, bucket) {
      const open = views.named(view);
      return open === undefined ? new Map() : withheldIn(deps, open, bucket);
    },
    index: (view, columns) => views.named(view) !== undefined && store.transaction(() => addIndex(store.db, view, columns)),
    written: (event) => noteWritten(deps, event),
    seen: entities.seen,
  };
  return replica;

  function historyOf(n: number): readonly HistoryEvent[] {
    const origins = store.origins();
    const own = rows.ownOf(n);
    const stateOf = (name: string, seq: number): HistoryEvent["own"] => {
      const origin = origins.find((each) => each.name === name);
      return origin === undefined ? null : (rows.ownAt(origin.id, seq)?.state ?? null);
    };
    const placed = rows.placedOf(n).map(({ head, hash, text, position, recordedAtMs, held, clock, clips }): HistoryEvent => {
      const note = { held, clock, ...(clips === undefined ? {} : { clips }) };
      return { head, hash, text, position, recordedAtMs, note, own: stateOf(head.origin, head.seq) };
    });
    // An own event that only the hub's state has brought back is not among them.
    const here = new Set(placed.map(({ head: { origin, seq } }) => `${origin}/${seq}`));
    const rest = own.flatMap(({ origin: id, seq, state }): HistoryEvent[] => {
      const name = origins.find((each) => each.id === id)?.name;
      const stored = name === undefined || here.has(`${name}/${seq}`) ? undefined : rows.ownText(id, seq);
      const head = stored === undefined || name === undefined ? null : headOf(stored.head, name, seq);
      if (stored === undefined || head === null) return [];
      return [
        {
          head,
          hash: stored.hash as HistoryEvent["hash"],
          text: stored.data,
          position: null,
          recordedAtMs: null,
          note: null,
          own: state,
        },
      ];
    });
    return [...placed, ...rest];
  }
}

/**
 * Whether the hub's log was set back since the last page. It gives positions again that it gave before, and events that it took once more have others than the replica has, though their histories are the
 * same. A door that remembered an earlier seal has looked again, since the question names the seal.
 */
function isFromBackup(store: Store, { incarnation, seal }: Page): boolean {
  const before = lifeTold(store);
  return (before !== null && before !== incarnation) || (seal > 0 && seal < sealTold(store));
}

const sealTold = (store: Store): number => Number(store.meta(SEAL) ?? 0);

/**
 * Empties rows of events that were written again under another name, as programs before this one left them, and those that could not be emptied then. Returns `false` where some are left though their pages
 * are whole.
 */
function emptyLeft(store: Store, rows: ReplicaRows): boolean {
  let isEmptied = true;
  for (const { id, keptThrough } of store.origins()) {
    if (keptThrough === null) continue;
    try {
      const left = store.rows.movedBeyond(id, PURGED_HEAD);
      if (left.length === 0) continue;
      store.transaction(() => rows.noteDeleted());
      if (
        !emptyMoved(
          store,
          left.map((seq) => [id, seq] as const),
        )
      )
        isEmptied = false;
    } catch (error) {
      // A page of them is damaged. The events themselves stand elsewhere.
      if (isCorrupt(error)) continue;
      if (!isTributaryError(error)) throw error;
      isEmptied = false;
    }
  }
  return isEmptied;
}

/** What is shown soonest comes first: states and news, then histories; among these by priority. */
function inOrder(buckets: readonly BucketRow[]): readonly BucketRow[] {
  const isLate = ({ phase }: BucketRow): number => (phase === "events" ? 1 : 0);
  return buckets.toSorted((a, b) => isLate(a) - isLate(b) || a.priority - b.priority);
}

const toldReaders = (store: Store): Readonly<Record<string, Pins>> =>
  JSON.parse(store.meta(READERS) ?? "{}") as Record<string, Pins>;

/** Notes in which versions the hub's views read, as far as a page tells; returns whether that is news. */
function noteReaders(store: Store, { shapes, readers = {} }: Page): boolean {
  if (Object.keys(shapes).length === 0) return false;
  const told = JSON.stringify(readers);
  if (told === (store.meta(READERS) ?? "{}")) return false;
  store.setMeta(READERS, told);
  return true;
}
