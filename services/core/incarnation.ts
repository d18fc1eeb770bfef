import type { IncarnationId, Position } from "./ids.ts";

/**
 * How an incarnation of the log began: `first`, with the log; `restored`, by `tributary restore`; `declared`, by an operator who restored a server with the
 * server's own tools; `detected`, because the log was found to hold less than before.
 */
export type IncarnationStart = "first" | "restored" | "declared" | "detected";

/** One life of the log, as the log itself records it. */
export interface Incarnation {
  readonly id: IncarnationId;
  readonly how: IncarnationStart;
  readonly by: string;
  readonly note: string | null;
  /** The last known position of the incarnation before, in decimal. */
  readonly seenEnd: string | null;
  /** `false`: it was detected, and no operator has acknowledged it yet. */
  readonly isConfirmed: boolean;
  /** Where in the log this incarnation began. */
  readonly position: Position;
  /** When it began, by the event store's clock. */
  readonly beganAtMs: number;
}

export interface NewIncarnation {
  readonly how: IncarnationStart;
  readonly by: string;
  readonly note?: string;
  readonly seenEnd?: string;
}
