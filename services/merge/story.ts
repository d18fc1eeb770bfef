/**
 * How a row came to be what it is: for each register who wrote what, having seen what, beside whom, and what decided. Pure: an entity's events come in, in the order in which they
 * are told; a story comes out. The hub tells it from its audit, a device from the events that it holds.
 */
import { covers, type JsonValue, messageOf, type Vector } from "../core/index.ts";
import {
  type Decision,
  decide,
  type EntityState,
  type FoldEvent,
  type Folded,
  fold,
  isWithheld,
  type Row,
  rowOf,
  rowWith,
  siblingsOf,
} from "./fold.ts";
import { DELETED, type Projection, RESOLVED, type RegisterRule, WITHHELD } from "./projection.ts";
import { reachOf, type Sibling } from "./register.ts";

/** An event as a story tells it. */
export interface StoryEvent extends FoldEvent {
  /** When the hub recorded it, ISO 8601; `null`: it has no place in the hub's log yet. */
  readonly recordedAt: string | null;
  /** The parts of its basis that the hub does not count, in words. */
  readonly notes: readonly string[];
}

/** One thing that happened to a register. How it stands to the writes listed before it follows from what their authors had seen. */
export interface Step {
  /** Where it stands in the hub's log; `null`: it has not come there yet. */
  readonly position: string | null;
  readonly event: string;
  readonly type: string;
  readonly actor: string;
  readonly org: string;
  readonly site: string;
  readonly occurredAt: string;
  readonly recordedAt: string | null;
  readonly clockWrong: boolean;
  /** In words, what the hub does not believe of what the author claims to have seen. */
  readonly notes: readonly string[];
  /** `null` where it is withheld. */
  readonly value: JsonValue;
  /** This replica may not see the value. */
  readonly withheld?: true;
  /** Writes whose values it replaced, because its author had seen them. */
  readonly replaces: readonly string[];
  /** Writes that its author had seen and could not replace: only those with the say can. */
  readonly cannotReplace: readonly string[];
  /** Writes whose authors had seen this one before the hub counted it: it came late. */
  readonly seenBy: readonly string[];
  /** Whether its value stood once it had come. A write that came late may have been replaced already. */
  readonly stands: boolean;
  /** Writes that stand beside it: neither author had seen the other's. */
  readonly beside: readonly string[];
  /** What the rule decided then; `null`: nothing was contested, or what stood there cannot be seen. */
  readonly decision: Decision | null;
}

export interface RegisterStory {
  readonly register: string;
  readonly columns: readonly string[];
  readonly rule: string;
  /** `null` where it is withheld. */
  readonly value: JsonValue;
  /** A value that stands in it is withheld from this replica: it shows nothing, and no rule is asked. */
  readonly withheld?: true;
  readonly steps: readonly Step[];
  /** What stands side by side at present; `null`: nothing is contested. */
  readonly decision: Decision | null;
  /** Writes that a register which merges by itself could not take in. */
  readonly leftOut: readonly string[];
}

/** What a story tells of an entity in one view. */
export interface Story {
  readonly deleted: boolean;
  readonly registers: readonly RegisterStory[];
  /** Events that the view cannot fold. They are in no register's story. */
  readonly unfolded: readonly { readonly event: string; readonly type: string; readonly error: string }[];
}

const dotOf = ({ origin, seq }: Pick<StoryEvent, "origin" | "seq">): string => `${origin}/${seq}`;
const dotsOf = (siblings: readonly Sibling[]): readonly string[] => siblings.map(({ by }) => dotOf(by));

/** The registers of a view, or those that hold a field. */
export const registersWith = ({ registers }: Projection, field: string | null): RegisterRule[] =>
  [...registers.values()].filter(({ name, columns }) => field === null || name === field || columns.includes(field));

/** The story that an entity's events make in one view; `null` if no event touches it. */
export function tell(projection: Projection, id: string, events: readonly StoryEvent[], field: string | null): Story | null {
  const rules = registersWith(projection, field);
  const told = new Map<string, { readonly steps: Step[]; readonly writes: Write[] }>(
    rules.map(({ name }) => [name, { steps: [], writes: [] }]),
  );
  const unfolded: { readonly event: string; readonly type: string; readonly error: string }[] = [];
  let state: EntityState | undefined;
  for (const event of events) {
    let folded: Folded | null;
    try {
      // A value that a later event has corrected need not fit its column. It is told nevertheless.
      folded = fold(projection, state, event, { isLenient: true });
    } catch (error) {
      unfolded.push({ event: dotOf(event), type: event.type, error: messageOf(error) });
      continue;
    }
    if (folded === null) continue;
    state = folded.state;
    for (const rule of rules) {
      if (!folded.written.includes(rule.name)) continue;
      const { steps, writes } = told.get(rule.name)!;
      const write: Write = { event, dot: dotOf(event), reach: reachOf({ by: event, basis: event.basis }) };
      steps.push(stepOf({ projection, rule }, write, writes, state));
      writes.push(write);
    }
  }
  if (state === undefined) return unfolded.length === 0 ? null : { deleted: false, registers: [], unfolded };
  const known = state;
  const { values, deleted } = shownOf(projection, id, known);
  return {
    deleted,
    unfolded,
    registers: rules
      .filter(({ name }) => field !== null || told.get(name)!.steps.length > 0)
      .map((rule) => ({
        register: rule.name,
        columns: rule.columns,
        rule: rule.kind === "decided" ? rule.resolver.name : rule.crdt.name,
        value: rule.name === DELETED ? deleted : columnsIn(rule, values),
        ...(isWithheld(rule, known) ? { withheld: true as const } : {}),
        steps: told.get(rule.name)!.steps,
        decision: decisionOn(rule, known),
        leftOut:
          rule.kind === "merged" && known.merged[rule.name] !== undefined && !isWithheld(rule, known)
            ? (rule.crdt.leftOut?.(known.merged[rule.name]!) ?? [])
            : [],
      })),
  };
}

/** The row that a state shows; without derived values, if these cannot be made. A parked entity may have no row at all. */
function shownOf(projection: Projection, id: string, state: EntityState): Pick<Row, "values" | "deleted"> {
  for (const show of [() => rowWith(projection, id, state), () => rowOf(projection, state)]) {
    try {
      return show();
    } catch {}
  }
  return { values: {}, deleted: false };
}

/** What a rule decides; `null`: nothing is contested, or the rule throws on values that do not fit. */
function decisionOn(rule: RegisterRule, state: EntityState): Decision | null {
  try {
    return decide(rule, state);
  } catch {
    return null;
  }
}

const columnsIn = ({ name, columns }: RegisterRule, values: Readonly<Record<string, JsonValue>>): JsonValue =>
  columns.length === 1 && columns[0] === name
    ? (values[name] ?? null)
    : Object.fromEntries(columns.map((column) => [column, values[column] ?? null]));

interface Write {
  readonly event: StoryEvent;
  readonly dot: string;
  /** All that its author had seen of the entity, with the event itself. */
  readonly reach: Vector;
}

const hadSeen = (write: Write, other: Write): boolean => covers(write.reach, other.event);

/** The writes after which none of the others comes, in the order given. `isAfter(a, b)` says that a comes after b. */
function foremost(writes: readonly Write[], isAfter: (a: Write, b: Write) => boolean): Write[] {
  let out: Write[] = [];
  for (const write of writes) {
    if (out.some((other) => isAfter(other, write))) continue;
    out = [...out.filter((other) => !isAfter(write, other)), write];
  }
  return out;
}

type Relations = Pick<Step, "replaces" | "cannotReplace" | "seenBy" | "stands" | "beside">;
/** In a register that merges by itself no write replaces another. */
const MERGES: Relations = { replaces: [], cannotReplace: [], seenBy: [], stands: true, beside: [] };

function relationsOf(write: Write, earlier: readonly Write[], standing: readonly string[]): Relations {
  const stands = standing.includes(write.dot);
  const seen = earlier.filter((other) => hadSeen(write, other));
  const seenBy = earlier.filter((other) => hadSeen(other, write));
  const isStanding = ({ dot }: Write): boolean => standing.includes(dot);
  const dots = (writes: readonly Write[]): string[] => writes.map(({ dot }) => dot);
  return {
    stands,
    // The last write that its author had seen of each line. What those had replaced is their own story.
    replaces: dots(foremost(seen, hadSeen).filter((other) => !isStanding(other))),
    cannotReplace: dots(seen.filter(isStanding)),
    seenBy: dots(foremost(seenBy, (a, b) => hadSeen(b, a))),
    beside: stands ? dots(earlier.filter((other) => isStanding(other) && !seen.includes(other) && !seenBy.includes(other))) : [],
  };
}

/** A write as a step of its register's story: `earlier` are the writes told before it, `after` the entity once it had come. */
function stepOf(
  { projection, rule }: { readonly projection: Projection; readonly rule: RegisterRule },
  write: Write,
  earlier: readonly Write[],
  after: EntityState,
): Step {
  const { event, dot } = write;
  const value = projection.writesOf(event, true)?.get(rule.name) ?? null;
  return {
    position: event.position === null ? null : String(event.position),
    event: dot,
    type: event.type,
    actor: event.actor,
    org: event.origin.slice(0, event.origin.indexOf(".")),
    site: event.site,
    occurredAt: event.occurredAt,
    recordedAt: event.recordedAt,
    clockWrong: event.clockWrong,
    notes: event.notes,
    ...(value === WITHHELD ? { value: null, withheld: true } : { value }),
    ...(rule.kind === "merged" ? MERGES : relationsOf(write, earlier, dotsOf(siblingsOf(rule, after)))),
    decision: decisionOn(rule, after),
  };
}

export const isResolution = ({ type }: Pick<Step, "type">): boolean => type === RESOLVED;
