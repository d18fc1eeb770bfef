import { spawnSync } from "node:child_process";
import { symlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { reportFailure } from "../../services/cli/output.ts";
import { openLogFile } from "../../services/local/logs.ts";
import { tempDir } from "../support/temp.ts";

it("a full disk ends neither a worker that logs there nor a hub that writes its output there; a command whose result is incomplete says so", () => {
  const file = join(tempDir(), "full.log");
  symlinkSync("/dev/full", file);
  const log = openLogFile(file, (lines) => `lost ${lines}\n`);
  for (let n = 0; n < 3; n++) log.write("nobody hears it\n");
  const help = (to: string) =>
    spawnSync("sh", ["-c", `"$0" "$1" --help ${to}`, process.execPath, join(import.meta.dirname, "../../services/cli/main.ts")]);
  const unsaid = help("> /dev/full");
  expect(unsaid.status).toBe(8);
  expect(unsaid.stderr.toString()).toMatch(/^tributary: .*ENOSPC.*\n.*Make room.*\n$/);
  expect(help("2> /dev/full").status).toBe(0);
  expect(help("> /dev/full 2>&1").status).toBe(8);
  // What the file system refuses is not a bug of ours.
  expect(reportFailure(Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" }), false)).toBe(8);
  expect(reportFailure(new Error("no space for it"), false)).toBe(1);
});
