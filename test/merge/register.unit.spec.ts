import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatHlc, type OriginId, type Seq, type Vector } from "../../services/core/index.ts";
import {
  applyWrite,
  decisionsOf,
  type EntityState,
  type FoldEvent,
  fold,
  NO_CONTEXT,
  packState,
  type Register,
  rowOf,
  unpackState,
  type Write,
  waitingFor,
} from "../../services/merge/engine.ts";
import { date, defineProjection, lastWriteWins, remove, set, text } from "../../services/merge/index.ts";
import { runs } from "../support/runs.ts";

const ORIGINS = ["relief.nairobi.t1.aaa", "relief.kampala.t1.bbb", "relief.juba.t1.ccc"] as OriginId[];

const people = defineProjection({
  name: "people",
  entity: "person",
  columns: { name: text(), phone: text(), district: text(), village: text() },
  groups: { location: ["district", "village"] },
  events: { "person.registered": set(), "person.updated": set(), "person.removed": remove() },
});

/** One step of a random history: a replica writes, or takes over all that another has. */
type Step =
  | { kind: "write"; at: number; type: number; values: Record<string, string | null>; clock: number }
  | { kind: "pull"; at: number; from: number };

const value = fc.option(fc.constantFrom("a", "b", "c"), { nil: null });
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constant("write" as const),
    at: fc.nat(2),
    type: fc.nat(6),
    values: fc.record({ name: value, phone: value, district: value, village: value }, { requiredKeys: [] }),
    clock: fc.integer({ min: -5, max: 5 }),
  }),
  fc.record({ kind: fc.constant("pull" as const), at: fc.nat(2), from: fc.nat(2) }),
);

/** Plays a history on three replicas that see only what they wrote or pulled. */
function play(steps: readonly Step[]): FoldEvent[] {
  const known: FoldEvent[][] = [[], [], []];
  const all: FoldEvent[] = [];
  for (const [i, step] of steps.entries()) {
    const here = known[step.at]!;
    if (step.kind === "pull") {
      for (const event of known[step.from]!) if (!here.includes(event)) here.push(event);
      continue;
    }
    const origin = ORIGINS[step.at]!;
    const basis: Record<OriginId, Seq> = {};
    for (const event of here) basis[event.origin] = Math.max(basis[event.origin] ?? 0, event.seq) as Seq;
    const event: FoldEvent = {
      type: step.type === 0 ? "person.removed" : step.type === 1 ? "person.registered" : "person.updated",
      data: step.type === 0 ? {} : step.values,
      entity: { type: "person", id: "p1" },
      actor: "someone",
      occurredAt: "2026-01-01T00:00:00.000Z",
      site: "x",
      origin,
      seq: all.filter((other) => other.origin === origin).length as Seq,
      hlc: formatHlc({ wallMs: 1_700_000_000_000 + i + step.clock * 1000, counter: 0 }),
      clockWrong: Math.abs(step.clock) === 5,
      position: i,
      basis: basis as Vector,
    };
    here.push(event);
    all.push(event);
  }
  return all;
}

const foldAll = (events: readonly FoldEvent[]): EntityState | undefined =>
  events.reduce<EntityState | undefined>((state, event) => fold(people, state, event)?.state ?? state, undefined);

/** What the design says in one sentence, computed the slow way: siblings are the writes that no known write covers. */
function referenceSiblings(register: string, events: readonly FoldEvent[]): string[] {
  const writers = events.filter((event) => people.writesOf(event)?.has(register));
  const covered = (a: FoldEvent, b: FoldEvent): boolean =>
    a.origin === b.origin ? a.seq < b.seq : (b.basis[a.origin] ?? -1) >= a.seq;
  return writers
    .filter((a) => !writers.some((b) => covered(a, b)))
    .map((a) => `${a.origin}/${a.seq}`)
    .sort();
}

const shuffledWithRepeats = (events: readonly FoldEvent[]): fc.Arbitrary<FoldEvent[]> =>
  fc
    .tuple(fc.shuffledSubarray([...events], { minLength: events.length }), fc.subarray([...events]))
    .chain(([all, again]) => fc.shuffledSubarray([...all, ...again], { minLength: all.length + again.length }));

describe("registers", () => {
  it("end in the same state whatever the order, repetition and interleaving of the same events (I8)", () => {
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 1, maxLength: 24 }).chain((steps) => {
          const events = play(steps);
          return fc.tuple(fc.constant(events), shuffledWithRepeats(events));
        }),
        ([events, shuffled]) => {
          expect(shuffled.length === 0 ? undefined : foldAll(shuffled)).toEqual(foldAll(events));
        },
      ),
      { numRuns: runs(1000) },
    );
  });

  it("hold exactly the writes that no other known write covers", () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 24 }), (steps) => {
        const events = play(steps);
        const state = foldAll(events);
        for (const register of people.registers.keys()) {
          const siblings = (state?.registers[register]?.siblings ?? []).map(({ by }) => `${by.origin}/${by.seq}`).sort();
          expect(siblings).toEqual(referenceSiblings(register, events));
        }
      }),
      { numRuns: runs(1000) },
    );
  });

  it("merge as sets even when bases claim what nobody could have seen", () => {
    const write = fc.record({
      by: fc.record({
        origin: fc.constantFrom(...ORIGINS),
        seq: fc.nat(6).map((n) => n as Seq),
        hlc: fc.constant(formatHlc({ wallMs: 1, counter: 0 })),
        actor: fc.constant("a"),
        clockWrong: fc.boolean(),
        position: fc.constant(null),
      }),
      basis: fc.dictionary(fc.constantFrom(...ORIGINS), fc.nat(9)).map((v) => v as unknown as Vector),
      value: fc.constant("v"),
    });
    const distinct = fc.uniqueArray(write, { selector: ({ by }) => `${by.origin}/${by.seq}`, minLength: 1, maxLength: 8 });
    const applied = (writes: readonly Write[]): Register | undefined =>
      writes.reduce<Register | undefined>(applyWrite, undefined);
    fc.assert(
      fc.property(
        distinct.chain((writes) =>
          fc.tuple(fc.constant(writes), fc.shuffledSubarray([...writes, ...writes], { minLength: writes.length * 2 })),
        ),
        ([writes, again]) => {
          expect(applied(again)).toEqual(applied(writes));
        },
      ),
      { numRuns: runs(1000) },
    );
  });

  it("come back from their stored form unchanged", () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 24 }), (steps) => {
        const state = foldAll(play(steps));
        if (state !== undefined) expect(unpackState(packState(state))).toEqual(state);
      }),
    );
  });
});

describe("what a coordinator sees", () => {
  const event = (
    at: number,
    seq: number,
    type: string,
    data: Record<string, string | null>,
    rest: Partial<FoldEvent> = {},
  ): FoldEvent => ({
    type: `person.${type}`,
    data,
    entity: { type: "person", id: "p1" },
    actor: "someone",
    occurredAt: "2026-01-01T00:00:00.000Z",
    site: "x",
    origin: ORIGINS[at]!,
    seq: seq as Seq,
    hlc: formatHlc({ wallMs: 1_700_000_000_000 + at * 1000 + seq, counter: 0 }),
    clockWrong: false,
    position: null,
    basis: {},
    ...rest,
  });
  const first = event(0, 0, "registered", { name: "Amina", phone: "1", district: "N", village: "V" });
  const sawFirst = { basis: { [ORIGINS[0]!]: 0 as Seq } };

  it("keeps changes of two offline sites to different fields of one person, without a conflict", () => {
    const state = foldAll([first, event(0, 1, "updated", { name: "Aminah" }), event(1, 0, "updated", { phone: "2" }, sawFirst)])!;
    expect(rowOf(people, state)).toEqual({
      values: { name: "Aminah", phone: "2", district: "N", village: "V" },
      deleted: false,
      conflicts: 0,
    });
  });

  it("decides by the later stamp about a field that two sites changed, and names the loser with its value", () => {
    const state = foldAll([
      first,
      event(1, 0, "updated", { phone: "2" }, sawFirst),
      event(2, 0, "updated", { phone: "3" }, sawFirst),
    ])!;
    expect(rowOf(people, state).values.phone).toBe("3");
    expect(decisionsOf(people, state)).toMatchObject([
      {
        register: "phone",
        rule: "lastWriteWins",
        reason: "later-stamp",
        winner: { value: "3" },
        losers: [{ value: "2", by: { origin: ORIGINS[1] } }],
      },
    ]);
  });

  it("never lets a clock known to be wrong win, however late its stamp (I10)", () => {
    const wrong = { ...sawFirst, hlc: formatHlc({ wallMs: 1_900_000_000_000, counter: 0 }), clockWrong: true };
    const state = foldAll([
      first,
      event(1, 0, "updated", { phone: "2" }, sawFirst),
      event(2, 0, "updated", { phone: "3" }, wrong),
    ])!;
    expect(rowOf(people, state).values.phone).toBe("2");
    expect(decisionsOf(people, state)).toMatchObject([{ reason: "clock-trusted", losers: [{ value: "3" }] }]);
  });

  it("changes a group as a whole: never one site's district with another's village (I12)", () => {
    const state = foldAll([
      first,
      event(1, 0, "updated", { district: "K" }, sawFirst),
      event(2, 0, "updated", { village: "W" }, sawFirst),
    ])!;
    const { district, village } = rowOf(people, state).values;
    expect({ district, village }).toEqual({ district: null, village: "W" });
    expect(decisionsOf(people, state).map(({ register }) => register)).toEqual(["location"]);
  });

  it("shows a deletion against a concurrent change as a conflict, and keeps the change", () => {
    const state = foldAll([first, event(1, 0, "removed", {}, sawFirst), event(2, 0, "updated", { phone: "3" }, sawFirst)])!;
    expect(rowOf(people, state)).toMatchObject({ deleted: false, values: { phone: "3" }, conflicts: 1 });
    const deletedLater = foldAll([
      first,
      event(1, 0, "updated", { phone: "3" }, sawFirst),
      event(2, 0, "removed", {}, sawFirst),
    ])!;
    expect(rowOf(people, deletedLater)).toMatchObject({ deleted: true, values: { phone: "3" }, conflicts: 1 });
  });

  it("no longer shows a conflict once somebody who saw both values has written", () => {
    const both = { basis: { [ORIGINS[0]!]: 0, [ORIGINS[1]!]: 0, [ORIGINS[2]!]: 0 } as Vector };
    const state = foldAll([
      first,
      event(1, 0, "updated", { phone: "2" }, sawFirst),
      event(2, 0, "updated", { phone: "3" }, sawFirst),
      event(0, 1, "updated", { phone: "2" }, both),
    ])!;
    expect(rowOf(people, state)).toMatchObject({ values: { phone: "2" }, conflicts: 0 });
  });

  it("takes an event that comes before those that it builds on, and says which ones it waits for", () => {
    const late = event(1, 0, "updated", { phone: "2" }, { basis: { [ORIGINS[0]!]: 4 as Seq } });
    const state = foldAll([late])!;
    expect(rowOf(people, state).values.phone).toBe("2");
    expect(waitingFor(state)).toEqual({ [ORIGINS[0]!]: 4 });
    const missing = event(0, 4, "registered", { name: "Amina", phone: "1" });
    expect(waitingFor(foldAll([late, missing])!)).toEqual({});
    expect(rowOf(people, foldAll([late, missing])!).values).toMatchObject({ name: "Amina", phone: "2" });
  });

  it("treats the same value written twice as agreement", () => {
    const state = foldAll([
      first,
      event(1, 0, "updated", { phone: "2" }, sawFirst),
      event(2, 0, "updated", { phone: "2" }, sawFirst),
    ])!;
    expect(decisionsOf(people, state)).toEqual([]);
  });

  it("breaks equal stamps by origin, the same way in any order", () => {
    const hlc = formatHlc({ wallMs: 1_700_000_000_000, counter: 0 });
    const events = [event(1, 0, "updated", { phone: "2" }, { hlc }), event(2, 0, "updated", { phone: "3" }, { hlc })];
    const [decision] = decisionsOf(people, foldAll(events)!);
    expect(decision).toMatchObject({ reason: "origin-tie", winner: { value: "2" } });
    expect(rowOf(people, foldAll([...events].reverse())!)).toEqual(rowOf(people, foldAll(events)!));
    expect(lastWriteWins.resolve(decision!.losers, NO_CONTEXT).winner.value).toBe("3");
  });
});

describe("a projection's declaration", () => {
  const columns = { name: text(), phone: text() };
  const events = { "person.registered": set() };
  it.each([
    ["a group naming a missing column", { name: "v", entity: "p", columns, events, groups: { g: ["name", "nome"] } }, "nome"],
    [
      "a column in two groups",
      { name: "v", entity: "p", columns, events, groups: { g: ["name", "phone"], h: ["phone", "name"] } },
      "two groups",
    ],
    ["a system column", { name: "v", entity: "p", columns: { id: text() }, events }, "column id"],
    ["a resolver for no register", { name: "v", entity: "p", columns, events, resolve: { fone: lastWriteWins } }, "fone"],
    ["a rule setting a missing column", { name: "v", entity: "p", columns, events: { "p.x": set("nome") } }, "nome"],
    ["a bad name", { name: "Bad Name", entity: "p", columns, events }, "Bad Name"],
    ["no events", { name: "v", entity: "p", columns, events: {} }, "no event"],
  ])("is refused with the name of what is wrong: %s", (_, declared, named) => {
    expect(() => defineProjection(declared as never)).toThrow(named);
  });

  it.each([
    ["2024-02-29", true],
    ["2023-02-29", false],
    ["1900-02-29", false],
    ["2000-02-29", true],
    ["2026-04-31", false],
    ["2026-13-01", false],
    ["2026-1-01", false],
    ["0000-01-01", false],
  ])("knows the calendar: %s is a day: %s", (day, expected) => {
    expect(date().fits(day)).toBe(expected);
  });

  it("refuses a value that does not fit its column, naming both", () => {
    expect(() =>
      people.writesOf({
        type: "person.updated",
        data: { phone: 7 },
        entity: { type: "person", id: "p" },
        actor: "a",
        occurredAt: "",
        site: "",
      }),
    ).toThrow(/7 into people\.phone/);
  });
});
