import { TributaryError } from "../core/index.ts";
import {
  type Kind,
  type Reference,
  referencesIn,
  type SchemaStore,
  type SchemaVersion,
  schemaVersion,
  unfitForEvents,
} from "./schema.ts";

export const malformedFile = (where: string, problem: string, cause?: unknown): TributaryError =>
  new TributaryError("schema-malformed", `${where}: ${problem}`, "Correct the schema folder.", { cause });

/** A schema as it stands in a file, or in a commit. */
export interface SchemaFile {
  readonly path: string;
  readonly kind: Kind;
  readonly text: string;
}

/**
 * A store of texts, by subject and version. Throws `schema-malformed`, naming the file, when versions are missing, or events could not be
 * written with a schema that declares some.
 */
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
    if (open.includes(key)) throw malformedFile(file.path, `it refers to itself, by ${open.join(", ")}`);
    const lookUp = (reference: Reference): SchemaVersion | undefined =>
      load(reference.subject, reference.version, [...open, key]);
    const made = schemaVersion(subject, version, { ...file, references: referencesIn(file.text) }, lookUp, {
      ...options,
      where: file.path,
    });
    const unfit = made.annotations.events.length > 0 ? unfitForEvents(made) : null;
    if (unfit !== null) throw malformedFile(file.path, unfit);
    loaded.set(key, made);
    return made;
  };
  const bySubject = new Map<string, readonly SchemaVersion[]>();
  for (const [subject, versions] of files) {
    for (let version = 1; version <= versions.size; version++) {
      if (!versions.has(version)) throw malformedFile([...versions.values()][0]!.path, `version ${version} is missing`);
    }
    if (versions.size > 0)
      bySubject.set(
        subject,
        [...versions.keys()].sort((a, b) => a - b).map((version) => load(subject, version, [])!),
      );
  }
  return { subjects: () => [...bySubject.keys()].sort(), versions: (subject) => bySubject.get(subject) ?? [] };
}

/** What a schema file's name says. */
export function schemaFile(path: string, name: string): { readonly version: number; readonly kind: Kind } {
  const parts = /^v([1-9]\d{0,5})\.(avsc|schema\.json)$/.exec(name);
  if (parts === null) throw malformedFile(path, "schema files are named v1.avsc or v1.schema.json");
  return { version: Number(parts[1]), kind: parts[2] === "avsc" ? "avro" : "json" };
}
