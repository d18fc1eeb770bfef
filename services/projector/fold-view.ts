/**
 * Folds events into one view. In come states, and entries of the log that count; out go new states, and all that the database is to hold. Pure: nothing that
 * is handed in is changed, so a folded page can be thrown away.
 *
 *   an entity's entry ─▶ folded ─▶ shown ─▶ what it decided, added and claimed is noted
 *                           └─────────┴ it throws ─▶ the entity is parked at it; entries after it wait
 */
import { type Bucket, type LogEntry, messageOf, type Position, position as positionOf } from "../core/index.ts";
import type { Gate, Pins } from "../gate/index.ts";
import {
  bucketOf,
  checkInvariants,
  checkRow,
  checkScopeSeen,
  contributionsOf,
  type EntityState,
  type Folded,
  type FullRow,
  fold,
  type Projection,
  packState,
  problemsIn,
  rowWith,
  siblingsOf,
  type Totals,
  unknownIn,
  waitingFor,
} from "../merge/engine.ts";
import {
  type Addition,
  additionsOf,
  type Claim,
  claimedKeys,
  type HistoryRow,
  type ParkedRow,
  type PassedOver,
  type RowCheck,
  type ViewBuild,
  type ViewChanges,
  type ViewRow,
} from "../views/index.ts";
import { type DecisionNotes, decisionNotes } from "./decisions.ts";
import { toFoldEvent } from "./fold-event.ts";

/** What is known of an entity and needed to fold its next event. */
export interface Held {
  readonly state: EntityState;
  readonly firstPosition: Position;
}

/** The build that is folded into, and the schema versions that it reads with. */
export interface FoldTarget extends ViewBuild {
  readonly pins: Pins;
}

/** What is known of a view's entities before its entries are folded. */
export interface KnownStates {
  get(id: string): Held | undefined;
  /** Whether the entity's fold has stopped. */
  isParked(id: string): boolean;
}

export interface FoldInput {
  readonly target: FoldTarget;
  readonly states: KnownStates;
  /** The entries that count for the view, in log order. `index`: the number of the entry in its page. */
  readonly entries: readonly { readonly entry: LogEntry; readonly index: number }[];
  readonly gate: Pick<Gate, "openAs">;
  /**
   * An entity that is folded from its first event, and the row shown so far, which the result replaces. A version that cannot be shown is
   * passed over: only the last one must be shown.
   */
  readonly replaces?: { readonly id: string; readonly shown: FullRow | null };
}

/** New states of entities, and those whose fold has stopped. */
export interface Moved {
  readonly states: ReadonlyMap<string, Held>;
  readonly parked: ReadonlySet<string>;
}

export interface FoldedView {
  readonly moved: Moved;
  readonly changes: ViewChanges;
  /** What the projection threw, and at which of the page's entries. */
  readonly errors: readonly { readonly index: number; readonly error: string }[];
}

/** An entity while a page is folded. */
interface Working {
  /** Whether the table has no row of the entity. */
  readonly isNew: boolean;
  /** The row that the database shows; `null`: none. */
  readonly before: FullRow | null;
  readonly stateBefore: EntityState | undefined;
  readonly state: EntityState;
  readonly row: FullRow;
  readonly firstPosition: Position;
  readonly lastPosition: Position;
}

/** What has been made of a page so far. */
interface Progress {
  readonly states: Map<string, Held>;
  readonly working: Map<string, Working>;
  readonly decisions: DecisionNotes;
  readonly history: HistoryRow[];
  readonly passedOver: PassedOver[];
  /** The bucket of its entity after an entry, by the number of the entry. */
  readonly buckets: Map<number, Bucket>;
}

/** Folds a page's entries into one view. */
export function foldView(input: FoldInput): FoldedView {
  const { target, states, entries } = input;
  const { projection } = target;
  const made: Progress = {
    states: new Map(),
    working: new Map(),
    decisions: decisionNotes(target),
    history: [],
    passedOver: [],
    buckets: new Map(),
  };
  const errors: { index: number; error: string }[] = [];
  const stopped = new Map<string, ParkedRow>();
  const waiting = new Set<string>();
  for (const { entry, index } of entries) {
    const { id } = entry.head.entity;
    if (entry.content.kind !== "accepted") continue;
    if (stopped.has(id) || states.isParked(id)) {
      waiting.add(id);
      continue;
    }
    const held = made.states.get(id) ?? states.get(id);
    try {
      take(input, made, { entry, index }, held);
    } catch (error) {
      errors.push({ index, error: `${projection.name}: ${messageOf(error)}` });
      stopped.set(id, parkedRow(id, entry, error, held?.state));
    }
  }
  const { rows, claims, checks, additions, events } = compared(input, made.working);
  return {
    moved: { states: made.states, parked: new Set(stopped.keys()) },
    errors,
    changes: {
      ...{ target, rows, claims, checks, additions, events },
      history: made.history,
      decisions: made.decisions.rows,
      ended: made.decisions.ended,
      parked: [...stopped.values()],
      waiting: [...waiting],
      passedOver: made.passedOver,
      buckets: made.buckets,
      through: entries.at(-1)?.entry.position ?? positionOf(0n),
    },
  };
}

/** The row of an entity that is parked at an event, with the error and the state before that event. */
export const parkedRow = (entityId: string, entry: LogEntry, error: unknown, state: EntityState | undefined): ParkedRow => ({
  entityId,
  entry,
  error: messageOf(error),
  stack: error instanceof Error ? (error.stack ?? "") : "",
  state: state === undefined ? null : packState(state),
});

/** Folds one entry into `made`. Throws where it cannot be folded or shown; then `made` is unchanged. */
function take(
  { target, gate, replaces }: FoldInput,
  made: Progress,
  { entry, index }: FoldInput["entries"][number],
  held: Held | undefined,
): void {
  if (entry.content.kind !== "accepted") return;
  const { projection, totals } = target;
  const { id } = entry.head.entity;
  const isLenient = replaces !== undefined;
  const folded = fold(projection, held?.state, toFoldEvent(entry, entry.content.data, gate, target.pins), { isLenient });
  if (folded === null) return;
  const { position } = entry;
  const { state } = folded;
  const firstPosition = held?.firstPosition ?? position;
  const row = showing(target, id, state, isLenient);
  if (row instanceof Error) {
    // The version that is shown in the end does fit: see `refoldOne`.
    made.passedOver.push({ entry, error: row.message });
    made.states.set(id, { state, firstPosition });
    return;
  }
  const known = made.working.get(id);
  const needsBefore = totals.length > 0 || Object.keys(projection.invariants).length > 0;
  const shownBefore = (): FullRow | null => {
    if (replaces?.id === id) return replaces.shown;
    return needsBefore && held !== undefined ? rowWith(projection, id, held.state) : null;
  };
  const before = known === undefined ? shownBefore() : known.before;
  noteDecisions(made.decisions, folded, { id, position, before: held?.state, isLenient });
  made.states.set(id, { state, firstPosition });
  made.working.set(id, {
    ...{ before, state, row, firstPosition },
    isNew: known === undefined ? held === undefined : known.isNew,
    stateBefore: known === undefined ? held?.state : known.stateBefore,
    lastPosition: position,
  });
  if (projection.keepsHistory) made.history.push({ id, position, recordedAtMs: entry.recordedAtMs, row });
  if (target.isHome) made.buckets.set(index, bucketOf(projection, row.values));
}

/** The row that a state shows, once the declaration has taken all parts of it. Where it does not: throws, or with `isLenient` returns why. */
function showing(target: ViewBuild, id: string, state: EntityState, isLenient: boolean): FullRow | Error {
  try {
    const row = rowWith(target.projection, id, state);
    if (isLenient) checkRow(target.projection, row);
    checkFunctions(target, id, row);
    return row;
  } catch (error) {
    if (!isLenient) throw error;
    return error instanceof Error ? error : new Error(messageOf(error));
  }
}

/** Notes decisions. With `isLenient`, a rule may throw because of values that do not fit: decisions after those are gone are noted all the same. */
function noteDecisions(
  decisions: DecisionNotes,
  { written, state }: Folded,
  {
    id,
    position,
    before,
    isLenient,
  }: {
    readonly id: string;
    readonly position: Position;
    readonly before: EntityState | undefined;
    readonly isLenient: boolean;
  },
): void {
  try {
    decisions.note({ entityId: id, position, written, before, after: state });
  } catch (error) {
    if (!isLenient) throw error;
  }
}

/** What is written of the changed rows: the rows themselves, and how their additions to totals, their claims and their invariants differ from before; and the events that cases would name. */
function compared({ target, replaces }: FoldInput, working: ReadonlyMap<string, Working>) {
  const { projection, totals } = target;
  const invariants = Object.entries(projection.invariants);
  const rows: ViewRow[] = [];
  const claims: Claim[] = [];
  const checks: RowCheck[] = [];
  const additions = new Map<Totals, Addition[]>(totals.map((each) => [each, []]));
  const events = new Map<string, readonly string[]>();
  // Only where a case may name them: finding them is a look at every register of the entity.
  const name = (id: string): void => {
    if (!events.has(id)) events.set(id, eventsIn(projection, working.get(id)?.state));
  };
  const compare = (id: string, before: FullRow | null, row: FullRow | null, hasOtherEvents: () => boolean): void => {
    for (const [each, added] of additions) {
      const more = additionsOf(each, projection.name, { id, before, after: row });
      added.push(...more);
      if (more.length > 0 && Object.keys(each.invariants).length > 0) name(id);
    }
    if (invariants.length === 0) return;
    const [had, has] = [claimedKeys(projection, id, before), claimedKeys(projection, id, row)];
    const problems = problemsIn(projection.invariants, id, row);
    const unknown = unknownIn(projection.invariants, id, row);
    for (const [invariant, rule] of invariants) {
      if ("problem" in rule) {
        // What cannot be told is no news: a case stays as it is.
        if (unknown.has(invariant)) continue;
        const problem = problems.get(invariant) ?? null;
        checks.push({ invariant, entityId: id, problem });
        if (problem !== null) name(id);
        continue;
      }
      const [was, is] = [had.get(invariant) ?? null, has.get(invariant) ?? null];
      // A claim is kept with the events that it rests on, so that cases are the same however the log was cut into pages.
      if (was === is && (is === null || !hasOtherEvents())) continue;
      claims.push({ invariant, entityId: id, before: was, after: is });
      if (is !== null) name(id);
    }
  };
  if (replaces !== undefined && !working.has(replaces.id)) compare(replaces.id, replaces.shown, null, () => true);
  for (const [id, { isNew, before, stateBefore, state, row, firstPosition, lastPosition }] of working) {
    const waits = waitingFor(state);
    rows.push({
      ...{ id, isNew, row, firstPosition, lastPosition },
      waitingFor: Object.keys(waits).length === 0 ? null : JSON.stringify(waits),
      state: packState(state),
    });
    compare(id, before, row, () => eventsIn(projection, stateBefore).join() !== eventsIn(projection, state).join());
  }
  return { rows, claims, checks, additions, events };
}

/** Calls the declaration's functions for a row, so that an error is thrown at the event that brought it about. */
export function checkFunctions({ projection, totals }: Pick<ViewBuild, "projection" | "totals">, id: string, row: FullRow): void {
  for (const each of totals) contributionsOf(each, projection.name, id, row);
  checkScopeSeen(projection, id, row);
  checkInvariants(projection.invariants, id, row);
}

/** The events whose values stand in an entity's registers, as `origin/seq`. */
export function eventsIn(projection: Projection, state: EntityState | undefined): string[] {
  const events = new Set<string>();
  if (state !== undefined)
    for (const rule of projection.registers.values())
      for (const { by } of siblingsOf(rule, state)) events.add(`${by.origin}/${by.seq}`);
  return [...events].sort();
}
