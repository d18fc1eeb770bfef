import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { canonicalize, isTributaryError, type JsonValue, messageOf, TributaryError } from "../core/index.ts";
import {
  type Casters,
  checkCompatibility,
  DEFAULT_LEVEL,
  formsOf,
  isLevel,
  LEVELS,
  type Level,
  type LintNote,
  lintCasters,
  lintSchema,
  memberChanges,
  type SchemaStore,
  type SchemaVersion,
  schemaFile,
  schemaStore,
  schemaVersion,
} from "../gate/index.ts";
import { loadCasters, loadSchemas } from "../gate/node.ts";
import { narrowColumns, personalScopes, type UnfedEvent, unfedEvents, type View } from "../merge/engine.ts";
import type { Command } from "./args.ts";
import { refOf, schemaText } from "./commands-schema.ts";
import { foldersHere, foldersOf, loadForms, loadViews, schemasHere, viewsOf } from "./folders.ts";
import { counted, table } from "./output.ts";
import { findingLines, personalWords, withHubGate } from "./registry.ts";
import { type CheckResult, sarif } from "./sarif.ts";
import { systemWords } from "./system-errors.ts";

export const schemaCheck: Command = {
  name: "schema check",
  summary: "check whether a folder of schemas may be deployed (for a team's CI)",
  usage: `tributary schema check [FOLDER] [--against hub|GIT-REF] [--level LEVEL] [--sarif FILE] [--data DIR]`,
  help: `Every version is checked by itself (as \`schema lint\` does) and with all earlier ones. --against hub: with what a running hub has registered, and by
its levels. --against a git commit, branch or tag: with the folder as it was there; a version that stood there must not have been changed or removed.
Exit 9 when a change would break a site, with an example for each; 3 when a form is wrong in itself. --sarif writes the findings for code review tools.
Warnings name columns of the project's views that hold less than their form allows: the device finds such values, and the hub holds them back.
For the project's own folder it also names event types that a view takes and no form declares.

  tributary schema check schemas/ --against origin/main --sarif schemas.sarif
  tributary schema check schemas/ --against hub`,
  maxPositionals: 1,
  options: { data: { type: "string" }, against: { type: "string" }, level: { type: "string" }, sarif: { type: "string" } },
  async run({ positionals, text, out }) {
    const dir = positionals[0] ?? schemasHere();
    const given = text("level");
    if (given !== undefined && !isLevel(given))
      throw new TributaryError("usage", `--level ${given} is not one of ${LEVELS.join(", ")}`, `Use: ${schemaCheck.usage}`);
    const results = await checkFolder(dir, text("against"), given, text("data"));
    const { narrow, unfed } = results.some(({ rule }) => rule === "malformed")
      ? { narrow: [], unfed: [] }
      : await comparedWithViews(
          dir,
          text("against") === "hub"
            ? { load: () => viewsOf(text("data")), folder: foldersOf(text("data")).projections }
            : { load: () => loadViews(foldersHere()), folder: foldersHere().projections },
          (why) => out.progress(why),
        );
    const errors = results.filter(({ severity }) => severity === "error").length;
    const file = text("sarif");
    if (file !== undefined) writeReport(file, `${JSON.stringify(sarif([...results, ...narrow, ...unfed]), null, 2)}\n`);
    out.result({
      ok: errors === 0,
      errors,
      warnings: results.length - errors,
      results,
      narrow,
      unfed: unfed.map(({ message }) => message),
    });
    for (const result of results) out.line(`${linesOf(result).join("\n")}\n`);
    if (narrow.length > 0)
      out.line(
        `Columns that hold less than their form lets through. What does not fit is kept in quarantine:\n${narrow.map(({ message }) => `  · ${message}`).join("\n")}\n`,
      );
    if (unfed.length > 0)
      out.line(
        `Events that a view takes, but that no form declares. Check the names in the view and in tributary.events:\n${unfed.map(({ message }) => `  · ${message}`).join("\n")}\n`,
      );
    const warnings = counted(results.length - errors, "warning");
    out.line(
      errors === 0
        ? `${dir}: nothing would break${results.length === 0 ? "" : `; ${warnings}`}.`
        : `${dir}: ${counted(errors, "error")}, ${warnings}.`,
    );
    return exitOf(results);
  },
};

/** The exit code: a change that would break a site comes before a form that is wrong in itself. */
function exitOf(results: readonly CheckResult[]): number {
  const wrong = results.filter(({ severity }) => severity === "error");
  if (wrong.length === 0) return 0;
  const breaks = wrong.some(({ rule, finding }) => finding !== null || rule === "changed" || rule === "removed");
  return new TributaryError(breaks ? "would-break" : "schema-malformed", "", "").exitCode;
}

function writeReport(file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch (error) {
    const [message, hint] = systemWords(error, file) ?? [
      `${file} cannot be written: ${messageOf(error)}`,
      "Name a file in a folder that exists and may be written.",
    ];
    throw new TributaryError("usage", message, hint, { cause: error });
  }
}

async function checkFolder(
  dir: string,
  against: string | undefined,
  level: Level | undefined,
  data: string | undefined,
): Promise<CheckResult[]> {
  let folder: SchemaStore;
  try {
    folder = loadSchemas(dir);
    // Also with the hub's own beside them, as they would stand in a hub.
    loadForms({ schemas: dir }, { trusted: true });
  } catch (error) {
    if (!isTributaryError(error) || error.code !== "schema-malformed" || !existsSync(dir)) throw error;
    // The message begins with what it is about.
    const [, named = null, said = error.message] = /^(.+?\.(?:avsc|json)): ([\s\S]*)$/.exec(error.message) ?? [];
    const file = named !== null && existsSync(named) ? named : null;
    return [
      {
        subject: "",
        version: 0,
        severity: "error",
        rule: "malformed",
        path: "",
        message: file === null ? error.message : said,
        hint: error.hint,
        finding: null,
        file: file === null ? null : relative(".", file),
      },
    ];
  }
  const casters = await loadCasters(dir);
  const compare = (base: SchemaStore, levelOf: (subject: string) => Level, isWhole: boolean): Promise<CheckResult[]> =>
    compareStores(dir, folder, base, casters, levelOf, isWhole);
  const fixed = (): Level => level ?? DEFAULT_LEVEL;
  if (against === undefined) return compare({ subjects: () => [], versions: () => [] }, fixed, false);
  if (against === "hub")
    return withHubGate(data, ({ registry }) => compare(registry, (subject) => level ?? registry.level(subject), false));
  return compare(gitStore(dir, against), fixed, true);
}

/** Columns of the project's views that are narrower than the folder's forms, and events that the views read and no form declares. */
async function comparedWithViews(
  dir: string,
  { load, folder }: { readonly load: () => Promise<readonly View[]>; readonly folder: string | null },
  skipped: (why: string) => void,
): Promise<{ narrow: CheckResult[]; unfed: CheckResult[] }> {
  try {
    const views = await load();
    // Another folder may hold a part of the project's forms.
    const isProjects = resolve(dir) === resolve(schemasHere());
    const forms = formsOf(loadSchemas(dir, { trusted: true }));
    const narrow: CheckResult[] = narrowColumns(views, forms).map(
      ({ subject, version, view, column, member, message, problem }) => ({
        subject,
        version,
        severity: "warning",
        rule: "narrow-column",
        path: member === null ? "" : `/${member}`,
        message,
        hint: `For example ${problem}. Give ${view}.${column} a wider type, or let the form's next version allow less.`,
        finding: null,
        file: fileOf(dir, { subject, version }),
      }),
    );
    const personal: CheckResult[] = personalScopes(views, forms).map((found) => ({
      subject: found.subject,
      version: found.version,
      severity: "error",
      rule: "personal-scope",
      path: `/${found.member}`,
      message: personalWords(found),
      hint: `Take ${found.column} out of scopeBy of ${found.view}.`,
      finding: null,
      file: fileOf(dir, found),
    }));
    const unfed = isProjects ? unfedEvents(views, declaredIn(loadForms({ schemas: dir }, { trusted: true }))) : [];
    return { narrow: [...personal, ...narrow], unfed: unfed.map((each) => unfedResult(each, folder)) };
  } catch (error) {
    skipped(`Forms were not compared with the views' columns: ${messageOf(error)}`);
    return { narrow: [], unfed: [] };
  }
}

/** The warning for an event that a view takes and that no form declares, at its name in the view's file. */
function unfedResult({ view, type, says }: UnfedEvent, folder: string | null): CheckResult {
  return {
    subject: view,
    version: 0,
    severity: "warning",
    rule: "unfed-event",
    path: `/${type}`,
    message: says,
    hint: "Check the name in the view and in the forms' tributary.events.",
    finding: null,
    file: folder === null ? null : viewFile(folder, view),
  };
}

/** The file of a folder that declares a view; `null`: none is found. */
function viewFile(folder: string, view: string): string | null {
  const files = readdirSync(folder).filter((name) => /\.(ts|js|mjs)$/.test(name) && !name.endsWith(".d.ts"));
  const declaring = files.find((name) =>
    new RegExp(`name:\\s*["'\`]${view}["'\`]`).test(readFileSync(join(folder, name), "utf8")),
  );
  return declaring === undefined ? null : relative(".", join(folder, declaring));
}

/** The events that the versions of a store declare; earlier versions count too, because the log may have their events. */
const declaredIn = (store: SchemaStore) =>
  store
    .subjects()
    .flatMap((subject) =>
      store
        .versions(subject)
        .flatMap(({ annotations: { entity, events } }) => (entity === null ? [] : { subject, entity, events })),
    );

// Many parameters because it compares two folders, each with its own rules.
async function compareStores(
  dir: string,
  folder: SchemaStore,
  base: SchemaStore,
  casters: Casters,
  levelOf: (subject: string) => Level,
  isWhole: boolean,
): Promise<CheckResult[]> {
  const out: CheckResult[] = [];
  const error = (schema: { subject: string; version: number }, rule: string, message: string, hint: string): void => {
    out.push({ ...where(schema), severity: "error", rule, path: "", message, hint, finding: null, file: fileOf(dir, schema) });
  };
  for (const subject of folder.subjects()) {
    const known = base.versions(subject);
    const versions = folder.versions(subject);
    for (const schema of versions) {
      for (const note of lintSchema(schema)) out.push(asResult(dir, note));
      const registered = known[schema.version - 1];
      if (registered !== undefined) {
        if (sameText(registered, schema)) continue;
        error(
          schema,
          "changed",
          `version ${schema.version} of ${subject} has changed, and tablets may hold it as it was`,
          "Restore it, and make the change the next version.",
        );
        continue;
      }
      const earlier = versions.slice(0, schema.version - 1).map((each, i) => known[i] ?? each);
      for (const finding of checkCompatibility(schema, earlier, levelOf(subject), casters)) {
        out.push({
          ...where(schema),
          severity: "error",
          rule: finding.rule,
          path: finding.path,
          message: finding.message,
          hint: finding.hint,
          finding,
          file: fileOf(dir, schema),
        });
      }
    }
    if (known.length > versions.length && isWhole)
      error(
        { subject, version: versions.length + 1 },
        "removed",
        `version ${versions.length + 1} of ${subject} is gone, and tablets may hold it`,
        "Restore its file.",
      );
    for (const note of lintCasters(folder, casters, subject)) out.push(asResult(dir, note));
  }
  if (isWhole) {
    for (const subject of base.subjects())
      if (folder.versions(subject).length === 0)
        error(
          { subject, version: 1 },
          "removed",
          `the subject ${subject} is gone, and tablets may write it`,
          "Restore its folder.",
        );
  }
  return out;
}

const where = ({ subject, version }: { readonly subject: string; readonly version: number }) => ({ subject, version });
const asResult = (dir: string, { subject, version, severity, rule, path, message, hint }: LintNote): CheckResult => ({
  subject,
  version,
  severity,
  rule,
  path,
  message,
  hint,
  finding: null,
  file: fileOf(dir, { subject, version }),
});
const sameText = (a: SchemaVersion, b: SchemaVersion): boolean =>
  a.kind === b.kind && canonicalize(JSON.parse(a.text) as JsonValue) === canonicalize(JSON.parse(b.text) as JsonValue);

function fileOf(dir: string, { subject, version }: { readonly subject: string; readonly version: number }): string | null {
  for (const end of ["avsc", "schema.json"]) {
    const file = join(dir, subject, `v${version}.${end}`);
    if (existsSync(file)) return relative(".", file);
  }
  return null;
}

function linesOf({ subject, version, severity, rule, path, message, hint, finding, file }: CheckResult): string[] {
  const head = `${file ?? (subject === "" ? "The folder" : `${subject} version ${version}`)}${severity === "warning" ? " (warning)" : ""}`;
  if (finding !== null) return [head, ...findingLines(finding)];
  return [
    head,
    `  ${severity === "error" ? "✗" : "·"} ${message}`,
    `    rule     ${rule}${path === "" ? "" : `, at ${path}`}`,
    `    instead  ${hint}`,
  ];
}

/** The folder as it was at a commit. */
function gitStore(dir: string, ref: string): SchemaStore {
  const git = (...args: string[]): string =>
    execFileSync("git", ["-C", dir, ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      maxBuffer: 64 * 1024 * 1024,
    });
  let names: string[];
  try {
    names = git("ls-tree", "-r", "--name-only", "-z", ref, ".")
      .split("\0")
      .filter((name) => name !== "");
  } catch (error) {
    throw new TributaryError(
      "not-found",
      `git does not know ${JSON.stringify(ref)} for ${dir}: ${messageOf(error).split("\n").slice(-2)[0] ?? ""}`,
      "Name a commit, branch or tag, or write --against hub. In CI, fetch the history first.",
      { cause: error },
    );
  }
  const files = new Map<string, Map<number, { path: string; kind: "avro" | "json"; text: string }>>();
  for (const name of names) {
    const [subject, file, more] = name.split("/");
    if (file === undefined || more !== undefined || !/^v\d.*\.(avsc|schema\.json)$/.test(file)) continue;
    const { version, kind } = schemaFile(name, file);
    const mine = files.get(subject!) ?? new Map();
    files.set(subject!, mine.set(version, { path: `${ref}:${name}`, kind, text: git("show", `${ref}:./${name}`) }));
  }
  return schemaStore(files);
}

export const schemaDiff: Command = {
  name: "schema diff",
  summary: "show what changed between two versions, and who could not read whom",
  usage: "tributary schema diff SUBJECT@A SUBJECT@B|FILE [--from FOLDER] [--data DIR]",
  help: `Compares versions in a running hub, or with --from versions in a folder like schemas/. The second may be a file that nobody has registered yet.

  tributary schema diff beneficiary@1 beneficiary@2 --from schemas
  tributary schema diff beneficiary@2 new.schema.json`,
  maxPositionals: 2,
  options: { data: { type: "string" }, from: { type: "string" } },
  async run({ positionals, text, out }) {
    const [a, b] = positionals;
    if (a === undefined || b === undefined)
      throw new TributaryError("usage", "two versions are needed", `Use: ${schemaDiff.usage}`);
    const from = text("from");
    const work = async (store: SchemaStore, casters: Casters): Promise<number> => {
      const before = versionIn(store, a);
      const after = existsSync(b) ? draftOf(store, before, b) : versionIn(store, b);
      const members = memberChanges(before, after);
      const findings = checkCompatibility(after, [before], "FULL", casters);
      out.result({ from: a, to: b, members, findings });
      out.line(
        members.length === 0
          ? "No member was added, removed or changed."
          : members.map(({ member, change }) => `  ${{ added: "+", removed: "-", changed: "~" }[change]} ${member}`).join("\n"),
      );
      for (const finding of findings) out.line(`\n${findingLines(finding).join("\n")}`);
      if (findings.length === 0) out.line("\nEach can read what the other writes.");
      return 0;
    };
    return from === undefined
      ? withHubGate(text("data"), ({ registry, gate }) => work(registry, gate.casters))
      : work(loadSchemas(from), await loadCasters(from));
  },
};

function versionIn(store: SchemaStore, given: string): SchemaVersion {
  const { subject, version } = refOf(given, schemaDiff.usage);
  const versions = store.versions(subject);
  const found = version === null ? versions.at(-1) : versions[version - 1];
  if (found === undefined)
    throw new TributaryError(
      "not-found",
      `there is no ${given}`,
      "`tributary schema list` shows what there is; --from names a folder.",
    );
  return found;
}

function draftOf(store: SchemaStore, before: SchemaVersion, file: string): SchemaVersion {
  const given = schemaText(file);
  return schemaVersion(
    before.subject,
    store.versions(before.subject).length + 1,
    given,
    (reference) => store.versions(reference.subject)[reference.version - 1],
    { where: file },
  );
}

export const schemaLint: Command = {
  name: "schema lint",
  summary: "check a folder's schemas one by one",
  usage: "tributary schema lint [FOLDER]",
  help: "Finds what cannot be validated correctly, patterns that can be made to run for ever, defaults that do not fit, annotations that name nothing, and casters whose results do not fit. Exit 1 on an error; warnings are advice.",
  maxPositionals: 1,
  options: {},
  async run({ positionals, out }) {
    const dir = resolve(positionals[0] ?? schemasHere());
    const store = loadSchemas(dir);
    const casters = await loadCasters(dir);
    const notes: LintNote[] = [];
    for (const subject of store.subjects()) {
      for (const schema of store.versions(subject)) notes.push(...lintSchema(schema));
      notes.push(...lintCasters(store, casters, subject));
    }
    const errors = notes.filter(({ severity }) => severity === "error").length;
    out.result({ ok: errors === 0, notes });
    out.line(
      notes.length === 0
        ? "There is nothing to report."
        : table(
            ["schema", "", "rule", "at", "what"],
            notes.map((n) => [`${n.subject}@${n.version}`, n.severity, n.rule, n.path || "/", `${n.message}. ${n.hint}`]),
          ),
    );
    return errors === 0 ? 0 : 1;
  },
};
