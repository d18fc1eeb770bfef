import { chmodSync, lstatSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { makeFolder } from "../core/node.ts";
import { canHoldDatabase } from "./postgres.ts";

/**
 * A folder for servers that are not kept: `.tributary/NAME` here, or a folder in the system's temporary one if this clone is closed to PostgreSQL's own
 * user, as a clone in /root is. It is the same at each call, so that what a killed run left there is found.
 */
export function workFolder(name: string): string {
  const here = resolve(".tributary", name);
  if (canHoldDatabase(here)) return here;
  const uid = process.getuid?.() ?? 0;
  const wanted = join(tmpdir(), `tributary-${name}-${uid}`);
  makeFolder(wanted);
  const found = lstatSync(wanted);
  // Anybody can make a folder of that name there: only our own is used.
  const dir = found.isDirectory() && found.uid === uid ? wanted : mkdtempSync(`${wanted}-`);
  chmodSync(dir, 0o755);
  return dir;
}
