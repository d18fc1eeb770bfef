/**
 * `npm run soak`: what takes longer than a test may.
 *
 *   histories   what `test/merge/model.property.unit.spec.ts` holds, of fresh random histories for as long as it is given
 *   faults      a hub of real processes and tablets, with faults of every kind (`test/support/faults.ts`), seed after seed
 *
 *   fuzz        what `test/gate/fuzz.unit.spec.ts` throws at the doors, ten times as much
 *
 * Ends with 1 at the first history that breaks a property, or when a run of faults has lost or doubled anything, saying how to play it again.
 */
import { parseArgs } from "node:util";
import { FAULTS, type FaultName, type FaultRun, runFaults } from "./support/faults.ts";
import { DOORS, FULL, fuzz } from "./support/fuzz.ts";
import { checkHistories, nothingCounted } from "./support/model.ts";

/** Histories of one seed: a tenth of a test's, so that its run plays them all again. */
const RUNS_PER_SEED = 100;
const PROGRESS_EVERY_MS = 10_000;
const USAGE = `Use: npm run soak [-- histories --minutes N --seed N]      default 10 minutes
     npm run soak [-- faults --seeds N --seed N --rounds N --only FAULT,… --verbose]      default 50 seeds from 1
     npm run soak [-- fuzz --seed N]
Without a word all run. Faults: ${FAULTS.join(", ")}.`;

function wrong(): never {
  console.error(USAGE);
  process.exit(2);
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    minutes: { type: "string", default: "10" },
    seed: { type: "string" },
    seeds: { type: "string", default: "50" },
    rounds: { type: "string", default: "8" },
    only: { type: "string" },
    verbose: { type: "boolean", default: false },
  },
});
const minutes = Number(values.minutes);
const seeds = Number(values.seeds);
const rounds = Number(values.rounds);
const given = values.seed === undefined ? undefined : Number(values.seed);
const only = values.only?.split(",").map((name) => FAULTS.find((known) => known === name) ?? wrong());
if (!(minutes > 0) || ![seeds, rounds, given ?? 0].every(Number.isInteger)) wrong();
if (positionals.some((word) => word !== "histories" && word !== "faults" && word !== "fuzz")) wrong();

function soakHistories(): boolean {
  const first = given ?? Date.now() % 2 ** 31;
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
  console.log(`soak: ${minutes} min of histories from seed ${first}`);
  for (; performance.now() - startedMs < minutes * 60_000; seed = (seed + 1) % 2 ** 31) {
    try {
      checkHistories(seed, RUNS_PER_SEED, counts, reasons);
    } catch (error) {
      console.error(error);
      console.error(`\nsoak: FAILED with seed ${seed} after ${counts.histories} histories, ${elapsedS()} s. To play it again:`);
      console.error(`  npm run soak -- histories --seed ${seed} --minutes 1`);
      console.error(`  TRIBUTARY_TEST_SEED=${seed} npm test -- test/merge/model`);
      return false;
    }
    if (performance.now() - saidMs < PROGRESS_EVERY_MS) continue;
    saidMs = performance.now();
    say(seed);
  }
  say(seed);
  return true;
}

async function soakFaults(): Promise<boolean> {
  const first = given ?? 1;
  console.log(`soak: ${seeds} seeds of faults from ${first}, ${rounds} rounds each`);
  const failed: FaultRun[] = [];
  const totals = { written: 0, inLog: 0, destroyed: 0, faults: 0 };
  const byKind = new Map<FaultName | string, number>();
  for (let seed = first; seed < first + seeds; seed++) {
    const say = values.verbose ? { say: (line: string) => console.log(line) } : {};
    const run = await runFaults({ seed, rounds, ...(only === undefined ? {} : { only }), ...say });
    const verdict = run.problems.length === 0 ? "ok  " : "FAIL";
    console.log(
      `${verdict} seed ${seed}  ${run.seconds} s  ${run.written} written, ${run.inLog} in the log once, ${run.destroyed} destroyed with their disks  ${run.faults.join("; ")}`,
    );
    for (const problem of run.problems) console.log(`       ${problem}`);
    if (run.dir !== null) console.log(`       its folder: ${run.dir}`);
    if (run.problems.length > 0) failed.push(run);
    totals.written += run.written;
    totals.inLog += run.inLog;
    totals.destroyed += run.destroyed;
    totals.faults += run.faults.length;
    for (const fault of run.faults) {
      const kind = FAULTS.find((name) => fault.startsWith(name)) ?? fault;
      if (!fault.includes("(")) byKind.set(kind, (byKind.get(kind) ?? 0) + 1);
    }
  }
  console.log([...byKind].map(([kind, count]) => `${count} ${kind}`).join(", "));
  console.log(
    `soak: ${seeds} seeds, ${totals.faults} faults, ${totals.written} writes, ${totals.inLog} in the log, ${totals.destroyed} destroyed with their disks, ${failed.length} seeds found something`,
  );
  for (const { seed } of failed) console.error(`  npm run soak -- faults --seed ${seed} --seeds 1 --rounds ${rounds} --verbose`);
  return failed.length === 0;
}

async function soakFuzz(): Promise<boolean> {
  const seed = given ?? Date.now() % 2 ** 31;
  for (const door of DOORS) {
    console.log(`soak: ${FULL[door]} ${door} from seed ${seed}`);
    try {
      const { taken, refused } = await fuzz(door, seed, FULL[door]);
      console.log(`ok   ${taken} taken, ${refused} refused`);
    } catch (error) {
      console.error(error);
      console.error(`soak: FAILED. To play it again:\n  npm run soak -- fuzz --seed ${seed}`);
      return false;
    }
  }
  return true;
}

const all = positionals.length === 0;
let isFine = true;
if (all || positionals.includes("histories")) isFine = soakHistories();
if (isFine && (all || positionals.includes("faults"))) isFine = await soakFaults();
if (isFine && (all || positionals.includes("fuzz"))) isFine = await soakFuzz();
if (isFine) console.log("soak: nothing found");
process.exitCode = isFine ? 0 : 1;
