/** What a device can tell of an entity offline: its events, why its rows show what they show, and what waits for a person to decide. */
import {
  clipWords,
  type EntityRef,
  type JsonObject,
  type JsonValue,
  keyAsSeen,
  type Position,
  positionToText,
  TributaryError,
} from "../../core/index.ts";
import type { Gate } from "../../gate/index.ts";
import {
  type Decision,
  DELETED,
  decisionsOf,
  type EntityState,
  foldHeadOf,
  type Projection,
  type RegisterStory,
  registersWith,
  rowWith,
  type Story,
  type StoryEvent,
  tell,
  unpackState,
} from "../../merge/engine.ts";
import { type EventHead, headOf } from "../reading.ts";
import type { Store } from "../store.ts";
import type { OpenView } from "./entities.ts";
import { type Counted, countedOf, ownCounted } from "./fold.ts";
import type { OwnState, PlacedEvent, ReplicaRows } from "./rows.ts";

/** An event of an entity as a device knows it. */
export interface HistoryEvent {
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
  /** As it was written; `null`: it cannot be read. */
  readonly data: JsonObject | null;
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
  readonly store: Store;
  readonly rows: ReplicaRows;
  readonly gate: Pick<Gate, "read">;
  readonly views: () => readonly OpenView[];
}

export interface Stories {
  /** The events of an entity: those of the hub's log in the order of the log, then those that only this device has. */
  history(entity: EntityRef): readonly HistoryEvent[];
  /** One story for each view that shows the entity. Throws `not-found`, and `usage` for a view or a field that there is not. */
  explain(entity: EntityRef, of?: { readonly view?: string; readonly field?: string }): readonly Explained[];
  /** What waits for a person, in one view or in all. */
  conflicts(open: OpenView, ids: Iterable<string>): Generator<OpenConflict>;
}

const objectIn = (text: string): JsonObject | null => {
  try {
    return JSON.parse(text) as JsonObject;
  } catch {
    return null;
  }
};

/** What the hub says of an event. */
function notesOf({ held, clock, clips, head }: PlacedEvent): string[] {
  return [
    ...(held === null ? [] : [`quarantined: ${held.message}`]),
    ...(clock === null ? [] : ["its device's clock was wrong"]),
    ...clipWords(head.basis, clips),
  ];
}

export function openStories({ store, rows, gate, views }: StoriesDeps): Stories {
  const seen = ({ type, id }: EntityRef): EntityRef => ({ type, id: keyAsSeen(id) });
  const numberOf = (entity: EntityRef): number | undefined =>
    rows.entityBy(entity.type, entity.id)?.n ?? rows.entityBy(entity.type, seen(entity).id)?.n;

  /** Own events that the hub has not brought back, with what became of them. */
  const ownBeside = (n: number): { readonly head: EventHead; readonly text: string; readonly state: OwnState }[] => {
    const origins = new Map(store.origins().map((origin) => [origin.id, origin]));
    return rows.ownOf(n).flatMap(({ origin: id, seq, state, isPlaced }) => {
      const origin = origins.get(id);
      const stored = isPlaced || origin === undefined ? undefined : rows.ownText(id, seq);
      const head = origin === undefined || stored === undefined ? null : headOf(stored.head, origin.name, seq);
      return head === null || stored === undefined ? [] : [{ head, text: stored.data, state }];
    });
  };

  const stateOf = (n: number): ReadonlyMap<string, OwnState> => {
    const names = new Map(store.origins().map(({ id, name }) => [id, name]));
    return new Map(rows.ownOf(n).map(({ origin, seq, state }) => [`${names.get(origin)}/${seq}`, state]));
  };

  const history = (entity: EntityRef): readonly HistoryEvent[] => {
    const n = numberOf(entity);
    if (n === undefined) return [];
    const states = stateOf(n);
    const entry = (head: EventHead, text: string, more: Pick<HistoryEvent, "recordedAt" | "position" | "own" | "notes">): HistoryEvent => ({
      ...{ origin: head.origin, seq: head.seq, type: head.type, entity: head.entity, actor: head.actor, occurredAt: head.occurredAt },
      data: objectIn(text),
      ...more,
    });
    return [
      ...rows.placedOf(n).map((event) =>
        entry(event.head, event.text, {
          recordedAt: new Date(event.recordedAtMs).toISOString(),
          position: positionToText(event.position),
          own: states.get(`${event.head.origin}/${event.head.seq}`) ?? null,
          notes: notesOf(event),
        }),
      ),
      ...ownBeside(n).map(({ head, text, state }) => entry(head, text, { recordedAt: null, position: null, own: state, notes: [] })),
    ];
  };

  /** The events that count for views, as a story tells them. */
  const storyEvents = (open: OpenView, entity: EntityRef, n: number): StoryEvent[] => {
    const placed = rows.placedOf(n);
    const recorded = new Map<Position, number>(placed.map(({ position, recordedAtMs }) => [position, recordedAtMs]));
    const own = ownBeside(n).flatMap(({ head, text, state }) =>
      state === "pending" || state === "confirmed" ? (ownCounted(head, text) ?? []) : [],
    );
    return [...countedOf(entity, placed), ...own].map((counted) => storyEvent(open, counted, recorded, gate));
  };

  const viewsOf = ({ type }: EntityRef, view: string | undefined): readonly OpenView[] => {
    const all = views().filter((open) => open.view.entity === type);
    if (view === undefined) return all;
    const found = all.filter((open) => open.view.name === view);
    if (found.length > 0) return found;
    throw new TributaryError(
      "usage",
      `${view} is not a view of entities of type ${type} on this device`,
      all.length === 0 ? "There is none." : `There are: ${all.map((open) => open.view.name).join(", ")}.`,
    );
  };

  return {
    history,

    explain(given, { view, field } = {}) {
      const entity = rows.entityBy(given.type, given.id) === undefined ? seen(given) : given;
      const having = viewsOf(entity, view);
      const told = having.filter((open) => registersWith(open.view, field ?? null).length > 0);
      if (having.length > 0 && told.length === 0)
        throw new TributaryError(
          "usage",
          `${having.map((open) => open.view.name).join(" and ")} has no field ${field}`,
          `There are: ${[...new Set(having.flatMap((open) => Object.keys(open.view.columns))), DELETED].join(", ")}.`,
        );
      const n = numberOf(entity);
      const out = told.flatMap((open): Explained[] => {
        if (n === undefined) return [];
        const name = { entity: `${entity.type}/${entity.id}`, view: open.view.name, olderRules: open.isOlder };
        const story = tell(open.view, entity.id, storyEvents(open, entity, n), field ?? null);
        const known = open.rows.known(n);
        const packed = known?.shown ?? known?.placed;
        if (story !== null && (story.registers.length > 0 || packed == null)) return [{ ...name, hasEvents: true, ...story }];
        return packed == null ? [] : [{ ...name, hasEvents: false, ...stateStory(open.view, entity.id, unpackState(packed), field ?? null) }];
      });
      if (out.length > 0) return out;
      throw new TributaryError(
        "not-found",
        `this device has no ${entity.type}/${entity.id}`,
        "Check the spelling. `tributary field pull` brings what the hub's policies give this site.",
      );
    },

    *conflicts(open, ids) {
      for (const id of ids) {
        const n = rows.entityBy(open.view.entity, id)?.n;
        const known = n === undefined ? undefined : open.rows.known(n);
        const packed = known?.shown ?? known?.placed;
        if (packed == null) continue;
        for (const decision of decisionsOf(open.view, unpackState(packed)))
          if (decision.isOpen) yield { view: open.view.name, entity: `${open.view.entity}/${id}`, ...decision };
      }
    },
  };
}

function storyEvent(
  { readers }: OpenView,
  { head, data, clock, clips, position }: Counted,
  recorded: ReadonlyMap<Position, number>,
  gate: Pick<Gate, "read">,
): StoryEvent {
  const at = position === null ? undefined : recorded.get(position);
  const folding = foldHeadOf({ ...head, clips, clockWrong: clock !== null, position });
  let read: JsonObject | undefined;
  return {
    ...folding,
    recordedAt: at === undefined ? null : new Date(at).toISOString(),
    notes: clipWords(head.basis, clips),
    // Data that the view cannot read are told as an event that could not be folded.
    get data() {
      read ??= gate.read(head.schema, data, readers).data;
      return read;
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
        steps: [],
        decision: decisions.get(rule.name) ?? null,
        leftOut: [],
      };
    }),
  };
}
