/** `npm run soak -- replicas`: the simulation of replicas (`simulation.ts`), seed after seed. */
import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { simulate } from "./simulation.ts";
import { type Counts, type Found, NOTHING } from "./simulation-world.ts";

export interface SoakedReplicas {
  readonly first: number;
  readonly seeds: number;
  readonly counts: Counts;
  /** The first seed at which something did not hold, what that was, how to play it again, and the folder with the devices' databases; `null`: all held. */
  readonly failure: {
    readonly seed: number;
    readonly problems: readonly string[];
    readonly again: readonly string[];
    readonly dir: string;
  } | null;
}

export interface SoakOptions {
  readonly first: number;
  /** Whether to go on, after so many seeds. */
  readonly goesOn: (seeds: number) => boolean;
  /** Holds the databases of the seed that is played; only those of one that failed stay. */
  readonly dir: string;
  /** Called after each seed. */
  readonly onSeed?: (seed: number, so: { readonly seeds: number; readonly counts: Counts }) => void;
  readonly play?: (seed: number, dir: string) => Promise<Found>;
}

/** Plays seeds one after the other, up to the first at which something does not hold. */
export async function soakReplicas({ first, goesOn, dir, onSeed, play = simulate }: SoakOptions): Promise<SoakedReplicas> {
  const counts: Counts = { ...NOTHING };
  let seeds = 0;
  while (goesOn(seeds)) {
    const seed = (first + seeds) % 2 ** 31;
    const its = join(dir, String(seed));
    mkdirSync(its, { recursive: true });
    const found = await play(seed, its);
    for (const name of Object.keys(counts) as (keyof Counts)[]) counts[name] += found.counts[name];
    seeds++;
    if (found.problems.length > 0)
      return { first, seeds, counts, failure: { seed, problems: found.problems, again: replayOf(seed), dir: its } };
    rmSync(its, { recursive: true });
    onSeed?.(seed, { seeds, counts });
  }
  return { first, seeds, counts, failure: null };
}

/** A seed plays the same whether it is the first or the hundredth. */
const replayOf = (seed: number): string[] => [
  `npm run soak -- replicas --seed ${seed} --seeds 1`,
  `TRIBUTARY_TEST_SEED=${seed} TRIBUTARY_TEST_QUICK=1 npm test -- test/exchange/replicas.property`,
];

export const countsWords = (counts: Counts): string =>
  `${counts.written} written, ${counts.synced} syncs, ${counts.crashed} crashes, ${counts.policies + counts.roles} policies and roles, ${counts.purges} purges, ${counts.rows} rows compared`;
