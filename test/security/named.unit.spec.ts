import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");
const document = read("SECURITY.md");

/** Files that the document calls by a short name; others it calls by folder and name. */
const SHORT: Readonly<Record<string, string>> = {
  keys: "security/keys",
  broker: "security/broker",
  attacker: "security/attacker",
  verify: "audit/verify",
  anchor: "cli/anchor",
  "anchor (e2e)": "e2e/anchor",
};
/** Other files with its tests: a long file is split into several, and a table of cases is a file of its own. */
const MORE: Readonly<Record<string, readonly string[]>> = {
  keys: ["test/security/enrolment.int.spec.ts"],
  verify: ["test/audit/alterations.ts"],
};
const filesOf = (name: string): string[] => [
  ...["unit", "int", "e2e"]
    .map((level) => `test/${SHORT[name] ?? name}.${level}.spec.ts`)
    .filter((path) => existsSync(join(ROOT, path)))
    .slice(0, 1),
  ...(MORE[name] ?? []),
];

/** What the document calls a test: its file's name, and words from its sentence. */
const NAME = /(?<![\w/])([a-z]+(?:\/[a-z]+)?(?: \(e2e\))?)[:,] "([^"]+)"((?:, "[^"]+")*)/g;
const named = [...document.matchAll(NAME)]
  .filter(([, name = ""]) => name in SHORT || name.includes("/"))
  .flatMap(([, name = "", first = "", more = ""]) =>
    [first, ...[...more.matchAll(/"([^"]+)"/g)].map(([, words = ""]) => words)].map((words) => ({ name, words })),
  );

describe("SECURITY.md", () => {
  it("names a test for each attack", () => {
    expect(named.length).toBeGreaterThan(50);
    const rows = document.split("\n").filter((line) => /^\| .* \| .* \|.*\|$/.test(line));
    const attacks = rows.filter(
      (row) => row.split("|").length === 5 && !/^\| (who|attack|protection|---|a device|a carrier|whoever)/.test(row),
    );
    expect(attacks.length).toBeGreaterThan(35);
    for (const row of attacks) expect(row).toMatch(new RegExp(`${NAME.source}|possible: `));
  });

  it.each(named)("names a test that is there: $name: $words", ({ name, words }) => {
    const files = filesOf(name);
    expect(files).not.toEqual([]);
    // The words about a table of cases are in its rows.
    expect(files.map(read).join("\n").replaceAll('\\"', '"')).toContain(words);
  });
});
