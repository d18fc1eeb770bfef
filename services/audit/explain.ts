import type { Client } from "pg";
import { type JsonValue, TributaryError } from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import {
  DELETED,
  type Decision,
  decide,
  type EntityState,
  entityViews,
  fold,
  type Projection,
  RESOLVED,
  type RegisterRule,
  rowWith,
  type Sibling,
  siblingsOf,
  type View,
} from "../merge/index.ts";
import { notFound, parseEntity } from "./entity.ts";
import { type CountedEvent, countedEvents, readersOf } from "./events.ts";

/** One thing that happened to a register. */
export interface Step {
  readonly position: string;
  readonly event: string;
  readonly type: string;
  readonly actor: string;
  readonly org: string;
  readonly site: string;
  readonly occurredAt: string;
  readonly recordedAt: string;
  readonly clockWrong: boolean;
  readonly value: JsonValue;
  /** Writes whose values it took the place of: its author had seen them. */
  readonly replaces: readonly string[];
  /** Writes that stand beside it: neither author had seen the other's. */
  readonly beside: readonly string[];
  /** What the rule made of it then. */
  readonly decision: Decision | null;
}

export interface RegisterStory {
  readonly register: string;
  readonly columns: readonly string[];
  readonly rule: string;
  readonly value: JsonValue;
  readonly steps: readonly Step[];
  /** What stands side by side at present; `null`: nothing is contested. */
  readonly decision: Decision | null;
  /** Writes that a register which merges by itself could not take in. */
  readonly leftOut: readonly string[];
}

export interface Explanation {
  readonly entity: string;
  readonly view: string;
  readonly deleted: boolean;
  readonly registers: readonly RegisterStory[];
}

const dotOf = ({ by }: Sibling): string => `${by.origin}/${by.seq}`;

/** How an entity's row came to be what it is: for each register (or the one that holds `field`) who wrote what, beside whom, and what decided. */
export async function explainEntity(
  deps: { readonly db: Client; readonly gate: Gate; readonly projections: readonly View[] },
  entity: string,
  field: string | null,
): Promise<Explanation> {
  const { type, id } = parseEntity(entity);
  const projection = entityViews(deps.projections).find((candidate) => candidate.entity === type);
  if (projection === undefined) throw notFound(`view of entities of type ${type}`);
  const rules = [...projection.registers.values()].filter(
    ({ name, columns }) => field === null || name === field || columns.includes(field),
  );
  if (rules.length === 0)
    throw new TributaryError(
      "not-found",
      `${projection.name} has no field ${field}`,
      `There are: ${[...Object.keys(projection.columns), DELETED].join(", ")}.`,
    );
  const pins = (await readersOf(deps.db)).get(projection.name) ?? {};
  const events = await countedEvents({ ...deps, pins }, { type, id }, null);
  if (events.length === 0) throw notFound(entity);

  const steps = new Map<string, Step[]>(rules.map(({ name }) => [name, []]));
  let state: EntityState | undefined;
  for (const event of events) {
    const folded = fold(projection, state, event);
    if (folded === null) continue;
    for (const rule of rules)
      if (folded.written.includes(rule.name)) steps.get(rule.name)!.push(stepOf(projection, rule, event, state, folded.state));
    state = folded.state;
  }
  if (state === undefined) throw notFound(entity);
  const { values, deleted } = rowWith(projection, id, state);
  const known = state;
  return {
    entity,
    view: projection.name,
    deleted,
    registers: rules
      .filter(({ name }) => field !== null || steps.get(name)!.length > 0)
      .map((rule) => ({
        register: rule.name,
        columns: rule.columns,
        rule: rule.kind === "decided" ? rule.resolver.name : rule.crdt.name,
        value: rule.name === DELETED ? deleted : columnsIn(rule, values),
        steps: steps.get(rule.name)!,
        decision: decide(rule, known),
        leftOut:
          rule.kind === "merged" && known.merged[rule.name] !== undefined
            ? (rule.crdt.leftOut?.(known.merged[rule.name]!) ?? [])
            : [],
      })),
  };
}

const columnsIn = ({ name, columns }: RegisterRule, values: Readonly<Record<string, JsonValue>>): JsonValue =>
  columns.length === 1 && columns[0] === name
    ? (values[name] ?? null)
    : Object.fromEntries(columns.map((column) => [column, values[column] ?? null]));

function stepOf(
  projection: Projection,
  rule: RegisterRule,
  event: CountedEvent,
  before: EntityState | undefined,
  after: EntityState,
): Step {
  const dot = `${event.origin}/${event.seq}`;
  const had = before === undefined ? [] : siblingsOf(rule, before).map(dotOf);
  const has = siblingsOf(rule, after);
  const org = event.origin.slice(0, event.origin.indexOf("."));
  return {
    position: String(event.position),
    event: dot,
    type: event.type,
    actor: event.actor,
    org,
    site: event.site,
    occurredAt: event.occurredAt,
    recordedAt: event.recordedAt,
    clockWrong: event.clockWrong,
    value: projection.writesOf(event)?.get(rule.name) ?? null,
    replaces: had.filter((known) => !has.some((sibling) => dotOf(sibling) === known)),
    beside: has.map(dotOf).filter((known) => known !== dot),
    decision: decide(rule, after),
  };
}

export const isResolution = ({ type }: Pick<Step, "type">): boolean => type === RESOLVED;
