import { execFile } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { NOTHING } from "./support/simulation-world.ts";
import { soakReplicas } from "./support/soak-replicas.ts";
import { tempDir } from "./support/temp.ts";

const run = promisify(execFile);
const SOAK = join(import.meta.dirname, "soak.ts");
const soak = (...args: string[]) =>
  run(process.execPath, ["--disable-warning=ExperimentalWarning", SOAK, ...args]).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );

describe("a soak of replicas", () => {
  it("ends at the first seed that fails, keeps its databases, and says how to play it again; a seed comes again with its number alone", async () => {
    const dir = tempDir();
    const played: number[] = [];
    const told: number[] = [];
    const done = await soakReplicas({
      first: 2 ** 31 - 2,
      dir,
      goesOn: (seeds) => seeds < 100,
      onSeed: (_, { seeds }) => told.push(seeds),
      play: async (seed, its) => {
        expect(existsSync(its)).toBe(true);
        played.push(seed);
        return { seed, problems: seed === 2 ? ["a row differs"] : [], counts: { ...NOTHING, rows: 2 } };
      },
    });
    expect(played).toEqual([2 ** 31 - 2, 2 ** 31 - 1, 0, 1, 2]);
    expect(told).toEqual([1, 2, 3, 4]);
    expect(done).toMatchObject({ seeds: 5, counts: { rows: 10 }, failure: { seed: 2, problems: ["a row differs"] } });
    expect(done.failure?.again[0]).toBe("npm run soak -- replicas --seed 2 --seeds 1");
    expect(readdirSync(dir)).toEqual(["2"]);
  });

  it("plays the seed that it is given, and with --json prints one document of what it found", async () => {
    const { code, stdout, stderr } = await soak("replicas", "--seed", "4", "--seeds", "1", "--json");
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ isFine: true, replicas: { first: 4, seeds: 1, failure: null } });
    expect(stderr).toContain("soak: 1 seeds of replicas from seed 4");
  });

  it("is refused with its usage where it is told what it does not know", async () => {
    for (const args of [["replica"], ["replicas", "--seeds", "many"], ["replicas", "--minutes", "0"]]) {
      const { code, stderr } = await soak(...args);
      expect([code, stderr.slice(0, 18)]).toEqual([2, "Use: npm run soak "]);
    }
  });
});
