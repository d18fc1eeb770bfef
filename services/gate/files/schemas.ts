import { type Dirent, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../core/index.ts";
import type { SchemaStore } from "../schema.ts";
import { malformedFile, type SchemaFile, schemaFile, schemaStore } from "../store.ts";

/**
 * Reads `<dir>/<subject>/v<N>.avsc` and `v<N>.schema.json`. Throws `schema-malformed`, naming the file, when a file does not
 * parse, when versions are missing or occur twice, or when a schema declares event types whose events could not be written with it.
 */
export function loadSchemas(dir: string, options: { readonly trusted?: boolean } = {}): SchemaStore {
  return schemaStore(schemaFiles(dir), options);
}

/** A folder's schema files, by subject and version, as texts: for callers that lay one folder over another. */
export function schemaFiles(dir: string): Map<string, Map<number, SchemaFile>> {
  const files = new Map<string, Map<number, SchemaFile>>();
  for (const entry of entriesOf(dir)) if (entry.isDirectory()) files.set(entry.name, filesOf(dir, entry.name));
  return files;
}

function filesOf(dir: string, subject: string): Map<number, SchemaFile> {
  const out = new Map<number, SchemaFile>();
  for (const { name } of entriesOf(join(dir, subject))) {
    if (!name.endsWith(".avsc") && !name.endsWith(".json")) continue;
    const path = join(dir, subject, name);
    const { version, kind } = schemaFile(path, name);
    if (out.has(version)) throw malformedFile(path, `version ${version} stands twice`);
    out.set(version, { path, kind, text: readFileSync(path, "utf8") });
  }
  return out;
}

function entriesOf(dir: string): Dirent[] {
  try {
    return readdirSync(dir, { withFileTypes: true });
  } catch (error) {
    throw malformedFile(dir, folderProblem(error), error);
  }
}

/** Why a folder cannot be read, in words. */
function folderProblem(error: unknown): string {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "ENOENT") return "there is no such folder";
  return code === "ENOTDIR" ? "it is a file, and a folder is needed" : `the folder cannot be read: ${messageOf(error)}`;
}
