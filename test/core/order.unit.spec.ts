import { expect, it } from "vitest";
import { type IncarnationId, type OriginId, type PlacedRun, placedIndex, position, type Seq } from "../../services/core/index.ts";
import { chooser, SEED } from "../support/random.ts";

const HUBS = ["coastaaaaaaa", "hillsaaaaaaa", "lakesaaaaaaa"] as IncarnationId[];
const ORIGINS = ["relief.nyeri.a.aaaaaaaa", "relief.thika.a.aaaaaaaa"] as OriginId[];
const sorted = (runs: readonly PlacedRun[]): bigint[] => runs.map(({ position }) => position).sort((a, b) => Number(a - b));

it(`finds all runs that an event is in, in whatever order they became known and however they overlap (seed ${SEED})`, () => {
  const { int, chance, pick } = chooser(SEED);
  for (let turn = 0; turn < 200; turn++) {
    const runs: PlacedRun[] = [];
    const index = placedIndex();
    for (let n = int(0, 30); n > 0; n--) {
      const from = chance(0.2) ? 0 : int(0, 60);
      const run: PlacedRun = {
        ...{ origin: pick(ORIGINS), hub: pick(HUBS), position: position(BigInt(n)) },
        ...{ from: from as Seq, through: (from + (chance(0.2) ? int(0, 60) : int(0, 5))) as Seq },
      };
      runs.push(run);
      index.add(run);
      const event = { origin: pick(ORIGINS), seq: int(0, 70) as Seq };
      const slow = runs.filter(
        ({ origin, from, through }) => origin === event.origin && from <= event.seq && event.seq <= through,
      );
      expect(sorted(index.over(event))).toEqual(sorted(slow));
    }
    expect(sorted(placedIndex(runs).over({ origin: ORIGINS[0]!, seq: 3 as Seq }))).toEqual(
      sorted(index.over({ origin: ORIGINS[0]!, seq: 3 as Seq })),
    );
  }
});

it("looks at few runs of those that an origin has", () => {
  let looks = 0;
  const runs = Array.from({ length: 20_000 }, (_, n): PlacedRun => {
    const run = { origin: ORIGINS[0]!, hub: HUBS[0]!, position: position(BigInt(n)), from: (2 * n) as Seq };
    return Object.defineProperty(run as PlacedRun, "through", {
      get: () => {
        looks++;
        return 2 * n + 1;
      },
    });
  });
  const index = placedIndex(runs);
  looks = 0;
  for (const seq of [0, 19_999, 39_999]) expect(index.over({ origin: ORIGINS[0]!, seq: seq as Seq })).toHaveLength(1);
  expect(looks).toBeLessThan(20);
});
