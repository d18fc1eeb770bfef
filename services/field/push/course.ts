import { MAX_BATCH_EVENTS } from "../../core/index.ts";
import type { Cut } from "../frames.ts";
import type { OriginRow } from "../rows.ts";
import type { Pass } from "./pass.ts";

/** Events in a batch at most, unless the caller chooses. Larger ones compress better, smaller ones resume sooner. */
const BATCH_EVENTS = 500;

/** How the sending of an epoch goes. */
export interface Course {
  nextSeq: number;
  /** While a refusal is narrowed down: events at a time, up to the last of the refused batch. */
  narrow: { readonly events: number; readonly until: number } | null;
  /** Refusals in a row that sending from elsewhere should have mended. */
  refusals: number;
  /** An event that was refused by itself, and is tried once more. */
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
