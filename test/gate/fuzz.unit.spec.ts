import { describe, expect, it } from "vitest";
import { DOORS, FULL, fuzz } from "../support/fuzz.ts";
import { SEED } from "../support/random.ts";
import { IS_QUICK, runs } from "../support/runs.ts";

/** A tenth of what `npm run soak -- fuzz` throws. Another seed: TRIBUTARY_TEST_SEED. */
const SHARE = 0.1;

describe("whatever a stranger sends", () => {
  it.each(DOORS)(`as %s ends with an answer or a refusal in words (seed ${SEED}) (I35)`, { timeout: 300_000 }, async (door) => {
    const count = runs(FULL[door] * SHARE);
    const { taken, refused } = await fuzz(door, SEED, count);
    expect(taken + refused).toBe(count);
    expect(refused).toBeGreaterThan(count / 20);
    // Of a few hundred, all may be refused.
    if (!IS_QUICK) expect(taken).toBeGreaterThan(0);
  });
});
