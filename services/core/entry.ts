/** What a log entry is: an event with its position, and what the hub says of it beside its hash. These are what a reader of the log reads. */
import type { Clips } from "./clip.ts";
import type { ClockNote, EventBody } from "./event.ts";
import type { EventId, Hash, IncarnationId, Position, Seq } from "./ids.ts";
import type { JsonObject } from "./json.ts";
import type { Places, TakenIn } from "./order.ts";
import type { Signature } from "./signing.ts";

export type EventHead = Omit<EventBody, "data"> & { readonly id: EventId; readonly prev: Hash; readonly hash: Hash };

/** Why the gate held an event back. */
export interface QuarantineReason {
  readonly code: string;
  readonly message: string;
  /** JSON pointer into the data, where the problem has a location. */
  readonly path: string | null;
}

export type Content =
  | { readonly kind: "accepted"; readonly data: JsonObject }
  /** Held back by the gate: kept at its seq, as the text that its hash covers. */
  | { readonly kind: "quarantined"; readonly reason: QuarantineReason; readonly text: string };

/** A hub's signature over the notes of a run. It stands on the run's last event. */
export interface Noted {
  /** The hub, by the id of its log's first incarnation. */
  readonly hub: IncarnationId;
  /** The run's first event. */
  readonly from: Seq;
  readonly signature: Signature;
}

/** An event on its way into the log. */
export interface Appendable {
  readonly head: EventHead;
  readonly content: Content;
  readonly clock: ClockNote | null;
  /** The origin's signature of the run that ends here: of this event and all before it. It stands beside the hashed event. */
  readonly signed?: Signature;
  /** What the hub takes back of what the event says that its author had seen. It stands beside the hashed event, and whoever folds the event applies it. */
  readonly clips?: Clips;
  /** The hub's signature of its notes on the run that ends here. */
  readonly noted?: Noted;
  /** Which hub let the event in, where that is another than the one whose log this is. Its notes and their signature came with the event. */
  readonly taken?: TakenIn;
}

/**
 * The last event of an origin that the gate held back, up to some revision of its stream. `null`: none. `undefined`: unknown, as in logs from before this was kept.
 * Each stored event names the last one before it, so that the quarantined events of an origin can be walked from its end.
 */
export type QuarantineMark = Seq | null | undefined;

/** An event in the log. */
export interface LogEntry extends Appendable {
  readonly position: Position;
  /** When the event store recorded it, by its clock. */
  readonly recordedAtMs: number;
  /** The last quarantined event of this origin before this one. */
  readonly lastQuarantined?: QuarantineMark;
}

/** An event of the log as views count it. */
export interface CountedEntry extends LogEntry {
  /** Its places in hubs' orders, where some view asks for them. */
  readonly places?: Places | undefined;
}

/** Where an origin stands in the log. */
export interface OriginHead {
  readonly through: Seq;
  readonly hash: Hash;
  readonly position: Position;
  /** The last quarantined event up to and including `through`. */
  readonly lastQuarantined?: QuarantineMark;
}
