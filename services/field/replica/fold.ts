/** Folds an entity's events into views on a device, by the same rules as the hub. Pure: events and states come in, states and rows come out. */
import {
  isJsonObject,
  type JsonObject,
  messageOf,
  positionFromNumber,
  QUARANTINE_ENTITY,
  RELEASED,
  releaseOf,
} from "../../core/index.ts";
import type { Gate, Pins } from "../../gate/index.ts";
import {
  checkRow,
  type EntityState,
  type FoldEvent,
  type FullRow,
  fold,
  foldAnew,
  foldHeadOf,
  type Projection,
  rowWith,
  seenEvent,
} from "../../merge/engine.ts";
import type { EventHead } from "../reading.ts";
import type { PlacedEvent } from "./event-rows.ts";

/** An event as views count it: for a release, the event that was released, with the data that were released. */
export interface Counted {
  readonly head: EventHead;
  readonly data: JsonObject;
  readonly clock: PlacedEvent["clock"];
  readonly clips: PlacedEvent["clips"];
  /** `null`: an own event that the hub's feed has not brought yet. */
  readonly position: PlacedEvent["position"] | null;
}

/** The view that is folded into, and the schema versions that it reads with. */
export interface Target {
  readonly view: Projection;
  readonly readers: Pins;
}

export type Reader = Pick<Gate, "openAs">;

const dataOf = (text: string): JsonObject | null => {
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : null;
  } catch {
    return null;
  }
};

/**
 * What an entity's events count as, in their order. `before`: earlier events of the entity, of which a release may name one. Events that were not accepted count for nothing until their
 * release, which brings the original's author, stamp and basis, with the data released and the position of the release.
 */
export function countedOf(
  entity: EventHead["entity"],
  events: readonly PlacedEvent[],
  before: () => readonly PlacedEvent[] = () => [],
): Counted[] {
  const out: Counted[] = [];
  for (const [i, event] of events.entries()) {
    if (event.held !== null) continue;
    const { head, clock, clips, position } = event;
    const data = dataOf(event.text);
    if (data === null) continue;
    if (head.entity.type === entity.type && head.entity.id === entity.id) {
      out.push({ head, data, clock, clips, position });
      continue;
    }
    if (head.entity.type !== QUARANTINE_ENTITY || head.type !== RELEASED) continue;
    const release = releaseOf(head.type, data);
    if (release === null) continue;
    const names = ({ head: of, hash, held }: PlacedEvent): boolean =>
      held !== null && of.origin === release.origin && of.seq === release.seq && hash === release.hash;
    const original = events.slice(0, i).find(names) ?? before().find(names);
    if (original === undefined) continue;
    out.push({
      head: { ...original.head, schema: release.schema },
      data: release.data,
      clock: original.clock,
      clips: original.clips,
      position,
    });
  }
  return out;
}

/** An own event that has no position yet; `null`: its text is no JSON object. */
export function ownCounted(head: EventHead, text: string): Counted | null {
  const data = dataOf(text);
  return data === null ? null : { head, data, clock: null, clips: undefined, position: null };
}

const NOWHERE = positionFromNumber(0);

function foldEventOf({ readers }: Target, { head, data, clock, clips, position }: Counted, gate: Reader): FoldEvent {
  const kept = foldHeadOf({ ...head, clips, clockWrong: clock !== null, position: position ?? NOWHERE });
  const opened = gate.openAs(head, data, readers);
  return seenEvent({ ...kept, position: position === null ? null : kept.position }, opened);
}

/** What folding has made of an entity. */
export interface Folding {
  readonly state: EntityState;
  readonly row: FullRow;
  /** Why not all of its events are in it; `null`: they are. */
  readonly problem: string | null;
}

/** Folds more events into a state. Throws where one cannot be folded: `foldAll` says how far all of them can. `undefined`: no event touches the view. */
export function foldMore(
  target: Target,
  state: EntityState | undefined,
  events: readonly Counted[],
  gate: Reader,
): EntityState | undefined {
  let now = state;
  for (const event of events) now = fold(target.view, now, foldEventOf(target, event, gate))?.state ?? now;
  return now;
}

/** The row that a state shows. Throws `projection-failed` where a column cannot hold what it shows. */
export function shownBy({ view }: Target, id: string, state: EntityState): FullRow {
  const row = rowWith(view, id, state);
  checkRow(view, row);
  return row;
}

/** Folds all events of an entity from the first on, as far as they can be shown. `null`: no event touches the view, or none can be shown. */
export function foldAll(target: Target, id: string, events: readonly Counted[], gate: Reader): Folding | null {
  const { steps, shown, stop } = foldAnew(
    target.view,
    id,
    events.map((event) => () => foldEventOf(target, event, gate)),
  );
  const last = steps.slice(0, shown).findLast(({ folded, row }) => folded !== null && row !== null);
  if (last?.folded == null || last.row === null) return null;
  return { state: last.folded.state, row: last.row, problem: stop === null ? null : messageOf(stop.error) };
}

/** A state with own events on top that the hub has not placed yet. One that cannot be folded or shown is left out: the hub will say what is wrong with it. */
export function withOwn(
  target: Target,
  id: string,
  { placed, own }: { readonly placed: EntityState | undefined; readonly own: readonly Counted[] },
  gate: Reader,
): Pick<Folding, "state" | "row"> | null {
  let best: Pick<Folding, "state" | "row"> | null = null;
  let before = placed;
  for (const event of own) {
    try {
      const state = foldMore(target, before, [event], gate);
      if (state === undefined || state === before) continue;
      best = { state, row: shownBy(target, id, state) };
      before = state;
    } catch {
      // It stays in the outbox, and counts as pending.
    }
  }
  return best;
}
