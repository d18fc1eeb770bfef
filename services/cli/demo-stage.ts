/** What the chapters of the demo share: the hub that they are played on, its views and its commands. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { type Position, TributaryError } from "../core/index.ts";
import { type Field, type FieldName, openField } from "../field/index.ts";
import type { Fits } from "../gate/index.ts";
import { type Log, openLog } from "../log/index.ts";
import { fitsViews } from "../merge/engine.ts";
import { commonPosition, connectViews, type Db } from "../views/index.ts";
import { foldersHere, loadViews } from "./folders.ts";
import type { Output } from "./output.ts";
import { MAIN, NODE_FLAGS, SCHEMAS_DIR } from "./program.ts";
import type { Hub } from "./supervise.ts";

export const ORG = "relief";
const PROJECTED_TIMEOUT_MS = 30_000;
/** The folders of the story. */
export interface StageFolders {
  readonly hubData: string;
  readonly sitesDir: string;
  readonly projections: string;
  /** The forms that headquarters works on. The tablets come with the shipped ones. */
  readonly schemas: string;
}

/** Where the story is played; a chapter may replace its hub by another. */
export interface Stage extends StageFolders {
  readonly out: Output;
  /** Where the hub's own lines go. */
  readonly say: (line: string) => void;
  hub: Hub;
}

export function step(out: Output, title: string): void {
  out.line(`\n · ${title}\n`);
  if (out.json) out.progress(title);
}

export async function withViews<T>({ hub }: Stage, work: (db: Db, log: Log) => Promise<T>): Promise<T> {
  const log = openLog(hub.state.eventstoreUrl);
  const db = await connectViews(hub.state.postgresUrl, "tributary-demo");
  try {
    return await work(db, log);
  } finally {
    await db.end();
    await log.close();
  }
}

/** Waits until the projector has folded everything that the log holds. */
export async function untilProjected(log: Log, db: Db): Promise<void> {
  let last: Position | null = null;
  for await (const { position } of log.readAll()) last = position;
  for (const until = Date.now() + PROJECTED_TIMEOUT_MS; Date.now() < until; ) {
    if (last === null || ((await commonPosition(db)) ?? -1n) >= last) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new TributaryError(
    "backend-failed",
    "the projector does not keep up",
    "See its log in the data directory's logs/ folder.",
  );
}

/** A tablet's clock in the story. It stands at the moment that the story gives, so that the same values win each time, until a network puts it right. */
export interface StoryClock {
  readonly now: () => number;
  /** `2026-05-03T08:00Z` */
  set(moment: string): void;
  /** Puts the clock right, as a network would. `aheadMs`: for a tablet that is set to a wrong year. */
  putRight(aheadMs?: number): void;
}

export function storyClock(): StoryClock {
  let now: () => number = Date.now;
  return {
    now: () => now(),
    set(moment) {
      const ms = Date.parse(moment);
      now = () => ms;
    },
    putRight(aheadMs = 0) {
      now = () => Date.now() + aheadMs;
    },
  };
}

export interface Tablet {
  readonly field: Field;
  readonly clock: StoryClock;
}

/** Opens the database of a site's tablet; what is written there is held to the views, as the commands do. */
export async function openTablet({ sitesDir }: StageFolders, org: string, site: string): Promise<Tablet> {
  const clock = storyClock();
  let fits: Fits = () => null;
  const field = openField({
    path: join(sitesDir, `${org}.${site}.db`),
    name: { org, site, device: "tablet-1" },
    schemas: SCHEMAS_DIR,
    now: clock.now,
    fits: (head, data) => fits(head, data),
  });
  try {
    fits = fitsViews(await loadViews(foldersHere()), field.gate.read);
  } catch (error) {
    field.close();
    throw error;
  }
  return { field, clock };
}

/** Runs a command of this program as a user would; returns what it printed. Throws where it fails. */
export async function cli(args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await cliEnd(args);
  if (code === 0) return stdout;
  throw new TributaryError(
    "internal",
    `tributary ${args.slice(0, 2).join(" ")} ended with ${code}: ${stderr.trim()}`,
    "See the message.",
  );
}

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command of this program to its end, whatever its exit code. */
export function cliEnd(args: readonly string[]): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [...NODE_FLAGS, MAIN, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    let stdout = "";
    let stderr = "";
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk;
    });
    child.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk;
    });
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, stdout, stderr }));
  });
}

/** Opens the database of a device that folds the views itself, and so shows what others wrote. */
export async function openReplicaTablet({ sitesDir }: StageFolders, name: FieldName): Promise<Tablet> {
  const clock = storyClock();
  const views = await loadViews(foldersHere());
  const path = join(sitesDir, `${name.org}.${name.site}.${name.device}.db`);
  return { field: openField({ path, name, schemas: SCHEMAS_DIR, views, now: clock.now }), clock };
}
