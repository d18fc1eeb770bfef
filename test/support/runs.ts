/** `npm run test:unit` tries a tenth of the random cases, so that it ends in half a minute; `npm test` tries them all. Both draw them from the same seed. */
export const IS_QUICK = process.env.TRIBUTARY_TEST_QUICK === "1";

const QUICK_SHARE = 10;

/** How many random cases a test tries of `all`. */
export const runs = (all: number): number => (IS_QUICK ? Math.ceil(all / QUICK_SHARE) : all);

/** How many a test must have met, if all random cases must meet `all`. A tenth of the cases scatter more widely. */
export const atLeast = (all: number): number => (IS_QUICK ? all / QUICK_SHARE / 4 : all);

/** How often all cases of a test are tried again where luck gave too few of a kind. */
const MAX_ROUNDS = 20;

/** Whether random case number `done` of `all` is still due: beyond `all` while there were not enough of a kind. How many a seed gives is luck, and no test hangs on it. */
export const isDue = (done: number, all: number, isEnough: () => boolean): boolean =>
  done < runs(all) || (done < MAX_ROUNDS * runs(all) && !isEnough());

/** The same for a property that tries all of its cases in one go. */
export function untilEnough(round: (number: number) => void, isEnough: () => boolean): void {
  for (let number = 0; number === 0 || (number < MAX_ROUNDS && !isEnough()); number++) round(number);
}
