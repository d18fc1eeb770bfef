/** What must be true of every history, whatever the rules of a view. A check that fails throws. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import fc from "fast-check";
import { canonicalize } from "../../services/core/index.ts";
import {
  decisionsOf,
  type EntityState,
  type FoldEvent,
  fold,
  type Projection,
  packState,
  rowWith,
  siblingsOf,
  unpackState,
  waitingFor,
} from "../../services/merge/engine.ts";
import { type History, histories, labelOf, type Played, play, projectionOf, SPECS, shuffled, tagRows } from "./histories.ts";
import { dotOf, type ReferenceView, referenceView, type ViewSpec } from "./reference.ts";

const VIEWS = SPECS.map((spec) => ({ spec, projection: projectionOf(spec) }));

type States = ReadonlyMap<string, EntityState>;

/** How much was looked at, so that a run that finds nothing shows that it looked. */
export interface Counts {
  histories: number;
  events: number;
  folds: number;
  decisions: number;
}
export const nothingCounted = (): Counts => ({ histories: 0, events: 0, folds: 0, decisions: 0 });

/** Checks all properties on this many random histories. Throws with a seed and the smallest history that breaks one. */
export function checkHistories(seed: number, runs: number, counts: Counts, reasons: Set<string>): void {
  fc.assert(
    fc.property(histories, (history) => checkHistory(history, counts, reasons)),
    // The numbers of runs and steps are the bound, and a slow machine must not pass by doing less.
    { seed, numRuns: runs, endOnFailure: false },
  );
}

export function checkHistory(history: History, counts: Counts, reasons: Set<string>): void {
  const played = deepFreeze(play(history));
  counts.histories++;
  counts.events += played.events.length;
  for (const { spec, projection } of VIEWS) checkView(spec, projection, played, history.shuffle, counts, reasons);
}

function checkView(
  spec: ViewSpec,
  projection: Projection,
  { events, replicas }: Played,
  shuffle: number,
  counts: Counts,
  reasons: Set<string>,
): void {
  const states = foldAll(projection, events, counts);
  const hash = hashOf(projection, states);
  const repeats = shuffled(events, shuffle + 1).slice(0, Math.ceil(events.length / 2));
  const cutOff = replicas[shuffle % replicas.length]!;
  const arrivals = [
    shuffled([...events, ...repeats], shuffle),
    [...events].reverse(),
    // First what a replica had, and then all: a partition that ends, or a replica that joins late.
    [...cutOff, ...shuffled(events, shuffle + 2)],
  ];
  for (const [i, arrival] of arrivals.entries()) {
    const again = foldAll(projection, arrival, counts, i === 0 ? throughDatabase : undefined);
    assert.deepStrictEqual(again, states, `${spec.name}: arrival order ${i} ends in another state`);
    assert.equal(hashOf(projection, again), hash, `${spec.name}: arrival order ${i} shows another view`);
  }
  checkReference(spec, projection, events, states, counts, reasons);
  // What a replica shows while it is cut off is as much a function of what it holds.
  checkReference(spec, projection, cutOff, foldAll(projection, cutOff, counts), counts, reasons);
}

function foldAll(
  projection: Projection,
  events: readonly FoldEvent[],
  counts: Counts,
  between: (state: EntityState) => EntityState = (state) => state,
): States {
  const states = new Map<string, EntityState>();
  for (const event of events) {
    counts.folds++;
    const folded = fold(projection, states.get(event.entity.id), event);
    if (folded !== null) states.set(event.entity.id, deepFreeze(between(folded.state)));
  }
  return new Map([...states].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** A state as it comes back from the database, which must be the same. */
function throughDatabase(state: EntityState): EntityState {
  const back = unpackState(packState(state));
  assert.deepStrictEqual(back, state, "the stored form loses something");
  return back;
}

/** A hash of the view's rows, each as the database would be handed it. */
function hashOf(projection: Projection, states: States): string {
  const hash = createHash("sha256");
  for (const [id, state] of states) hash.update(canonicalize([id, rowWith(projection, id, state), waitingFor(state)]));
  return hash.digest("hex");
}

function checkReference(
  spec: ViewSpec,
  projection: Projection,
  events: readonly FoldEvent[],
  states: States,
  counts: Counts,
  reasons: Set<string>,
): void {
  for (const id of new Set(events.map(({ entity }) => entity.id))) {
    const expected = referenceView(
      spec,
      events.filter(({ entity }) => entity.id === id),
    );
    const state = states.get(id);
    const shown = state === undefined ? null : shownBy(projection, id, state);
    const { view, tables } = shown ?? { view: null, tables: {} };
    assert.deepStrictEqual(view, expected, `${spec.name}/${id}: not what the definitions say`);
    if (expected === null) continue;
    const { tags } = expected.values;
    assert.deepStrictEqual(tables, { tags: expected.deleted ? [] : tagRows(tags ?? null) });
    for (const { reason } of expected.decisions) reasons.add(reason);
    counts.decisions += expected.decisions.length;
  }
}

/** A state in the reference's words. */
function shownBy(projection: Projection, id: string, state: EntityState): { view: ReferenceView; tables: unknown } {
  const { values, deleted, conflicts, tables } = rowWith(projection, id, state);
  const { label, ...written } = values;
  assert.equal(label, labelOf(written.name!, written.village!), "a derived column follows from the row");
  const siblings = [...projection.registers.values()].map((rule) => [
    rule.name,
    siblingsOf(rule, state).map(({ by }) => dotOf(by)),
  ]);
  return {
    tables,
    view: {
      values: written,
      deleted,
      conflicts,
      waitingFor: waitingFor(state),
      siblings: Object.fromEntries(siblings.map(([name, dots]) => [name, [...dots!].sort()])),
      decisions: decisionsOf(projection, state).map(({ register, reason, value, winner, losers, isOpen }) => ({
        register,
        reason,
        value,
        winner: dotOf(winner.by),
        losers: losers.map(({ by }) => dotOf(by)).sort(),
        isOpen,
      })),
    },
  };
}

/** Freezes a value with all that is in it, so that a function that changes it throws. */
function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const member of Object.values(value)) deepFreeze(member);
  return value;
}
