import fc from "fast-check";
import { formatHlc, type JsonValue, type OriginId, type Seq, type Vector } from "../../services/core/index.ts";
import type { Crdt, CrdtWrite } from "../../services/merge/crdt.ts";

export const ORIGINS = ["relief.nairobi.t1.aaa", "relief.kampala.t1.bbb", "relief.juba.t1.ccc"] as const as readonly OriginId[] &
  readonly [OriginId, OriginId, OriginId];

/** What a test needs of a kind: a write, made from some random numbers and from what the author sees. */
export interface Kind {
  readonly crdt: Crdt;
  makeValue(dice: readonly number[], seen: JsonValue | undefined, known: readonly CrdtWrite[]): JsonValue;
  readonly runs?: number;
}

/** One step of a random history: a replica writes, or takes over all that another has. */
export type Step =
  | { kind: "write"; at: number; dice: number[]; clock: number; position: number | null }
  | { kind: "pull"; at: number; from: number };

export const dice: fc.Arbitrary<number[]> = fc.array(fc.nat(999), { minLength: 6, maxLength: 6 });

export const history: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant("write" as const),
      at: fc.nat(2),
      dice,
      clock: fc.integer({ min: -5, max: 5 }),
      position: fc.option(fc.nat(1_000_000)),
    }),
    fc.record({ kind: fc.constant("pull" as const), at: fc.nat(2), from: fc.nat(2) }),
  ),
  { minLength: 1, maxLength: 20 },
);

export const write = (
  at: number,
  seq: number,
  value: JsonValue,
  over: Partial<CrdtWrite["by"]> & { basis?: Vector } = {},
): CrdtWrite => {
  const { basis = {}, ...by } = over;
  const hlc = formatHlc({ wallMs: 1_700_000_000_000 + seq * 10 + at, counter: 0 });
  return {
    by: { origin: ORIGINS[at]!, seq: seq as Seq, hlc, actor: "someone", clockWrong: false, position: null, ...by },
    basis,
    value,
  };
};

/** A basis that covers the first writes of each replica: `saw(2, 0, 1)` knows 0 and 1 of the first, none of the second, 0 of the third. */
export const saw = (...counts: readonly number[]): Vector =>
  Object.fromEntries(counts.flatMap((count, at) => (count === 0 ? [] : [[ORIGINS[at]!, count - 1]]))) as Vector;

/** Whether `b`'s author had seen `a`. */
export const covered = (a: CrdtWrite, b: CrdtWrite): boolean =>
  a.by.origin === b.by.origin ? a.by.seq < b.by.seq : (b.basis[a.by.origin] ?? -1) >= a.by.seq;

export function joined(crdt: Crdt, writes: readonly CrdtWrite[]): JsonValue | undefined {
  return writes.reduce<JsonValue | undefined>((state, each) => crdt.join(state, each), undefined);
}

export const shown = (crdt: Crdt, ...writes: readonly CrdtWrite[]): JsonValue => crdt.read(joined(crdt, writes)!);

/** Plays a history on three replicas that see only what they wrote or pulled. */
export function play({ crdt, makeValue }: Kind, steps: readonly Step[]): CrdtWrite[] {
  const known: CrdtWrite[][] = [[], [], []];
  const all: CrdtWrite[] = [];
  for (const [i, step] of steps.entries()) {
    const here = known[step.at]!;
    if (step.kind === "pull") {
      for (const each of known[step.from]!) if (!here.includes(each)) here.push(each);
      continue;
    }
    const basis: Record<OriginId, Seq> = {};
    for (const { by } of here) basis[by.origin] = Math.max(basis[by.origin] ?? 0, by.seq) as Seq;
    const seq = all.filter(({ by }) => by.origin === ORIGINS[step.at]).length;
    const made = write(step.at, seq, makeValue(step.dice, joined(crdt, here), here), {
      hlc: formatHlc({ wallMs: 1_700_000_000_000 + i + step.clock * 1000, counter: 0 }),
      clockWrong: Math.abs(step.clock) === 5,
      position: step.position,
      basis: basis as Vector,
    });
    here.push(made);
    all.push(made);
  }
  return all;
}

/** Writes that claim to have seen anything. */
export const hostileWrites = ({ makeValue }: Kind): fc.Arbitrary<CrdtWrite[]> =>
  fc.uniqueArray(
    fc
      .record({
        at: fc.nat(2),
        seq: fc.nat(6),
        dice,
        basis: fc.dictionary(fc.constantFrom(...ORIGINS), fc.nat(9)),
        clockWrong: fc.boolean(),
        position: fc.option(fc.nat(5)),
      })
      .map(({ at, seq, dice, basis, ...by }) =>
        write(at, seq, makeValue(dice, undefined, []), { basis: basis as Vector, ...by }),
      ),
    { selector: ({ by }) => `${by.origin}/${by.seq}`, minLength: 1, maxLength: 10 },
  );

/** The same writes in any order, each at least once, some again, some also as they were before the hub gave them a position. */
export const asTheyMayCome = (writes: readonly CrdtWrite[]): fc.Arbitrary<CrdtWrite[]> =>
  fc.subarray([...writes, ...writes.map((each) => ({ ...each, by: { ...each.by, position: null } }))]).chain((again) => {
    const all = [...writes, ...again];
    return fc.shuffledSubarray(all, { minLength: all.length });
  });

export function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}
