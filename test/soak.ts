/**
 * `npm run soak [-- --minutes N] [--seed N]`: what `test/merge/model.property.unit.spec.ts` holds, of fresh random histories for as long as it is given.
 * A line each ten seconds; ends with 1 at the first history that breaks a property, saying how to play it again.
 */
import { parseArgs } from "node:util";
import { checkHistories, nothingCounted } from "./support/model.ts";

/** Histories of one seed: a tenth of a test's, so that its run plays them all again. */
const RUNS_PER_SEED = 100;
const PROGRESS_EVERY_MS = 10_000;

const { values } = parseArgs({ options: { minutes: { type: "string", default: "10" }, seed: { type: "string" } } });
const minutes = Number(values.minutes);
const first = values.seed === undefined ? Date.now() % 2 ** 31 : Number(values.seed);
if (!(minutes > 0) || !Number.isInteger(first)) {
  console.error("Use: npm run soak -- --minutes N [--seed N], with minutes above 0 and a whole number for a seed.");
  process.exit(2);
}

const startedMs = performance.now();
const counts = nothingCounted();
const reasons = new Set<string>();
const elapsedS = (): number => Math.round((performance.now() - startedMs) / 1000);
const say = (seed: number): void =>
  console.log(
    `${elapsedS()} s  seed ${seed}  ${counts.histories} histories, ${counts.events} events, ${counts.folds} folds, ${counts.decisions} decisions for ${reasons.size} reasons`,
  );

let saidMs = startedMs;
let seed = first;
console.log(`soak: ${minutes} min from seed ${first}`);
for (; performance.now() - startedMs < minutes * 60_000; seed = (seed + 1) % 2 ** 31) {
  try {
    checkHistories(seed, RUNS_PER_SEED, counts, reasons);
  } catch (error) {
    console.error(error);
    console.error(`\nsoak: FAILED with seed ${seed} after ${counts.histories} histories, ${elapsedS()} s. To play it again:`);
    console.error(`  npm run soak -- --seed ${seed} --minutes 1`);
    console.error(`  TRIBUTARY_TEST_SEED=${seed} npm test -- test/merge/model`);
    process.exit(1);
  }
  if (performance.now() - saidMs < PROGRESS_EVERY_MS) continue;
  saidMs = performance.now();
  say(seed);
}
say(seed);
console.log("soak: nothing found");
