/** What the chapters of the demo share: the hub that they are played on, its views and its commands. */
import { spawn } from "node:child_process";
import { type Position, TributaryError } from "../core/index.ts";
import { type Log, openLog } from "../log/index.ts";
import { commonPosition, connectViews, type Db } from "../views/index.ts";
import type { Output } from "./output.ts";
import { MAIN, NODE_FLAGS } from "./program.ts";
import type { Hub } from "./supervise.ts";

export const ORG = "relief";
const PROJECTED_TIMEOUT_MS = 30_000;
export interface Places {
  readonly hubData: string;
  readonly sitesDir: string;
  readonly projections: string;
}

/** Where the story is played; a chapter may put another hub in the place of the first. */
export interface Stage extends Places {
  readonly out: Output;
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

/** Waits until the projector has folded all that the log holds. */
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

/** Runs a command of this program as a user would; returns what it printed. */
export function cli(args: readonly string[]): Promise<string> {
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
    child.on("close", (code) => {
      if (code === 0) resolve(stdout);
      else
        reject(
          new TributaryError(
            "internal",
            `tributary ${args.slice(0, 2).join(" ")} ended with ${code}: ${stderr.trim()}`,
            "See the message.",
          ),
        );
    });
  });
}
