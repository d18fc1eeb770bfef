import { createHash } from "node:crypto";
import { type Dirent, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import avsc from "avsc";
import { z } from "zod";
import { canonicalize, messageOf, TributaryError } from "../core/index.ts";

/** What a schema says of itself in its member `tributary`. */
export interface Annotations {
  /** The entity type that its events are about, and the event types that may carry it. */
  readonly entity: string;
  readonly events: readonly string[];
  /** The member that names the entity, for imports. */
  readonly key?: string;
  readonly title?: string;
  /** The member that says on which day it happened. */
  readonly occurredOn?: string;
  /** Members that hold personal data. */
  readonly personal?: readonly string[];
}

export interface SchemaVersion {
  readonly subject: string;
  readonly version: number;
  readonly kind: "avro" | "json";
  /** The schema as JSON text. */
  readonly text: string;
  /** SHA-256, hexadecimal: of Avro's Parsing Canonical Form, or of the JSON Schema's canonical JSON. */
  readonly fingerprint: string;
  readonly annotations: Annotations;
}

/** Where schemas come from. Versions in ascending order. */
export interface SchemaStore {
  subjects(): readonly string[];
  versions(subject: string): readonly SchemaVersion[];
}

const annotationsSchema = z.strictObject({
  entity: z.string().regex(/^[a-z][a-z0-9.-]*$/),
  events: z.array(z.string().regex(/^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)+$/)).min(1),
  key: z.string().optional(),
  title: z.string().optional(),
  occurredOn: z.string().optional(),
  personal: z.array(z.string()).optional(),
});

const malformed = (where: string, problem: string, cause?: unknown): TributaryError =>
  new TributaryError("schema-malformed", `${where}: ${problem}`, "Correct the schema file and start again.", { cause });

/**
 * Reads `<dir>/<subject>/v<N>.avsc` and `v<N>.schema.json`. Throws `schema-malformed`, naming the file, when a file does not
 * parse, versions are missing or doubled, or an Avro schema uses what JSON cannot hold.
 */
export function loadSchemas(dir: string): SchemaStore {
  const bySubject = new Map<string, SchemaVersion[]>();
  for (const entry of entriesOf(dir)) {
    if (!entry.isDirectory()) continue;
    const subject = entry.name;
    const versions = entriesOf(join(dir, subject))
      .filter(({ name }) => name.endsWith(".avsc") || name.endsWith(".json"))
      .map(({ name }) => readVersion(dir, subject, name))
      .sort((a, b) => a.version - b.version);
    for (const [i, { version }] of versions.entries()) {
      if (version !== i + 1) throw malformed(join(dir, subject), `version ${i + 1} is missing or stands twice`);
    }
    if (versions.length > 0) bySubject.set(subject, versions);
  }
  return { subjects: () => [...bySubject.keys()].sort(), versions: (subject) => bySubject.get(subject) ?? [] };
}

function entriesOf(dir: string): Dirent[] {
  try {
    return readdirSync(dir, { withFileTypes: true });
  } catch (error) {
    throw malformed(dir, `the folder cannot be read: ${messageOf(error)}`, error);
  }
}

function readVersion(dir: string, subject: string, name: string): SchemaVersion {
  const file = join(dir, subject, name);
  const parts = /^v([1-9]\d{0,5})\.(avsc|schema\.json)$/.exec(name);
  if (parts === null) throw malformed(file, "schema files are named v1.avsc or v1.schema.json");
  return schemaVersion(subject, Number(parts[1]), parts[2] === "avsc" ? "avro" : "json", readFileSync(file, "utf8"), file);
}

/** Makes a schema of its text; `where` names it in errors. */
export function schemaVersion(
  subject: string,
  version: number,
  kind: "avro" | "json",
  text: string,
  where: string,
): SchemaVersion {
  let parsed: Record<string, unknown>;
  try {
    parsed = JSON.parse(text) as Record<string, unknown>;
  } catch (error) {
    throw malformed(where, `it is no JSON: ${messageOf(error)}`, error);
  }
  const annotations = annotationsSchema.safeParse(parsed.tributary);
  if (!annotations.success) {
    const issue = annotations.error.issues[0]!;
    throw malformed(
      where,
      `its member "tributary" must say which entity and events it is for (${["tributary", ...issue.path].join(".")}: ${issue.message})`,
    );
  }
  const fingerprint = kind === "avro" ? avroFingerprint(parsed, where) : sha256(canonicalize(parsed));
  return { subject, version, kind, text, fingerprint, annotations: annotations.data as Annotations };
}

const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

function avroFingerprint(schema: Record<string, unknown>, where: string): string {
  try {
    const type = avroType(schema);
    refuseBytes(type, where, new Set());
    return type.fingerprint("sha256").toString("hex");
  } catch (error) {
    if (error instanceof TributaryError) throw error;
    throw malformed(where, `it is no Avro schema: ${messageOf(error)}`, error);
  }
}

/** An Avro type whose values are plain JSON. */
export const avroType = (schema: unknown): avsc.Type =>
  avsc.Type.forSchema(
    schema as avsc.Schema,
    { omitRecordMethods: true, wrapUnions: "never" } as Parameters<typeof avsc.Type.forSchema>[1],
  );

function refuseBytes(type: avsc.Type, where: string, seen: Set<avsc.Type>): void {
  if (seen.has(type)) return;
  seen.add(type);
  if (type.typeName === "bytes" || type.typeName === "fixed") {
    throw malformed(where, `${type.name ?? type.typeName} is bytes, which the log, being JSON, cannot hold; use a string`);
  }
  if (avsc.Type.isType(type, "record"))
    for (const field of (type as avsc.types.RecordType).fields) refuseBytes(field.type, where, seen);
  else if (avsc.Type.isType(type, "array")) refuseBytes((type as avsc.types.ArrayType).itemsType, where, seen);
  else if (avsc.Type.isType(type, "map")) refuseBytes((type as avsc.types.MapType).valuesType, where, seen);
  else if (avsc.Type.isType(type, "union"))
    for (const branch of (type as avsc.types.UnwrappedUnionType).types) refuseBytes(branch, where, seen);
}
