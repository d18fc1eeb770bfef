import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "../..");

/** Licences under which others' code may come with ours: each lets anybody use, change and pass it on, also inside a closed program. */
const TAKEN = new Set([
  "MIT",
  "MIT-0",
  "ISC",
  "BSD-2-Clause",
  "BSD-3-Clause",
  "Apache-2.0",
  "0BSD",
  "BlueOak-1.0.0",
  "(BSD-3-Clause AND Apache-2.0)",
]);
/** What is taken besides, each with the reason. */
const BESIDES: Readonly<Record<string, string>> = {
  tweetnacl: "Unlicense: given up to everybody. It comes with the official client of NATS",
  "@kafkajs/confluent-schema-registry": "its LICENSE is MIT's; package.json does not name it. For tests only",
  buildcheck: "MIT in an older form of package.json. For tests only, with testcontainers",
  "cpu-features": "MIT in an older form of package.json. For tests only, with testcontainers",
  ssh2: "MIT in an older form of package.json. For tests only, with testcontainers",
};
/** What only tests and the bench use may also be these. */
const FOR_TESTS = new Set(["MIT OR Apache-2.0", "MPL-2.0"]);

interface Locked {
  readonly license?: string;
  readonly dev?: boolean;
  readonly version?: string;
}
const { packages } = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")) as {
  readonly packages: Readonly<Record<string, Locked>>;
};
const others = Object.entries(packages).filter(([path]) => path !== "" && path.includes("node_modules/"));
const nameOf = (path: string): string => path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);

describe("others' code that comes with ours", () => {
  it("is under licences that a team can live with, each named", () => {
    expect(others.length).toBeGreaterThan(100);
    const untaken = others
      .filter(
        ([path, { license = "", dev = false }]) =>
          !TAKEN.has(license) && BESIDES[nameOf(path)] === undefined && !(dev && FOR_TESTS.has(license)),
      )
      .map(([path, { license = "not named" }]) => `${nameOf(path)}: ${license}`);
    expect(untaken, "ask whether the project may depend on it; then name it here with the reason").toEqual([]);
  });

  it("that an installed hub runs is listed in docs/licences.md, with version and licence", () => {
    const rows = others
      .filter(([, { dev = false }]) => !dev)
      .map(([path, { version = "", license = "" }]) => `| ${nameOf(path)} | ${version} | ${license} |`);
    const listed = readFileSync(join(ROOT, "docs/licences.md"), "utf8")
      .split("\n")
      .filter((line) => /^\| [@a-z0-9]/.test(line) && !line.startsWith("| package |"));
    expect(listed).toEqual([...new Set(rows)].sort());
  });
});
