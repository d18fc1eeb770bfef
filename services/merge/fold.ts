import {
  ALL_WITHHELD,
  type Clips,
  clippedBasis,
  type JsonObject,
  type JsonValue,
  join,
  type OriginId,
  type Places,
  type Seq,
  TributaryError,
  type Vector,
  withDot,
} from "../core/index.ts";
import { askAround, UNKNOWN } from "./around.ts";
import { type Column, columnWords, normal } from "./columns.ts";
import {
  type Columns,
  DELETED,
  type DecidedRule,
  type ProjectedEvent,
  type Projection,
  RESOLVED,
  type RegisterRule,
  WITHHELD,
} from "./projection.ts";
import {
  type Author,
  applyKnowing,
  bySiblingOrder,
  contextAfter,
  type Register,
  reachOf,
  type Sibling,
  type Write,
} from "./register.ts";

import { countCovered, isContested, isOneOf, type Reason, type ResolveContext } from "./resolvers.ts";

/** An event as the fold takes it. */
export interface FoldEvent extends ProjectedEvent, Author {
  /** What counts as seen by its author: what the author claimed, as far as the hub's note does not clip it. */
  readonly basis: Vector;
  /** The origins whose part of the basis the note clips. Nobody waits for what a clipped basis names: it is what the log held, whatever it is about. */
  readonly clipped?: readonly OriginId[];
}

/** What an event's author counts as having seen: what the author claimed, as far as the hub's note does not clip it. All events with notes are folded with this. */
export const seenOf = (basis: Vector, clips: Clips | undefined): Pick<FoldEvent, "basis" | "clipped"> =>
  clips === undefined ? { basis } : { basis: clippedBasis(basis, clips), clipped: Object.keys(clips) as OriginId[] };

/** The entity's events by name: for each origin their numbers, ascending. */
export type Dots = Readonly<Record<OriginId, readonly Seq[]>>;

/** All that is known of one entity in one view: a function of the set of its events. */
export interface EntityState {
  /** By register. `<register>!` holds what was written by those who have the say over it. */
  readonly registers: Readonly<Record<string, Register>>;
  /** States of the registers that merge by themselves. */
  readonly merged: Readonly<Record<string, JsonValue>>;
  /** The writes to these that this replica may not see, by register; not there where there are none. */
  readonly unseen?: Readonly<Record<string, Dots>>;
  /** The last event of this entity known from each origin. */
  readonly seen: Vector;
  /** All that the known events' authors had seen. Beyond `seen`: parents that have not come yet. */
  readonly referred: Vector;
  /** Kept only where a rule counts what authors had seen. */
  readonly dots: Dots | null;
}

/** A contested register: who won, by which rule, against whom. */
export interface Decision {
  readonly register: string;
  readonly rule: string;
  readonly ruleVersion: number;
  readonly reason: Reason;
  /** What the row shows. */
  readonly value: JsonValue;
  readonly winner: Sibling;
  readonly losers: readonly Sibling[];
  /** A person is to decide. */
  readonly isOpen: boolean;
}

export interface Folded {
  readonly state: EntityState;
  /** Registers that this event wrote. */
  readonly written: readonly string[];
}

/** The name under which a state keeps what was written by those who have the say over a register. */
const ofAuthority = (register: string): string => `${register}!`;
/** The register to which a name in a state belongs. */
export const registerOf = (name: string): string => (name.endsWith("!") ? name.slice(0, -1) : name);

/**
 * The state after one more event; `null` when the event does not touch the view. Folding an event twice, or in any
 * order, changes nothing: it ends in the same state. `isLenient`: values that their column cannot hold are kept, and checked in the row that is shown (`foldAnew`).
 */
export function fold(
  projection: Projection,
  state: EntityState | undefined,
  event: FoldEvent,
  { isLenient = false }: { readonly isLenient?: boolean } = {},
): Folded | null {
  const writes = projection.writesOf(event, isLenient);
  if (writes === null) return null;
  const by: Author = {
    origin: event.origin,
    seq: event.seq,
    hlc: event.hlc,
    actor: event.actor,
    clockWrong: event.clockWrong,
    position: event.position,
    ...placesIn(projection, event.places),
  };
  const registers: Record<string, Register> = { ...state?.registers };
  let merged: Record<string, JsonValue> | null = null;
  let unseen = state?.unseen;
  // Most events write several registers whose contexts are one and the same object: one join serves them all.
  let lastContext: Vector | undefined;
  let lastJoined: Vector | undefined;
  const reach = reachOf({ by, basis: event.basis });
  const apply = (name: string, write: Write): void => {
    const old = registers[name];
    if (old === undefined) {
      registers[name] = applyKnowing(undefined, write, reach);
      return;
    }
    if (old.context !== lastContext || lastJoined === undefined) {
      lastContext = old.context;
      lastJoined = contextAfter(old, reach);
    }
    registers[name] = applyKnowing(old, write, lastJoined);
  };
  for (const [name, value] of writes) {
    const rule = projection.registers.get(name)!;
    if (rule.kind === "merged") {
      if (value === WITHHELD) {
        unseen = { ...unseen, [name]: noteDot(unseen?.[name] ?? {}, by) };
        continue;
      }
      if (unseen !== undefined) unseen = withoutDot(unseen, name, by);
      merged ??= { ...state?.merged };
      merged[name] = rule.crdt.join(merged[name], { by, basis: event.basis, value });
      continue;
    }
    const write = writeOf(rule, by, event, value);
    apply(name, write);
    if (rule.authority !== null && isOneOf(rule.authority, by)) apply(ofAuthority(name), write);
  }
  const after = {
    registers,
    merged: merged ?? state?.merged ?? NOTHING_MERGED,
    seen: withDot(state?.seen ?? {}, by),
    referred: referredBy(state, reach, event.clipped),
    dots: projection.keepsDots ? noteDot(state?.dots ?? {}, by) : null,
  };
  return { state: unseen === undefined ? after : { ...after, unseen }, written: [...writes.keys()] };
}

/** Of an event's places those that some rule of the view looks at. */
function placesIn({ orderHubs }: Projection, places: Places | undefined): Pick<Author, "places"> {
  if (places === undefined || orderHubs.size === 0) return {};
  const named = Object.entries(places).filter(([hub]) => orderHubs.has(hub));
  return named.length === 0 ? {} : { places: Object.fromEntries(named) };
}

function referredBy(state: EntityState | undefined, reach: Vector, clipped: FoldEvent["clipped"]): Vector {
  let awaited = reach;
  if (clipped !== undefined) {
    const rest: Record<OriginId, Seq> = { ...reach };
    for (const origin of clipped) delete rest[origin];
    awaited = rest;
  }
  return state === undefined ? awaited : join(state.referred, awaited);
}

const NOTHING_MERGED: EntityState["merged"] = Object.freeze({});

function writeOf({ resolver }: DecidedRule, by: Author, event: FoldEvent, given: JsonValue | typeof WITHHELD): Write {
  const { reads, needsHistory } = resolver;
  const value = given === WITHHELD ? null : given;
  const { withheld } = event;
  if (reads === undefined && needsHistory === undefined && withheld === undefined) return { by, value, basis: event.basis };
  // A person's decision has nothing of what rules look at: what is withheld of it are values.
  const lacks =
    reads !== undefined && withheld?.some((name) => name === ALL_WITHHELD || (event.type !== RESOLVED && reads.includes(name)));
  const read = reads === undefined ? undefined : Object.fromEntries(reads.map((name) => [name, event.data[name] ?? null]));
  return {
    by,
    value,
    basis: event.basis,
    keepsBasis: needsHistory === true,
    ...(read === undefined ? {} : { read }),
    ...(given === WITHHELD ? { withheld: true } : {}),
    ...(lacks === true ? { unread: true } : {}),
  };
}

function noteDot(dots: Dots, { origin, seq }: Author): Dots {
  const known = dots[origin] ?? [];
  if (known.includes(seq)) return dots;
  return { ...dots, [origin]: [...known, seq].sort((a, b) => a - b) };
}

/** The withheld writes without one that was opened; `undefined`: there are none any more. */
function withoutDot(unseen: NonNullable<EntityState["unseen"]>, register: string, by: Author): EntityState["unseen"] {
  const known = unseen[register]?.[by.origin];
  if (known?.includes(by.seq) !== true) return unseen;
  const { [register]: dots, ...others } = unseen;
  const { [by.origin]: _, ...rest } = dots!;
  const left = known.filter((seq) => seq !== by.seq);
  const now: Dots = left.length === 0 ? rest : { ...rest, [by.origin]: left };
  if (Object.keys(now).length > 0) return { ...others, [register]: now };
  return Object.keys(others).length === 0 ? undefined : others;
}

/**
 * A register's values that no other write covers. If some people have the say over the register, what others wrote never covers what those people
 * wrote: their values stand even against writers who had seen them.
 */
export function siblingsOf(rule: RegisterRule, state: EntityState): readonly Sibling[] {
  const all = state.registers[rule.name]?.siblings ?? NO_SIBLINGS;
  const having = rule.kind === "decided" && rule.authority !== null ? state.registers[ofAuthority(rule.name)] : undefined;
  if (having === undefined) return all;
  const missing = having.siblings.filter(
    ({ by }) => !all.some((other) => other.by.origin === by.origin && other.by.seq === by.seq),
  );
  return missing.length === 0 ? all : [...all, ...missing].sort(bySiblingOrder);
}
const NO_SIBLINGS: readonly Sibling[] = [];

const contextOf = ({ dots }: EntityState): ResolveContext => ({
  historyOf: ({ by, basis }) => (dots === null ? 0 : countCovered(dots, { ...basis, [by.origin]: (by.seq - 1) as Seq })),
});

/** Whether what a register shows follows from something that this replica may not see. Then no rule is asked. */
function isUnresolved(siblings: readonly Sibling[]): boolean {
  let lacksRead = false;
  for (const { withheld, unread } of siblings) {
    if (withheld === true) return true;
    if (unread === true) lacksRead = true;
  }
  // What a rule would look at does not matter where there is nothing to decide.
  return lacksRead && isContested(siblings);
}

/** Whether a register is unresolved, because a value in it that stands, or that merges into it, is withheld from this replica. */
export const isWithheld = (rule: RegisterRule, state: EntityState): boolean =>
  rule.kind === "merged" ? state.unseen?.[rule.name] !== undefined : isUnresolved(siblingsOf(rule, state));

/** The decision on a register, or null where there is nothing to decide, or what there is cannot be seen. */
export function decide(rule: RegisterRule, state: EntityState): Decision | null {
  if (rule.kind === "merged") return null;
  const siblings = siblingsOf(rule, state);
  if (isUnresolved(siblings) || !isContested(siblings)) return null;
  const { winner, reason, merged, isOpen } = rule.resolver.resolve(siblings, contextOf(state));
  return {
    register: rule.name,
    rule: rule.resolver.name,
    ruleVersion: rule.resolver.version,
    reason,
    value: merged === undefined ? winner.value : merged,
    winner,
    losers: siblings.filter((sibling) => sibling !== winner),
    isOpen: isOpen === true,
  };
}

/** All decisions that stand in an entity's state. */
export function decisionsOf(projection: Projection, state: EntityState): Decision[] {
  const out: Decision[] = [];
  for (const rule of projection.registers.values()) {
    const decision = decide(rule, state);
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

/** A view's row: its columns, and two facts about it. */
export interface Row {
  readonly values: JsonObject;
  readonly deleted: boolean;
  /** How many registers are contested. Of a register that is withheld nobody can tell. */
  readonly conflicts: number;
  /** Columns whose values this replica may not see, and `deleted` if that is one; they are `null` (and `false`) here. Not there where there are none. */
  readonly withheld?: readonly string[];
}

/** The row that a state shows: each register resolved by its rule. The columns that are derived from it are not included: see `rowWith`. */
export function rowOf(projection: Projection, state: EntityState): Row {
  const values: Record<string, JsonValue> = {};
  let deleted = false;
  let conflicts = 0;
  let withheld: string[] | undefined;
  for (const rule of projection.registers.values()) {
    if (rule.kind === "merged") {
      if (state.unseen?.[rule.name] !== undefined) {
        values[rule.name] = null;
        withheld = [...(withheld ?? []), rule.name];
        continue;
      }
      const merged = state.merged[rule.name];
      if (merged !== undefined && (rule.crdt.leftOut?.(merged).length ?? 0) > 0) conflicts++;
      values[rule.name] = merged === undefined ? null : fitting(projection, rule, rule.crdt.read(merged));
      continue;
    }
    const siblings = siblingsOf(rule, state);
    if (isUnresolved(siblings)) {
      for (const column of rule.columns) values[column] = null;
      withheld = [...(withheld ?? []), ...(rule.name === DELETED ? [DELETED] : rule.columns)];
      continue;
    }
    const contested = isContested(siblings);
    if (contested) conflicts++;
    // If all wrote the same value, it is shown as they wrote it: no rule is asked where there is nothing to decide.
    const value = contested ? decided(projection, rule, siblings, state) : (siblings[0]?.value ?? null);
    if (rule.name === DELETED) deleted = value === true;
    else if (rule.columns.length === 1 && rule.columns[0] === rule.name) values[rule.name] = value;
    else for (const column of rule.columns) values[column] = (value as JsonObject | null)?.[column] ?? null;
  }
  return withheld === undefined ? { values, deleted, conflicts } : { values, deleted, conflicts, withheld };
}

function decided(projection: Projection, rule: DecidedRule, siblings: readonly Sibling[], state: EntityState): JsonValue {
  const { winner, merged } = rule.resolver.resolve(siblings, contextOf(state));
  return merged === undefined ? winner.value : fitting(projection, rule, merged);
}

/** What a rule made of several values; it must fit its column, as each single value does. */
function fitting(projection: Projection, { name, columns }: RegisterRule, value: JsonValue): JsonValue {
  for (const column of columns) {
    const one = columns.length === 1 && column === name ? value : ((value as JsonObject | null)?.[column] ?? null);
    if (one !== null && !projection.columns[column]!.fits(one))
      throw misfit(`${projection.name}.${column}`, one, projection.columns[column]!);
  }
  return value;
}

/** All that a view shows of an entity: its row with the derived columns, and the rows of its further tables. */
export interface FullRow extends Row {
  readonly tables: Readonly<Record<string, readonly Readonly<Record<string, JsonValue>>[]>>;
  /** Tables whose rows follow from what this replica may not see; they are empty here. */
  readonly withheldTables?: readonly string[];
}

/** The full row. Throws `projection-failed` if a function of the declaration throws, or returns what its column cannot hold. */
export function rowWith(projection: Projection, id: string, state: EntityState): FullRow {
  const row = rowOf(projection, state);
  const derived = Object.entries(projection.derived);
  const tables = Object.entries(projection.tables);
  if (derived.length === 0 && tables.length === 0) return { ...row, tables: NO_TABLES };
  if (row.withheld !== undefined) return rowAround(projection, id, row, row.withheld);
  const seen = { ...row.values, id } as never;
  const values: Record<string, JsonValue> = { ...row.values };
  for (const [name, { column, of }] of derived) values[name] = derivedValue(`${projection.name}.${name}`, column, of(seen));
  return {
    ...row,
    values,
    tables: Object.fromEntries(
      tables.map(([name, { columns, rows }]) => [
        name,
        row.deleted ? [] : rows(seen).map((child) => checkChild(`${projection.name}_${name}`, columns, child)),
      ]),
    ),
  };
}

function derivedValue(where: string, column: Column, made: JsonValue | undefined): JsonValue {
  const value = made ?? null;
  if (value !== null && !column.fits(value)) throw misfit(where, value, column);
  return normal(column, value);
}

/** The full row around columns that are withheld: whatever looks at one of these is withheld too. */
function rowAround(projection: Projection, id: string, row: Row, withheld: readonly string[]): FullRow {
  const values: Record<string, JsonValue> = { ...row.values };
  const hidden = [...withheld];
  for (const [name, { column, of }] of Object.entries(projection.derived)) {
    const made = askAround(id, row, (seen) => derivedValue(`${projection.name}.${name}`, column, of(seen)));
    values[name] = made === UNKNOWN ? null : made;
    if (made === UNKNOWN) hidden.push(name);
  }
  const tables: Record<string, FullRow["tables"][string]> = {};
  const hiddenTables: string[] = [];
  for (const [name, { columns, rows }] of Object.entries(projection.tables)) {
    const made = withheld.includes(DELETED)
      ? UNKNOWN
      : row.deleted
        ? []
        : askAround(id, row, (seen) => rows(seen).map((child) => checkChild(`${projection.name}_${name}`, columns, child)));
    tables[name] = made === UNKNOWN ? [] : made;
    if (made === UNKNOWN) hiddenTables.push(name);
  }
  return { ...row, values, tables, withheld: hidden, ...(hiddenTables.length === 0 ? {} : { withheldTables: hiddenTables }) };
}
const NO_TABLES: FullRow["tables"] = Object.freeze({});

/** Throws `projection-failed` if a row shows what its columns cannot hold, as a state that was folded leniently may. */
export function checkRow({ name, columns }: Projection, { values }: Row): void {
  for (const column in columns) {
    const value = values[column] ?? null;
    if (value !== null && !columns[column]!.fits(value)) throw misfit(`${name}.${column}`, value, columns[column]!);
  }
}

function checkChild(
  table: string,
  columns: Columns,
  row: Readonly<Record<string, JsonValue>>,
): Readonly<Record<string, JsonValue>> {
  for (const name in row) {
    const value = row[name] ?? null;
    const column = Object.hasOwn(columns, name) ? columns[name]! : null;
    if (column === null) throw misfit(`${table}.${name}`, value, null);
    if (value !== null && !column.fits(value)) throw misfit(`${table}.${name}`, value, column);
  }
  return row;
}

const misfit = (where: string, value: JsonValue, column: Column | null): TributaryError =>
  new TributaryError(
    "projection-failed",
    `${JSON.stringify(value).slice(0, 80)} does not fit ${where}, ${column === null ? "a missing column" : columnWords(column)}`,
    "Correct the projection, then `tributary parked retry`.",
  );
