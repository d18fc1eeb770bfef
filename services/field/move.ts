import {
  type EntityRef,
  type EventId,
  eventIdOf,
  eventText,
  type Hash,
  isTributaryError,
  type OriginId,
  parseHlc,
  type Seq,
  TributaryError,
  type Vector,
  withDot,
} from "../core/index.ts";
import { chainHash } from "../core/node.ts";
import { asideCode, type EventHead, type EventReader, eventReader, PURGED_HEAD } from "./reading.ts";
import type { OriginRow } from "./rows.ts";
import { isCorrupt, type Store } from "./store.ts";

/** So many rows of the table `entity` are read at a time. */
const ENTITY_PAGE = 500;

/** An event that stays on the device, because no hub accepts it or because it cannot be read. */
export interface AsideNote {
  readonly origin: OriginId;
  readonly seq: Seq;
  /** `data-corrupt`, `purged`, or what the hub refused it with. */
  readonly code: string;
  readonly reason: string;
  /** What the event is about, if that can be read. */
  readonly type: string | null;
  readonly entity: string | null;
}

/** Where an epoch ends. */
export interface Move {
  readonly originId: number;
  /** The last event that keeps the epoch's name. */
  readonly keptThrough: number;
  /** Why the event after that one is set aside, and not written again; `null`: it is written again like the rest. */
  readonly aside: { readonly code: string; readonly reason: string } | null;
  /** Whether the log has all events that stay. */
  readonly isShared: boolean;
}

export interface Moved {
  /** The epoch that writes from now on. */
  readonly name: OriginId;
  /** How many events were written again under it. */
  readonly events: number;
  readonly aside: readonly AsideNote[];
}

/** An epoch whose events after `after` are written again. `seqs`: the events that were, in the order of their new seqs from `firstNew` on. */
interface Plan {
  readonly origin: OriginRow;
  readonly after: number;
  readonly seqs: number[];
  firstNew: number;
}

/**
 * Ends an epoch after the last event that keeps its name. The events beyond, and those that later epochs never sent, are written again in order under one
 * fresh epoch. From then on they are named by their new origins and seqs: in bases, in what this device has seen of entities, and in causes. Seqs of the old epoch
 * beyond its end belong to nobody here (a twin may have other events there), so nothing names them any more. All of this is one transaction.
 *
 *   sent A:0…9 │ A:10 A:11 │ B:0 (never sent)   ── A is shared through 9 ──▶   A:0…9 │ C:0 C:1 │ C:2
 *
 * Events that turn out to be damaged are set aside. The old rows of those that were written again keep their hashes only: what is to be deleted later stands in one place.
 */
export function moveOn(store: Store, { originId, keptThrough, aside, isShared }: Move): Moved {
  const rows = eventReader(store);
  // Before the transaction: once SQLite has met a damaged page inside one, it writes nothing more in it.
  const damage = damageBeyond(store, rows, originId, keptThrough);
  if (aside !== null) {
    const from = store.origins().find(({ id }) => id === originId)!;
    setAside(damage, originId, keptThrough + 1, { ...aside, head: headAt(rows, from, keptThrough + 1) });
  }
  const moved: Row[] = [];
  const made = store.transaction(() => {
    moved.length = 0;
    const origins = store.origins();
    const from = origins.find(({ id }) => id === originId)!;
    // Another process with this database may have done this meanwhile.
    if (from.lastSeq <= keptThrough && from.keptThrough !== null) return { name: store.current().name, events: 0, aside: [] };
    const plans = origins
      .filter(({ id }) => id >= originId)
      .map((origin): Plan => {
        const sent = Math.max(origin.offeredThrough, origin.queuedThrough, origin.syncedThrough);
        return { origin, after: origin === from ? keptThrough : sent, seqs: [], firstNew: 0 };
      })
      .filter(({ origin, after }) => origin === from || after < origin.lastSeq);
    const last = origins.at(-1)!;
    const target = last.id !== originId && last.nextSeq === 0 ? last : store.startEpoch();
    const { events, aside: set } = writeAgain(store, { rows, plans, target, damage });
    const rename = renaming(plans, target.name);
    renameSeen(store, plans, rename);
    for (const { origin, after, seqs } of plans) {
      store.rows.keepTo(origin.id, after, origin === from && isShared);
      moved.push(...seqs.map((seq): Row => [origin.id, seq]));
    }
    return { name: target.name, events, aside: set };
  });
  emptyMoved(store, moved);
  return made;
}

/** The row of an own event: its epoch's number, and its seq. */
type Row = readonly [origin: number, seq: number];

/** So many rows are emptied in a transaction. */
const EMPTIED_AT_ONCE = 500;

/**
 * Empties the rows of events that were written again under another name. In transactions of their own: a row that becomes smaller makes SQLite look at the pages beside its own, and once it has met a damaged page it
 * writes nothing more in that transaction. What cannot be emptied now is tried again before a purge is confirmed, and when the database is opened with views. Throws no failure of the storage: the events
 * themselves are written already. Returns `false` where rows are left though their pages are whole: the disk is full, or another program writes.
 */
export function emptyMoved(store: Store, moved: readonly Row[]): boolean {
  try {
    for (const [origin, rows] of Map.groupBy(moved, ([id]) => id)) {
      const seqs = rows.map(([, seq]) => seq);
      const placed = Map.groupBy(
        store.rows.placedWithoutText(
          origin,
          seqs.reduce((least, seq) => Math.min(least, seq)),
        ),
        ({ seq }) => seq,
      );
      const empty = (some: readonly number[]): void =>
        store.transaction(() => {
          for (const seq of some) {
            // What the replica has of it keeps its text.
            for (const { n } of placed.get(seq) ?? []) store.rows.keepText(n, origin, seq);
            store.rows.emptyMoved(origin, seq, PURGED_HEAD);
          }
        });
      for (let at = 0; at < seqs.length; at += EMPTIED_AT_ONCE) aroundDamage(seqs.slice(at, at + EMPTIED_AT_ONCE), empty);
    }
    return true;
  } catch (error) {
    if (isDamage(error)) return true;
    if (isTributaryError(error)) return false;
    throw error;
  }
}

/** Does something with all numbers but those with which it meets a damaged page. */
function aroundDamage(numbers: readonly number[], work: (some: readonly number[]) => void): void {
  try {
    work(numbers);
  } catch (error) {
    if (!isDamage(error)) throw error;
    if (numbers.length === 1) return;
    const middle = numbers.length >> 1;
    aroundDamage(numbers.slice(0, middle), work);
    aroundDamage(numbers.slice(middle), work);
  }
}

const isDamage = (error: unknown): boolean =>
  isCorrupt(error) || (isTributaryError(error) && (error.code === "data-corrupt" || isCorrupt(error.cause)));

/** What stays on the device, and why, by epoch and seq. */
type Damage = Map<number, Map<number, Damaged>>;

interface Damaged {
  readonly code: string;
  readonly reason: string;
  readonly head: EventHead | null;
}

function setAside(damage: Damage, origin: number, seq: number, why: Damaged): void {
  const known = damage.get(origin) ?? new Map();
  damage.set(origin, known.set(seq, why));
}

const headAt = (rows: EventReader, origin: OriginRow, seq: number): EventHead | null => {
  const found = rows.at(origin, seq);
  return found.kind === "event" ? found.head : null;
};

function damageBeyond(store: Store, rows: EventReader, originId: number, keptThrough: number): Damage {
  const damage: Damage = new Map();
  for (const origin of store.origins()) {
    if (origin.id < originId) continue;
    for (const found of rows.from(origin, origin.id === originId ? keptThrough + 1 : origin.syncedThrough + 1, origin.lastSeq)) {
      const seq = found.kind === "event" ? found.row.seq : found.seq;
      const reason = found.kind === "damaged" ? found.reason : rows.damageAt(origin, seq);
      if (reason === null) continue;
      setAside(damage, origin.id, seq, { code: asideCode(found), reason, head: found.kind === "event" ? found.head : null });
    }
  }
  return damage;
}

/** Writes the plans' events again under `target`. Returns how many, and what was set aside instead. */
function writeAgain(
  store: Store,
  {
    rows,
    plans,
    target,
    damage,
  }: {
    readonly rows: EventReader;
    readonly plans: readonly Plan[];
    readonly target: OriginRow;
    readonly damage: Damage;
  },
): { readonly events: number; readonly aside: readonly AsideNote[] } {
  const aside: AsideNote[] = [];
  const ids = new Map<string, EventId>();
  const rename = renaming(plans, target.name);
  let prev: Hash = target.head;
  let next = target.nextSeq;
  for (const plan of plans) {
    const { origin, after } = plan;
    plan.firstNew = next;
    // One by one, because no reader may stay open over a table that is written to.
    for (let seq = after + 1; seq <= origin.lastSeq; seq++) {
      const why = damage.get(origin.id)?.get(seq);
      if (why !== undefined) {
        store.rows.addAside(origin.id, { seq, code: why.code, reason: why.reason }, new Date().toISOString());
        aside.push(asideNote(origin, seq, why));
        continue;
      }
      const found = rows.at(origin, seq);
      if (found.kind === "damaged")
        throw new TributaryError(
          "data-corrupt",
          `event ${seq} of ${origin.name} was damaged just now: ${found.reason}`,
          "Sync again: the next sync sets it aside.",
        );
      const head = { ...renamed(found.head, rename, ids), origin: target.name, seq: next as Seq };
      const hash = chainHash(prev, eventText(head, found.row.data));
      store.rows.addEvent({ ...found.row, origin: target.id, seq: next, head: JSON.stringify(head), hash });
      ids.set(idOf(found.head, found.row.hash), idOf(head, hash));
      plan.seqs.push(seq);
      prev = hash;
      next++;
    }
  }
  store.rows.setEnd(target.id, next, prev);
  return { events: next - target.nextSeq, aside };
}

const idOf = ({ hlc }: EventHead, hash: Hash): EventId => eventIdOf(parseHlc(hlc).wallMs, hash);

const asideNote = (origin: OriginRow, seq: number, { code, reason, head }: Damaged): AsideNote => ({
  origin: origin.name,
  seq: seq as Seq,
  code,
  reason,
  type: head?.type ?? null,
  entity: head === null ? null : entityName(head.entity),
});
const entityName = ({ type, id }: EntityRef): string => `${type}/${id}`;

/** An event whose references use the new names: causes that were written again have new ids. */
function renamed(old: EventHead, rename: (vector: Vector) => Vector, ids: ReadonlyMap<string, EventId>): EventHead {
  const { correlationId, causationId, ...rest } = old;
  return {
    ...rest,
    basis: rename(old.basis),
    ...(correlationId === undefined ? {} : { correlationId: ids.get(correlationId) ?? correlationId }),
    ...(causationId === undefined ? {} : { causationId: ids.get(causationId) ?? causationId }),
  };
}

/** A vector in the new names, as far as events have been written again by now. Seqs beyond this database's own events are left as they are. */
function renaming(plans: readonly Plan[], target: OriginId): (vector: Vector) => Vector {
  return (vector) => {
    const out: Record<OriginId, Seq> = { ...vector };
    let newest = vector[target] ?? -1;
    let isChanged = false;
    for (const plan of plans) {
      const { origin, after, firstNew } = plan;
      const seen = vector[origin.name];
      if (seen === undefined || seen <= after || seen >= origin.nextSeq) continue;
      isChanged = true;
      if (after >= 0) out[origin.name] = after as Seq;
      else delete out[origin.name];
      const count = countUpTo(plan.seqs, seen);
      if (count > 0) newest = Math.max(newest, firstNew + count - 1);
    }
    if (!isChanged) return vector;
    if (newest >= 0) out[target] = newest as Seq;
    return out;
  };
}

/** How many of the ascending numbers are at most `limit`. */
function countUpTo(numbers: readonly number[], limit: number): number {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle]! <= limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What this device has seen of each entity, in the new names. */
function renameSeen({ rows }: Store, plans: readonly Plan[], rename: (vector: Vector) => Vector): void {
  const names = plans.map(({ origin }) => origin.name);
  let [type, id] = ["", ""];
  for (;;) {
    const found = rows.entitiesAfter(type, id, ENTITY_PAGE);
    for (const row of found) {
      [type, id] = [row.type, row.id];
      if (!names.some((name) => row.vector.includes(name))) continue;
      const old = JSON.parse(row.vector) as Vector;
      const seen = rename(old);
      if (seen !== old) rows.setVector(row.type, row.id, JSON.stringify(seen));
    }
    if (found.length < ENTITY_PAGE) return;
  }
}

/**
 * Writes the events that hubs refused once more, at the end of the epoch that writes now: for when a hub accepts more than before. Damaged events stay set aside.
 * Returns how many events there were.
 */
export function takeBack(store: Store): number {
  const rows = eventReader(store);
  const moved: Row[] = [];
  const count = store.transaction(() => {
    moved.length = 0;
    const target = store.current();
    let [prev, next] = [target.head, target.nextSeq];
    const refused = store.rows.refused();
    for (const { origin: id, seq } of refused) {
      const origin = store.origin(id);
      const found = rows.at(origin, seq);
      if (found.kind === "damaged") continue;
      const { basis } = found.head;
      // Its own epoch ended before it. Which of the events it names there were written again is not known any more, so it names only what is certain.
      const kept = origin.keptThrough ?? origin.lastSeq;
      const { [origin.name]: own, ...others } = basis;
      const trimmed = own === undefined || kept < 0 ? others : { ...others, [origin.name]: Math.min(own, kept) };
      const head: EventHead = { ...found.head, origin: target.name, seq: next as Seq, basis: trimmed as Vector };
      const hash = chainHash(prev, eventText(head, found.row.data));
      store.rows.addEvent({ ...found.row, origin: target.id, seq: next, head: JSON.stringify(head), hash });
      store.rows.removeAside(id, seq);
      const { type, id: entity } = head.entity;
      const vector = JSON.parse(store.rows.vectorOf(type, entity) ?? "{}") as Vector;
      store.rows.setVector(type, entity, JSON.stringify(withDot(vector, head)));
      prev = hash;
      next++;
      moved.push([id, seq]);
    }
    store.rows.setEnd(target.id, next, prev);
    return next - target.nextSeq;
  });
  emptyMoved(store, moved);
  return count;
}
