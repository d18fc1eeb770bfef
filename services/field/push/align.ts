import { type Hash, type Hello, type Position, positionFromText, type Receipt, type Seq } from "../../core/index.ts";
import { moveOn } from "../move.ts";
import type { OriginRow } from "../rows.ts";
import { sharedThrough } from "../shared.ts";
import { askAgain, type Pass } from "./pass.ts";

/** What a hub's answer confirms, beside how far. */
interface Confirmed extends Pick<Receipt, "quarantined" | "incarnation"> {
  readonly position: Position | null;
}

/** What a receipt confirms. `position`: that of its last event; a receipt has it as text. */
export const confirmedBy = ({ quarantined, incarnation, position }: Receipt): Confirmed => ({
  quarantined,
  incarnation,
  position: position === null ? null : positionFromText(position),
});

/** Lowers those earlier epochs of which the log holds less than it had confirmed. */
export function lowerOthers(pass: Pass, { behind, receipt }: Hello): void {
  for (const { origin: name, through } of behind ?? []) {
    const origin = pass.store.origins().find((known) => known.name === name);
    if (origin !== undefined) lower(pass, origin.id, through ?? -1, { ...confirmedBy(receipt), position: null });
  }
}

/**
 * The log was restored from a backup: what it confirmed beyond `through` no longer counts, and will be sent again. Use this only for an answer to this
 * device's own question: an old hello that somebody kept must not make a device doubt what it knows.
 */
function lower({ store, tally }: Pass, id: number, through: number, { position, incarnation }: Confirmed): void {
  store.transaction(() => {
    const before = store.origin(id);
    if (through >= before.syncedThrough) return;
    // Sent again, they may be admitted; or held back, which their receipt says.
    store.rows.removeQuarantined(id, through);
    store.rows.lowerTo(id, { through, position, incarnation: incarnation ?? null });
    tally.restoredBehind += before.syncedThrough - through;
  });
}

/**
 * Brings the device to where the log stands with an epoch:
 *
 *   same hash at the log's end ─▶ confirmed up to there, or lowered to there when it was confirmed further
 *   log has more than we       ─▶ restored from a backup, nothing diverged: all of ours is confirmed, and a fresh epoch writes
 *   another event at a seq     ─▶ a twin has written on: the last shared event is found, ours beyond it move on under a fresh epoch
 */
export async function align(pass: Pass, id: number, hello: Hello, isOurs: boolean): Promise<void> {
  const { store, rows, tally } = pass;
  const { receipt } = hello;
  const at = pass.origin(id);
  const through = receipt.through ?? -1;
  const end = Math.min(through, at.lastSeq);
  let shared = end;
  if (end >= 0 && (through > end || rows.hashAt(at, end) !== receipt.head)) {
    // Only a question about hashes tells a copy for certain. A hub that does not repeat our nonce does not answer such a question either.
    if (!isOurs) return;
    shared = (await sharedThrough((seqs) => hashesOf(pass, at, seqs), rows, at, end)) ?? Math.min(at.syncedThrough, end);
    if (shared === through && receipt.head !== null) pass.proven.set(`${id}/${through}`, receipt.head);
  }
  if (shared < end) {
    moveCopy(pass, id, shared);
    return;
  }
  if (shared < at.syncedThrough) {
    if (isOurs) lower(pass, id, shared, confirmedBy(receipt));
    return;
  }
  const said = confirmedBy(receipt);
  confirm(pass, id, shared, shared === through ? said : { ...said, position: at.position });
  if (through > at.lastSeq && at.keptThrough === null) {
    store.transaction(() => {
      if (store.current().id === id) tally.renamedTo = store.startEpoch().name;
    });
  }
}

/** Writes our events beyond `shared` again under a fresh epoch, because a twin has written on from there. */
export function moveCopy({ store, tally, origin }: Pass, id: number, shared: number): void {
  const before = origin(id).syncedThrough;
  const moved = moveOn(store, { originId: id, keptThrough: shared, aside: null, isShared: true });
  tally.renamedTo = moved.name;
  tally.moved += moved.events;
  tally.setAside.push(...moved.aside);
  tally.confirmed += Math.max(0, shared - before);
  tally.restoredBehind += Math.max(0, before - shared);
}

async function hashesOf(pass: Pass, { name }: OriginRow, seqs: readonly Seq[]): Promise<ReadonlyMap<number, Hash | null> | null> {
  const { hello, isOurs } = await askAgain(pass, { origin: name, since: seqs.at(-1)!, hashesOf: [...seqs] });
  return isOurs && hello.hashes !== undefined ? new Map(hello.hashes.map(({ seq, hash }) => [seq, hash])) : null;
}

/** Notes the hub's word that events up to `through` are in the log. Never lowers anything. */
export function confirm({ store, tally, options }: Pass, id: number, through: number, said: Confirmed): void {
  store.transaction(() => {
    const before = store.origin(id);
    for (const { seq, code, reason } of said.quarantined) {
      if (seq > before.lastSeq) continue;
      if (store.rows.addQuarantined(id, { seq, code, reason })) tally.quarantined.push({ seq, code, reason });
    }
    store.setMeta("synced_at", new Date().toISOString());
    const upTo = Math.min(through, before.lastSeq);
    if (upTo < before.syncedThrough || upTo < 0) return;
    store.rows.confirmTo(id, { through: upTo, position: said.position, incarnation: said.incarnation ?? null });
    if (upTo === before.syncedThrough) return;
    tally.confirmed += upTo - before.syncedThrough;
    options.onProgress?.({ kind: "synced", done: upTo + 1, total: before.lastSeq + 1 });
  });
}
