/** `npm run test:unit` tries a tenth of the random cases, so that it ends in half a minute; `npm test` tries them all. Both draw them from the same seed. */
export const IS_QUICK = process.env.TRIBUTARY_TEST_QUICK === "1";

const QUICK_SHARE = 10;

/** How many random cases a test tries of `all`. */
export const runs = (all: number): number => (IS_QUICK ? Math.ceil(all / QUICK_SHARE) : all);

/** How many a test must have met, if all random cases must meet `all`. A tenth of the cases scatter more widely. */
export const atLeast = (all: number): number => (IS_QUICK ? all / QUICK_SHARE / 4 : all);
