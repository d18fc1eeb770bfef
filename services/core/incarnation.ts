import type { IncarnationId, Position } from "./ids.ts";

/**
 * How an incarnation of the log began: `first`, with the log; `restored`, by `tributary restore`; `declared`, by an operator who restored a server by its own
 * means; `detected`, because the log was found to hold less than before.
 */
export type IncarnationStart = "first" | "restored" | "declared" | "detected";

/** One life of the log, as the log itself has it. */
export interface Incarnation {
  readonly id: IncarnationId;
  readonly how: IncarnationStart;
  readonly by: string;
  readonly note: string | null;
  /** The last position that was seen of the incarnation before, decimal, where that is known. */
  readonly seenEnd: string | null;
  /** `false`: it was detected, and no operator has said yet that they know. */
  readonly isConfirmed: boolean;
  /** Where in the log it began. */
  readonly position: Position;
  /** By the event store's clock. */
  readonly beganAtMs: number;
}

export interface NewIncarnation {
  readonly how: IncarnationStart;
  readonly by: string;
  readonly note?: string;
  readonly seenEnd?: string;
}
