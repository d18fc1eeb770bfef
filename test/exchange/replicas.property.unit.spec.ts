import { rmSync } from "node:fs";
import { afterAll, expect, it } from "vitest";
import { newDir } from "../support/home.ts";
import { simulate } from "../support/simulation.ts";
import { type Counts, NOTHING } from "../support/simulation-world.ts";

const IS_QUICK = process.env.TRIBUTARY_TEST_QUICK === "1";
const SEEDS = IS_QUICK ? 30 : 300;
/** The first seed: the same each time, so that a change that breaks nothing is not held up by a history that nobody has seen yet. `TRIBUTARY_TEST_SEED` plays others; what fails names its seed. */
const FIRST = Number(process.env.TRIBUTARY_TEST_SEED ?? 1);

const dir = newDir("simulation");
afterAll(() => rmSync(dir, { recursive: true, force: true }));

it(`replicas show what the hub shows of what they may hold, and keep nothing else, whatever befalls network, hub and devices, and whichever fields these may not see (I40), seeds from ${FIRST}`, async () => {
  const all: Counts = { ...NOTHING };
  const problems: string[] = [];
  for (let seed = FIRST; seed < FIRST + SEEDS && problems.length === 0; seed++) {
    const found = await simulate(seed, dir);
    problems.push(...found.problems.map((problem) => `seed ${seed}: ${problem}`));
    for (const name of Object.keys(all) as (keyof Counts)[]) all[name] += found.counts[name];
  }
  expect(problems).toEqual([]);
  // A run in which something never happens shows nothing of it.
  expect(Object.entries(all).filter(([, times]) => times === 0)).toEqual([]);
});
