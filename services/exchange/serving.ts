import { type BucketId, bucketIdOf, deviceOf, type OriginId, type Seq, TributaryError } from "../core/index.ts";
import { bucketOf, type Projection, rowWith, unpackState } from "../merge/engine.ts";
import type { Known } from "./known.ts";
import type { HeldBucket, PagedEvent, Section } from "./protocol/index.ts";
import type { Room } from "./room.ts";
import type { EventRef, FeedStore } from "./store.ts";

/** What was read for a page so far: by it, as much is read at a time as is likely to be sent. */
export interface Pace {
  events: number;
  /** What these events weigh. */
  weight: number;
  histories: number;
  /** The names of events in these histories. */
  names: number;
}

export const freshPace = (): Pace => ({ events: 0, weight: 0, histories: 0, names: 0 });

/** An entity that left a bucket, and the seal under which it did. */
export interface Leaving {
  readonly entityId: string;
  readonly seal: number;
}

/** What the parts of a page share while it is made. */
export interface Serving {
  readonly store: FeedStore;
  readonly known: Known;
  readonly room: Room;
  readonly pace: Pace;
  readonly sections: Section[];
  /** The views that say which bucket an entity is in. */
  readonly homes: ReadonlyMap<string, Projection>;
  /** Whether the asker holds an event itself. */
  isOwn(event: EventRef): boolean;
  /** Notes which entities the asker is told to delete, and the seals under which they left; once for all that it asks at one cursor. */
  owe(at: string, bucket: BucketId, left: readonly Leaving[]): Promise<void>;
}

/** About what an event, a line, an entity takes besides its texts. */
const EVENT_BYTES = 160;
const BASIS_BYTES = 40;
export const LINE_BYTES = 60;
export const ENTITY_BYTES = 60;
/** So many events are read at first, to see how long they are; and so many at a time, at most. */
const FIRST_AHEAD = 32;
const MAX_AHEAD = 500;
/** So many histories are read at first, to see how long they are; then as many as have about so many events. A history has 2,001 names at most, so no more than some ten thousand are in memory. */
const FIRST_HISTORIES = 20;
const MAX_HISTORIES = 500;
const NAMES_AT_A_TIME = 2_000;

const weightOf = ({ text, head, held }: PagedEvent): number =>
  EVENT_BYTES +
  (text?.length ?? 0) +
  head.entity.id.length +
  BASIS_BYTES * Object.keys(head.basis).length +
  (held === null ? 0 : held.message.length);

/** Events that were read, with what they weigh. `isWhole`: these are all that were asked for. */
export interface Taken {
  readonly events: readonly PagedEvent[];
  readonly bytes: number;
  readonly isWhole: boolean;
}

/** Reads events in the order of their names, a little ahead of what is taken, and never many large ones. */
export interface EventSource {
  /** The next events, `count` in all, as long as they weigh no more than `most`; the first is taken whatever it weighs. What is left of them is passed over. */
  take(count: number, most: number): Promise<Taken>;
}

export function eventSource(
  { store, room, pace, isOwn }: Pick<Serving, "store" | "room" | "pace" | "isOwn">,
  refs: readonly EventRef[],
): EventSource {
  let ready: PagedEvent[] = [];
  let next = 0;
  const fill = async (needed: number, left: number): Promise<void> => {
    const fitting = pace.events === 0 ? FIRST_AHEAD : Math.ceil(Math.max(0, left) / (pace.weight / pace.events));
    const ahead = Math.min(Math.max(1, fitting), MAX_AHEAD, Math.max(needed, room.events));
    const asked = refs.slice(next, next + ahead);
    const found = await store.events(asked);
    if (found.length !== asked.length)
      throw new TributaryError(
        "data-corrupt",
        `of ${asked.length} events in the feed, ${asked.length - found.length} are not there`,
        "Run `tributary audit verify`: it tells what is missing.",
      );
    next += asked.length;
    pace.events += found.length;
    pace.weight += found.reduce((sum, event) => sum + weightOf(event), 0);
    ready = found.map((event) => (isOwn({ origin: event.head.origin, seq: event.head.seq }) ? { ...event, text: null } : event));
  };
  return {
    async take(count, most) {
      const events: PagedEvent[] = [];
      let bytes = 0;
      while (events.length < count) {
        if (ready.length === 0) await fill(count - events.length, most - bytes);
        const [event] = ready;
        if (event === undefined) break;
        const each = weightOf(event);
        if (events.length > 0 && bytes + each > most) break;
        ready.shift();
        events.push(event);
        bytes += each;
      }
      const missing = count - events.length;
      if (missing > 0) {
        const passed = Math.min(missing, ready.length);
        ready = ready.slice(passed);
        next += missing - passed;
      }
      return { events, bytes, isWhole: missing === 0 };
    },
  };
}

/** How many histories are read next. */
export const historiesAtATime = ({ histories, names }: Pace): number =>
  histories === 0
    ? FIRST_HISTORIES
    : Math.max(1, Math.min(MAX_HISTORIES, Math.floor((NAMES_AT_A_TIME * histories) / Math.max(1, names))));

/** Notes how long histories were. */
export function sawHistories(pace: Pace, found: readonly (readonly EventRef[])[]): void {
  pace.histories += found.length;
  pace.names += found.reduce((sum, names) => sum + names.length, 0);
}

/** The events that an asker holds itself: of its own device, up to the seq that it says. */
export function ownOf(device: string, own: Readonly<Record<OriginId, Seq>>): (event: EventRef) => boolean {
  const through = new Map(Object.entries(own).filter(([origin]) => deviceOf(origin as OriginId) === device));
  return ({ origin, seq }) => seq <= (through.get(origin) ?? -1);
}

/**
 * The present states of entities of a bucket, by entity and view. States are ahead of what is sealed: one that shows its entity in another bucket already is left out, as the asker may not be allowed
 * to see it there.
 */
export async function statesHere(
  { store, homes }: Pick<Serving, "store" | "homes">,
  { bucket, entityType }: HeldBucket,
  entityIds: readonly string[],
): Promise<ReadonlyMap<string, Readonly<Record<string, string>>>> {
  if (entityIds.length === 0) return new Map();
  const home = homes.get(entityType);
  const found = await store.states(entityType, entityIds);
  return new Map([...found].filter(([id, states]) => home !== undefined && isIn(home, bucket, id, states[home.name])));
}

function isIn(home: Projection, bucket: BucketId, id: string, packed: string | undefined): boolean {
  const row = packed === undefined || home.scopeBy === null ? {} : rowWith(home, id, unpackState(packed)).values;
  return bucketIdOf(bucketOf(home, row)) === bucket;
}
