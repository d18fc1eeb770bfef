import { MAX_BATCH_EVENTS } from "../../core/index.ts";
import type { Cut } from "../frames.ts";
import type { OriginRow } from "../rows.ts";
import type { Pass } from "./pass.ts";

/** At most so many events go into a batch, unless the caller chooses. Larger batches compress better, smaller ones resume sooner. */
const BATCH_EVENTS = 500;

/** How the sending of an epoch goes on. */
export interface Course {
  nextSeq: number;
  /** While a refusal is narrowed down: so many events at a time, up to the last one of the refused batch. */
  narrow: { readonly events: number; readonly until: number } | null;
  /** Refusals in a row that sending from another seq should have ended. */
  refusals: number;
  /** An event that was refused alone in its batch, and is tried once more. */
  refusedAlone: number;
  hasReceipt: boolean;
}

export const courseFrom = (nextSeq: number): Course => ({
  nextSeq,
  narrow: null,
  refusals: 0,
  refusedAlone: -1,
  hasReceipt: false,
});

export const nextCut = (
  { cutter, options, pace, maxBytes, avro, now, proven }: Pass,
  origin: OriginRow,
  { nextSeq, narrow }: Course,
): Cut =>
  cutter.cut({
    origin,
    firstSeq: nextSeq,
    toSeq: narrow?.until ?? origin.lastSeq,
    maxEvents: Math.min(narrow?.events ?? MAX_BATCH_EVENTS, options.batchEvents ?? BATCH_EVENTS),
    aimBytes: pace.frameBytes,
    maxBytes,
    avro,
    sentAtMs: now(),
    isCareful: narrow !== null,
    prev: proven.get(`${origin.id}/${nextSeq - 1}`),
  });
