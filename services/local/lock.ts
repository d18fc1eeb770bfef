import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TributaryError } from "../core/index.ts";
import { hubFolder } from "../core/node.ts";
import { isSame, startTimeOf } from "./process.ts";

interface Owner {
  readonly pid: number;
  readonly start: string | null;
}

const lockFile = (dataDir: string): string => join(dataDir, "lock");

/** The process that owns a data directory now; `null`: nobody does, as far as this machine can see. */
export function ownerOf(dataDir: string): number | null {
  const owner = readOwner(lockFile(dataDir));
  return owner !== null && isSame(owner) ? owner.pid : null;
}

/** Makes this process the owner of a data directory. A lock whose owner is gone is taken over. Returns a function that gives the directory up. */
export function lockDirectory(dataDir: string, say: (line: string) => void): () => void {
  hubFolder(dataDir);
  const file = lockFile(dataDir);
  const mine = JSON.stringify({ pid: process.pid, start: startTimeOf(process.pid) } satisfies Owner);
  for (;;) {
    if (linkWhole(file, mine)) {
      return () => {
        if (readText(file) === mine) rmSync(file, { force: true });
      };
    }
    const seen = readText(file);
    const owner = readOwner(file);
    if (owner !== null && isSame(owner)) {
      throw new TributaryError(
        "already-running",
        `a hub (process ${owner.pid}) is using ${dataDir}`,
        "Stop it first, or give this one another folder with --data.",
      );
    }
    if (takeAway(file, seen))
      say(`The last hub here (process ${owner?.pid ?? 0}) ended without cleaning up; taking over its lock.`);
  }
}

/** Creates a file with all its content at once, if there is none: nobody ever sees a lock without its owner's name. */
function linkWhole(file: string, text: string): boolean {
  const whole = `${file}.${process.pid}`;
  writeFileSync(whole, text, { mode: 0o600 });
  try {
    linkSync(whole, file);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false;
    throw error;
  } finally {
    rmSync(whole, { force: true });
  }
}

/** Removes a stale lock and no other: a lock that another process has made meanwhile is put back. */
function takeAway(file: string, stale: string | null): boolean {
  const aside = `${file}.stale.${process.pid}`;
  try {
    renameSync(file, aside);
  } catch (error) {
    // Another process was first. For any other reason the lock would stay as it is, however often we asked.
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return false;
    throw error;
  }
  const taken = readText(aside);
  if (taken !== stale && taken !== null) linkWhole(file, taken);
  rmSync(aside, { force: true });
  return taken === stale;
}

function readText(file: string): string | null {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return null;
  }
}

function readOwner(file: string): Owner | null {
  try {
    return JSON.parse(readText(file) ?? "null") as Owner | null;
  } catch {
    return null;
  }
}
