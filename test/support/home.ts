import { chmodSync, existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";

/*
 * Each file of tests has a home: a folder named after the process that runs it, in the folder of the whole run. The variable that names it is inherited by all that
 * the tests start, so that the warden (`warden.ts`) finds what is left when the file has ended, or its process is gone, however it ended.
 */

/** The folder of the whole run, made by the warden. */
export const RUN = "TRIBUTARY_TEST_RUN";
/** The home of a file of tests: what they start has the variable too. */
export const HOME = "TRIBUTARY_TEST_HOME";

/** What stands in a home whose file of tests has ended. */
const LEFT = "left";

/** Makes a home for what this process starts from now on. `null` where no warden watches. */
export function moveIn(): string | null {
  const run = process.env[RUN];
  if (run === undefined) return null;
  const home = mkdtempSync(join(run, `${process.pid}.home.`));
  // As root, PostgreSQL runs as another user, who must reach its folder.
  chmodSync(home, 0o755);
  process.env[HOME] = home;
  return home;
}

/** Tells the warden that what is left here may go. */
export function moveOut(home: string | null): void {
  if (home !== null) writeFileSync(join(home, LEFT), "");
}
export const isLeft = (home: string): boolean => existsSync(join(home, LEFT));

/** The process whose home it is; `null` if it is not a home. */
export function ownerOf(home: string): number | null {
  const pid = /^(\d+)\.home\./.exec(basename(home))?.[1];
  return pid === undefined ? null : Number(pid);
}

/** A new folder. Whoever asks for it removes it; what a failed test leaves goes with the process. */
export const newDir = (name: string): string => mkdtempSync(join(process.env[HOME] ?? tmpdir(), `tributary-${name}-`));
