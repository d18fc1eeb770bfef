/**
 * What the replica has of each entity, and what it shows of it. An entity's row is the state that the hub's feed has brought, with own events on top that the feed has not brought yet:
 *
 *   events of the feed ─▶ placed state ─┬─────────────────────▶ row
 *   own events, not placed yet ─────────┴─▶ shown state ─▶ row, own = pending | confirmed
 */
import { type EntityRef, join, type OriginId, positionToNumber, type Vector } from "../../core/index.ts";
import type { Gate, Pins } from "../../gate/index.ts";
import {
  type EntityState,
  type Mask,
  maskedState,
  maskOf,
  type Projection,
  packState,
  unpackState,
  waitingFor,
} from "../../merge/engine.ts";
import { headOf } from "../reading.ts";
import type { OriginRow } from "../rows.ts";
import type { Store } from "../store.ts";
import type { PlacedEvent } from "./event-rows.ts";
import {
  type Counted,
  countedOf,
  type Folding,
  foldAll,
  foldMore,
  ownCounted,
  type Reader,
  shownBy,
  type Target,
  withOwn,
} from "./fold.ts";
import type { EntityRow, ReplicaRows } from "./rows.ts";
import type { Known, Own, Shown, ViewRows } from "./view-rows.ts";

/** A view whose tables are open. */
export interface OpenView extends Target {
  readonly rows: ViewRows;
  readonly readers: Pins;
  readonly shape: string;
  /** The hub folds the view by another declaration. */
  readonly isOlder: boolean;
}

/** An event that was checked. `own`: the epoch of this device that wrote it. `isHere`: its text stood in the table `event` before the page, as it was written. */
export interface CheckedEvent extends PlacedEvent {
  readonly own: OriginRow | null;
  readonly isHere: boolean;
}

/** How events of an entity come. `more`: beside what it has; those that it has already are passed over. `whole`: they are all that it has, and what was there before goes. `first`: likewise, and nothing is there. */
export type Coming = "more" | "whole" | "first";

/** Events that came for an entity. */
export interface Taking {
  readonly n: number;
  readonly id: string;
  readonly events: readonly CheckedEvent[];
  readonly how: Coming;
}

/** Of so many entities at a time, states and rows are read by one statement. All of them are in memory until they are folded. */
export const MAX_TAKEN = 64;

/** `isNew`: nothing was known of it. */
export interface FoundEntity extends EntityRow {
  readonly isNew?: boolean;
}

export interface Entities {
  /** An entity, which is given a number if it has none. */
  entityOf(entity: EntityRef): FoundEntity;
  /** An entity that has no number yet. */
  newEntity(entity: EntityRef): FoundEntity;
  /** Takes what the feed has brought of entities of one type, each of which is named once; `MAX_TAKEN` or fewer. Returns how many events are new. */
  take(type: string, takings: readonly Taking[]): number;
  /** Takes the packed states of an entity whose events have not come. `isSame`: whether the hub folds a view as this device does. */
  takeStates(n: number, entity: EntityRef, states: Readonly<Record<string, string>>, isSame: (view: string) => boolean): void;
  /** Shows own events that were just written, or whose state has changed. */
  reshow(n: number, entity: EntityRef): void;
  /** Shows one own event more. */
  showOwn(n: number, entity: EntityRef, own: Counted): void;
  /** Tells what became of own events, where the row stays as it is. */
  retell(n: number, entity: EntityRef): void;
  /** Folds all events of an entity again into one view. */
  refold(view: OpenView, n: number, entity: EntityRef): void;
  /** Removes the entity's rows, states and events. */
  remove(n: number, entity: EntityRef): void;
  /** What the replica holds of an entity: the basis of what is written next. */
  seen(entity: EntityRef): Vector;
  /** The ids of entities whose rows have changed, by view, since this was called last. */
  changes(): ReadonlyMap<string, ReadonlySet<string>>;
  /** Forgets what is only in memory, after a transaction that failed. */
  forget(): void;
}

export interface EntitiesDeps {
  readonly store: Store;
  readonly rows: ReplicaRows;
  readonly gate: Reader & Pick<Gate, "rights" | "withholds">;
  /** The open views of an entity type. */
  readonly viewsOf: (type: string) => readonly OpenView[];
}

/** What is on top of what the feed has brought. */
interface OnTop {
  readonly own: Own;
  readonly events: readonly Counted[];
}

const NOTHING: OnTop = { own: null, events: [] };
const NONE: ReadonlySet<number> = new Set();

/** A view with what it has of some entities. */
type ReadView = readonly [view: OpenView, known: ReadonlyMap<number, Known>];
const NO_ROWS: ReadView[1] = new Map();

// Long because all that changes a row passes the same few steps, which share the rows and the notes of what has changed.
export function openEntities({ store, rows, gate, viewsOf }: EntitiesDeps): Entities {
  let changed = new Map<string, Set<string>>();
  const note = ({ name }: Projection, id: string): void => {
    const ids = changed.get(name);
    if (ids === undefined) changed.set(name, new Set([id]));
    else ids.add(id);
  };
  const originNumbers = new Map<OriginId, number>();
  const originNumber = (name: OriginId): number => {
    const known = originNumbers.get(name);
    if (known !== undefined) return known;
    const found = rows.originNumber(name) ?? rows.addOriginNumber(name);
    originNumbers.set(name, found);
    return found;
  };
  const ownOf = (n: number): Own =>
    rows.hasOwn(n, "quarantined")
      ? "quarantined"
      : rows.hasOwn(n, "pending")
        ? "pending"
        : rows.hasOwn(n, "confirmed") || rows.hasOwn(n, "settled")
          ? "confirmed"
          : null;
  const onTopOf = (n: number): OnTop => {
    if (!rows.hasAnyOwn(n)) return NOTHING;
    const origins = store.origins();
    const events = rows.unplacedOf(n).flatMap(({ origin: id, seq }): Counted[] => {
      const origin = origins.find((each) => each.id === id);
      const stored = rows.ownText(id, seq);
      const head = origin === undefined || stored === undefined ? null : headOf(stored.head, origin.name, seq);
      const counted = head === null || stored === undefined ? null : ownCounted(head, stored.data);
      return counted === null ? [] : [counted];
    });
    return { own: ownOf(n), events };
  };
  /** Of an entity whose events do not come, the states that all its views have taken say which own events the hub has placed. */
  const placeSeen = (n: number, taken: readonly EntityState[]): void => {
    const own = rows.unplacedOf(n);
    if (own.length === 0) return;
    const seen = taken.reduce<Vector>((all, state) => join(all, state.seen), {});
    const names = new Map(store.origins().map(({ id, name }) => [id, name]));
    for (const { origin, seq } of own) {
      const name = names.get(origin);
      if (name !== undefined && seq <= (seen[name] ?? -1)) rows.placeOwn(origin, seq, n);
    }
  };
  /** Own events that a view's state has not: where only states come, one view may have an event that another has not. */
  const unseenBy = (n: number, { state }: Folding, events: readonly Counted[]): readonly Counted[] =>
    rows.countPlaced(n) > 0 ? events : events.filter(({ head: { origin, seq } }) => seq > (state.seen[origin] ?? -1));
  /** Writes what a view shows of an entity, or takes its row away where nothing is known of it any more. */
  const show = (
    open: OpenView,
    { n, id }: { readonly n: number; readonly id: string },
    placed: (Folding & { readonly packed?: string }) | null,
    {
      top,
      last,
      before,
    }: { readonly top: OnTop; readonly last: Pick<Known, "lastPosition" | "lastChangedMs">; readonly before?: Known | undefined },
  ): void => {
    const onTop = placed === null || top.events.length === 0 ? top.events : unseenBy(n, placed, top.events);
    const own = onTop.length === 0 ? null : withOwn(open, id, { placed: placed?.state, own: onTop }, gate);
    const shown = own ?? placed;
    if (shown === null) {
      if (open.rows.known(n) === undefined) return;
      open.rows.remove(n);
    } else {
      const written: Shown = {
        row: shown.row,
        placed: placed === null ? null : (placed.packed ?? packState(placed.state)),
        shown: own === null ? null : packState(own.state),
        waitingFor: waitingFor(shown.state),
        lastPosition: last.lastPosition,
        lastChangedMs: last.lastChangedMs,
        own: top.own,
        problem: placed?.problem ?? null,
      };
      open.rows.write(n, id, written, before);
    }
    note(open.view, id);
  };
  const stateIn = (packed: string | null | undefined): EntityState | undefined =>
    packed == null ? undefined : unpackState(packed);
  /** What this device may not see of a view's states; `null`: it may see all. */
  const maskFor = ({ view, readers }: OpenView): Mask | null =>
    gate.rights === "" ? null : maskOf(view, (type) => gate.withholds(type, readers));
  /** A state that came packed, with its row. `null`: the hub folds it as this device does, and yet this device cannot show it. It waits for the events. */
  const packedIn = (open: OpenView, id: string, packed: string): (Folding & { readonly packed: string }) | null => {
    try {
      const mask = maskFor(open);
      if (mask === null) {
        const state = unpackState(packed);
        return { state, row: shownBy(open, id, state), problem: null, packed };
      }
      // The hub packs what it sees itself. What this device may not see of that is not written.
      const state = maskedState(open.view, unpackState(packed), mask);
      return { state, row: shownBy(open, id, state), problem: null, packed: packState(state) };
    } catch {
      return null;
    }
  };
  /** The placed state of a view with its row; `null`: there is none, or it cannot be shown. */
  const placedIn = (open: OpenView, id: string, known: Known | undefined): (Folding & { readonly packed: string }) | null => {
    const state = stateIn(known?.placed);
    if (state === undefined || known?.placed == null) return null;
    try {
      return { state, row: shownBy(open, id, state), problem: known.problem, packed: known.placed };
    } catch {
      return null;
    }
  };
  /** Folds more events of the feed into a view; all of them again, where that is not possible. */
  const foldInto = (
    open: OpenView,
    { n, entity }: { readonly n: number; readonly entity: EntityRef },
    known: Known | undefined,
    events: readonly Counted[],
  ): Folding | null => {
    if (known === undefined || known.problem === null) {
      try {
        const state = foldMore(open, stateIn(known?.placed), events, gate);
        return state === undefined ? null : { state, row: shownBy(open, entity.id, state), problem: null };
      } catch {
        // It is folded from the first event on, as far as that goes.
      }
    }
    return foldAll(open, entity.id, countedOf(entity, rows.placedOf(n)), gate);
  };
  const lastOf = (events: readonly PlacedEvent[], known: Known | undefined): Pick<Known, "lastPosition" | "lastChangedMs"> => {
    let { lastPosition = null, lastChangedMs = null } = known ?? {};
    for (const { position, recordedAtMs } of events) {
      const at = positionToNumber(position);
      if (lastPosition !== null && at <= lastPosition) continue;
      lastPosition = at;
      lastChangedMs = recordedAtMs;
    }
    return { lastPosition, lastChangedMs };
  };
  /** Whether an own event's text stands in the table `event` now: what came before in the same page may have emptied its row. */
  const stillHere = ({ own, isHere, head: { seq }, text }: CheckedEvent): boolean => {
    if (!isHere || own === null) return false;
    if (rows.ownText(own.id, seq)?.data === text) return true;
    rows.noteLacking(own.id, seq);
    return false;
  };
  const refoldInto = (open: OpenView, n: number, entity: EntityRef, events: readonly PlacedEvent[]): void => {
    show(
      open,
      { n, id: entity.id },
      events.length === 0 ? null : foldInto(open, { n, entity }, undefined, countedOf(entity, events)),
      {
        top: onTopOf(n),
        last: lastOf(events, undefined),
      },
    );
  };

  const newEntity = ({ type, id }: EntityRef): FoundEntity => {
    const n = rows.addEntity(type, id);
    return { n, type, id, leaving: null, isNew: true };
  };
  const takeOne = (type: string, { n, id, events, how }: Taking, hasOwn: boolean, views: readonly ReadView[]): number => {
    const entity = { type, id };
    const isWhole = how !== "more";
    if (how === "whole") rows.removePlaced(n);
    if (isWhole && hasOwn) rows.unplaceOwn(n);
    const added = events.filter((event) => {
      const isNew = rows.addPlaced(
        { entity: n, origin: originNumber(event.head.origin) },
        stillHere(event) ? { ...event, text: null } : event,
      );
      if (event.own !== null) rows.placeOwn(event.own.id, event.head.seq, n);
      return isNew;
    });
    if (added.length === 0 && !isWhole) return 0;
    const counted = countedOf(entity, added, () => rows.placedOf(n));
    const top = hasOwn ? onTopOf(n) : NOTHING;
    for (const [open, read] of views) {
      const before = read.get(n);
      const known = isWhole ? undefined : before;
      const last = lastOf(added, known);
      show(open, { n, id }, foldInto(open, { n, entity }, known, counted), { top, last, before });
    }
    return added.length;
  };

  return {
    entityOf: (entity) => rows.entityBy(entity.type, entity.id) ?? newEntity(entity),
    newEntity,

    take(type, takings) {
      const there = takings.flatMap(({ n, how }) => (how === "first" ? [] : [n]));
      const withOwn = there.length === 0 ? NONE : rows.withOwn(there);
      const views = viewsOf(type).map((open): ReadView => [open, there.length === 0 ? NO_ROWS : open.rows.knownOf(there)]);
      let count = 0;
      for (const taking of takings) count += takeOne(type, taking, withOwn.has(taking.n), views);
      return count;
    },

    takeStates(n, entity, states, isSame) {
      const open = viewsOf(entity.type);
      const taken = open.flatMap((each) => {
        const packed = isSame(each.view.name) ? states[each.view.name] : undefined;
        return packed === undefined ? [] : [{ open: each, placed: packedIn(each, entity.id, packed) }];
      });
      rows.unplaceOwn(n);
      const shown = taken.flatMap(({ placed }) => (placed === null ? [] : [placed.state]));
      if (shown.length === open.length) placeSeen(n, shown);
      const top = onTopOf(n);
      for (const { open: each, placed } of taken)
        show(each, { n, id: entity.id }, placed, { top, last: { lastPosition: null, lastChangedMs: null } });
    },

    reshow(n, entity) {
      const top = onTopOf(n);
      for (const open of viewsOf(entity.type)) {
        const known = open.rows.known(n);
        show(open, { n, id: entity.id }, placedIn(open, entity.id, known), { top, last: lastOf([], known), before: known });
      }
    },

    showOwn(n, entity, counted) {
      const own = ownOf(n);
      for (const open of viewsOf(entity.type)) {
        const known = open.rows.known(n);
        const before = stateIn(known?.shown ?? known?.placed);
        const now = withOwn(open, entity.id, { placed: before, own: [counted] }, gate);
        if (now === null) {
          if (known !== undefined) open.rows.setOwn(n, own);
        } else {
          const written: Shown = {
            row: now.row,
            placed: known?.placed ?? null,
            shown: packState(now.state),
            waitingFor: waitingFor(now.state),
            ...lastOf([], known),
            own,
            problem: known?.problem ?? null,
          };
          open.rows.write(n, entity.id, written, known);
        }
        note(open.view, entity.id);
      }
    },

    retell(n, entity) {
      const own = ownOf(n);
      for (const open of viewsOf(entity.type)) {
        if (open.rows.known(n) === undefined) continue;
        open.rows.setOwn(n, own);
        note(open.view, entity.id);
      }
    },

    refold(open, n, entity) {
      const events = rows.placedOf(n);
      // The view has no state any more that has own events in it.
      if (events.length === 0) rows.unplaceOwn(n);
      refoldInto(open, n, entity, events);
    },

    remove(n, entity) {
      for (const open of viewsOf(entity.type)) {
        open.rows.remove(n);
        note(open.view, entity.id);
      }
      rows.removePlaced(n);
      rows.unplaceOwn(n);
    },

    seen({ type, id }) {
      const n = rows.entityBy(type, id)?.n;
      let vector: Vector = {};
      if (n === undefined) return vector;
      for (const open of viewsOf(type)) {
        const known = open.rows.known(n);
        const packed = known?.shown ?? known?.placed;
        if (packed != null) vector = join(vector, unpackState(packed).seen);
      }
      return vector;
    },

    changes() {
      const out = changed;
      changed = new Map();
      return out;
    },

    forget: () => originNumbers.clear(),
  };
}
