import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { operatingFailure } from "../../services/cli/system-errors.ts";
import { makeFolder } from "../../services/core/node.ts";
import { lockDirectory } from "../../services/local/index.ts";
import { newDir } from "../support/home.ts";

const SERVICES = join(import.meta.dirname, "../../services");
const dir = newDir("folders");
afterAll(() => rmSync(dir, { recursive: true, force: true }));

describe("making a folder", () => {
  it("makes those above it, gives them their rights, and leaves one that is there as it is", () => {
    makeFolder(join(dir, "a/b/c"), 0o700);
    expect(statSync(join(dir, "a/b/c")).mode & 0o777).toBe(0o700);
    expect(statSync(join(dir, "a")).mode & 0o777).toBe(0o700);
    makeFolder(join(dir, "a/b/c"), 0o711);
    expect(statSync(join(dir, "a/b/c")).mode & 0o777).toBe(0o700);
  });

  it("ends with the system's words where a file is in the way", () => {
    writeFileSync(join(dir, "file"), "");
    expect(() => makeFolder(join(dir, "file"))).toThrow(/EEXIST/);
    expect(() => makeFolder(join(dir, "file/x/y"))).toThrow(/ENOTDIR/);
  });

  it.skipIf(!existsSync("/proc/self"))("ends where the system makes no folders, and says so", () => {
    expect(() => makeFolder("/proc/self/nothing-here/deeper")).toThrow("the system makes no folders in /proc/self");
  });

  it("is done by no other way in the services: Node's own never returns in /proc", () => {
    const files = readdirSync(SERVICES, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
    const found = files.filter((name) => /mkdir(Sync)?\([^;]*recursive/.test(readFileSync(join(SERVICES, name), "utf8")));
    expect(files.length).toBeGreaterThan(100);
    expect(found).toEqual([]);
  });
});

it("a stale lock that cannot be taken away is told, and not tried for ever", () => {
  const hub = join(dir, "hub");
  makeFolder(hub);
  writeFileSync(join(hub, "lock"), JSON.stringify({ pid: 0, start: null }));
  mkdirSync(join(hub, `lock.stale.${process.pid}`));
  expect(() => lockDirectory(hub, () => {})).toThrow();
  rmSync(join(hub, `lock.stale.${process.pid}`), { recursive: true });
  lockDirectory(hub, () => {})();
});

it("what the system says of an open file, which names no path, is told in words", () => {
  const failure = (code: string, syscall: string) => operatingFailure(Object.assign(new Error("words"), { code, syscall }));
  expect(failure("EINVAL", "fsync")).toMatchObject({
    code: "path-unusable",
    message: expect.stringContaining("cannot do what is needed"),
  });
  expect(failure("EIO", "write")).toMatchObject({ code: "path-unusable" });
  expect(failure("EINVAL", "somethingElse")).toBeNull();
});
