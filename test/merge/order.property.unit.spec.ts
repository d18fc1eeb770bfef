import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type IncarnationId,
  type JsonObject,
  type OriginId,
  type PlacedRun,
  type Position,
  placesOf,
  type Seq,
  type TakenIn,
} from "../../services/core/index.ts";
import { sequencedTextOf } from "../../services/merge/crdt/index.ts";
import {
  decisionsOf,
  type EntityState,
  type FoldEvent,
  fold,
  packState,
  rowOf,
  unpackState,
} from "../../services/merge/engine.ts";
import { authorityOf, defineProjection, logOrder, set, text } from "../../services/merge/index.ts";
import { runs } from "../support/runs.ts";
import { at } from "../support/writes.ts";

const SEED = Number(process.env.TRIBUTARY_TEST_SEED ?? Date.now() % 2 ** 31);
const RUNS = runs(300);

const [COAST, HILLS] = ["coastaaaaaaa", "hillsaaaaaaa"] as IncarnationId[] as [IncarnationId, IncarnationId];
const HUBS = [COAST, HILLS] as const;
/** Devices, each with the hub that it sends to. */
const DEVICES = ["lamu", "malindi", "nyeri", "thika"].map((site, i) => ({
  origin: `relief.${site}.tablet.aaa` as OriginId,
  home: i % 2,
}));

const view = defineProjection({
  name: "people",
  entity: "person",
  columns: { phone: text(), name: text(), village: text(), status: text(), letter: text() },
  resolve: {
    phone: logOrder("last", { hub: COAST }),
    name: logOrder("first", { hub: COAST }),
    village: logOrder("last", { hub: HILLS }),
    status: authorityOf({ sites: ["lamu", "thika"] }, logOrder("last", { hub: HILLS })),
    letter: sequencedTextOf({ hub: COAST }),
  },
  events: { "person.updated": set() },
});

/** A device writes, or one hub takes in all that another has and it lacks; the hub may note the runs that it has taken in and not noted. */
type Step =
  | { readonly kind: "write"; readonly device: number; readonly hour: number }
  | { readonly kind: "exchange"; readonly to: number; readonly notes: boolean };

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({ kind: fc.constant("write" as const), device: fc.nat(3), hour: fc.integer({ min: 1, max: 20 }) }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("exchange" as const), to: fc.nat(1), notes: fc.boolean() }) },
  ),
  { minLength: 2, maxLength: 14 },
);

interface Happened {
  readonly events: readonly { readonly event: FoldEvent; readonly taken: TakenIn }[];
  readonly notes: readonly PlacedRun[];
  /** Each hub's order of the events that it has placed, as `origin/seq`. */
  readonly orders: readonly (readonly string[])[];
}

const nameOf = ({ origin, seq }: { readonly origin: OriginId; readonly seq: Seq }): string => `${origin}/${seq}`;

function play(done: readonly Step[]): Happened {
  const events: { event: FoldEvent; taken: TakenIn }[] = [];
  const notes: PlacedRun[] = [];
  const orders: string[][] = [[], []];
  const ends = [0, 0];
  /** How many events of each device a hub has placed. */
  const placed = [new Map<number, number>(), new Map<number, number>()];
  const next = (hub: number): Position => BigInt(++ends[hub]! * 10) as unknown as Position;
  const written = DEVICES.map(() => 0);
  for (const step of done) {
    if (step.kind === "write") {
      const { origin, home } = DEVICES[step.device]!;
      const seq = written[step.device]!++ as Seq;
      const name = nameOf({ origin, seq });
      const data: JsonObject = { phone: name, name, village: name, status: name, letter: [`(${step.device}${seq})`] };
      events.push({ event: eventOf(origin, seq, data, step.hour), taken: { hub: HUBS[home]!, position: next(home) } });
      orders[home]!.push(name);
      continue;
    }
    if (!step.notes) continue;
    for (const [device, { origin, home }] of DEVICES.entries()) {
      const from = (placed[step.to]!.get(device) ?? 0) as Seq;
      const through = (written[device]! - 1) as Seq;
      if (home === step.to || from > through) continue;
      notes.push({ hub: HUBS[step.to]!, position: next(step.to), origin, from, through });
      for (let seq = from as number; seq <= through; seq++) orders[step.to]!.push(nameOf({ origin, seq: seq as Seq }));
      placed[step.to]!.set(device, through + 1);
    }
  }
  return { events, notes, orders };
}

const eventOf = (origin: OriginId, seq: Seq, data: JsonObject, hour: number): FoldEvent => ({
  ...{ type: "person.updated", data, entity: { type: "person", id: "p1" } as const, actor: "deng" },
  ...{ occurredAt: "2026-05-03T08:00:00.000Z", site: origin.split(".")[1]!, origin, seq },
  ...{ hlc: at(hour), clockWrong: false, position: null, basis: {} },
});

type News =
  | { readonly kind: "event"; readonly item: Happened["events"][number] }
  | { readonly kind: "note"; readonly run: PlacedRun };

/** What a replica holds once all has come in this order: each event folded as it came, and again when a note placed it. Its state is written down and read again at each step. */
function replica(order: readonly News[]): EntityState | undefined {
  const known: PlacedRun[] = [];
  const held = new Map<string, Happened["events"][number]>();
  let state: EntityState | undefined;
  const take = ({ event, taken }: Happened["events"][number]): void => {
    const places = placesOf(event, taken, known);
    const folded = fold(view, state, places === undefined ? event : { ...event, places })!.state;
    state = unpackState(packState(folded));
  };
  for (const news of order) {
    if (news.kind === "event") {
      held.set(nameOf(news.item.event), news.item);
      take(news.item);
      continue;
    }
    known.push(news.run);
    for (const item of held.values()) {
      const { origin, seq } = item.event;
      if (origin === news.run.origin && seq >= news.run.from && seq <= news.run.through) take(item);
    }
  }
  return state;
}

const shown = (state: EntityState) => {
  const row = rowOf(view, state);
  const decisions = decisionsOf(view, state).map(({ register, rule, reason, value }) => ({ register, rule, reason, value }));
  return { row, decisions };
};

/** Of the last writes of each device, the one that a hub's order has last, or first; those that it has not placed come after all others, the later stamp last. */
function expected({ events, orders }: Happened, hub: number, which: "last" | "first", sites?: readonly string[]): string {
  const last = new Map(events.map(({ event }) => [event.origin, event]));
  const having = [...last.values()].filter(({ site }) => sites?.includes(site));
  const siblings = having.length > 0 ? having : [...last.values()];
  const rank = (event: FoldEvent): number => {
    const place = orders[hub]!.indexOf(nameOf(event));
    return place < 0 ? orders[hub]!.length : place;
  };
  const ranks = siblings.map(rank);
  const best = which === "last" ? Math.max(...ranks) : Math.min(...ranks);
  const tied = siblings.filter((event) => rank(event) === best);
  return nameOf(tied.toSorted((a, b) => (a.hlc === b.hlc ? (a.origin < b.origin ? 1 : -1) : a.hlc < b.hlc ? 1 : -1))[0]!);
}

describe(`replicas of several hubs, seed ${SEED}`, () => {
  it("show the same rows and decisions in the order of the hub that a rule names, in whatever order events and notes of places come (I9)", () => {
    let [placedByNote, unplaced] = [0, 0];
    fc.assert(
      fc.property(
        steps
          .map((done) => play(done))
          .filter(({ events }) => events.length > 0)
          .chain((happened) => {
            const news: News[] = [
              ...happened.events.map((item) => ({ kind: "event" as const, item })),
              ...happened.notes.map((run) => ({ kind: "note" as const, run })),
            ];
            const shuffled = fc.shuffledSubarray([...news, ...news]);
            const order = fc
              .tuple(fc.shuffledSubarray(news, { minLength: news.length }), shuffled)
              .map(([all, again]) => [...all, ...again]);
            return fc.tuple(fc.constant(happened), fc.array(order, { minLength: 3, maxLength: 4 }));
          }),
        ([happened, orders]) => {
          const [first, ...others] = orders.map((order) => shown(replica(order)!));
          for (const other of others) expect(other).toEqual(first);
          const { values } = first!.row;
          expect(values.phone).toBe(expected(happened, 0, "last"));
          expect(values.name).toBe(expected(happened, 0, "first"));
          expect(values.village).toBe(expected(happened, 1, "last"));
          expect(values.status).toBe(expected(happened, 1, "last", ["lamu", "thika"]));
          for (const { register, rule } of first!.decisions)
            if (register !== "deleted")
              expect(rule).toContain(`of hub ${register === "village" || register === "status" ? HILLS : COAST}`);
          placedByNote += happened.notes.length;
          unplaced += happened.events.filter(({ event }) => !happened.orders[0]!.includes(nameOf(event))).length;
        },
      ),
      { numRuns: RUNS, seed: SEED },
    );
    // Else nothing was tried.
    expect(placedByNote).toBeGreaterThan(0);
    expect(unplaced).toBeGreaterThan(0);
  });
});

describe("a text in the order of a named hub", () => {
  const [lamu, nyeri] = [DEVICES[0]!.origin, DEVICES[2]!.origin];
  const letters = (runsKnown: readonly PlacedRun[], takenAt: readonly [TakenIn, TakenIn]): string => {
    const written = [eventOf(lamu, 0 as Seq, { letter: ["rice"] }, 8), eventOf(nyeri, 0 as Seq, { letter: ["soap"] }, 9)];
    let state: EntityState | undefined;
    for (const [i, event] of written.entries()) {
      const places = placesOf(event, takenAt[i]!, runsKnown);
      state = fold(view, state, places === undefined ? event : { ...event, places })!.state;
    }
    return String(rowOf(view, state!).values.letter);
  };
  const position = (at: number): Position => BigInt(at) as unknown as Position;
  const takenAt = (lamuAt: number): readonly [TakenIn, TakenIn] => [
    { hub: COAST, position: position(lamuAt) },
    { hub: HILLS, position: position(5) },
  ];

  it("puts what the hub has not placed after all that it has, and moves it where the hub notes it", () => {
    expect(letters([], takenAt(900))).toBe("ricesoap");
    const noted = { hub: COAST, position: position(40), origin: nyeri, from: 0 as Seq, through: 0 as Seq };
    expect(letters([noted], takenAt(900))).toBe("soaprice");
    expect(letters([noted], takenAt(30))).toBe("ricesoap");
    // What the other hub notes says nothing of this one's order.
    expect(letters([{ ...noted, hub: HILLS, position: position(1) }], takenAt(900))).toBe("ricesoap");
    // A hub's first note of an event holds.
    expect(letters([{ ...noted, position: position(950) }, noted], takenAt(900))).toBe("soaprice");
  });
});
