import { describe, expect, it } from "vitest";
import { DOORS, EVERY, FULL, fuzz } from "../support/fuzz.ts";
import { SEED } from "../support/random.ts";
import { runs } from "../support/runs.ts";

/** A tenth of what `npm run soak -- fuzz` throws. Another seed: TRIBUTARY_TEST_SEED. */
const SHARE = 0.1;

describe("whatever a stranger sends", () => {
  it.each(DOORS)(`as %s ends with an answer or a refusal in words (seed ${SEED}) (I35)`, async (door) => {
    const count = runs(FULL[door] * SHARE);
    const { taken, refused } = await fuzz(door, SEED, count);
    expect(taken + refused).toBe(count);
    // Some items are as they should be, and some are certainly not, so that neither hangs on luck.
    expect(refused).toBeGreaterThanOrEqual(Math.floor(count / EVERY));
    expect(taken).toBeGreaterThanOrEqual(Math.floor(count / EVERY));
  });
});
