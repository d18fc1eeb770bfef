/** Faults of tablets: an old copy, a clone, a sync that is killed, a full disk. */
import { spawn } from "node:child_process";
import { copyFileSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf, withoutLogin } from "../../../services/core/index.ts";
import { sleep } from "../temp.ts";
import { gone, stateOf } from "./hub.ts";
import { destroy } from "./log.ts";
import { keyOf, keysOn, nextWrite, openTablet, write } from "./tablets.ts";
import { MAIN, pick, type Tablet, type World } from "./world.ts";

export function copyTablet(world: World, { path }: Tablet): void {
  const copy = `${path}.copy`;
  copyFileSync(path, copy);
  world.tabletCopies.set(path, copy);
}

/** A tablet's database is put back as it was earlier; what has stood only there since then is destroyed. */
export async function restoreTablet(world: World, inPlace: boolean): Promise<string> {
  const tablet = pick(world.next, world.tablets);
  const copy = world.tabletCopies.get(tablet.path);
  if (copy === undefined) {
    copyTablet(world, tablet);
    return `restore-tablet ${tablet.site}-${tablet.device} (no copy yet: one was made)`;
  }
  const before = keysOn(tablet.path);
  if (!inPlace) rmSync(tablet.path);
  for (const more of ["-wal", "-shm"]) rmSync(tablet.path + more, { force: true });
  const inode = inPlace ? statSync(tablet.path).ino : 0;
  writeFileSync(tablet.path, readFileSync(copy));
  if (inPlace && statSync(tablet.path).ino !== inode) throw new Error("the file has another inode");
  await destroy(world, before);
  return `restore-tablet ${tablet.site}-${tablet.device}${inPlace ? " in place" : ""}`;
}

export function cloneTablet(world: World): string {
  const from = pick(world.next, world.tablets);
  if (world.tablets.length > 6) return "clone-tablet (there are enough)";
  const clone = { ...from, path: join(world.dir, `${from.site}-${from.device}-clone${world.tablets.length}.db`) };
  copyFileSync(from.path, clone.path);
  world.tablets.push(clone);
  return `clone-tablet ${from.site}-${from.device}`;
}

/** A sync in a process of its own, which is killed on the way. */
export async function killSync(world: World): Promise<string> {
  const tablet = pick(world.next, world.tablets);
  await write(world, tablet, 30);
  const child = spawn(
    process.execPath,
    [
      ...["--disable-warning=ExperimentalWarning", MAIN, "field", "sync", "--db", tablet.path, "--batch", "5"],
      ...["--hub", withoutLogin(stateOf(world).natsUrl), "--token", world.tokens.get(tablet.site)!],
    ],
    { stdio: "ignore" },
  );
  const ms = Math.round(300 + world.next() * 900);
  await sleep(ms);
  child.kill("SIGKILL");
  await gone(child);
  return `kill-sync ${tablet.site} after ${ms} ms`;
}

/** A tablet's disk is full: writing is refused with a message, and what was written stays. */
export async function fillTablet(world: World): Promise<string> {
  const tablet = pick(world.next, world.tablets);
  const pages = Math.ceil(statSync(tablet.path).size / 4096);
  const field = openTablet(tablet, { maxPages: pages + 2 });
  let refused = "";
  try {
    for (let i = 0; i < 400 && refused === ""; i++) {
      const event = nextWrite(world);
      try {
        await field.append(event);
        world.due.add(keyOf(event.data)!);
      } catch (error) {
        refused = (error as { code?: string }).code ?? messageOf(error);
      }
    }
  } finally {
    field.close();
  }
  if (refused !== "disk-full") throw new Error(`a tablet with a full disk said ${refused || "nothing"}, not disk-full`);
  return `disk-full-tablet ${tablet.site}-${tablet.device}`;
}
