/**
 * In which order a hub has events. What it takes in itself stands at its position in that hub's log. What another hub took in has no place in its order until it notes one, with an
 * event of its own: one for each run. So wherever the events and the notes have come, all know one and the same order of that hub.
 *
 *   taken in by the hub ─▶ placed at its position
 *   taken in elsewhere ─▶ unplaced ── the hub notes the run ─▶ placed at the position of the note, within the run by seq
 */
import { z } from "zod";
import type { EntityRef } from "./event.ts";
import { HUB_SITE, type IncarnationId, isOriginId, type OriginId, type Position, partsOf, type Seq } from "./ids.ts";
import type { JsonObject } from "./json.ts";

/** The entity that a note of places is about: `order-note/<origin>`, the origin whose run it places. */
export const ORDER_ENTITY = "order-note";
/** A hub notes where a run that another hub took in stands in its own order. */
export const ORDER_NOTED = "order.noted";
/** The device whose origins hold a hub's notes of places. All processes of the hub append to them, and nobody else. */
export const ORDER_DEVICE = "order";
/** The form of these events. */
export const ORDER_FORM = { subject: "order-note", version: 1 } as const;

/** Where an event stands in a hub's order: at a position of that hub's log, and where a note has placed a whole run there, by seq. Exact below 2^53. */
export type Place = readonly [position: number, seq: number];
/** An event's places, by hub: the id of its log's first incarnation. A hub that is not named has not placed the event, as far as is known. */
export type Places = Readonly<Record<string, Place>>;

/** Which hub let an event in, and where that hub's log has it. `position`: `null` where this has not been said. */
export interface TakenIn {
  readonly hub: IncarnationId;
  readonly position: Position | null;
}

/** A run of one origin's consecutive events, as a note names it. */
export interface OrderedRun {
  readonly origin: OriginId;
  readonly from: Seq;
  readonly through: Seq;
}

const runSchema = z.object({
  origin: z.string().refine(isOriginId) as unknown as z.ZodType<OriginId>,
  from: z.int().min(0) as unknown as z.ZodType<Seq>,
  through: z.int().min(0) as unknown as z.ZodType<Seq>,
});

/** The run that an event places; `null`: it is no note of places of a hub's own. Which organisation's hub that is was asked by whoever let it in. */
export function orderedRunOf(
  { type, entity, origin }: { readonly type: string; readonly entity: EntityRef; readonly origin: OriginId },
  data: JsonObject,
): OrderedRun | null {
  if (type !== ORDER_NOTED || entity.type !== ORDER_ENTITY) return null;
  const { site, device } = partsOf(origin);
  if (site !== HUB_SITE || device !== ORDER_DEVICE) return null;
  const run = runSchema.safeParse(data).data ?? null;
  return run !== null && run.origin === entity.id && run.from <= run.through ? run : null;
}

/** A run with the place that a hub has given it. */
export interface PlacedRun extends OrderedRun {
  readonly hub: IncarnationId;
  /** The position of the note in that hub's log. */
  readonly position: Position;
}

const isSooner = (a: Place, b: Place): boolean => comparePlaces(a, b) < 0;

/** Orders places of one hub. `null`: no place, which comes after all others. */
export function comparePlaces(a: Place | null, b: Place | null): number {
  if (a === null || b === null) return a === b ? 0 : a === null ? 1 : -1;
  return a[0] - b[0] || a[1] - b[1];
}

/** All places that either of two knows of. Where both know one of a hub, the sooner one holds: of two notes, a hub's first counts. */
export function joinPlaces(a: Places | undefined, b: Places | undefined): Places | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  let joined = a;
  for (const hub in b) {
    const [known, also] = [a[hub], b[hub]!];
    if (known === undefined || isSooner(also, known)) joined = { ...joined, [hub]: also };
  }
  return joined;
}

/** The places of an event, by the hub that took it in and by the notes that are known. `undefined`: none is known. */
export function placesOf(
  { origin, seq }: { readonly origin: OriginId; readonly seq: Seq },
  taken: TakenIn | null,
  runs: Iterable<PlacedRun>,
): Places | undefined {
  let places: Places | undefined =
    taken === null || taken.position === null ? undefined : { [taken.hub]: [Number(taken.position), 0] };
  for (const run of runs)
    if (run.origin === origin && run.from <= seq && seq <= run.through)
      places = joinPlaces(places, { [run.hub]: [Number(run.position), seq] });
  return places;
}

/** Runs as they are looked up: by origin and seq. */
export interface PlacedIndex {
  /** The runs that an event is in. */
  over(event: { readonly origin: OriginId; readonly seq: Seq }): readonly PlacedRun[];
  /** Takes a run that is known from now on. */
  add(run: PlacedRun): void;
}

/** A hub's runs of one origin, by their first seq; `upTo[i]`: how far the first i + 1 of them go. Hubs note each event once, so runs hardly ever overlap. */
interface OfHub {
  readonly runs: PlacedRun[];
  readonly upTo: number[];
}

/** Looks runs up by halving, however many there are of an origin. */
export function placedIndex(known: Iterable<PlacedRun> = []): PlacedIndex {
  const origins = new Map<OriginId, Map<IncarnationId, OfHub>>();
  const add = (run: PlacedRun): void => {
    const hubs = origins.get(run.origin) ?? new Map<IncarnationId, OfHub>();
    origins.set(run.origin, hubs);
    const { runs, upTo } = hubs.get(run.hub) ?? { runs: [], upTo: [] };
    hubs.set(run.hub, { runs, upTo });
    const at = countUpTo(runs, run.from);
    runs.splice(at, 0, run);
    upTo.splice(at, 0, run.through);
    for (let i = Math.max(1, at); i < runs.length; i++) upTo[i] = Math.max(upTo[i - 1] ?? 0, runs[i]?.through ?? 0);
  };
  for (const run of known) add(run);
  return {
    add,
    over({ origin, seq }) {
      const found: PlacedRun[] = [];
      for (const { runs, upTo } of origins.get(origin)?.values() ?? [])
        for (let i = countUpTo(runs, seq) - 1; i >= 0 && (upTo[i] ?? -1) >= seq; i--) {
          const run = runs[i];
          if (run !== undefined && seq <= run.through) found.push(run);
        }
      return found;
    },
  };
}

/** How many of these runs begin at a seq or before it. */
function countUpTo(runs: readonly PlacedRun[], seq: Seq): number {
  let [low, high] = [0, runs.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((runs[middle]?.from ?? 0) <= seq) low = middle + 1;
    else high = middle;
  }
  return low;
}
