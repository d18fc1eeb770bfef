import { type Hash, MAX_HASHES_ASKED, type Seq } from "../core/index.ts";
import type { EventReader } from "./reading.ts";
import type { OriginRow } from "./rows.ts";

/** A search steps over at most so many stretches of damaged events. */
const MAX_STEPS_OVER = 100;

/** The log's hashes of some events; `null`: the log has no such event. */
export type AskHashes = (seqs: readonly Seq[]) => Promise<ReadonlyMap<number, Hash | null> | null>;

/**
 * The last event up to `to` that device and log share; −1: none. An event's hash covers all before it, so equal hashes at one seq mean equal
 * histories up to there: each question about 15 events cuts the range in doubt to a sixteenth. A hash that differs because the row was damaged
 * says nothing, but an intact one behind it does. `null`: the hub does not answer such questions.
 */
export async function sharedThrough(ask: AskHashes, rows: EventReader, origin: OriginRow, to: number): Promise<number | null> {
  let low = -1;
  for (let steps = 0; steps < MAX_STEPS_OVER; steps++) {
    const found = await search(ask, (seq) => rows.hashAt(origin, seq), low, to);
    if (found === null) return null;
    if (found === to || rows.damageAt(origin, found + 1) === null) return found;
    let damagedTo = found + 1;
    while (damagedTo < to && rows.damageAt(origin, damagedTo + 1) !== null) damagedTo++;
    const behind = damagedTo < to && (await agrees(ask, rows, origin, damagedTo + 1));
    // What the hub confirmed before it was damaged here is in the log.
    if (!behind) return Math.max(found, Math.min(damagedTo, origin.syncedThrough));
    low = damagedTo + 1;
  }
  return low;
}

async function agrees(ask: AskHashes, rows: EventReader, origin: OriginRow, seq: number): Promise<boolean> {
  const answer = await ask([seq as Seq]);
  const hash = answer?.get(seq) ?? null;
  return hash !== null && hash === rows.hashAt(origin, seq);
}

/** The greatest event in `low`…`high` whose hash is the same on both sides; that of `low` is known to be. */
async function search(ask: AskHashes, hashAt: (seq: Seq) => Hash | undefined, low: number, high: number): Promise<number | null> {
  let [same, different] = [low, high + 1];
  while (different - same > 1) {
    const between = different - same - 1;
    const count = Math.min(MAX_HASHES_ASKED, between);
    // Evenly spread. The first question includes the end, where most searches are over.
    const seqs = Array.from({ length: count }, (_, i) => (same + Math.ceil(((i + 1) * between) / count)) as Seq);
    const answer = await ask(seqs);
    if (answer === null) return null;
    for (const seq of seqs) {
      const hash = answer.get(seq) ?? null;
      if (hash !== null && hash === hashAt(seq)) same = seq;
      else {
        different = seq;
        break;
      }
    }
  }
  return same;
}
