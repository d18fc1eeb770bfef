/**
 * Whether this device's receipts count in the life of the hub's log that its pages come from. A log that was restored from a backup may lack events that it once confirmed, and pages do not say which of this
 * device's own: only the answer to a push's question does.
 *
 *   page of another life ─▶ doubted ─ the hub has said in that life how far its log reaches, and receipts beyond were lowered ─▶ certain
 */
import type { IncarnationId } from "../core/index.ts";
import type { Store } from "./store.ts";

/** The incarnation that the last page came from. */
const TOLD = "replica_incarnation";
/** The incarnation that receipts were compared with last. */
const COMPARED = "receipts_incarnation";

/** The incarnation that the last page came from; `null`: none has come. */
export const lifeTold = (store: Store): string | null => store.meta(TOLD);

/** Notes which incarnation a page comes from, inside the caller's transaction. `isSetBack`: its log was set back, whether or not that began another incarnation. */
export function noteLife(store: Store, incarnation: IncarnationId, isSetBack: boolean): void {
  if (isSetBack && lifeTold(store) === incarnation) store.setMeta(COMPARED, "");
  if (lifeTold(store) !== incarnation) store.setMeta(TOLD, incarnation);
}

/** Notes that receipts were compared with where the log stands in an incarnation, by the hub's answer to this device's own question. */
export function noteCompared(store: Store, incarnation: IncarnationId): void {
  if (store.meta(COMPARED) !== incarnation) store.transaction(() => store.setMeta(COMPARED, incarnation));
}

/** Whether a receipt means that the log which pages come from has the event. */
export function receiptsCount(store: Store): boolean {
  const told = lifeTold(store);
  if (told === null) return true;
  // Programs before this one have noted the incarnation of receipts only.
  const compared = store.meta(COMPARED) ?? store.origins().findLast(({ incarnation }) => incarnation !== null)?.incarnation;
  return compared === undefined || compared === told;
}
