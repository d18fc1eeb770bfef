import { chmodSync, mkdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ownFile, ownFolder } from "../../services/core/node.ts";
import { tempDir } from "../support/temp.ts";

const rights = (path: string): string => (statSync(path).mode & 0o7777).toString(8);

describe("what only its owner may read", () => {
  it("a file that is there is closed to others, and a new one is made closed", () => {
    const dir = tempDir();
    writeFileSync(join(dir, "old.db"), "", { mode: 0o644 });
    for (const name of ["old.db", "new.db"]) {
      ownFile(join(dir, name));
      expect(rights(join(dir, name))).toBe("600");
    }
  });

  it("a folder that is named as a file by mistake keeps its rights: nobody is shut out of it", () => {
    const dir = tempDir();
    chmodSync(dir, 0o1777);
    ownFile(dir);
    expect(rights(dir)).toBe("1777");
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
