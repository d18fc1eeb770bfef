import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { closeDatabaseFile, ownFolder, ownNewFile } from "../../services/core/node.ts";
import { openField } from "../../services/field/index.ts";
import { gate } from "../support/hub.ts";
import { tempDir } from "../support/temp.ts";

const rights = (path: string): string => (statSync(path).mode & 0o7777).toString(8);
const NAME = { org: "relief", site: "juba", device: "t1" };

describe("what only its owner may read", () => {
  it("a new file is made closed; one that is there is left alone until it is known to be ours", () => {
    const dir = tempDir();
    writeFileSync(join(dir, "old.db"), "", { mode: 0o644 });
    for (const name of ["old.db", "new.db"]) ownNewFile(join(dir, name));
    expect([rights(join(dir, "old.db")), rights(join(dir, "new.db"))]).toEqual(["644", "600"]);
    closeDatabaseFile(join(dir, "old.db"));
    expect(rights(join(dir, "old.db"))).toBe("600");
  });

  it("a device's database that others could read is closed when it is opened, with the files beside it", () => {
    const path = join(tempDir(), "f.db");
    openField({ path, name: NAME, schemas: gate }).close();
    chmodSync(path, 0o644);
    using field = openField({ path, schemas: gate });
    expect([rights(path), rights(`${field.store.path}-wal`)]).toEqual(["600", "600"]);
  });

  it.each([
    ["a text", "root:x:0:0:root:/root:/bin/bash\n".repeat(40)],
    ["bytes", "\u0000\u0001\u0002".repeat(400)],
  ])("a file of somebody else's that is named for a database by mistake keeps its rights and its content: %s", (_, content) => {
    const path = join(tempDir(), "passwd");
    writeFileSync(path, content);
    chmodSync(path, 0o644);
    expect(() => openField({ path, name: NAME, schemas: gate })).toThrow(expect.objectContaining({ code: "data-corrupt" }));
    expect(rights(path)).toBe("644");
    expect(readFileSync(path, "utf8")).toBe(content);
  });

  it("a folder that is named for a database by mistake keeps its rights: nobody is shut out of it", () => {
    const dir = tempDir();
    chmodSync(dir, 0o755);
    expect(() => openField({ path: dir, name: NAME, schemas: gate })).toThrow();
    expect(rights(dir)).toBe("755");
  });

  it("a folder that is there is closed to others, but not one that many share, such as /tmp", () => {
    const dir = tempDir();
    for (const [name, before, after] of [
      ["ours", 0o755, "700"],
      ["everybodys", 0o1777, "1777"],
    ] as const) {
      mkdirSync(join(dir, name));
      chmodSync(join(dir, name), before);
      ownFolder(join(dir, name));
      expect(rights(join(dir, name))).toBe(after);
    }
    const before = rights("/tmp");
    ownFolder("/tmp");
    expect(rights("/tmp")).toBe(before);
  });
});

/** How many locks this process holds on a file, as Linux lists them. */
const locksOn = (path: string): number =>
  readFileSync("/proc/locks", "utf8")
    .split("\n")
    .filter((line) => new RegExp(`\\b${process.pid}\\b.*:${statSync(path).ino} `).test(line)).length;

// POSIX takes all of a process's locks on a file away when the process closes the file anywhere.
it.skipIf(!existsSync("/proc/locks"))("opening a device's database a second time leaves the locks of the first in place", () => {
  const path = join(tempDir(), "f.db");
  using first = openField({ path, name: NAME, schemas: gate });
  const before = locksOn(first.store.path);
  expect(before).toBeGreaterThan(0);
  openField({ path, schemas: gate }).close();
  expect(locksOn(path)).toBeGreaterThanOrEqual(before);
});
