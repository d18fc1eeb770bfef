/**
 * `npm run soak`: what takes longer than a test may.
 *
 *   histories   what `test/merge/model.property.unit.spec.ts` holds, of fresh random histories for as long as it is given
 *   faults      a hub of real processes and tablets, with faults of every kind (`test/support/faults.ts`), seed after seed
 *   replicas    devices with replicas, and a hub in memory (`test/support/simulation.ts`): what `test/exchange/replicas.property.unit.spec.ts` plays, with fresh seeds
 *   fuzz        what `test/gate/fuzz.unit.spec.ts` throws at the doors, ten times as much
 *
 * Ends with 1 at the first history or seed that breaks a property, or when a run of faults has lost or doubled anything, saying how to play it again.
 * With --json, one document on stdout says what was found; what is said meanwhile goes to stderr.
 */
import { rmSync } from "node:fs";
import { parseArgs } from "node:util";
import { FAULTS, type FaultName, type FaultRun, runFaults } from "./support/faults.ts";
import { DOORS, FULL, fuzz } from "./support/fuzz.ts";
import { newDir } from "./support/home.ts";
import { checkHistories, nothingCounted } from "./support/model.ts";
import { countsWords, soakReplicas } from "./support/soak-replicas.ts";

/** Histories of one seed: a tenth of a test's, so that its run plays them all again. */
const RUNS_PER_SEED = 100;
const PROGRESS_EVERY_MS = 10_000;
const USAGE = `Use: npm run soak [-- histories --minutes N --seed N]      default 10 minutes
     npm run soak [-- faults --seeds N --seed N --rounds N --only FAULT,… --verbose]      default 50 seeds from 1
     npm run soak [-- replicas --minutes N | --seeds N, --seed N]      default 10 minutes of fresh seeds
     npm run soak [-- fuzz --seed N]
     --json: what was found as one document
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
    seeds: { type: "string" },
    rounds: { type: "string", default: "8" },
    only: { type: "string" },
    verbose: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
  },
});
const minutes = Number(values.minutes);
const seeds = Number(values.seeds ?? 50);
const rounds = Number(values.rounds);
const given = values.seed === undefined ? undefined : Number(values.seed);
const only = values.only?.split(",").map((name) => FAULTS.find((known) => known === name) ?? wrong());
const PARTS = ["histories", "faults", "replicas", "fuzz"] as const;
if (!(minutes > 0) || ![seeds, rounds, given ?? 0].every((number) => Number.isInteger(number) && number >= 0)) wrong();
if (positionals.some((word) => !PARTS.some((part) => part === word))) wrong();
/** A line of what goes on. With --json, only the document stands on stdout. */
const tell = (line: string): void => (values.json ? console.error(line) : console.log(line));
const isTimeLeft = (startedMs: number): boolean => performance.now() - startedMs < minutes * 60_000;
/** What each part found, for --json. */
const found: Record<string, unknown> = {};

function soakHistories(): boolean {
  const first = given ?? Date.now() % 2 ** 31;
  const startedMs = performance.now();
  const counts = nothingCounted();
  const reasons = new Set<string>();
  const elapsedS = (): number => Math.round((performance.now() - startedMs) / 1000);
  const say = (seed: number): void =>
    tell(
      `${elapsedS()} s  seed ${seed}  ${counts.histories} histories, ${counts.events} events, ${counts.folds} folds, ${counts.decisions} decisions for ${reasons.size} reasons`,
    );
  let saidMs = startedMs;
  let seed = first;
  tell(`soak: ${minutes} min of histories from seed ${first}`);
  for (; isTimeLeft(startedMs); seed = (seed + 1) % 2 ** 31) {
    try {
      checkHistories(seed, RUNS_PER_SEED, counts, reasons);
    } catch (error) {
      console.error(error);
      console.error(`\nsoak: FAILED with seed ${seed} after ${counts.histories} histories, ${elapsedS()} s. To play it again:`);
      console.error(`  npm run soak -- histories --seed ${seed} --minutes 1`);
      console.error(`  TRIBUTARY_TEST_SEED=${seed} npm test -- test/merge/model`);
      found.histories = { first, ...counts, failed: seed };
      return false;
    }
    if (performance.now() - saidMs < PROGRESS_EVERY_MS) continue;
    saidMs = performance.now();
    say(seed);
  }
  say(seed);
  found.histories = { first, ...counts, failed: null };
  return true;
}

async function replicasSoaked(): Promise<boolean> {
  const first = given ?? Date.now() % 2 ** 31;
  const dir = newDir("soak");
  const startedMs = performance.now();
  let saidMs = startedMs;
  const elapsedS = (): number => Math.round((performance.now() - startedMs) / 1000);
  tell(`soak: ${values.seeds === undefined ? `${minutes} min` : `${seeds} seeds`} of replicas from seed ${first}`);
  const done = await soakReplicas({
    first,
    dir,
    goesOn: (played) => (values.seeds === undefined ? isTimeLeft(startedMs) : played < seeds),
    onSeed: (seed, so) => {
      if (performance.now() - saidMs < PROGRESS_EVERY_MS) return;
      saidMs = performance.now();
      tell(`${elapsedS()} s  seed ${seed}  ${so.seeds} seeds: ${countsWords(so.counts)}`);
    },
  });
  found.replicas = { ...done, seconds: elapsedS() };
  tell(`${elapsedS()} s  ${done.seeds} seeds: ${countsWords(done.counts)}`);
  if (done.failure === null) {
    rmSync(dir, { recursive: true });
    return true;
  }
  const { seed, problems, again, dir: its } = done.failure;
  console.error(`\nsoak: FAILED with seed ${seed}, after ${done.seeds - 1} seeds that held:`);
  for (const problem of problems) console.error(`  ${problem}`);
  console.error(`The devices' databases: ${its}. To play it again:`);
  for (const command of again) console.error(`  ${command}`);
  return false;
}

async function soakFaults(): Promise<boolean> {
  const first = given ?? 1;
  tell(`soak: ${seeds} seeds of faults from ${first}, ${rounds} rounds each`);
  const failed: FaultRun[] = [];
  const totals = { written: 0, inLog: 0, destroyed: 0, faults: 0 };
  const byKind = new Map<FaultName | string, number>();
  for (let seed = first; seed < first + seeds; seed++) {
    const say = values.verbose ? { say: (line: string) => tell(line) } : {};
    const run = await runFaults({ seed, rounds, ...(only === undefined ? {} : { only }), ...say });
    const verdict = run.problems.length === 0 ? "ok  " : "FAIL";
    tell(
      `${verdict} seed ${seed}  ${run.seconds} s  ${run.written} written, ${run.inLog} in the log once, ${run.destroyed} destroyed with their disks  ${run.faults.join("; ")}`,
    );
    for (const problem of run.problems) tell(`       ${problem}`);
    if (run.dir !== null) tell(`       its folder: ${run.dir}`);
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
  tell([...byKind].map(([kind, count]) => `${count} ${kind}`).join(", "));
  tell(
    `soak: ${seeds} seeds, ${totals.faults} faults, ${totals.written} writes, ${totals.inLog} in the log, ${totals.destroyed} destroyed with their disks, ${failed.length} seeds found something`,
  );
  found.faults = { first, seeds, ...totals, failed: failed.map(({ seed, problems }) => ({ seed, problems })) };
  for (const { seed } of failed) console.error(`  npm run soak -- faults --seed ${seed} --seeds 1 --rounds ${rounds} --verbose`);
  return failed.length === 0;
}

async function soakFuzz(): Promise<boolean> {
  const seed = given ?? Date.now() % 2 ** 31;
  for (const door of DOORS) {
    tell(`soak: ${FULL[door]} ${door} from seed ${seed}`);
    found.fuzz = { seed, failed: door };
    try {
      const { taken, refused } = await fuzz(door, seed, FULL[door]);
      tell(`ok   ${taken} taken, ${refused} refused`);
    } catch (error) {
      console.error(error);
      console.error(`soak: FAILED. To play it again:\n  npm run soak -- fuzz --seed ${seed}`);
      return false;
    }
  }
  found.fuzz = { seed, failed: null };
  return true;
}

const WORK: Readonly<Record<(typeof PARTS)[number], () => boolean | Promise<boolean>>> = {
  histories: soakHistories,
  faults: soakFaults,
  replicas: replicasSoaked,
  fuzz: soakFuzz,
};
let isFine = true;
for (const part of PARTS) if (isFine && (positionals.length === 0 || positionals.includes(part))) isFine = await WORK[part]();
if (isFine) tell("soak: nothing found");
if (values.json) console.log(JSON.stringify({ isFine, ...found }, null, 2));
process.exitCode = isFine ? 0 : 1;
