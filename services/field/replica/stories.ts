/** What a device can tell of an entity offline: its events, why its rows show what they show, and what waits for a person to decide. */
import {
  clipWords,
  type EntityRef,
  type JsonObject,
  type JsonValue,
  keyAsSeen,
  type Opened,
  type Position,
  positionToText,
  TributaryError,
} from "../../core/index.ts";
import type { Gate } from "../../gate/index.ts";
import {
  DELETED,
  type Decision,
  decisionsOf,
  type EntityState,
  foldHeadOf,
  isWithheld,
  type Projection,
  type RegisterStory,
  registersWith,
  rowWith,
  type Story,
  type StoryEvent,
  tell,
} from "../../merge/engine.ts";
import type { HubNote, OwnState, PlacedEvent } from "./event-rows.ts";
import { type Counted, countedOf, ownCounted, placesAtHome } from "./fold.ts";
import type { HistoryEvent, Replica } from "./types.ts";

/** An event of an entity as a device knows it. */
export interface EntityEvent {
  readonly origin: string;
  readonly seq: number;
  readonly type: string;
  /** What it is about: the entity, or a case or a decision on it. */
  readonly entity: EntityRef;
  readonly actor: string;
  /** When it happened by its author's clock, ISO 8601. */
  readonly occurredAt: string;
  /** When the hub recorded it, and where in its log; `null`: this device wrote it, and the hub has not brought it back yet. */
  readonly recordedAt: string | null;
  readonly position: string | null;
  /** As it was written, without what this device may not see; `null`: it cannot be read. */
  readonly data: JsonObject | null;
  /** Members of its data that this device may not see. */
  readonly withheld: readonly string[];
  /** What became of an own event; `null`: another device wrote it. */
  readonly own: OwnState | null;
  /** What the hub says of it, in words: why it is held back, whose clock was wrong, what does not count as seen. */
  readonly notes: readonly string[];
}

/** How a view's row of an entity came to be what it is. */
export interface Explained extends Story {
  readonly entity: string;
  readonly view: string;
  /** Whether the entity's events are on this device. Otherwise only its present state is: who wrote what stands there, but not what came before. */
  readonly hasEvents: boolean;
  readonly olderRules: boolean;
}

/** A contested value that waits for a person. */
export interface OpenConflict extends Decision {
  readonly view: string;
  readonly entity: string;
}

export interface StoriesDeps {
  readonly replica: Pick<Replica, "history" | "state" | "hub" | "isSent">;
  readonly gate: Pick<Gate, "open" | "openAs">;
  /** The views that this device folds. */
  readonly views: readonly Projection[];
  /** Whether a view is folded by other rules than the hub's. */
  readonly isOlder: (view: string) => boolean;
}

export interface Stories {
  /** The events of an entity: those of the hub's log in the order of the log, then those that only this device has. */
  history(entity: EntityRef): readonly EntityEvent[];
  /** One story for each view that shows the entity. Throws `not-found`, and `usage` for a view or a field that there is not. */
  explain(entity: EntityRef, of?: { readonly view?: string; readonly field?: string }): readonly Explained[];
  /** What waits for a person of these entities in a view. */
  conflicts(view: Projection, ids: Iterable<string>): readonly OpenConflict[];
}

const objectIn = (text: string): JsonObject | null => {
  try {
    return JSON.parse(text) as JsonObject;
  } catch {
    return null;
  }
};

/** What the hub says of an event. */
const notesOf = ({ held, clock, clips, head }: HubNote & Pick<PlacedEvent, "head">): string[] => [
  ...(held === null ? [] : [`quarantined: ${held.message}`]),
  ...(clock === null ? [] : ["its device's clock was wrong"]),
  ...clipWords(head.basis, clips),
];

/** An event as people are told of it. */
export const told = (event: HistoryEvent, gate: Pick<Gate, "open">): EntityEvent => {
  const { head, text, position, recordedAtMs, own } = event;
  const written = objectIn(text);
  const { data, withheld } = written === null ? { data: null, withheld: [] } : gate.open(head, written);
  return {
    ...{
      origin: head.origin,
      seq: head.seq,
      type: head.type,
      entity: head.entity,
      actor: head.actor,
      occurredAt: head.occurredAt,
    },
    recordedAt: recordedAtMs === null ? null : new Date(recordedAtMs).toISOString(),
    position: position === null ? null : positionToText(position as Position),
    ...{ data, withheld },
    own,
    notes: event.note === null ? [] : notesOf({ ...event.note, head }),
  };
};

export function openStories({ replica, gate, views, isOlder }: StoriesDeps): Stories {
  /** The entity as it was written, or as people see its id. */
  const found = (given: EntityRef): { readonly entity: EntityRef; readonly events: readonly HistoryEvent[] } => {
    const events = replica.history(given);
    const seen = { type: given.type, id: keyAsSeen(given.id) };
    return events.length > 0 || seen.id === given.id
      ? { entity: given, events }
      : { entity: seen, events: replica.history(seen) };
  };

  const viewsOf = ({ type }: EntityRef, view: string | undefined): readonly Projection[] => {
    const all = views.filter(({ entity }) => entity === type);
    const chosen = view === undefined ? all : all.filter(({ name }) => name === view);
    if (chosen.length > 0 || view === undefined) return chosen;
    throw new TributaryError(
      "usage",
      `${view} is not a view of entities of type ${type} on this device`,
      all.length === 0 ? "There is none." : `There are: ${all.map(({ name }) => name).join(", ")}.`,
    );
  };

  return {
    history: (entity) => found(entity).events.map((event) => told(event, gate)),

    explain(given, { view, field } = {}) {
      const having = viewsOf(given, view);
      const chosen = having.filter((each) => registersWith(each, field ?? null).length > 0);
      if (having.length > 0 && chosen.length === 0)
        throw new TributaryError(
          "usage",
          `${having.map(({ name }) => name).join(" and ")} has no field ${field}`,
          `There are: ${[...new Set(having.flatMap(({ columns }) => Object.keys(columns))), DELETED].join(", ")}.`,
        );
      const { entity, events } = found(given);
      const counted = storyEvents(entity, events, { gate, home: replica.hub() });
      const out = chosen.flatMap((each): Explained[] => {
        const name = { entity: `${entity.type}/${entity.id}`, view: each.name, olderRules: isOlder(each.name) };
        const state = replica.state(each.name, entity.id);
        const isWhole = events.some(({ position }) => position !== null) || !replica.isSent(each.name, entity.id);
        const story = isWhole ? tell(each, entity.id, counted, field ?? null) : null;
        if (story !== null) return [{ ...name, hasEvents: true, ...story }];
        return state === null ? [] : [{ ...name, hasEvents: false, ...stateStory(each, entity.id, state, field ?? null) }];
      });
      if (out.length > 0) return out;
      throw new TributaryError(
        "not-found",
        `this device has no ${given.type}/${given.id}`,
        "Check the spelling. `tributary field pull` brings what the hub's policies give this site.",
      );
    },

    conflicts: (view, ids) =>
      [...ids].flatMap((id) => {
        const state = replica.state(view.name, id);
        const decisions = state === null ? [] : decisionsOf(view, state);
        return decisions
          .filter(({ isOpen }) => isOpen)
          .map((decision) => ({ view: view.name, entity: `${view.entity}/${id}`, ...decision }));
      }),
  };
}

interface ToldAt {
  readonly gate: Pick<Gate, "openAs">;
  /** The hub whose positions events have. */
  readonly home: string | null;
}

/** The events that count for views, as a story tells them: placed ones in the hub's order, then own ones on top. */
function storyEvents(entity: EntityRef, events: readonly HistoryEvent[], at: ToldAt): StoryEvent[] {
  const recorded = new Map<bigint, number>();
  const placed: PlacedEvent[] = [];
  const own: Counted[] = [];
  for (const { head, hash, text, position, recordedAtMs, note, own: state } of events) {
    if (position !== null && recordedAtMs !== null && note !== null && hash !== null) {
      recorded.set(position, recordedAtMs);
      placed.push({ head, hash, prev: hash, text, position: position as Position, recordedAtMs, ...note });
    } else if (state === "pending" || state === "confirmed") {
      const counted = ownCounted(head, text);
      if (counted !== null) own.push(counted);
    }
  }
  return [...countedOf(entity, placed), ...own].map((counted) => storyEvent(counted, recorded, at));
}

function storyEvent(
  { head, data, clock, clips, position }: Counted,
  recorded: ReadonlyMap<bigint, number>,
  { gate, home }: ToldAt,
): StoryEvent {
  const at = position === null ? undefined : recorded.get(position);
  let opened: Opened | undefined;
  const open = (): Opened => {
    opened ??= gate.openAs(head, data);
    return opened;
  };
  return {
    ...foldHeadOf({ ...head, clips, clockWrong: clock !== null, position, places: placesAtHome(home, position) }),
    recordedAt: at === undefined ? null : new Date(at).toISOString(),
    notes: clipWords(head.basis, clips),
    // Data that the view cannot read are told as an event that could not be folded.
    get data() {
      return open().data;
    },
    get withheld() {
      return open().withheld;
    },
  };
}

/** What a state alone tells: which values stand, who wrote them, and what decided. */
function stateStory(view: Projection, id: string, state: EntityState, field: string | null): Story {
  const { values, deleted } = rowWith(view, id, state);
  const decisions = new Map(decisionsOf(view, state).map((decision) => [decision.register, decision]));
  return {
    deleted,
    unfolded: [],
    registers: registersWith(view, field).map((rule): RegisterStory => {
      const value: JsonValue =
        rule.name === DELETED
          ? deleted
          : rule.columns.length === 1 && rule.columns[0] === rule.name
            ? (values[rule.name] ?? null)
            : Object.fromEntries(rule.columns.map((column) => [column, values[column] ?? null]));
      return {
        register: rule.name,
        columns: rule.columns,
        rule: rule.kind === "decided" ? rule.resolver.name : rule.crdt.name,
        value,
        ...(isWithheld(rule, state) ? { withheld: true as const } : {}),
        steps: [],
        decision: decisions.get(rule.name) ?? null,
        leftOut: [],
      };
    }),
  };
}
