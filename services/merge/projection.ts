import { type JsonObject, type JsonValue, TributaryError } from "../core/index.ts";
import type { Column } from "./columns.ts";
import { lastWriteWins, type Resolver } from "./resolvers.ts";

export type Columns = Readonly<Record<string, Column>>;
/** The values that an event may write: only what it names is written; `null` clears. */
export type Values<C extends Columns> = { readonly [K in keyof C]?: (C[K] extends Column<infer T> ? T : never) | null };

/** What a projection's rule sees of an event: its data in the newest version of its schema. */
export interface ProjectedEvent {
  readonly type: string;
  readonly data: JsonObject;
  readonly entity: { readonly type: string; readonly id: string };
  readonly actor: string;
  readonly occurredAt: string;
  readonly site: string;
}

export type EventRule<C extends Columns> =
  | { readonly kind: "set"; readonly columns: readonly (keyof C & string)[] }
  | { readonly kind: "map"; map(event: ProjectedEvent): Values<C> }
  | { readonly kind: "remove" };

/** Writes the columns named like the data's members; all that the data has, unless columns are listed. */
export const set = <C extends Columns>(...columns: (keyof C & string)[]): EventRule<C> => ({ kind: "set", columns });
/** Writes what `map` returns. */
export const map = <C extends Columns>(map: (event: ProjectedEvent) => Values<C>): EventRule<C> => ({ kind: "map", map });
/** Marks the entity deleted. Any other event, concurrent or later, speaks for its being there. */
export const remove = (): EventRule<never> => ({ kind: "remove" });

/** The declaration of a view: one file in `projections/`, `export default defineProjection({ … })`. */
export interface Declaration<C extends Columns> {
  /** The view's name, and its table's. */
  readonly name: string;
  /** Rows are entities of this type. */
  readonly entity: string;
  readonly columns: C;
  /** Columns that change together: an event that writes one of a group writes all; those it does not name become null. */
  readonly groups?: Readonly<Record<string, readonly (keyof C & string)[]>>;
  /** The resolver of each register (a column or group by name), of `deleted`, and of all `others`. */
  readonly resolve?: Readonly<Record<string, Resolver>>;
  /** What each event type writes. Types not named here do not touch the view. */
  readonly events: Readonly<Record<string, EventRule<C>>>;
}

export interface RegisterRule {
  readonly name: string;
  readonly columns: readonly string[];
  readonly resolver: Resolver;
}

/** A checked declaration, ready to fold. */
export interface Projection {
  readonly name: string;
  readonly entity: string;
  readonly columns: Columns;
  readonly registers: ReadonlyMap<string, RegisterRule>;
  readonly eventTypes: ReadonlySet<string>;
  /** The register values that an event writes; `null` when it does not touch this view. Throws `event-invalid` on a misfit. */
  writesOf(event: ProjectedEvent): ReadonlyMap<string, JsonValue> | null;
}

/** The register that says whether an entity is deleted. */
export const DELETED = "deleted";
const NAME = /^[a-z][a-z0-9_]{0,50}$/;
/** Columns that every view has; a declaration cannot use these names. */
export const SYSTEM_COLUMNS = [
  "id",
  DELETED,
  "conflicts",
  "waiting_for",
  "events",
  "first_position",
  "last_position",
  "last_changed",
  "state",
];

/** Checks a declaration and makes it a projection. Throws `projection-malformed`, naming what is wrong. */
export function defineProjection<const C extends Columns>(declared: Declaration<C>): Projection {
  const wrong = (problem: string): TributaryError =>
    new TributaryError(
      "projection-malformed",
      `projection ${declared.name}: ${problem}`,
      "Correct its file in projections/ and start again.",
    );
  const columnNames = Object.keys(declared.columns);
  for (const name of [declared.name, ...columnNames, ...Object.keys(declared.groups ?? {})]) {
    if (!NAME.test(name)) throw wrong(`${JSON.stringify(name)} is no name (lower-case letters, digits, _; at most 51)`);
  }
  for (const name of columnNames) if (SYSTEM_COLUMNS.includes(name)) throw wrong(`every view has a column ${name} already`);

  const registers = new Map<string, RegisterRule>();
  const registerOf = new Map<string, string>();
  const resolverOf = (name: string): Resolver => declared.resolve?.[name] ?? declared.resolve?.others ?? lastWriteWins;
  for (const [group, members] of Object.entries(declared.groups ?? {})) {
    if (columnNames.includes(group) || group === DELETED) throw wrong(`group ${group} has the name of a column`);
    if (members.length < 2) throw wrong(`group ${group} needs two columns or more`);
    for (const member of members) {
      if (!columnNames.includes(member)) throw wrong(`group ${group} names a column ${member} that is not declared`);
      if (registerOf.has(member)) throw wrong(`column ${member} is in two groups`);
      registerOf.set(member, group);
    }
    registers.set(group, { name: group, columns: members, resolver: resolverOf(group) });
  }
  for (const name of columnNames) {
    if (registerOf.has(name)) continue;
    registerOf.set(name, name);
    registers.set(name, { name, columns: [name], resolver: resolverOf(name) });
  }
  registers.set(DELETED, { name: DELETED, columns: [], resolver: resolverOf(DELETED) });
  for (const name of Object.keys(declared.resolve ?? {})) {
    if (name !== "others" && !registers.has(name)) throw wrong(`it declares a resolver for ${name}, which is no register`);
  }
  const rules = Object.entries(declared.events);
  if (rules.length === 0) throw wrong("no event writes it");
  for (const [type, rule] of rules) {
    if (rule.kind !== "set") continue;
    for (const name of rule.columns)
      if (!columnNames.includes(name)) throw wrong(`${type} sets a column ${name} that is not declared`);
  }

  const valuesOf = (rule: EventRule<C>, event: ProjectedEvent): Readonly<Record<string, JsonValue | undefined>> => {
    if (rule.kind === "remove") return {};
    if (rule.kind === "map") return rule.map(event) as Record<string, JsonValue | undefined>;
    if (rule.columns.length === 0) return event.data;
    return Object.fromEntries(rule.columns.map((name) => [name, event.data[name]]));
  };

  return {
    name: declared.name,
    entity: declared.entity,
    columns: declared.columns,
    registers,
    eventTypes: new Set(Object.keys(declared.events)),
    writesOf(event) {
      if (event.entity.type !== declared.entity) return null;
      const rule = declared.events[event.type];
      if (rule === undefined) return null;
      const values = valuesOf(rule, event);
      const writes = new Map<string, JsonValue>();
      for (const name in values) {
        const value = values[name];
        const column = declared.columns[name];
        if (value === undefined || column === undefined) continue;
        if (value !== null && !column.fits(value)) {
          throw new TributaryError(
            "event-invalid",
            `${event.type} writes ${JSON.stringify(value).slice(0, 80)} into ${declared.name}.${name}, a ${column.sql} column`,
            "Correct the projection's rule or its column's type.",
          );
        }
        const register = registerOf.get(name)!;
        if (register === name) {
          writes.set(name, value);
        } else if (!writes.has(register)) {
          const { columns } = registers.get(register)!;
          writes.set(register, Object.fromEntries(columns.map((member) => [member, values[member] ?? null])));
        }
      }
      writes.set(DELETED, rule.kind === "remove");
      return writes;
    },
  };
}
