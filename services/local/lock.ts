import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TributaryError } from "../core/index.ts";
import { isAlive, startTimeOf } from "./process.ts";

/** Makes this process the owner of a data directory. Returns the way to give it up. A lock whose owner is gone is taken over. */
export function lockDirectory(dataDir: string, say: (line: string) => void): () => void {
  mkdirSync(dataDir, { recursive: true });
  const file = join(dataDir, "lock");
  const mine = JSON.stringify({ pid: process.pid, start: startTimeOf(process.pid) });
  for (;;) {
    try {
      // Linked into place whole: nobody ever sees a lock without its owner's name.
      const whole = `${file}.${process.pid}`;
      writeFileSync(whole, mine);
      try {
        linkSync(whole, file);
      } finally {
        rmSync(whole, { force: true });
      }
      return () => rmSync(file, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
    const { pid, start } = readOwner(file);
    const isLive = pid > 0 && isAlive(pid) && (start === null || startTimeOf(pid) === start);
    if (isLive) {
      throw new TributaryError(
        "already-running",
        `a hub (process ${pid}) is using ${dataDir}`,
        "Stop it first, or give this one another folder with --data.",
      );
    }
    say(`The last hub here (process ${pid}) ended without cleaning up; taking over its lock.`);
    rmSync(file, { force: true });
  }
}

function readOwner(file: string): { pid: number; start: string | null } {
  try {
    return existsSync(file)
      ? (JSON.parse(readFileSync(file, "utf8")) as { pid: number; start: string | null })
      : { pid: 0, start: null };
  } catch {
    return { pid: 0, start: null };
  }
}
