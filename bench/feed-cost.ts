/** What writing the feeds of buckets, and sealing them, takes of the processors: the projector's and PostgreSQL's time for an event, with and without them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Client } from "pg";
import type { Log } from "../services/log/index.ts";
import { fillLog } from "./device.ts";
import { checkpointReaches, dropViews, startProjector, stopProjector } from "./projectors.ts";
import { eventsOf } from "./workload.ts";

export interface FeedBench {
  readonly dir: string;
  readonly db: Client;
  readonly log: Log;
  readonly events: number;
}

const WAYS = ["lines", "seals", ""] as const;
const NAMES = { lines: "feed-none", seals: "feed-lines", "": "feed-sealed" } as const;
const POLL_MS = 20;
/** The kernel counts processor time in hundredths of a second. */
const TICK_MICROS = 10_000;

/** Processor time of a process, in µs. `all`: with that of its children that have ended. */
function spentBy(pid: number, all = false): number {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The name in brackets may hold blanks: utime is the 12th word after it.
    const words = text
      .slice(text.lastIndexOf(")") + 2)
      .split(" ")
      .map(Number);
    return words.slice(11, all ? 15 : 13).reduce((sum, each) => sum + each, 0) * TICK_MICROS;
  } catch {
    return 0;
  }
}

const parentOf = (pid: number): number => {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(text.slice(text.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    return 0;
  }
};

/** Processor time of a server of PostgreSQL: of its first process, of those that ended, and of those that run. */
function spentByServer(server: number): number {
  const running = readdirSync("/proc").filter((name) => /^\d+$/.test(name) && parentOf(Number(name)) === server);
  return spentBy(server, true) + running.reduce((sum, pid) => sum + spentBy(Number(pid)), 0);
}

/** Folds the same log into an empty database without lines, with lines, and with lines that are sealed. Notes µs of processor time an event, of the projector and of PostgreSQL. */
export async function benchFeed({ dir, db, log, events }: FeedBench, note: (name: string, value: number) => void): Promise<void> {
  const count = await fillLog(log, { nairobi: eventsOf("nairobi", events, 1), kampala: eventsOf("kampala", events, 2) });
  const end = (await log.end())!;
  const { rows } = await db.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
  const server = parentOf(rows[0]!.pid);
  for (const way of WAYS) {
    await dropViews(db);
    await db.query("CHECKPOINT");
    process.env.BENCH_WITHOUT = way;
    const before = spentByServer(server);
    const projector = await startProjector(dir, 1, ["--import", join(import.meta.dirname, "without-feed.ts")]);
    const startedAt = spentBy(projector.pid!);
    await checkpointReaches(db, end);
    if (way === "") await allSealed(db);
    note(`${NAMES[way]}-projector`, (spentBy(projector.pid!) - startedAt) / count);
    note(`${NAMES[way]}-postgres`, (spentByServer(server) - before) / count);
    await stopProjector(projector);
  }
}

async function allSealed(db: Client): Promise<void> {
  for (;;) {
    const { rows } = await db.query<{ open: number }>("SELECT count(*)::int AS open FROM tributary.feed WHERE seal IS NULL");
    if (rows[0]!.open === 0) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
