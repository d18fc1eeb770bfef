import {
  ALL_WITHHELD,
  copiedInto,
  followWithheld,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  RESOLVED,
  TributaryError,
} from "../core/index.ts";
import { type Column, columnWords, digestName, normal } from "./columns.ts";
import type { Crdt } from "./crdt.ts";
import { checkNames, checkStoreColumn, DELETED, MAX_TABLE_NAME, malformed, NAME, RECORD } from "./names.ts";
import { authorityOf, lastWriteWins, type Resolver, settingsOf, type Who } from "./resolvers.ts";

export { checkNames, DELETED, malformed, RECORD, SYSTEM_COLUMNS } from "./names.ts";
export { RESOLVED };

export type Columns = Readonly<Record<string, Column>>;
/** The values that an event writes, by column. Only columns that are named are written; `null` clears one. A value that its column cannot hold is refused when it is folded. */
export type Values = Readonly<Record<string, JsonValue | undefined>>;
/** A row as the view's own functions see it: every column, `null` where nothing is known. */
export type RowOf<C extends Columns> = { readonly [K in keyof C]: (C[K] extends Column<infer T> ? T : never) | null } & {
  readonly id: string;
};

/** What a projection's rule sees of an event: its data in the newest version of its schema. */
export interface ProjectedEvent {
  readonly type: string;
  readonly data: JsonObject;
  /** Members that the event has and this replica may not see; they are not in `data`. None, if it is not there. */
  readonly withheld?: readonly string[];
  readonly entity: { readonly type: string; readonly id: string };
  readonly actor: string;
  readonly occurredAt: string;
  readonly site: string;
}

/** What an event writes into a register whose value this replica may not see. No JSON is equal to it. */
export const WITHHELD = Symbol("withheld");
/** The register values that an event writes. */
export type Writes = ReadonlyMap<string, JsonValue | typeof WITHHELD>;

export type EventRule =
  | { readonly kind: "set"; readonly columns: readonly string[] }
  | { readonly kind: "map"; readonly map: (event: ProjectedEvent) => Values }
  | { readonly kind: "remove" };

/** Writes the columns named like the data's members: the listed ones, or all that the data has. */
export const set = (...columns: string[]): EventRule => ({ kind: "set", columns });
/** Writes what `map` returns. */
export const map = (map: (event: ProjectedEvent) => Values): EventRule => ({ kind: "map", map });
/** Marks the entity as deleted. Any other event says that the entity exists, so one whose author had seen the removal creates it again. */
export const remove = (): EventRule => ({ kind: "remove" });

/** A column that follows from the row, computed again whenever the row changes. */
export interface Derived<C extends Columns = Columns> {
  readonly column: Column;
  readonly of: (row: RowOf<C>) => JsonValue;
}

/** Many rows for one entity, in a table of their own: `views.<view>_<name>` with the entity's id in `id` and a running number in `n`. */
export interface Many<C extends Columns = Columns> {
  readonly columns: Columns;
  readonly rows: (row: RowOf<C>) => readonly Readonly<Record<string, JsonValue>>[];
}

/**
 * What must hold, and what no merge of single entities can keep. Checked after the fold: a violation is a case for people, with all events
 * involved. Nothing is undone.
 */
export type Invariant<C extends Columns = Columns> =
  /** At most so many entities that are not deleted may share a key; `null`: the entity has no key. `says` describes a violation. */
  | { readonly atMost: number; readonly says: string; readonly key: (row: RowOf<C>) => JsonValue }
  /** Checks each row by itself: what is wrong with it, or `null`. */
  | { readonly problem: (row: RowOf<C>) => string | null };

/** The declaration of a view: one file in `projections/`, `export default defineProjection({ … })`. */
export interface Declaration<C extends Columns> {
  /** The view's name, and its table's. */
  readonly name: string;
  /** Rows are entities of this type. */
  readonly entity: string;
  readonly columns: C;
  /** Columns that change together: an event that writes one column of a group writes all of them, and those that it does not name become null. */
  readonly groups?: Readonly<Record<string, readonly (keyof NoInfer<C> & string)[]>>;
  /** The record is one register, `record`: of two concurrent events, one wins with all its values. For events that carry the whole record. */
  readonly whole?: boolean;
  /** The rule of each register (a column or group, by name), of `deleted`, and of all `others`. Default: the later write wins. */
  readonly resolve?: Readonly<Record<string, Resolver | Crdt>>;
  /**
   * Who has the say over a register. Others may write it, but never replace what these people wrote, whatever the others had seen; the others'
   * value then stands beside it as one that lost, with the reason.
   */
  readonly authority?: Readonly<Record<string, Who>>;
  readonly derive?: Readonly<Record<string, Derived<NoInfer<C>>>>;
  readonly tables?: Readonly<Record<string, Many<NoInfer<C>>>>;
  readonly invariants?: Readonly<Record<string, Invariant<NoInfer<C>>>>;
  /** Whom to tell of conflicts on a register, of violations of an invariant, and of all `others`, as named in the hub's notification settings. */
  readonly notify?: Readonly<Record<string, readonly string[]>>;
  /** What each event type writes. Types not named here do not touch the view; `conflict.resolved` always does. */
  readonly events: Readonly<Record<string, EventRule>>;
  /** Whether each row's past is kept, to read the view as of a position. Default: yes. */
  readonly history?: boolean;
  /**
   * The columns whose values say which bucket an entity is in, and so which sites may hold it: columns, or derived ones for ranges such as a month. One
   * view of an entity type may say so.
   */
  readonly scopeBy?: readonly string[];
  /** The view is not folded on devices, which may lack entities that it counts or compares. */
  readonly hubOnly?: boolean;
}

interface RegisterBase {
  readonly name: string;
  readonly columns: readonly string[];
}
/** A register whose concurrent values stand side by side until a rule or a person decides. */
export interface DecidedRule extends RegisterBase {
  readonly kind: "decided";
  readonly resolver: Resolver;
  /** Who has the say, if not everybody has it. */
  readonly authority: Who | null;
}
/** A register that merges by itself. */
export interface MergedRule extends RegisterBase {
  readonly kind: "merged";
  readonly crdt: Crdt;
}
export type RegisterRule = DecidedRule | MergedRule;

/** A checked declaration, ready to fold. */
export interface Projection {
  readonly kind: "entity";
  readonly name: string;
  readonly entity: string;
  /** Columns that events write. */
  readonly columns: Columns;
  readonly derived: Readonly<Record<string, Derived>>;
  readonly tables: Readonly<Record<string, Many>>;
  readonly invariants: Readonly<Record<string, Invariant>>;
  readonly registers: ReadonlyMap<string, RegisterRule>;
  readonly eventTypes: ReadonlySet<string>;
  /** Whether some rule counts what authors had seen: states then keep the entity's events by name. */
  readonly keepsDots: boolean;
  /** The hubs in whose orders its rules look, by the ids of their logs' first incarnations. Empty: they look in the home hub's only, or in none. */
  readonly orderHubs: ReadonlySet<string>;
  readonly keepsHistory: boolean;
  /** The columns that say which bucket an entity is in. `null`: this view does not say. */
  readonly scopeBy: readonly string[] | null;
  readonly hubOnly: boolean;
  /** Whom to tell of a register or an invariant. */
  notified(name: string): readonly string[];
  /** What an event writes, by column, as the declaration says it; `null` when it does not touch this view. Nothing is checked. */
  valuesOf(event: ProjectedEvent): Values | null;
  /**
   * The register values that an event writes; `null` when it does not touch this view. Throws `event-invalid` on a misfit; `isLenient` lets a value that its
   * column cannot hold stand in its register, for a caller that checks the row in the end.
   */
  writesOf(event: ProjectedEvent, isLenient?: boolean): Writes | null;
  /** The columns into which an event of a type may write what follows from these members of its data, whatever else it says. */
  columnsFrom(type: string, members: readonly string[]): readonly string[];
  /** Everything whose change makes it necessary to build the view again: registers, rules, and the text of the declaration's functions. */
  readonly shape: JsonValue;
}

const isCrdt = (rule: Resolver | Crdt): rule is Crdt => "join" in rule;

/** Checks a declaration and makes it a projection. Throws `projection-malformed`, naming what is wrong. */
export function defineProjection<const C extends Columns>(declared: Declaration<C>): Projection {
  checkMembers(declared);
  const registers = registersOf(declared, Object.keys(declared.columns), (problem) => malformed(declared.name, problem));
  checkTargets(declared, registers);
  checkScope(declared, registers);
  checkEvents(declared);
  const writing: Writing = {
    view: declared.name,
    columns: declared.columns,
    events: declared.events,
    ruleOf: new Map([...registers.values()].flatMap((rule) => rule.columns.map((column) => [column, rule]))),
  };
  return {
    kind: "entity",
    name: declared.name,
    entity: declared.entity,
    columns: declared.columns,
    derived: (declared.derive ?? {}) as unknown as Readonly<Record<string, Derived>>,
    tables: (declared.tables ?? {}) as unknown as Readonly<Record<string, Many>>,
    invariants: (declared.invariants ?? {}) as unknown as Readonly<Record<string, Invariant>>,
    registers,
    eventTypes: new Set([...Object.keys(declared.events), RESOLVED]),
    keepsDots: [...registers.values()].some((rule) => rule.kind === "decided" && rule.resolver.needsHistory === true),
    orderHubs: new Set([...registers.values()].flatMap((rule) => hubOf(rule) ?? [])),
    keepsHistory: declared.history !== false,
    scopeBy: declared.scopeBy ?? null,
    hubOnly: declared.hubOnly === true,
    shape: shapeOf(declared, registers),
    notified: (name) => declared.notify?.[name] ?? declared.notify?.others ?? [],
    columnsFrom: (type, members) => columnsFrom(writing, type, members),
    valuesOf: (event) => (event.entity.type === declared.entity ? valuesOf(declared.events, event) : null),
    writesOf: (event, isLenient = false) => (event.entity.type === declared.entity ? writesOf(writing, event, isLenient) : null),
  };
}

const hubOf = (rule: RegisterRule): string | undefined => (rule.kind === "decided" ? rule.resolver : rule.crdt).hub;

/** Checks names, and what each derived column, table and invariant says of itself. */
function checkMembers<C extends Columns>(declared: Declaration<C>): void {
  const { name: view, columns, derive = {}, groups = {}, tables = {}, invariants = {} } = declared;
  const columnNames = Object.keys(columns);
  checkNames(
    view,
    [...columnNames, ...Object.keys(derive)],
    [...Object.keys(groups), ...Object.keys(tables), ...Object.keys(invariants)],
  );
  for (const name of Object.keys(derive))
    if (columnNames.includes(name)) throw malformed(view, `column ${name} is both written by events and derived`);
  for (const [name, table] of Object.entries(tables)) {
    const whole = `${view}_${name}`;
    if (whole.length > MAX_TABLE_NAME)
      throw malformed(
        view,
        `its table ${name} would be called ${whole}, which has ${whole.length} letters: PostgreSQL tells tables apart by ${MAX_TABLE_NAME}; shorten one of the two names`,
      );
    for (const column of Object.keys(table.columns)) {
      if (!NAME.test(column) || column === "id" || column === "n")
        throw malformed(view, `table ${name} cannot have a column ${JSON.stringify(column)}`);
      checkStoreColumn(view, column);
    }
  }
  for (const [name, invariant] of Object.entries(invariants))
    if ("atMost" in invariant && !(Number.isInteger(invariant.atMost) && invariant.atMost >= 1))
      throw malformed(view, `invariant ${name} allows at most ${invariant.atMost}: it needs a whole number of 1 or more`);
}

/** Checks that what people are to be told of exists. */
function checkTargets<C extends Columns>(
  { name: view, notify = {}, invariants = {} }: Declaration<C>,
  registers: ReadonlyMap<string, RegisterRule>,
): void {
  for (const name of Object.keys(notify))
    if (name !== "others" && !registers.has(name) && !Object.hasOwn(invariants, name))
      throw malformed(view, `it notifies of ${name}, which is neither a register nor an invariant`);
}

/** What a scope is made of has few values, each with one form. */
const SCOPE_TYPES: readonly string[] = ["text", "integer", "boolean", "date"];
/** More columns would make buckets of single entities. */
const MAX_SCOPE_COLUMNS = 4;

function checkScope<C extends Columns>(
  { name: view, columns, derive = {}, scopeBy }: Declaration<C>,
  registers: ReadonlyMap<string, RegisterRule>,
): void {
  if (scopeBy === undefined) return;
  if (scopeBy.length === 0 || scopeBy.length > MAX_SCOPE_COLUMNS)
    throw malformed(view, `scopeBy names ${scopeBy.length} columns: it needs 1 to ${MAX_SCOPE_COLUMNS}`);
  if (new Set(scopeBy).size < scopeBy.length) throw malformed(view, "scopeBy names a column twice");
  for (const name of scopeBy) {
    const column = Object.hasOwn(columns, name) ? columns[name] : Object.hasOwn(derive, name) ? derive[name]!.column : undefined;
    if (column === undefined) throw malformed(view, `scopeBy names a column ${name} that is not declared`);
    if (registers.get(name)?.kind === "merged")
      throw malformed(view, `scopeBy names ${name}, which merges by itself: a bucket needs one value that was decided`);
    if (!SCOPE_TYPES.includes(column.type))
      throw malformed(
        view,
        `scopeBy names ${name}, which is ${columnWords(column)}: a scope is made of ${SCOPE_TYPES.join(", ")} columns`,
      );
  }
}

function checkEvents<C extends Columns>({ name: view, columns, events }: Declaration<C>): void {
  const rules = Object.entries(events);
  if (rules.length === 0) throw malformed(view, "no event writes it");
  for (const [type, rule] of rules) {
    if (type === RESOLVED) throw malformed(view, `${RESOLVED} already has a meaning in every view`);
    if (rule.kind !== "set") continue;
    for (const name of rule.columns)
      if (!Object.keys(columns).includes(name)) throw malformed(view, `${type} sets a column ${name} that is not declared`);
  }
}

/** What determines a view's writes. */
interface Writing {
  readonly view: string;
  readonly columns: Columns;
  readonly events: Readonly<Record<string, EventRule>>;
  /** By column. */
  readonly ruleOf: ReadonlyMap<string, RegisterRule>;
}

function valuesOf(events: Writing["events"], event: ProjectedEvent): Values | null {
  if (event.type === RESOLVED) return isJsonObject(event.data.values ?? null) ? (event.data.values as JsonObject) : {};
  const rule = Object.hasOwn(events, event.type) ? events[event.type]! : null;
  if (rule === null) return null;
  if (rule.kind === "remove") return {};
  if (rule.kind === "map") return rule.map(event);
  if (rule.columns.length === 0) return event.data;
  return Object.fromEntries(rule.columns.map((name) => [name, event.data[name]]));
}

/** What an event says about whether the entity exists; `undefined`: nothing. */
function deletedBy(events: Writing["events"], event: ProjectedEvent): boolean | undefined {
  if (event.type !== RESOLVED) return events[event.type]!.kind === "remove";
  return typeof event.data.deleted === "boolean" ? event.data.deleted : undefined;
}

/** What an event with withheld members writes: the values that do not follow from these, and the columns whose values may. */
function openValuesOf(
  { columns, events }: Writing,
  event: ProjectedEvent,
  withheld: readonly string[],
): { readonly values: Values; readonly hidden: readonly string[] } | null {
  const rule = event.type === RESOLVED ? null : events[event.type]!;
  const all = withheld.includes(ALL_WITHHELD);
  if (rule?.kind !== "map") {
    const values = valuesOf(events, event);
    const named = rule?.kind === "set" && rule.columns.length > 0 ? rule.columns : Object.keys(columns);
    return values === null ? null : { values, hidden: all ? named : named.filter((name) => withheld.includes(name)) };
  }
  const { withheld: _, ...plain } = event;
  const followed = followWithheld((data) => rule.map({ ...plain, data }), { data: event.data, withheld }, String(rule.map));
  if (followed.kind === "unknown") return { values: {}, hidden: Object.keys(columns) };
  return { values: followed.result as Values, hidden: followed.kind === "same" ? [] : followed.withheld };
}

/** The columns into which an event of a type may write what follows from members of its data. No event is at hand, so a `map` is believed only if it does nothing but copy. */
function columnsFrom({ columns, events }: Writing, type: string, members: readonly string[]): readonly string[] {
  const all = Object.keys(columns);
  const rule = type === RESOLVED ? set() : Object.hasOwn(events, type) ? events[type]! : null;
  if (rule === null || rule.kind === "remove" || members.length === 0) return [];
  if (rule.kind === "map") {
    const { map } = rule;
    const event = { type, entity: { type: "", id: "" }, actor: "", occurredAt: "", site: "" };
    const handed = copiedInto((data) => map({ ...event, data }), members, String(map));
    return handed === null ? all : all.filter((name) => handed.includes(name));
  }
  const named = rule.columns.length > 0 ? rule.columns : all;
  return members.includes(ALL_WITHHELD) ? named : named.filter((name) => members.includes(name));
}

/** Whether an event may lack members that a view's rule looks at. Asked only where the view takes events of its type: its data need not be readable otherwise. */
function withheldOf(events: Writing["events"], event: ProjectedEvent): readonly string[] | null {
  const rule = event.type === RESOLVED ? null : Object.hasOwn(events, event.type) ? events[event.type]! : undefined;
  if (rule === undefined || rule?.kind === "remove") return null;
  const { withheld } = event;
  return withheld === undefined || withheld.length === 0 ? null : withheld;
}

function writesOf(writing: Writing, event: ProjectedEvent, isLenient: boolean): Writes | null {
  const { columns, events, ruleOf } = writing;
  const withheld = withheldOf(events, event);
  const open = withheld === null ? null : openValuesOf(writing, event, withheld);
  const values = withheld === null ? valuesOf(events, event) : (open?.values ?? null);
  if (values === null) return null;
  const misfit = (name: string, value: JsonValue, what: string): TributaryError =>
    new TributaryError(
      "event-invalid",
      `${event.type} writes ${JSON.stringify(value).slice(0, 80)} into ${writing.view}.${name}, ${what}`,
      "Correct the projection's rule or its column's type.",
    );
  const fits = (member: string): boolean => values[member] == null || columns[member]!.fits(values[member]);
  const kept = (member: string): JsonValue =>
    isLenient && !fits(member) ? values[member]! : normal(columns[member]!, values[member] ?? null);
  const writes = new Map<string, JsonValue | typeof WITHHELD>();
  for (const name in values) {
    const value = values[name];
    const column = Object.hasOwn(columns, name) ? columns[name] : undefined;
    if (value === undefined || column === undefined) continue;
    const rule = ruleOf.get(name)!;
    if (rule.kind === "merged") {
      const problem = rule.crdt.problem(value);
      if (problem !== null && event.type === RESOLVED) continue;
      if (problem !== null) throw misfit(name, value, `a ${rule.crdt.name}: ${problem}`);
      writes.set(name, value);
      continue;
    }
    // A decision from before the gate checked decisions must not stop the entity: no correction could take it back.
    if (event.type === RESOLVED && !(fits(name) && rule.columns.every(fits))) continue;
    if (!isLenient && !fits(name)) throw misfit(name, value, columnWords(column));
    if (rule.name === name) writes.set(name, kept(name));
    else if (!writes.has(rule.name))
      writes.set(rule.name, Object.fromEntries(rule.columns.map((member) => [member, kept(member)])));
  }
  // A group is one value: it is withheld as a whole.
  for (const name of open?.hidden ?? []) if (Object.hasOwn(columns, name)) writes.set(ruleOf.get(name)!.name, WITHHELD);
  const deleted = deletedBy(events, event);
  if (deleted !== undefined) writes.set(DELETED, deleted);
  return writes.size === 0 ? null : writes;
}

function registersOf<C extends Columns>(
  declared: Declaration<C>,
  columnNames: readonly string[],
  wrong: (problem: string) => TributaryError,
): Map<string, RegisterRule> {
  const registers = new Map<string, RegisterRule>();
  const taken = new Set<string>();
  const ruleOf = (name: string, columns: readonly string[]): RegisterRule => {
    // `others` speaks of values only; whether an entity exists is a question of its own.
    const declaredRule = declared.resolve?.[name] ?? (name === DELETED ? undefined : declared.resolve?.others) ?? lastWriteWins;
    const authority = declared.authority?.[name] ?? null;
    if (isCrdt(declaredRule)) {
      if (columns.length !== 1 || columns[0] !== name)
        throw wrong(`${name} cannot merge by ${declaredRule.name}: only a single column can`);
      if (!declaredRule.columns.includes(declared.columns[name]!.type))
        throw wrong(`${name} merges by ${declaredRule.name}, which ${columnWords(declared.columns[name]!)} cannot show`);
      if (authority !== null) throw wrong(`${name} merges all that is written, so nobody can have the say over it`);
      return { kind: "merged", name, columns, crdt: declaredRule };
    }
    const isJson = columns.length === 1 && columns[0] === name && declared.columns[name]!.type === "json";
    if (declaredRule.onlyFor === "json" && !isJson)
      throw wrong(`${name} cannot be decided by ${declaredRule.name}: only a json() column can`);
    if (declaredRule.onlyFor === "deleted" && name !== DELETED)
      throw wrong(`${name} cannot be decided by ${declaredRule.name}: only ${DELETED} can`);
    const resolver = authority === null ? declaredRule : authorityOf(authority, declaredRule);
    return { kind: "decided", name, columns, resolver, authority };
  };
  const groups: Record<string, readonly string[]> = { ...declared.groups };
  for (const [group, members] of Object.entries(groups)) {
    if (columnNames.includes(group) || group === DELETED || group === RECORD)
      throw wrong(`group ${group} has the name of a column`);
    if (members.length < 2) throw wrong(`group ${group} needs two columns or more`);
    for (const member of members) {
      if (!columnNames.includes(member)) throw wrong(`group ${group} names a column ${member} that is not declared`);
      if (taken.has(member)) throw wrong(`column ${member} is in two groups`);
      taken.add(member);
    }
    registers.set(group, ruleOf(group, members));
  }
  const alone = columnNames.filter((name) => !taken.has(name));
  if (declared.whole === true) {
    if (taken.size > 0) throw wrong("a record that changes as a whole cannot have groups");
    if (columnNames.includes(RECORD)) throw wrong(`a record that changes as a whole cannot have a column ${RECORD}`);
    registers.set(RECORD, ruleOf(RECORD, alone));
  } else for (const name of alone) registers.set(name, ruleOf(name, [name]));
  registers.set(DELETED, ruleOf(DELETED, []));
  for (const [what, names] of [
    ["a resolver", declared.resolve],
    ["an authority", declared.authority],
  ] as const) {
    for (const name of Object.keys(names ?? {}))
      if (!(name === "others" && what === "a resolver") && !registers.has(name))
        throw wrong(`it declares ${what} for ${name}, which is not a register`);
  }
  return registers;
}

/** A function's text. What it calls elsewhere is not part of it. */
const textOf = (f: unknown): string => String(f);
const columnShape = (columns: Columns): JsonValue =>
  Object.entries(columns).map(([name, column]) => [name, digestName(column), column.index]);

function shapeOf<C extends Columns>(declared: Declaration<C>, registers: ReadonlyMap<string, RegisterRule>): JsonValue {
  return [
    declared.entity,
    columnShape(declared.columns),
    [...registers.values()].map((rule) => [
      rule.name,
      [...rule.columns],
      rule.kind === "decided" ? settingsOf(rule.resolver) : [rule.crdt.name, rule.crdt.version],
      rule.kind === "decided" ? (rule.authority as JsonValue) : null,
    ]),
    Object.entries(declared.events)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([type, rule]) => [
        type,
        rule.kind,
        rule.kind === "set" ? [...rule.columns] : rule.kind === "map" ? textOf(rule.map) : null,
      ]),
    Object.entries(declared.derive ?? {}).map(([name, { column, of }]) => [name, digestName(column), column.index, textOf(of)]),
    Object.entries(declared.tables ?? {}).map(([name, { columns, rows }]) => [name, columnShape(columns), textOf(rows)]),
    Object.entries(declared.invariants ?? {}).map(([name, invariant]) =>
      "atMost" in invariant ? [name, invariant.atMost, invariant.says, textOf(invariant.key)] : [name, textOf(invariant.problem)],
    ),
    declared.history !== false,
    // Only where it is said: views that say nothing need not be built again.
    ...(declared.scopeBy === undefined ? [] : [["scopeBy", ...declared.scopeBy]]),
  ];
}
