import type { Position } from "./ids.ts";
import type { JsonObject } from "./json.ts";

/** A fact about the hub itself (a schema was registered …), in a stream beside the origins'. */
export interface Fact {
  readonly stream: string;
  /** The fact's number in its stream, from 0. */
  readonly revision: number;
  readonly type: string;
  readonly data: JsonObject;
  /** Who wrote it, and from where. */
  readonly by: JsonObject;
  readonly position: Position;
  /** When the event store recorded it, by its clock. */
  readonly recordedAtMs: number;
}

export interface NewFact {
  readonly type: string;
  readonly data: JsonObject;
  readonly by: JsonObject;
}

export interface Journal {
  /**
   * Writes a fact. `after`: the revision of the stream's last fact as the writer knows it (−1: none), so that of two who write at the same time
   * only one succeeds; `"any"` where order does not matter. `null`: somebody else was first; nothing was written.
   */
  append(stream: string, after: number | "any", fact: NewFact): Promise<Position | null>;
  /** A stream's facts from a revision on; none if the stream does not exist. */
  read(stream: string, from?: number): Promise<Fact[]>;
  end(): Promise<Position | null>;
  /**
   * Follows the streams whose names begin with `prefix`, from after a position, until `signal` aborts. A lost link is made again. If the log was meanwhile
   * set back to a backup, all facts are read again from the first, at the revisions that they now have.
   */
  follow(options: FollowOptions): void;
}

export interface FollowOptions {
  readonly prefixes: readonly string[];
  readonly after: Position | null;
  readonly signal: AbortSignal;
  onFact(fact: Fact): void;
  /** Called when the link was lost and is being made again. */
  onInterruption?(message: string): void;
  /** Called when the link was made again after an interruption: whoever has read further in the log than was followed may check whether that still stands. */
  onResumed?(): void;
}
