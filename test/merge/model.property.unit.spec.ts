import { describe, expect, it } from "vitest";
import { checkHistories, nothingCounted } from "../support/model.ts";
import { IS_QUICK, runs, untilEnough } from "../support/runs.ts";

/** A new seed each time; a failure names it, and `TRIBUTARY_TEST_SEED=… npm test -- test/merge/model` plays the run again. */
const SEED = Number(process.env.TRIBUTARY_TEST_SEED ?? Date.now() % 2 ** 31);
const RUNS = runs(1000);

/** Every reason that a view can give: a run that never met one has not tried its rule. */
const REASONS = [
  "authority",
  "awaits-person",
  "change-outranks",
  "clock-trusted",
  "custom",
  "deletion-outranks",
  "earlier-in-log",
  "earlier-stamp",
  "field-priority",
  "greater",
  "later-in-log",
  "later-stamp",
  "lesser",
  "longer-history",
  "merged",
  "origin-tie",
  "site-priority",
];

describe(`replicas that were cut off from each other, seed ${SEED}`, () => {
  it("show the same rows and decisions once they hold the same events, as the definitions say, whatever the rule (I9)", () => {
    const counts = nothingCounted();
    const reasons = new Set<string>();
    const least = IS_QUICK ? REASONS.length / 2 : REASONS.length - 1;
    untilEnough(
      (round) => checkHistories(SEED + round, RUNS, counts, reasons),
      () => reasons.size > least,
    );
    expect(counts.histories).toBeGreaterThanOrEqual(RUNS);
    // A tenth of the histories may miss the rarest reasons.
    if (IS_QUICK) expect(reasons.size).toBeGreaterThan(least);
    else expect([...reasons].sort(), "each reason was met").toEqual(REASONS);
  });
});
