/** Questions to a device's replica of 100,000 people: one process, no network. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { PROJECTIONS_DIR, SCHEMAS_DIR } from "../services/cli/program.ts";
import { openField } from "../services/field/index.ts";
import { workFolder } from "../services/local/index.ts";
import type { Projection } from "../services/merge/engine.ts";

const ROWS = 100_000;
const ASKED = 2_000;
const DISTRICTS = 40;

/** Calls `note` with the 99th percentile, in ms by the clock and of processor time, of questions as a screen asks them: a page of a district by name, one person, and a family name's beginning. */
export async function benchReplicaQuery(note: (name: string, value: number) => void): Promise<void> {
  const { default: view } = (await import(join(PROJECTIONS_DIR, "beneficiaries.ts"))) as { default: Projection };
  const dir = workFolder("bench-replica");
  try {
    using field = openField({
      ...{ path: join(dir, "t.db"), name: { org: "bench", site: "kampala", device: "t1" } },
      ...{ schemas: SCHEMAS_DIR, views: [view], randomEpoch: () => "bench" },
    });
    for (let from = 0; from < ROWS; from += 5_000)
      await field.appendMany(Array.from({ length: 5_000 }, (_, i) => person(from + i)));
    const ask = (n: number): number => {
      const district = `D${n % DISTRICTS}`;
      if (n % 3 === 0) return field.query("beneficiaries", { where: { district }, order: "family_name", limit: 50 }).length;
      if (n % 3 === 1) return field.query("beneficiaries", { where: { id: idOf((n * 7919) % ROWS) } }).length;
      return field.query("beneficiaries", {
        where: { district, family_name: { prefix: `F${n % 90}` } },
        limit: 50,
        order: "family_name",
      }).length;
    };
    // The first of each kind makes its index.
    for (let n = 0; n < 30; n++) ask(n);
    const times = Array.from({ length: ASKED }, (_, n) => {
      const [startedMs, before] = [performance.now(), process.cpuUsage()];
      ask(n);
      const { user, system } = process.cpuUsage(before);
      return { byClock: performance.now() - startedMs, worked: (user + system) / 1_000 };
    });
    note("replica-query-p99", p99(times.map(({ byClock }) => byClock)));
    note("replica-query-cpu-p99", p99(times.map(({ worked }) => worked)));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

const p99 = (times: readonly number[]): number => times.toSorted((a, b) => a - b)[Math.floor(times.length * 0.99)]!;

const idOf = (n: number): string => `KLA-${String(n).padStart(6, "0")}`;

const person = (n: number) => ({
  type: "beneficiary.registered",
  entity: { type: "beneficiary", id: idOf(n) },
  actor: "bench",
  data: {
    registration_no: idOf(n),
    given_name: `Given ${n % 977}`,
    family_name: `F${(n * 31) % 997}`,
    sex: "female",
    registered_on: "2026-01-05",
    district: `D${n % DISTRICTS}`,
    household_size: 1 + (n % 9),
  },
});
