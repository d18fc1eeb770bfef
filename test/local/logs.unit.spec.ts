import { constants } from "node:buffer";
import {
  appendFileSync,
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { expect, it, onTestFinished } from "vitest";
import { boundLog, lastLines, openLogFile } from "../../services/local/logs.ts";
import { startProcess } from "../../services/local/process.ts";
import { eventually, tempDir } from "../support/temp.ts";

const lost = (lines: number): string => `lost ${lines}\n`;

it("a log that has grown too large is put aside once, and a program that has it open goes on at its new beginning", () => {
  const file = join(tempDir(), "server.log");
  const handle = openSync(file, "a", 0o600);
  onTestFinished(() => closeSync(handle));
  writeSync(handle, "first\n".repeat(20));
  expect(boundLog(file, 120)).toBe(false);
  writeSync(handle, "more\n");
  expect(boundLog(file, 120)).toBe(true);
  writeSync(handle, "second\n");
  expect(readFileSync(file, "utf8")).toBe("second\n");
  expect(readFileSync(`${file}.1`, "utf8")).toMatch(/first\nmore\n$/);
  expect(statSync(`${file}.1`).mode & 0o777).toBe(0o600);
  // Of a log that was never bounded, only the end is kept.
  writeSync(handle, "x".repeat(5_000_000));
  writeSync(handle, "\nthe end\n");
  expect(boundLog(file, 1_000_000)).toBe(true);
  expect(statSync(`${file}.1`).size).toBe(1_000_000);
  expect(readFileSync(`${file}.1`, "utf8")).toMatch(/x\nthe end\n$/);
  expect(boundLog(join(file, "not there"), 1)).toBe(false);
});

it("the last lines of a log are read from its end, however large it is", () => {
  const file = join(tempDir(), "server.log");
  expect(lastLines(file, 3)).toBe("");
  writeFileSync(file, "");
  expect(lastLines(file, 3)).toBe("");
  appendFileSync(file, "one\ntwo\n");
  expect(lastLines(file, 3)).toBe("one\ntwo");
  // Longer than any string may be: whoever reads all of it fails. It takes no room on the disk.
  truncateSync(file, 600_000_000);
  appendFileSync(file, "\nthree\nfour\n");
  expect(statSync(file).size).toBeGreaterThan(constants.MAX_STRING_LENGTH);
  expect(lastLines(file, 2)).toBe("three\nfour");
});

it("a server's log is bounded while the server runs", async () => {
  const dataDir = tempDir();
  const words = 'while :; do echo "a line that a server writes again and again"; done';
  const server = await startProcess(dataDir, "talker", ["sh", "-c", words], { maxLogBytes: 100_000, logLookMs: 20 });
  onTestFinished(() => server.stop("SIGKILL"));
  const file = join(dataDir, "logs/talker.log");
  await eventually("its log is put aside", async () => existsSync(`${file}.1`));
  await eventually("it goes on", async () => statSync(file).size > 0);
  expect(readFileSync(file, "utf8")).toMatch(/^[^\0]*a line that a server writes/);
  expect(server.lastWords()).toContain("again and again");
});

it("a worker's log is bounded by the worker, even if others write to the same file", () => {
  const file = join(tempDir(), "logs", "ingress.log");
  const [one, other] = [openLogFile(file, lost, 1_000), openLogFile(file, lost, 1_000)];
  for (let n = 0; n < 200; n++) {
    one.write(`one ${n}\n`);
    other.write(`other ${n}\n`);
  }
  expect(statSync(file).size).toBeLessThan(1_200);
  expect(statSync(`${file}.1`).size).toBeLessThanOrEqual(1_000);
  const kept = readFileSync(`${file}.1`, "utf8") + readFileSync(file, "utf8");
  expect(kept).toMatch(/one 198\nother 198\none 199\nother 199\n$/);
  expect(statSync(file).mode & 0o777).toBe(0o600);
});
