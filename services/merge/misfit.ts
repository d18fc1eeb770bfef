import {
  type EventBody,
  type Hlc,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  type OriginId,
  partsOf,
  RESOLVED,
  type SchemaRef,
  type Seq,
} from "../core/index.ts";
import { type Column, whyNot } from "./columns.ts";
import type { MergedRule, ProjectedEvent, Projection } from "./projection.ts";
import type { Author } from "./register.ts";
import { entityViews, type View } from "./views.ts";

/** A value that an event would write, but that its column cannot hold. */
export interface Misfit {
  readonly view: string;
  readonly column: string;
  /** A message for the writer: the field, the value, what is wrong with it, and which view needs something else. */
  readonly message: string;
  /** JSON pointer into the event's data; `null` where no single member can be named. */
  readonly path: string | null;
}

/**
 * Finds what some view's columns cannot hold of an event. The door and the device use it, so that what could never be shown is found where it is written.
 * Looks at what each declaration writes, and at nothing that depends on other events. If a declaration throws for reasons of its own, that is not a
 * misfit: the fold parks such an entity.
 */
export function misfitFinder(views: readonly View[]): (event: ProjectedEvent) => Misfit | null {
  const byEntity = new Map<string, Checked[]>();
  for (const view of entityViews(views)) {
    const merged = [...view.registers.values()].filter((rule): rule is MergedRule => rule.kind === "merged");
    const checked: Checked = { view, merged: new Map(merged.map((rule) => [rule.name, rule])) };
    byEntity.set(view.entity, [...(byEntity.get(view.entity) ?? []), checked]);
  }
  return (event) => {
    const mine = byEntity.get(event.entity.type);
    if (mine === undefined) return null;
    if (event.type === RESOLVED) return undecidable(mine, event);
    for (const checked of mine) {
      if (!checked.view.eventTypes.has(event.type)) continue;
      const misfit = misfitOf(checked, event);
      if (misfit !== null) return misfit;
    }
    return null;
  };
}

interface Checked {
  readonly view: Projection;
  /** Registers that merge by themselves, by their column. */
  readonly merged: ReadonlyMap<string, MergedRule>;
}

/** The same, for one event. */
export const misfitIn = (views: readonly View[], event: ProjectedEvent): Misfit | null => misfitFinder(views)(event);

type Written = Pick<EventBody, "type" | "entity" | "schema" | "origin" | "actor" | "occurredAt">;

/**
 * The same in the form that the hub's door and `openField` take. `read` gives the data as the newest version of its schema has it: a gate's `read`.
 *
 *   openField({ path, name, schemas, fits: fitsViews([beneficiaries]) })
 */
export function fitsViews(
  views: readonly View[],
  read: (schema: SchemaRef, data: JsonObject) => { readonly data: JsonObject } = (_, data) => ({ data }),
): (
  head: Written,
  data: JsonObject,
) => { readonly code: "unfit-for-view"; readonly message: string; readonly path: string | null } | null {
  const find = misfitFinder(views);
  const entities = new Set(entityViews(views).map(({ entity }) => entity));
  return ({ type, entity, schema, origin, actor, occurredAt }, data) => {
    if (!entities.has(entity.type)) return null;
    try {
      const misfit = find({ type, data: read(schema, data).data, entity, actor, occurredAt, site: partsOf(origin).site });
      return misfit === null ? null : { code: "unfit-for-view", message: misfit.message, path: misfit.path };
    } catch {
      // Data that cannot be read as the newest version is not for its writer to mend: the fold parks the entity.
      return null;
    }
  };
}

function misfitOf(checked: Checked, event: ProjectedEvent): Misfit | null {
  try {
    const values = checked.view.valuesOf(event);
    for (const name in values) {
      const value = values[name];
      if (value === undefined || value === null) continue;
      const problem = problemOf(checked, name, value);
      if (problem !== null) return described({ view: checked.view, column: name, value, problem, event });
    }
    return null;
  } catch {
    return null;
  }
}

/** A person's decision counts for each view that can take it. It is a misfit if some view has a column of that name and no such column takes the value. */
function undecidable(mine: readonly Checked[], event: ProjectedEvent): Misfit | null {
  const { values } = event.data;
  if (!isJsonObject(values)) return null;
  for (const [name, value] of Object.entries(values)) {
    if (value === null) continue;
    const having = mine.filter(({ view }) => Object.hasOwn(view.columns, name));
    const problems = having.map((checked) => problemOf(checked, name, value));
    const [first] = problems;
    if (first !== undefined && first !== null && problems.every((problem) => problem !== null))
      return described({ view: having[0]!.view, column: name, value, problem: first, event });
  }
  return null;
}

/** What is wrong, as a sentence about the column that is named. */
type Words = (where: string) => string;

function problemOf({ view, merged }: Checked, name: string, value: JsonValue): Words | null {
  if (!Object.hasOwn(view.columns, name)) return null;
  const column = view.columns[name]!;
  const rule = merged.size === 0 ? undefined : merged.get(name);
  if (rule !== undefined) return mergeProblem(rule, column, value);
  return column.fits(value) ? null : (where) => whyNot(column, value, where);
}

const NOBODY: Author = {
  origin: "nobody.nowhere.nothing.never" as OriginId,
  seq: 0 as Seq,
  hlc: "1970-01-01T00:00:00.000Z-0000" as Hlc,
  actor: "",
  clockWrong: false,
  position: null,
};

/** What is wrong with a write to a register that merges by itself: with the write, or with what it would show alone. */
function mergeProblem({ crdt }: MergedRule, column: Column, value: JsonValue): Words | null {
  const problem = crdt.problem(value);
  if (problem !== null) return (where) => `is not a write that ${where} takes: ${problem}`;
  const shows = crdt.read(crdt.join(undefined, { by: NOBODY, basis: {}, value }));
  for (const part of [shows, ...(crdt.texts?.(value) ?? [])])
    if (part !== null && !column.fits(part)) return (where) => whyNot(column, part, where);
  return null;
}
const MAX_SHOWN = 60;
const shown = (value: JsonValue): string => {
  const text = JSON.stringify(value);
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
};

/** A value that a column cannot hold, and the event that writes it. */
interface Found {
  readonly view: Projection;
  readonly column: string;
  readonly value: JsonValue;
  readonly problem: Words;
  readonly event: ProjectedEvent;
}

function described({ view, column, value, problem, event }: Found): Misfit {
  const isDecision = event.type === RESOLVED;
  const data = isDecision ? (event.data.values as JsonObject) : event.data;
  const member = memberOf(data, column, value);
  const where = member === column ? `the view ${view.name}` : `${column} of the view ${view.name}`;
  return {
    view: view.name,
    column,
    message: `${member ?? column}: ${shown(value)} ${problem(where)}`,
    path: member === null ? null : `${isDecision ? "/values" : ""}/${member.replaceAll("~", "~0").replaceAll("/", "~1")}`,
  };
}

/** The member of the data that a column's value came from: the one with its name, or the only one with its value. */
function memberOf(data: JsonObject, column: string, value: JsonValue): string | null {
  if (Object.hasOwn(data, column) && data[column] === value) return column;
  const same = Object.keys(data).filter((name) => data[name] === value);
  return same.length === 1 ? same[0]! : null;
}
