import { type Appendable, type Batch, deviceOf, type JsonObject, type Seq, type Signature } from "../core/index.ts";
import { isForkKept, keepFork, type Log } from "../log/index.ts";

/** So many events are read to find the signature that covers a seq of an origin: as many as a batch may have. */
const MAX_LOOK = 2_000;

/** A run with its signature on the event where it ends. */
export const withSignature = (run: readonly Appendable[], signed: Signature | undefined): readonly Appendable[] =>
  signed === undefined ? run : run.map((item, i) => (i === run.length - 1 ? { ...item, signed } : item));

/**
 * Keeps both branches of a fork: the log's signed head at or after the seq where they part, and the one that was handed over. Whoever has the device's key
 * has signed both. Nobody can deny that, and the hub cannot invent it. `false`: it was kept before.
 */
export async function keepEvidence(
  log: Log,
  { origin, firstSeq, events, head }: Batch,
  seq: Seq,
  signed: Signature | undefined,
): Promise<boolean> {
  const through = firstSeq + events.length - 1;
  const refused = { through, head, signature: signed === undefined ? null : { ...signed } };
  if (await isForkKept(log.journal, deviceOf(origin), refused)) return false;
  const accepted: { at: JsonObject | null; run: JsonObject | null } = { at: null, run: null };
  for await (const entry of log.readOrigin(origin, { from: seq, maxCount: MAX_LOOK })) {
    accepted.at ??= { seq: entry.head.seq, hash: entry.head.hash };
    if (entry.signed === undefined) continue;
    accepted.run = { through: entry.head.seq, head: entry.head.hash, signature: { ...entry.signed } };
    break;
  }
  return keepFork(log.journal, { origin, seq, accepted, refused });
}
