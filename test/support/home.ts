import { chmodSync, mkdirSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

/*
 * Each process that runs tests has a home: a folder named after it, in the folder of the whole run. The variable that names it is inherited by all that the process
 * starts, so that the warden (`warden.ts`) finds what is left when the process is gone, however it ended.
 */

/** The folder of the whole run, made by the warden. */
export const RUN = "TRIBUTARY_TEST_RUN";
/** The home of one process: what it starts has the variable too. */
export const HOME = "TRIBUTARY_TEST_HOME";

/** Makes this process's home, once. Does nothing where no warden watches. */
export function moveIn(): void {
  const run = process.env[RUN];
  if (run === undefined || ownerOf(process.env[HOME] ?? "") === process.pid) return;
  const home = join(run, `${process.pid}.home`);
  mkdirSync(home, { recursive: true });
  // As root, PostgreSQL runs as another user, who must reach its folder.
  chmodSync(home, 0o755);
  process.env[HOME] = home;
}

/** The process whose home it is; `null` if it is not a home. */
export function ownerOf(home: string): number | null {
  const pid = /^(\d+)\.home$/.exec(basename(home))?.[1];
  return pid === undefined ? null : Number(pid);
}

/** A new folder. Whoever asks for it removes it; what a failed test leaves goes with the process. */
export const newDir = (name: string): string => mkdtempSync(join(process.env[HOME] ?? tmpdir(), `tributary-${name}-`));
