import {
  canonicalize,
  type JsonObject,
  type JsonValue,
  join,
  type OriginId,
  type Seq,
  type Vector,
  withDot,
} from "../core/index.ts";
import { DELETED, type ProjectedEvent, type Projection, type RegisterRule } from "./projection.ts";
import { type Author, applyWrite, type Register, reachOf, type Sibling } from "./register.ts";
import type { Reason } from "./resolvers.ts";

/** An event as the fold takes it. */
export interface FoldEvent extends ProjectedEvent, Author {
  readonly basis: Vector;
}

/** All that is known of one entity in one view: a function of the set of its events. */
export interface EntityState {
  readonly registers: Readonly<Record<string, Register>>;
  /** The last event of this entity known from each origin. */
  readonly seen: Vector;
  /** All that the known events' authors had seen. Beyond `seen`: parents that have not come yet. */
  readonly referred: Vector;
}

/** A contested register: who won, by which rule, against whom. */
export interface Decision {
  readonly register: string;
  readonly rule: string;
  readonly ruleVersion: number;
  readonly reason: Reason;
  readonly winner: Sibling;
  readonly losers: readonly Sibling[];
}

export interface Folded {
  readonly state: EntityState;
  /** Registers that this event wrote. */
  readonly written: readonly string[];
}

/**
 * The state after one more event; `null` when the event does not touch the view. Folding an event twice, or in any
 * order, changes nothing: it ends in the same state.
 */
export function fold(projection: Projection, state: EntityState | undefined, event: FoldEvent): Folded | null {
  const writes = projection.writesOf(event);
  if (writes === null) return null;
  const by: Author = {
    origin: event.origin,
    seq: event.seq,
    hlc: event.hlc,
    actor: event.actor,
    clockWrong: event.clockWrong,
  };
  const registers: Record<string, Register> = { ...state?.registers };
  // Most events write several registers whose contexts are one and the same object: one join serves them all.
  let lastContext: Vector | undefined;
  let lastJoined: Vector | undefined;
  const reach = reachOf({ by, basis: event.basis });
  for (const [name, value] of writes) {
    const old = registers[name];
    if (old === undefined) {
      registers[name] = { siblings: [{ by, value }], context: reach };
      continue;
    }
    const next = applyWrite(old, { by, value, basis: event.basis });
    if (old.context === lastContext && lastJoined !== undefined) {
      registers[name] = { siblings: next.siblings, context: lastJoined };
    } else {
      registers[name] = next;
      lastContext = old.context;
      lastJoined = next.context;
    }
  }
  return {
    state: {
      registers,
      seen: withDot(state?.seen ?? {}, by),
      referred: state === undefined ? reach : join(state.referred, reach),
    },
    written: [...writes.keys()],
  };
}

/** Whether siblings disagree: equal values written twice are no conflict. */
export function isContested(register: Register | undefined): register is Register {
  if (register === undefined || register.siblings.length < 2) return false;
  const first = canonicalize(register.siblings[0]!.value);
  return register.siblings.some((other) => canonicalize(other.value) !== first);
}

/** The decision on a register, or null where there is nothing to decide. */
export function decide(rule: RegisterRule, register: Register | undefined): Decision | null {
  if (!isContested(register)) return null;
  const { winner, reason } = rule.resolver.resolve(register.siblings);
  return {
    register: rule.name,
    rule: rule.resolver.name,
    ruleVersion: rule.resolver.version,
    reason,
    winner,
    losers: register.siblings.filter((sibling) => sibling !== winner),
  };
}

/** All decisions that stand in an entity's state. */
export function decisionsOf(projection: Projection, state: EntityState): Decision[] {
  const out: Decision[] = [];
  for (const rule of projection.registers.values()) {
    const decision = decide(rule, state.registers[rule.name]);
    if (decision !== null) out.push(decision);
  }
  return out;
}

/** Events that known events build on and that have not come. */
export function waitingFor(state: EntityState): Vector {
  if (state.referred === state.seen) return {};
  const out: Record<OriginId, Seq> = {};
  for (const key in state.referred) {
    const origin = key as OriginId;
    if ((state.seen[origin] ?? -1) < state.referred[origin]!) out[origin] = state.referred[origin]!;
  }
  return out;
}

/** A view's row, as its columns and two facts about it. */
export interface Row {
  readonly values: JsonObject;
  readonly deleted: boolean;
  readonly conflicts: number;
}

/** The row that a state shows: each register resolved by its rule. */
export function rowOf(projection: Projection, state: EntityState): Row {
  const values: Record<string, JsonValue> = {};
  let deleted = false;
  let conflicts = 0;
  for (const rule of projection.registers.values()) {
    const register = state.registers[rule.name];
    const value = register === undefined ? null : current(rule, register);
    if (register !== undefined && isContested(register)) conflicts++;
    if (rule.name === DELETED) deleted = value === true;
    else if (rule.columns.length === 1 && rule.columns[0] === rule.name) values[rule.name] = value;
    else for (const column of rule.columns) values[column] = (value as JsonObject | null)?.[column] ?? null;
  }
  return { values, deleted, conflicts };
}

function current(rule: RegisterRule, { siblings }: Register): JsonValue {
  if (siblings.length === 0) return null;
  return siblings.length === 1 ? siblings[0]!.value : rule.resolver.resolve(siblings).winner.value;
}
