import { execFile } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { beforeEach, describe, expect, it } from "vitest";
import { runHere } from "../support/here.ts";
import { number } from "../support/hub.ts";
import { tempDir } from "../support/temp.ts";

const MAIN = join(import.meta.dirname, "../../services/cli/main.ts");
const HEADER = "registration_no;given_name;sex;registered_on;birth_date;household_size";

let dir: string;
let db: string;
beforeEach(async () => {
  dir = tempDir();
  db = join(dir, "juba.db");
  expect((await runHere("field", "init", "--org", "relief", "--site", "juba", "--device", "t1", "--db", db)).code).toBe(0);
});
const file = (name: string, ...lines: readonly string[]): string => {
  const path = join(dir, name);
  writeFileSync(path, `${lines.join("\r\n")}\r\n`);
  return path;
};
const importHere = (...args: readonly string[]) => runHere("field", "import", ...args, "--actor", "deng", "--db", db);

describe("an import of a spreadsheet", () => {
  it("puts rows that fail into a report; corrected there, they are imported, and nothing is taken twice", async () => {
    const sheet = file(
      "people.csv",
      HEADER,
      `${number(1)};Acol;female;03/05/2026;;3`,
      `${number(2)};"Wani; the elder";man;05/13/2026;31/02/1990;many`,
      ";Nobody;female;03/05/2026;;1",
      ";;;;;",
    );
    const report = join(dir, "failed.csv");
    const habit = ["--as", "beneficiary.registered", "--dates", "dmy"];
    const first = await importHere(sheet, ...habit, "--report", report);
    expect(first.code).toBe(0);
    expect(first.stdout).toMatch(/beneficiary\.registered\s+3\s+1\s+0\s+2/);
    expect(first.stdout).toContain(`They are in ${report}: mend them there and import that file.`);
    const [columns, wani, nobody, end] = readFileSync(report, "utf8").split("\n");
    expect(columns).toBe("\uFEFFimport_problem,registration_no,given_name,sex,registered_on,birth_date,household_size");
    for (const words of [
      'registered_on: "05/13/2026" is not a day',
      'birth_date: "31/02/1990"',
      "sex 'man'",
      "household_size 'many'",
    ])
      expect(wani!.replaceAll('""', '"')).toContain(words);
    expect(wani).toContain("Wani; the elder,man,05/13/2026,31/02/1990,many");
    expect(nobody).toMatch(/^has no registration_no,,Nobody/);
    expect(end).toBe("");

    const again = await importHere(sheet, ...habit, "--report", report);
    expect(again.code).toBe(2);
    expect(again.stderr).toContain(`${report} is there already`);

    const mended = readFileSync(report, "utf8")
      .replace("man,05/13/2026,31/02/1990,many", "male,13/05/2026,28/02/1990,4")
      .replace(",,Nobody", `,${number(3)},Somebody`);
    writeFileSync(report, mended);
    const second = await importHere(report, ...habit);
    expect(second.stdout).toMatch(/beneficiary\.registered\s+2\s+2\s+0\s+0/);
    const third = await importHere(sheet, ...habit, "--report", join(dir, "third.csv"), "--json");
    expect(JSON.parse(third.stdout)).toMatchObject([{ rows: 3, imported: 0, repeated: 1, failed: 2 }]);
  });

  it("leaves no report where every row was taken", async () => {
    const report = join(dir, "failed.csv");
    const sheet = file("people.csv", HEADER, `${number(1)};Acol;female;2026-05-03;;3`);
    expect((await importHere(sheet, "--as", "beneficiary.registered", "--report", report)).code).toBe(0);
    expect([existsSync(report), existsSync(`${report}.new`)]).toEqual([false, false]);
  });

  it.each([
    ["an order of days that there is not", ["--dates", "dym"], /dym is not what --dates takes/],
    ["a decimal mark that there is not", ["--decimal", "x"], /x is not what --decimal takes/],
    ["a zone that there is not", ["--zone", "Juba"], /"Juba" is not a time zone/],
    ["a report in a folder that is not there", ["--report", "/nowhere/at/all.csv"], /\/nowhere\/at\/all\.csv cannot be written/],
    ["a folder for a file", ["/"], /\/ is not a file/],
  ])("names %s, and takes nothing", async (_, args, message) => {
    const sheet = file("people.csv", HEADER, `${number(1)};Acol;female;2026-05-03;;3`);
    const { code, stderr } = await importHere(sheet, "--as", "beneficiary.registered", ...args);
    expect(code).toBeGreaterThan(0);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/^\s+at /m);
    expect(JSON.parse((await runHere("field", "status", "--db", db, "--json")).stdout)).toMatchObject({ events: 0 });
  });

  it("needs no more memory for a large file, and one line of progress: 5 MB go through a heap of 48 MB", async () => {
    const path = join(dir, "large.csv");
    const handle = openSync(path, "w");
    writeSync(handle, `${HEADER};village\n`);
    const ROWS = 40_000;
    for (let from = 0; from < ROWS; from += 1_000)
      writeSync(
        handle,
        Array.from({ length: 1_000 }, (_, i) => `${number(from + i + 1)};A;female;2026-05-03;;3;${"village ".repeat(10)}\n`).join(
          "",
        ),
      );
    closeSync(handle);
    const args = ["--max-old-space-size=48", "--disable-warning=ExperimentalWarning", MAIN, "field", "import", path];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [
      ...args,
      "--actor",
      "deng",
      "--db",
      db,
      "--as",
      "beneficiary.registered",
      "--json",
    ]);
    expect(JSON.parse(stdout)).toMatchObject([{ rows: ROWS, imported: ROWS, misfitRows: 0 }]);
    expect(stderr).toBe(`${path}: ${ROWS} of ${ROWS} rows\n`);
  });
});
