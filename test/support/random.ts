/** Numbers from 0 up to 1, the same for the same seed: a run that found something can be played again. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 4_294_967_296;
  };
}

/** The seed of a run: given, or a fresh one. A test says it in its name. */
export const SEED = Number(process.env.TRIBUTARY_TEST_SEED ?? Date.now() % 2 ** 31);

export interface Chooser {
  /** A whole number from `from` to `to`, both included. */
  int(from: number, to: number): number;
  chance(probability: number): boolean;
  pick<T>(list: readonly T[]): T;
}

export function chooser(seed: number): Chooser {
  const next = random(seed);
  // The first numbers of seeds that are close are close.
  for (let i = 0; i < 8; i++) next();
  const int = (from: number, to: number): number => from + Math.floor(next() * (to - from + 1));
  return { int, chance: (probability) => next() < probability, pick: (list) => list[int(0, list.length - 1)]! };
}
