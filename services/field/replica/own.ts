/**
 * This device's own events by entity, and what became of each:
 *
 *   pending ─ receipt ─▶ confirmed ─ the feed brings it ─▶ placed
 *      └─ the hub holds it back ─▶ quarantined ─ released or rejected ─▶ settled
 *      └─ it stays on the device ─▶ aside
 */
import type { EntityRef } from "../../core/index.ts";
import { type EventHead, headOf } from "../reading.ts";
import type { OriginRow } from "../rows.ts";
import type { Store } from "../store.ts";
import type { Entities } from "./entities.ts";
import { ownCounted } from "./fold.ts";
import type { ReplicaRows } from "./rows.ts";

/** An own event that was just written. */
export interface Written {
  readonly origin: OriginRow;
  readonly head: EventHead;
  readonly data: string;
}

export interface OwnDeps {
  readonly store: Store;
  readonly rows: ReplicaRows;
  readonly entities: Entities;
}

/** Notes and shows an event in the transaction that writes it. */
export function noteWritten(deps: OwnDeps, { origin, head, data }: Written): void {
  const { rows, entities } = deps;
  // Another process wrote events without the replica.
  if (rows.ownThrough(origin.id) < head.seq - 1) refreshOwn(deps);
  if (rows.ownThrough(origin.id) !== head.seq - 1) return;
  const n = entities.entityOf(head.entity).n;
  rows.addOwn({ origin: origin.id, seq: head.seq, entity: n, state: "pending" });
  rows.setOwnThrough(origin.id, head.seq);
  const counted = ownCounted(head, data);
  if (counted !== null) entities.showOwn(n, head.entity, counted);
}

/** Brings the notes up to date with the outbox, inside the caller's transaction: new events, receipts, marks of quarantine, events written again under another epoch. */
export function refreshOwn({ store, rows, entities }: OwnDeps): void {
  const reshown = new Set<number>();
  const retold = new Set<number>();
  for (const { origin, seq, entity, state, now } of rows.ownChanges()) {
    if (now === null) rows.removeOwn(origin, seq);
    else rows.setOwnState(origin, seq, now);
    const isFolded = (each: typeof now): boolean => each === "pending" || each === "confirmed";
    (isFolded(state) === isFolded(now) ? retold : reshown).add(entity);
  }
  for (const origin of store.origins()) for (const n of noteNew({ rows, entities }, origin)) reshown.add(n);
  for (const n of new Set([...reshown, ...retold])) {
    const entity = rows.entity(n);
    if (entity === undefined) continue;
    if (reshown.has(n)) entities.reshow(n, entity);
    else entities.retell(n, entity);
  }
}

/** Notes the events of an epoch that are not noted yet; returns the entities that they are about. */
function noteNew({ rows, entities }: Pick<OwnDeps, "rows" | "entities">, origin: OriginRow): readonly number[] {
  const out: number[] = [];
  const { id, name, lastSeq, syncedThrough } = origin;
  const through = rows.ownThrough(id);
  for (let seq = through + 1; seq <= lastSeq; seq++) {
    const entity = entityOf(rows.ownText(id, seq)?.head, name, seq);
    if (entity === null) continue;
    const n = entities.entityOf(entity).n;
    rows.addOwn({ origin: id, seq, entity: n, state: seq <= syncedThrough ? "confirmed" : "pending" });
    out.push(n);
  }
  if (lastSeq > through) rows.setOwnThrough(id, lastSeq);
  return out;
}

const entityOf = (head: string | undefined, name: OriginRow["name"], seq: number): EntityRef | null =>
  head === undefined ? null : (headOf(head, name, seq)?.entity ?? null);
