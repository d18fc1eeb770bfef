import { type Dirent, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf, TributaryError } from "../core/index.ts";
import {
  type Kind,
  type Reference,
  referencesIn,
  type SchemaStore,
  type SchemaVersion,
  schemaVersion,
  unfitForEvents,
} from "./schema.ts";

const malformed = (where: string, problem: string, cause?: unknown): TributaryError =>
  new TributaryError("schema-malformed", `${where}: ${problem}`, "Correct the schema folder.", { cause });

/** A schema as it stands in a folder. */
export interface SchemaFile {
  readonly path: string;
  readonly kind: Kind;
  readonly text: string;
}

/**
 * Reads `<dir>/<subject>/v<N>.avsc` and `v<N>.schema.json`. Throws `schema-malformed`, naming the file, when a file does not
 * parse, versions are missing or doubled, or events could not be written with a schema that declares some.
 */
export function loadSchemas(dir: string, options: { readonly trusted?: boolean } = {}): SchemaStore {
  return schemaStore(schemaFiles(dir), options);
}

/** A folder's schema files, by subject and version, as texts: for whoever lays one folder over another. */
export function schemaFiles(dir: string): Map<string, Map<number, SchemaFile>> {
  const files = new Map<string, Map<number, SchemaFile>>();
  for (const entry of entriesOf(dir)) if (entry.isDirectory()) files.set(entry.name, filesOf(dir, entry.name));
  return files;
}

/** The same of texts that were read elsewhere, by subject and version; for a commit's schemas. */
export function schemaStore(
  files: ReadonlyMap<string, ReadonlyMap<number, SchemaFile>>,
  options: { readonly trusted?: boolean } = {},
): SchemaStore {
  const loaded = new Map<string, SchemaVersion>();
  const load = (subject: string, version: number, open: readonly string[]): SchemaVersion | undefined => {
    const key = `${subject}@${version}`;
    const known = loaded.get(key);
    if (known !== undefined) return known;
    const file = files.get(subject)?.get(version);
    if (file === undefined) return undefined;
    if (open.includes(key)) throw malformed(file.path, `it refers to itself, by ${open.join(", ")}`);
    const lookUp = (reference: Reference): SchemaVersion | undefined =>
      load(reference.subject, reference.version, [...open, key]);
    const made = schemaVersion(subject, version, { ...file, references: referencesIn(file.text) }, lookUp, {
      ...options,
      where: file.path,
    });
    const unfit = made.annotations.events.length > 0 ? unfitForEvents(made) : null;
    if (unfit !== null) throw malformed(file.path, unfit);
    loaded.set(key, made);
    return made;
  };
  const bySubject = new Map<string, readonly SchemaVersion[]>();
  for (const [subject, versions] of files) {
    for (let version = 1; version <= versions.size; version++) {
      if (!versions.has(version)) throw malformed([...versions.values()][0]!.path, `version ${version} is missing`);
    }
    if (versions.size > 0)
      bySubject.set(
        subject,
        [...versions.keys()].sort((a, b) => a - b).map((version) => load(subject, version, [])!),
      );
  }
  return { subjects: () => [...bySubject.keys()].sort(), versions: (subject) => bySubject.get(subject) ?? [] };
}

function filesOf(dir: string, subject: string): Map<number, SchemaFile> {
  const out = new Map<number, SchemaFile>();
  for (const { name } of entriesOf(join(dir, subject))) {
    if (!name.endsWith(".avsc") && !name.endsWith(".json")) continue;
    const path = join(dir, subject, name);
    const { version, kind } = schemaFile(path, name);
    if (out.has(version)) throw malformed(path, `version ${version} stands twice`);
    out.set(version, { path, kind, text: readFileSync(path, "utf8") });
  }
  return out;
}

/** What a schema file's name says. */
export function schemaFile(path: string, name: string): { readonly version: number; readonly kind: Kind } {
  const parts = /^v([1-9]\d{0,5})\.(avsc|schema\.json)$/.exec(name);
  if (parts === null) throw malformed(path, "schema files are named v1.avsc or v1.schema.json");
  return { version: Number(parts[1]), kind: parts[2] === "avsc" ? "avro" : "json" };
}

function entriesOf(dir: string): Dirent[] {
  try {
    return readdirSync(dir, { withFileTypes: true });
  } catch (error) {
    throw malformed(dir, `the folder cannot be read: ${messageOf(error)}`, error);
  }
}
