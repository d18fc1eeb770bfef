import { fork } from "node:child_process";
import { join } from "node:path";
import type { Hub } from "../services/cli/supervise.ts";
import type { Field } from "../services/field/index.ts";
import { eventsOf, openSite } from "./workload.ts";

const FLOOD = join(import.meta.dirname, "flood.ts");
const KINDS = ["gaps", "large", "garbage", "wrong-token"] as const;
const WARM_UP = 10;
const SYNCS = 100;
const EVENTS_A_SYNC = 20;

/**
 * A good site's sync, alone and beside a bad one: 100 gap batches in flight, 2,000-event batches of 8 devices, 60 KB of garbage from each, and a token of another site.
 * Ratios of the 99th percentiles; the row has the worst.
 */
export async function benchFair(
  hub: Hub,
  dir: string,
  tokenFor: (site: string) => Promise<string>,
  note: (name: string, value: number) => void,
): Promise<void> {
  using field = openSite(join(dir, "fair.db"), "fair");
  const token = await tokenFor("fair");
  const events = eventsOf("fair", (3 * WARM_UP + 2 * SYNCS) * EVENTS_A_SYNC * KINDS.length, 77);
  let at = 0;
  const measured = async (syncs: number): Promise<number[]> => {
    const times: number[] = [];
    for (let i = 0; i < WARM_UP + syncs; i++) {
      await field.appendMany(events.slice(at, at + EVENTS_A_SYNC));
      at += EVENTS_A_SYNC;
      times.push(await syncMs(hub, field, token));
    }
    return times.slice(WARM_UP);
  };
  let worst = 0;
  for (const kind of KINDS) {
    // Before and after, so that a machine that grows slower does not count as unfair.
    const before = await measured(SYNCS / 2);
    const flood = fork(FLOOD, [hub.state.natsUrl, await tokenFor(kind === "wrong-token" ? "other" : "bad"), kind], {
      execArgv: ["--disable-warning=ExperimentalWarning"],
    });
    const ended = new Promise((resolve) => flood.once("exit", resolve));
    await new Promise((resolve) => flood.once("message", resolve));
    const beside = percentile99(await measured(SYNCS));
    flood.kill("SIGKILL");
    await ended;
    const alone = percentile99([...before, ...(await measured(SYNCS / 2))]);
    note("fair-sync-alone-p99", alone);
    note(`fair-sync-p99-${kind}`, beside / alone);
    worst = Math.max(worst, beside / alone);
  }
  note("fair-sync-p99", worst);
}

async function syncMs(hub: Hub, field: Field, token: string): Promise<number> {
  const startedMs = performance.now();
  const { confirmed } = await field.sync({ url: hub.state.natsUrl, token });
  if (confirmed !== EVENTS_A_SYNC) throw new Error(`a sync confirmed ${confirmed} of ${EVENTS_A_SYNC} events`);
  return performance.now() - startedMs;
}

const percentile99 = (times: readonly number[]): number => [...times].sort((a, b) => a - b)[Math.floor(times.length * 0.99) - 1]!;
