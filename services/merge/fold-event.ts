import {
  type Clips,
  type EntityRef,
  type Hlc,
  type Opened,
  type OriginId,
  type Position,
  partsOf,
  type Seq,
  type Vector,
} from "../core/index.ts";
import { type FoldEvent, seenOf } from "./fold.ts";

/** What is kept of an event beside its data, wherever it is read from. */
export interface KeptEvent {
  readonly type: string;
  readonly entity: EntityRef;
  readonly actor: string;
  readonly occurredAt: string;
  readonly origin: OriginId;
  readonly seq: Seq;
  readonly hlc: Hlc;
  readonly basis: Vector;
  /** What the hub takes back of the basis. */
  readonly clips: Clips | undefined;
  /** Whether the hub noted that its device's clock was wrong. */
  readonly clockWrong: boolean;
  /** `null`: the hub's log has no place for it yet. */
  readonly position: Position | null;
}

/** An event made ready for folding, except for its data, which each caller reads in its own way. */
export const foldHeadOf = (event: KeptEvent): Omit<FoldEvent, "data"> => ({
  type: event.type,
  entity: event.entity,
  actor: event.actor,
  occurredAt: event.occurredAt,
  site: partsOf(event.origin).site,
  origin: event.origin,
  seq: event.seq,
  hlc: event.hlc,
  clockWrong: event.clockWrong,
  position: event.position === null ? null : Number(event.position),
  ...seenOf(event.basis, event.clips),
});

/** The event with its data, as far as this replica may see them. */
export const seenEvent = <T extends Omit<FoldEvent, "data">>(event: T, { data, withheld }: Opened): T & FoldEvent =>
  withheld.length === 0 ? { ...event, data } : { ...event, data, withheld };
