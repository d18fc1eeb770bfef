import fc from "fast-check";
import { expect, it } from "vitest";
import type { JsonValue } from "../../services/core/index.ts";
import type { CrdtWrite } from "../../services/merge/crdt.ts";
import { asTheyMayCome, deepFreeze, history, hostileWrites, type Kind, play } from "./crdt.ts";
import { runs as bounded } from "./runs.ts";

/** Tests that a kind keeps the laws that the comment on `Crdt` states. */
export function keepsTheLaws(kind: Kind): void {
  const { crdt, runs = 300 } = kind;

  /** The state as text, member for member. It is stored and read back after the write numbered `storedAfter`. */
  const stateOf = (writes: readonly CrdtWrite[], storedAfter = -1): { text: string; value: JsonValue } => {
    let state: JsonValue | undefined;
    for (const [i, each] of writes.entries()) {
      expect(crdt.problem(each.value)).toBeNull();
      state = deepFreeze(crdt.join(state, deepFreeze(each)));
      if (i === storedAfter) state = JSON.parse(JSON.stringify(state)) as JsonValue;
    }
    return { text: JSON.stringify(state), value: crdt.read(state!) };
  };

  const sameInAnyOrder = (writes: fc.Arbitrary<CrdtWrite[]>): void =>
    fc.assert(
      fc.property(
        writes.filter(({ length }) => length > 0).chain((all) => fc.tuple(fc.constant(all), asTheyMayCome(all), fc.nat(20))),
        ([all, again, storedAfter]) => {
          expect(stateOf(again, storedAfter)).toEqual(stateOf(all));
        },
      ),
      { numRuns: bounded(runs) },
    );

  it("ends in the same state and value, whatever the order, the repetitions and the storing in between", () => {
    sameInAnyOrder(history.map((steps) => play(kind, steps)));
  });

  it("ends in the same state even when bases claim what nobody could have seen", () => {
    sameInAnyOrder(hostileWrites(kind));
  });

  it("comes back from its stored form unchanged", () => {
    fc.assert(
      fc.property(
        history.map((steps) => play(kind, steps)).filter(({ length }) => length > 0),
        (writes) => {
          const state = writes.reduce<JsonValue | undefined>(crdt.join.bind(crdt), undefined)!;
          const back = JSON.parse(JSON.stringify(state)) as JsonValue;
          expect(back).toEqual(state);
          expect(crdt.read(back)).toEqual(crdt.read(state));
        },
      ),
      { numRuns: bounded(50) },
    );
  });

  it("says what is not a write of its kind, whatever it is given", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const problem = crdt.problem(value as JsonValue);
        expect(problem === null || problem.length > 10).toBe(true);
      }),
      { numRuns: bounded(300) },
    );
  });
}
