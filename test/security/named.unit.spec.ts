import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");
const document = read("SECURITY.md");
/** What the document calls a test: its file's name and words out of its sentence. */
const named = [...document.matchAll(/\b(keys|broker|attacker)[:,] "([^"]+)"/g)].map(([, file = "", words = ""]) => ({
  file,
  words,
}));

describe("SECURITY.md", () => {
  it("names a test for each attack", () => {
    expect(named.length).toBeGreaterThan(30);
    const rows = document.split("\n").filter((line) => /^\| .* \| .* \|.*\|$/.test(line));
    const attacks = rows.filter(
      (row) => row.split("|").length === 5 && !/^\| (who|attack|---|a device|a carrier|whoever)/.test(row),
    );
    expect(attacks.length).toBeGreaterThan(20);
    for (const row of attacks) expect(row).toMatch(/(keys|broker|attacker): "|possible: /);
  });

  it.each(named)("names a test that is there: $file: $words", ({ file, words }) => {
    const sentences = [
      ...read(`test/security/${file}.int.spec.ts`).matchAll(/\b(?:it|describe)(?:\.each\([^)]*\))?\(\s*[`"](.+)[`"],/g),
    ].map(([, sentence = ""]) => sentence);
    expect(sentences.filter((sentence) => sentence.includes(words))).not.toEqual([]);
  });
});
