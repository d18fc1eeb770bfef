/** From a filled log to views in PostgreSQL, by projector processes as a hub runs them; and building a view again. */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Client } from "pg";

const MAIN = join(import.meta.dirname, "../services/cli/main.ts");
const ARGS = ["--disable-warning=ExperimentalWarning", MAIN];
const POLL_MS = 5;
const MEMORY_POLL_MS = 100;

/** Takes all views away, with what is kept for them. */
export async function dropViews(db: Client): Promise<void> {
  const { rows } = await db.query<{ name: string }>(
    "SELECT nspname AS name FROM pg_namespace WHERE nspname IN ('views', 'tributary') OR nspname LIKE 'tributary\\_g%'",
  );
  for (const { name } of rows) await db.query(`DROP SCHEMA "${name}" CASCADE`);
}

export async function checkpointReaches(db: Client, position: bigint): Promise<void> {
  for (;;) {
    const { rows } = await db.query<{ position: string | null }>("SELECT position FROM tributary.checkpoint WHERE name = 'main'");
    if (BigInt(rows[0]?.position ?? -1) >= position) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** Starts a projector process; resolves when it begins to fold. `execArgs`: arguments of Node before the program. */
export function startProjector(dir: string, n = 1, execArgs: readonly string[] = []): Promise<ChildProcess> {
  const child = spawn(
    process.execPath,
    [...execArgs, ...ARGS, "projector", "--data", dir, "--log", join(dir, `logs/bench-projector-${n}.log`)],
    { stdio: ["ignore", "ignore", "inherit", "ipc"] },
  );
  return new Promise((resolve, reject) => {
    child.on("message", () => resolve(child));
    child.on("exit", (code) => reject(new Error(`the projector ended with ${code}`)));
  });
}

export async function stopProjector(child: ChildProcess): Promise<void> {
  child.removeAllListeners("exit");
  child.kill("SIGTERM");
  await new Promise((resolve) => child.once("exit", resolve));
}

/**
 * The log's events a second folded into an empty database by so many processes. The time begins when the first is ready: the others join while it
 * folds. Leaves the views, and the processes too if `isKept`.
 */
export async function foldedBy(
  processes: number,
  { dir, db, count, end }: { readonly dir: string; readonly db: Client; readonly count: number; readonly end: bigint },
): Promise<{ readonly perSecond: number; readonly running: readonly ChildProcess[] }> {
  await dropViews(db);
  const first = await startProjector(dir);
  const startedMs = performance.now();
  const others = Promise.all(Array.from({ length: processes - 1 }, (_, i) => startProjector(dir, i + 2)));
  others.catch(() => {});
  await checkpointReaches(db, end);
  const perSecond = (count / (performance.now() - startedMs)) * 1000;
  return { perSecond, running: [first, ...(await others)] };
}

/** The most memory that a process has had, in MiB, as the kernel notes it; 0 if it does not tell. */
function peakMb(pid: number): number {
  try {
    return Number(/VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
  } catch {
    return 0;
  }
}

export interface RebuildFigures {
  readonly events: number;
  readonly perSecond: number;
  readonly rssMb: number;
}

/** `tributary rebuild VIEW`, as a process of its own. */
export async function rebuildView(dir: string, view: string): Promise<RebuildFigures> {
  const child = spawn(process.execPath, [...ARGS, "rebuild", view, "--fresh", "--json", "--data", dir], {
    stdio: ["ignore", "pipe", "ignore"],
  });
  let rssMb = 0;
  const timer = setInterval(() => {
    rssMb = Math.max(rssMb, peakMb(child.pid!));
  }, MEMORY_POLL_MS);
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  const code = await new Promise((resolve) => child.once("close", resolve));
  clearInterval(timer);
  if (code !== 0) throw new Error(`the rebuild ended with ${code}: ${text}`);
  const { events, seconds } = JSON.parse(text) as { events: number; seconds: number };
  return { events, perSecond: events / seconds, rssMb };
}
