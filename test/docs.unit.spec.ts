import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "..");
const read = (file: string): string => readFileSync(join(ROOT, file), "utf8");
const documents = [
  ...readdirSync(ROOT).filter((name) => name.endsWith(".md")),
  ...readdirSync(join(ROOT, "docs")).map((name) => join("docs", name)),
  "bench/peers/README.md",
  "test/data/README.md",
];
const specs = readdirSync(join(ROOT, "test"), { recursive: true, encoding: "utf8" })
  .filter((name) => name.endsWith(".spec.ts"))
  .map((name) => join("test", name));

describe("docs/invariants.md", () => {
  const promises = read("docs/invariants.md")
    .split(/^(?=\*\*I\d+\.\*\*)/m)
    .slice(1)
    .map((text) => ({
      number: /^\*\*(I\d+)\./.exec(text)?.[1] ?? "",
      tests: [...text.matchAll(/`(test\/[^`]+\.spec\.ts)`/g)].map(([, file]) => file ?? ""),
    }));

  it("numbers its promises from I1 on, each once, and names a test for each", () => {
    expect(promises.map(({ number }) => number)).toEqual(promises.map((_, i) => `I${i + 1}`));
    expect(promises.length).toBeGreaterThanOrEqual(20);
    for (const { number, tests } of promises) expect(tests.length, number).toBeGreaterThan(0);
  });

  it("names the tests that have its numbers in their titles, and no others", () => {
    const named = promises.flatMap(({ number, tests }) => tests.map((file) => `${number} ${file}`));
    const held = specs.flatMap((file) =>
      // In a title of `it(…)` or `describe(…)`: in quotes, at its end or before what each case adds.
      [...read(file).matchAll(/^\s*(?:it|describe)?.*["`][^"`\n]*\((I\d+)\)[^"`\n]*["`]/gm)].map(
        ([, number]) => `${number} ${file}`,
      ),
    );
    expect([...new Set(held)].sort()).toEqual([...named].sort());
  });
});

/** “anew” for “again”, “is no number” for “is not a number”, “is none of” for “is not one of”, “come again” for “is sent again”. */
const STUMBLING = /(?:^|\s)anew\b|(?<!\bthere )\bis (?:no (?!longer\b|more\b)[a-z]+|none of)\b|\bcomes? again\b/gi;

describe("the documents", () => {
  it("link to files that exist", () => {
    const broken = documents.flatMap((file) =>
      [...read(file).matchAll(/\]\(([^)#:\s]+)(?:#[^)]*)?\)/g)]
        .filter(([, target]) => !existsSync(join(ROOT, dirname(file), target ?? "")))
        .map(([, target]) => `${file}: ${target}`),
    );
    expect(broken).toEqual([]);
  });

  it("name paths of this repository that exist", () => {
    const broken = documents
      .filter((file) => file !== "CHANGELOG.md")
      .flatMap((file) =>
        [...read(file).matchAll(/`((?:services|test|docs|bench|projections|schemas)\/[\w./-]+\.(?:ts|mjs|md|sql|json))`/g)]
          .map(([, path]) => path ?? "")
          // What a reader is told to make.
          .filter((path) => path !== "projections/visits.ts" && !/[A-Z]{3,}|vN/.test(path) && !existsSync(join(ROOT, path)))
          .map((path) => `${file}: ${path}`),
      );
    expect(broken).toEqual([]);
  });

  it("and the program's messages use no words that a reader stumbles over", () => {
    const sources = readdirSync(join(ROOT, "services"), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => join("services", name));
    const messages = (text: string): string[] =>
      [...text.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "").matchAll(/"[^"\n]*"|`[^`]*`/g)].map(([words]) => words);
    const stumbling = [
      ...documents.map((file) => [file, [read(file)]] as const),
      ...sources.map((file) => [file, messages(read(file))] as const),
    ].flatMap(([file, texts]) =>
      texts.flatMap((text) => [...text.matchAll(STUMBLING)].map(([words]) => `${file}: ${words.trim()}`)),
    );
    expect(stumbling).toEqual([]);
  });

  it("are reached from README.md, directly or by another", () => {
    const reached = new Set<string>();
    const reach = (file: string): void => {
      if (reached.has(file)) return;
      reached.add(file);
      for (const [, target] of read(file).matchAll(/\]\(([^)#:\s]+\.md)/g))
        reach(relative(ROOT, join(ROOT, dirname(file), target ?? "")));
    };
    reach("README.md");
    for (const file of documents.filter((name) => !name.startsWith("test/"))) expect(reached, file).toContain(file);
  });
});
