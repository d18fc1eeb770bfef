import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type Clips,
  clippedBasis,
  clipsFromStored,
  clipsToStored,
  clipWords,
  type OriginId,
  type Seq,
  type Vector,
} from "../../services/core/index.ts";
import { decisionsOf, type EntityState, fold, rowOf, seenOf, waitingFor } from "../../services/merge/engine.ts";
import { defineProjection, set, text } from "../../services/merge/index.ts";
import { SEED } from "../support/random.ts";
import { runs } from "../support/runs.ts";
import { at, JUBA, KAMPALA, NAIROBI } from "../support/writes.ts";

const people = defineProjection({
  name: "people",
  entity: "person",
  columns: { phone: text(), village: text() },
  events: { "person.changed": set() },
});
const MAX = Number.MAX_SAFE_INTEGER as Seq;

interface Event {
  readonly origin: OriginId;
  readonly seq: number;
  readonly hour: number;
  readonly data: Record<string, string>;
  readonly basis: Vector;
  readonly clips?: Clips;
}
const foldAll = (events: readonly Event[]): EntityState => {
  let state: EntityState | undefined;
  for (const { origin, seq, hour, data, basis, clips } of events)
    state = fold(people, state, {
      ...{
        type: "person.changed",
        data,
        entity: { type: "person", id: "p1" },
        actor: "a",
        occurredAt: "2026-05-03T08:00:00.000Z",
      },
      ...{ site: origin.split(".")[1]!, origin, seq: seq as Seq, hlc: at(hour), clockWrong: false, position: null },
      ...seenOf(basis, clips),
    })!.state;
  return state!;
};
const shown = (state: EntityState) => ({
  row: rowOf(people, state),
  waits: waitingFor(state),
  decisions: decisionsOf(people, state),
});

describe("a basis that the hub's note clips", () => {
  const first = { origin: KAMPALA, seq: 0, hour: 8, data: { phone: "1" }, basis: {} } as const;
  const forged: Event = { origin: JUBA, seq: 0, hour: 9, data: { phone: "2" }, basis: { [KAMPALA]: MAX } as Vector };
  const later: Event = { origin: KAMPALA, seq: 1, hour: 10, data: { phone: "3" }, basis: { [KAMPALA]: 0 } as Vector };
  const clips = { [KAMPALA]: { code: "basis-ahead", to: 0 as Seq } } as Clips;

  it("mutes nobody: what others write later stands and wins by the rule, and the conflict shows", () => {
    expect(shown(foldAll([first, forged, later])).row.values.phone).toBe("2");
    const clipped = shown(foldAll([first, { ...forged, clips }, later]));
    expect(clipped.row).toMatchObject({ values: { phone: "3" }, conflicts: 1 });
    expect(clipped.decisions).toMatchObject([{ register: "phone", winner: { value: "3" }, losers: [{ value: "2" }] }]);
  });

  it("still covers what the log held: the first value is replaced, not contested", () => {
    expect(shown(foldAll([first, { ...forged, clips }])).row).toMatchObject({ values: { phone: "2" }, conflicts: 0 });
  });

  it("makes nobody wait for events that may never come", () => {
    expect(shown(foldAll([first, forged])).waits).toEqual({ [KAMPALA]: MAX });
    // Not even for the one that it is clipped to: that may be about another entity.
    const to = (seq: number): Clips => ({ [KAMPALA]: { code: "basis-other-entity", to: seq as Seq } }) as Clips;
    expect(shown(foldAll([first, { ...forged, clips: to(7) }])).waits).toEqual({});
  });

  it("never reaches further than its author said, whatever the note says", () => {
    const basis = { [KAMPALA]: 3, [NAIROBI]: 5 } as Vector;
    expect(clippedBasis(basis, undefined)).toBe(basis);
    expect(
      clippedBasis(basis, { [KAMPALA]: { code: "basis-ahead", to: 9 }, [JUBA]: { code: "basis-ahead", to: 1 } } as Clips),
    ).toEqual(basis);
    expect(clippedBasis(basis, { [KAMPALA]: { code: "basis-ahead", to: null } } as Clips)).toEqual({ [NAIROBI]: 5 });
  });

  it("is stored as a few words, read back as it was, and explained in sentences", () => {
    const both = { [KAMPALA]: { code: "basis-ahead", to: null }, [NAIROBI]: { code: "basis-other-entity", to: 4 } } as Clips;
    expect(clipsFromStored(JSON.parse(JSON.stringify(clipsToStored(both))))).toEqual(both);
    expect(clipsFromStored({ [KAMPALA]: ["something-new", 3], [NAIROBI]: 7 })).toEqual({});
    expect(clipsFromStored(undefined)).toBeUndefined();
    expect(clipWords({ [KAMPALA]: MAX, [NAIROBI]: 5 } as Vector, both)).toEqual([
      `it says that its author had seen event ${MAX} of ${KAMPALA}, which the log did not hold and which came without that origin's signed head: nothing of it counts as seen (basis-ahead)`,
      `it says that its author had seen event 5 of ${NAIROBI}, which is about another entity: it counts as seen up to event 4 (basis-other-entity)`,
    ]);
  });
});

const ORIGINS = [NAIROBI, KAMPALA, JUBA] as const;

/** Events as they stand in a log for which the hub wrote notes: each claims what it likes, and is clipped to what had come before it. */
const histories = fc
  .array(
    fc.record({
      by: fc.nat(2),
      hour: fc.integer({ min: 0, max: 23 }),
      column: fc.constantFrom("phone", "village"),
      value: fc.constantFrom("a", "b", "c"),
      claims: fc.array(fc.tuple(fc.nat(2), fc.oneof(fc.nat(6), fc.constant(MAX as number))), { maxLength: 3 }),
    }),
    { minLength: 1, maxLength: 12 },
  )
  .map((writes) => {
    const next = [0, 0, 0];
    return writes.map(({ by, hour, column, value, claims }): Event => {
      const basis: Record<string, number> = {};
      const clips: Record<string, Clips[OriginId]> = {};
      for (const [of, seq] of claims) {
        if (of === by) continue;
        basis[ORIGINS[of]!] = seq;
        delete clips[ORIGINS[of]!];
        const held = next[of]! - 1;
        if (seq > held) clips[ORIGINS[of]!] = { code: "basis-ahead", to: held < 0 ? null : (held as Seq) };
      }
      const seq = next[by]!++;
      const noted = Object.keys(clips).length === 0 ? {} : { clips: clips as Clips };
      return { origin: ORIGINS[by]!, seq, hour, data: { [column]: value }, basis: basis as Vector, ...noted };
    });
  });

describe(`events with notes, seed ${SEED}`, () => {
  it("give the same row, decisions and waits in whatever order they come, twice or once", () => {
    const orders = histories.chain((events) =>
      fc.record({
        events: fc.constant(events),
        order: fc.shuffledSubarray([...events.keys()], { minLength: events.length, maxLength: events.length }),
        again: fc.subarray([...events.keys()]),
      }),
    );
    fc.assert(
      fc.property(orders, ({ events, order, again }) => {
        const expected = shown(foldAll(events));
        expect(shown(foldAll([...order, ...again].map((i) => events[i]!)))).toEqual(expected);
        expect(expected.waits).toEqual({});
      }),
      { seed: SEED, numRuns: runs(2_000) },
    );
  });

  it("mute nothing that came after them: a value is gone only where a later write had it before it in the log, or its own author replaced it", () => {
    fc.assert(
      fc.property(histories, (events) => {
        const state = foldAll(events);
        for (const column of ["phone", "village"] as const) {
          const writes = events.filter(({ data }) => column in data);
          const standing = writes.filter(
            (write, i) =>
              !writes.some(
                (other, j) =>
                  other !== write &&
                  (other.origin === write.origin
                    ? other.seq > write.seq
                    : j > i && (other.basis[write.origin] ?? -1) >= write.seq),
              ),
          );
          const siblings = state.registers[column]?.siblings ?? [];
          expect(siblings.map(({ by }) => `${by.origin}/${by.seq}`).sort()).toEqual(
            standing.map(({ origin, seq }) => `${origin}/${seq}`).sort(),
          );
        }
      }),
      { seed: SEED, numRuns: runs(2_000) },
    );
  });
});
