import type { Clips } from "./clip.ts";
import type { QuarantineReason } from "./entry.ts";
import type { ClockNote, EventBody } from "./event.ts";
import type { Hash, Position } from "./ids.ts";

/** An event as it travels down, with its hub's note and its position in that hub's log. */
export interface PagedEvent {
  readonly head: Omit<EventBody, "data">;
  /** The hash of the event before it in its origin. */
  readonly prev: Hash;
  readonly position: Position;
  /** When the hub's log recorded it, by the hub's clock. */
  readonly recordedAtMs: number;
  /** `null`: accepted. */
  readonly held: QuarantineReason | null;
  readonly clock: ClockNote | null;
  readonly clips?: Clips;
  /**
   * The text that the event's hash covers (canonical JSON where it was accepted). `null`: the asker holds the event itself; then `hash` names it.
   */
  readonly text: string | null;
  readonly hash: Hash;
}
