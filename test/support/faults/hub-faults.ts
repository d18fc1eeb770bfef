/** Faults of the hub's disk: a log that is set back, a hub restored from a backup, a disk that is full. */
import { spawnSync } from "node:child_process";
import { cpSync, lstatSync, mkdirSync, readdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sleep } from "../temp.ts";
import { command, startHub, stopHub } from "./hub.ts";
import { destroy, whenTheLogAnswers } from "./log.ts";
import type { World } from "./world.ts";

/** Room for the log of a run: some ten times what it writes. */
const SMALL_BYTES = 64 * 1024 * 1024;

/** Copies the log of a hub that stands still. */
export function rememberLog(world: World): void {
  if (world.logCopy !== null && world.next() < 0.5) return;
  const copy = join(world.dir, "log-copy");
  rmSync(copy, { recursive: true, force: true });
  cpSync(realpathSync(join(world.data, "eventstore")), copy, { recursive: true });
  world.logCopy = copy;
}

/** The log alone is set back; PostgreSQL remembers more. */
export async function restoreLog(world: World): Promise<string> {
  const before = await whenTheLogAnswers(world);
  await stopHub(world);
  if (world.logCopy === null) {
    rememberLog(world);
    await startHub(world);
    return "restore-log (no copy yet: one was made)";
  }
  const log = join(world.data, "eventstore");
  for (const name of readdirSync(log)) rmSync(join(log, name), { recursive: true });
  cpSync(world.logCopy, realpathSync(log), { recursive: true });
  await startHub(world);
  await destroy(world, before.keys());
  return "restore-log";
}

/** The hub's folder is lost, and restored from a backup that was made while it ran. */
export async function restoreHub(world: World): Promise<string> {
  if (world.backup === null || world.next() < 0.3) {
    const dir = join(world.dir, `backup-${world.count}`);
    const { code, stderr } = await command(["backup", dir, "--data", world.data]);
    if (code !== 0) throw new Error(`backup ended with ${code}: ${stderr}`);
    world.backup = dir;
    return "backup";
  }
  const before = await whenTheLogAnswers(world);
  await stopHub(world);
  rmSync(world.data, { recursive: true, force: true });
  const { code, stderr } = await command(["restore", world.backup, "--data", world.data]);
  if (code !== 0) throw new Error(`restore ended with ${code}: ${stderr}`);
  await startHub(world);
  await destroy(world, before.keys());
  return "restore-hub";
}

/** Gives the log a file system of its own, where this user may mount one. */
export function mountSmall(world: World): void {
  const small = join(world.dir, "small");
  mkdirSync(small);
  if (spawnSync("mount", ["-t", "tmpfs", "-o", `size=${SMALL_BYTES}`, "tmpfs", small]).status !== 0) return;
  world.small = small;
  mkdirSync(join(small, "eventstore"));
  mkdirSync(world.data);
  symlinkSync(join(small, "eventstore"), join(world.data, "eventstore"));
}

/** The log's disk has no room left for a while. */
export async function fillLog(world: World): Promise<string> {
  const isThere = world.small !== null && lstatSync(join(world.data, "eventstore")).isSymbolicLink();
  if (!isThere) return "disk-full-log (the log has no file system of its own)";
  const ballast = join(world.small!, "ballast");
  try {
    for (;;) writeFileSync(ballast, Buffer.alloc(65_536), { flag: "a" });
  } catch {
    // Full.
  }
  await sleep(2_000 + world.next() * 3_000);
  rmSync(ballast);
  return "disk-full-log";
}
