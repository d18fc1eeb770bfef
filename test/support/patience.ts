/*
 * How long tests wait. A test waits for something to happen, never for a time by which it happens: how fast a machine is depends on what else it does. So all waits
 * share one generous bound, which only ends what would hang for ever. `TRIBUTARY_TEST_PATIENCE=3 npm test` makes every bound three times as long.
 * `test/patience.unit.spec.ts` refuses bounds of a test's own.
 */
const given = Number(process.env.TRIBUTARY_TEST_PATIENCE ?? 1);
if (!(given > 0 && given <= 1_000)) throw new Error("TRIBUTARY_TEST_PATIENCE must be a number above 0, at most 1000");

/** How long a test waits for one thing to happen, or for one answer. */
export const WAIT_MS = 240_000 * given;

/** How long a whole test may take, or what prepares one: several things are waited for in it. */
export const TEST_MS = 1_200_000 * given;

/** How long random cases are tried: shorter than a test, so that a property that hangs names its seed. */
export const PROPERTY_MS = 1_000_000 * given;
