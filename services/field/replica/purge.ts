/**
 * Deletes what a device may not hold any more: rows, states, events, what it has seen, what it imported, and the content of its own events that the hub has. Own events that have no receipt yet
 * stay until they do, and all of them as long as the hub's log may have been set back behind their receipts: the next push asks. A revoked device gets no answer any more, so there each receipt counts, whichever
 * life of the log gave it. Once nothing is left, `replica.purged` says so to the hub.
 *
 *   left the bucket ─┬─ in another bucket of the device ─▶ stays; without its history, where that one has states only
 *                    └─ deleted ─┬────────────────────────────────────────────▶ the files are written anew ─▶ confirmed by an event
 *                                └─ own events without receipt ─ receipt ─▶ deleted ─▲
 */
import { fingerprintOf, GENESIS, partOf, QUARANTINE_ENTITY } from "../../core/index.ts";
import { sha256Hex } from "../../core/node.ts";
import type { Purge } from "../../exchange/protocol/index.ts";
import { receiptsCount } from "../life.ts";
import { headOf } from "../reading.ts";
import type { Store } from "../store.ts";
import { compareAll, dropParts } from "./asks.ts";
import type { Entities } from "./entities.ts";
import type { BucketRow, EntityRow, MemberRow, ReplicaRows } from "./rows.ts";

export interface PurgeDeps {
  readonly store: Store;
  readonly rows: ReplicaRows;
  readonly entities: Entities;
}

/** A member that leaves its bucket, with the digest that it has then. */
export interface Leaving extends Pick<MemberRow, "key" | "entity" | "digest"> {
  /** Events of it that came with its leaving, and were never kept. */
  readonly passedOver?: number;
}

/** Deletes members that have left a bucket, inside the caller's transaction, and notes what is to be said of it. */
export function purgeMembers(
  deps: PurgeDeps,
  bucket: Pick<BucketRow, "n" | "id">,
  leaving: readonly Leaving[],
  { seal, reason }: Pick<Purge, "seal" | "reason">,
): Purge {
  const { rows, entities } = deps;
  let [count, events, sum] = [0, 0, 0n];
  const gone: EntityRow[] = [];
  const whole = new Set(rows.buckets().flatMap(({ n, statesOnly }) => (statesOnly ? [] : [n])));
  const compared = new Set<number>();
  for (const { key, entity: n, digest, passedOver = 0 } of leaving) {
    rows.removeMember(bucket.n, key, n);
    const entity = rows.entity(n);
    if (entity === undefined) continue;
    dropParts(rows, bucket.n, entity.id);
    // What another bucket of this device has stays.
    const others = rows.membershipsOf(n);
    if (others.length > 0) {
      if (others.every((other) => !whole.has(other.bucket))) events += keepStatesOnly(deps, entity, others, compared);
      continue;
    }
    rows.noteDeleted();
    count++;
    events += rows.countPlaced(n) + passedOver;
    sum += partOf(entity.id, digest, sha256Hex);
    entities.remove(n, entity);
    gone.push(entity);
  }
  for (const n of compared) compareAll(rows, n);
  const purge: Purge = { bucket: bucket.id, seal, entities: count, events, fingerprint: fingerprintOf(sum), reason };
  const number = rows.addPurge(purge);
  for (const entity of gone) {
    rows.setLeaving(entity.n, number);
    finishLeaving(deps, { ...entity, leaving: number });
  }
  return purge;
}

/** Deletes the history of an entity that is only in buckets of states any more, and what that history gave: its states are fetched. Notes the buckets to compare; returns how many events there were. */
function keepStatesOnly(
  { rows, entities }: PurgeDeps,
  entity: EntityRow,
  members: readonly MemberRow[],
  compared: Set<number>,
): number {
  const { n } = entity;
  const events = rows.countPlaced(n);
  if (events === 0) return 0;
  entities.remove(n, entity);
  entities.reshow(n, entity);
  rows.noteDeleted();
  for (const member of members) {
    rows.setMember(member.bucket, { ...member, digest: GENESIS, hasEvents: false });
    compared.add(member.bucket);
  }
  return events;
}

/** Takes what is left of an entity as far as it may go. `isCertain`: what has a receipt is in the hub's log, or is to go all the same. */
function finishLeaving({ store, rows, entities }: PurgeDeps, entity: EntityRow, isCertain = receiptsCount(store)): void {
  const { n, type, id } = entity;
  const origins = new Map(store.origins().map((origin) => [origin.id, origin]));
  let [waits, stays] = [false, false];
  const types = new Set<string>();
  for (const { origin: number, seq, state } of rows.ownOf(n)) {
    const origin = origins.get(number);
    if (origin === undefined) continue;
    const isHeld = state === "quarantined" && isMember(rows, QUARANTINE_ENTITY, `${origin.name}/${seq}`);
    if (state === "aside" || isHeld) stays = true;
    // What lies on a damaged page cannot be overwritten: nothing is confirmed of it. And a log that was set back may lack what it gave a receipt for.
    else if (!isCertain || seq > origin.syncedThrough || rows.isDamaged(number, seq)) waits = true;
    else {
      const stored = rows.ownText(number, seq);
      const head = stored === undefined ? null : headOf(stored.head, origin.name, seq);
      if (head !== null) types.add(head.type);
      rows.purgeOwn(number, seq);
      rows.removeOwn(number, seq);
      rows.noteDeleted();
    }
  }
  for (const each of types) rows.forgetImported(each, id);
  if (type === QUARANTINE_ENTITY) releaseOwn({ store, rows, entities }, id, isCertain);
  if (waits || stays) {
    if (!waits) rows.setLeaving(n, 0);
    entities.reshow(n, entity);
    return;
  }
  entities.remove(n, entity);
  rows.forgetSeen(type, id);
  rows.removeEntity(n);
  rows.noteDeleted();
}

const isMember = (rows: ReplicaRows, type: string, id: string): boolean => {
  const n = rows.entityBy(type, id)?.n;
  return n !== undefined && rows.membershipsOf(n).length > 0;
};

/** A quarantined event of this device is settled: if its entity has left, nothing keeps its content here any more. */
function releaseOwn(deps: PurgeDeps, name: string, isCertain: boolean): void {
  const [origin, seq] = name.split("/");
  const own = deps.store.origins().find((each) => each.name === origin);
  if (own === undefined) return;
  const entity = deps.rows.ownAt(own.id, Number(seq))?.entity;
  const row = entity === undefined ? undefined : deps.rows.entity(entity);
  if (row !== undefined && row.leaving !== null) finishLeaving(deps, row, isCertain);
}

/** Looks again at entities that left while own events of them had no receipt, inside the caller's transaction. */
export function purgeLeaving(deps: PurgeDeps): void {
  const { rows } = deps;
  for (const entity of rows.leaving()) {
    // It came back meanwhile.
    if (rows.membershipsOf(entity.n).length > 0) rows.setLeaving(entity.n, null);
    else finishLeaving(deps, entity);
  }
}

/**
 * Deletes all own events that have a receipt, and all that is known of their entities: for a device that was revoked. What has none, or has lost it because the hub said that its log lacks the event, stays: nobody
 * else has it.
 */
export function purgeOwn(deps: PurgeDeps): void {
  const { rows, entities } = deps;
  for (const entity of rows.entitiesAfter(0, Number.MAX_SAFE_INTEGER)) {
    // Of one that left before, own events may be here whose receipts were in doubt.
    if (entity.leaving === null) {
      rows.setLeaving(entity.n, 0);
      entities.remove(entity.n, entity);
    }
    finishLeaving(deps, { ...entity, leaving: entity.leaving ?? 0 }, true);
  }
}
