import type { EntityRef, Vector } from "../core/index.ts";
import type { Appended, NewEvent, SyncResult } from "../field/index.ts";
import type { Gate } from "../gate/index.ts";
import type { View } from "../merge/engine.ts";
import type { Db } from "../views/index.ts";

/** What a writer has been shown of an entity: the basis of what they write about it. */
export interface Shown {
  readonly entity: EntityRef;
  readonly seen: Vector;
}

/** What became of events that a desk wrote. */
export interface Written {
  readonly appended: readonly Appended[];
  readonly sync: SyncResult;
}

/** Writes events as the hub's own console. Returns when the hub has them; throws where it does not take them. */
export type Write = (events: readonly NewEvent[], shown?: readonly Shown[]) => Promise<Written>;

/** What decisions need of a hub. Whoever opens the hub hands all of it in. */
export interface Desk {
  readonly db: Db;
  readonly gate: Gate;
  /** The declarations of the hub's views. */
  readonly projections: readonly View[];
  /** The hub's organisation, for which its people speak. */
  readonly org: string;
  readonly write: Write;
}

/** Who decides, and what they say about it. */
export interface By {
  readonly actor: string;
  readonly note?: string;
}

/** A note as a member of an event's data; no member where there is no note. */
export const noted = (note: string | undefined, member: "note" | "text" = "note"): { readonly [name: string]: string } =>
  note === undefined ? {} : { [member]: note };
