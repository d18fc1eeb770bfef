import { z } from "zod";
import {
  canonicalize,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  MAX_SCHEMA_VERSION,
  messageOf,
  sha256,
  TributaryError,
} from "../core/index.ts";
import { fingerprints } from "./avro/canonical.ts";
import { type Avro, AvroSchemaError, parseAvro } from "./avro/model.ts";
import { resolvedAvro } from "./avro/resolved.ts";
import { utf8Bytes } from "./bytes.ts";
import { MAX_SCHEMA_BYTES, refusals } from "./json/dialect.ts";
import type { Document, Schema } from "./json/document.ts";
import { modern } from "./json/drafts.ts";
import { asWritten } from "./json/pointers.ts";
import { explicit } from "./json/unevaluated.ts";
import { compileDocument } from "./json/validator.ts";

/** What a schema says of itself in its member `tributary`. Tools use it; whether data fits does not depend on it. */
export interface Annotations {
  /** The entity type that its events are about, and the event types that may carry it. None: a part that other schemas refer to. */
  readonly entity: string | null;
  readonly events: readonly string[];
  /** The member that names the entity, for imports. */
  readonly key?: string;
  readonly title?: string;
  /** The member that says on which day it happened. */
  readonly occurredOn?: string;
  /** Members that hold personal data. */
  readonly personal?: readonly string[];
}

/** Another subject's schema that this one uses: in a `$ref` by `name`, or as the Avro types it defines. */
export interface Reference {
  readonly name: string;
  readonly subject: string;
  readonly version: number;
}

export type Kind = "avro" | "json";

/** A schema's text as it is registered. */
export interface SchemaText {
  readonly kind: Kind;
  readonly text: string;
  readonly references: readonly Reference[];
}

/** A schema ready for use: names and references resolved. */
export type Model =
  | {
      readonly kind: "avro";
      readonly type: Avro /** Referred schemas first, the schema itself last. */;
      readonly parts: readonly JsonValue[];
    }
  | { readonly kind: "json"; readonly document: Document };

export interface SchemaVersion extends SchemaText {
  readonly subject: string;
  readonly version: number;
  /** SHA-256, hexadecimal: of Avro's Parsing Canonical Form, or of the JSON Schema's canonical JSON (RFC 8785) and the fingerprints of what it refers to. */
  readonly fingerprint: string;
  /** Avro only: CRC-64-AVRO of the Parsing Canonical Form, hexadecimal. */
  readonly crc64?: string;
  readonly annotations: Annotations;
  readonly model: Model;
}

/** Where schemas come from. Versions in ascending order, without gap: version N at index N − 1. */
export interface SchemaStore {
  subjects(): readonly string[];
  versions(subject: string): readonly SchemaVersion[];
}

const name = z.string().min(1).max(200);
/** Event types, members and references that a schema names. */
const MAX_NAMED = 1_000;
const MAX_REFERENCES = 100;
const annotationsSchema = z
  .strictObject({
    entity: z
      .string()
      .regex(/^([a-z][a-z0-9.-]*|\*)$/, "is written like 'beneficiary' (small letters, digits, - and dots), or * for any")
      .optional(),
    events: z
      .array(
        z
          .string()
          .regex(
            /^[a-z][a-z0-9-]*(\.[a-z][a-z0-9-]*)+$/,
            "is written like 'beneficiary.registered': small letters, digits and -, with a dot between words",
          ),
      )
      .max(MAX_NAMED)
      .optional(),
    key: name.optional(),
    title: name.optional(),
    occurredOn: name.optional(),
    personal: z.array(name).max(MAX_NAMED).optional(),
    references: z
      .array(z.strictObject({ name, subject: name, version: z.int().min(1).max(MAX_SCHEMA_VERSION) }))
      .max(MAX_REFERENCES)
      .optional(),
  })
  .refine(({ entity, events }) => (entity === undefined) === (events === undefined || events.length === 0), {
    error: "entity and events go together",
  });

/** Subjects of events are written in small letters; others come from elsewhere and only have to be fit for a stream's name. */
const SUBJECT = /^[A-Za-z0-9_][A-Za-z0-9._-]{0,199}$/;

const malformed = (where: string, problem: string, hint = "Correct the schema.", cause?: unknown): TributaryError =>
  new TributaryError("schema-malformed", `${where}: ${problem}`, hint, { cause });

/** Checks a subject's name; throws `schema-malformed`. */
export function subjectName(given: string): string {
  if (SUBJECT.test(given)) return given;
  throw malformed(
    `the subject ${JSON.stringify(given.slice(0, 60))}`,
    "it is not a valid name for a subject",
    "Use letters, digits, dots, dashes and underscores.",
  );
}

/** What a schema says it refers to, in its member `tributary.references`; for schemas in files. */
export function referencesIn(text: string): readonly Reference[] {
  try {
    const parsed = JSON.parse(text) as { tributary?: { references?: Reference[] } };
    const found = annotationsSchema.safeParse(parsed.tributary ?? {});
    return found.success ? ((found.data.references ?? []) as Reference[]) : [];
  } catch {
    return [];
  }
}

export interface SchemaOptions {
  /** What errors call it. */
  readonly where?: string;
  /** It was checked when it was registered, or by who ships it: a JSON Schema is compiled only when it is used, which a tablet's start need not wait for. */
  readonly trusted?: boolean;
  /** Its form is examined, but it is not compiled, nor its patterns: these may take a second. For what strangers send; all else is for a thread. */
  readonly uncompiled?: boolean;
}

/**
 * Makes a schema of its text. `lookUp` finds what it refers to. Throws `schema-malformed`, with
 * the location and what to write instead: no JSON, no schema, a feature that cannot be validated correctly, a reference to nothing.
 */
// Many parameters because the first four all say what the schema is, at every call, and the options are rarely given.
export function schemaVersion(
  subject: string,
  version: number,
  given: SchemaText,
  lookUp: (reference: Reference) => SchemaVersion | undefined,
  { where = `${subject} version ${version}`, trusted = false, uncompiled = false }: SchemaOptions = {},
): SchemaVersion {
  subjectName(subject);
  const { kind, text, references } = given;
  if (utf8Bytes(text).length > MAX_SCHEMA_BYTES)
    throw malformed(where, `it has more than ${MAX_SCHEMA_BYTES} bytes`, "Split it into several subjects.");
  const parsed = parse(text, where);
  const annotations = annotationsOf(parsed, where);
  if (references.length > MAX_REFERENCES)
    throw malformed(where, `it refers to more than ${MAX_REFERENCES} schemas`, "Refer to fewer.");
  const referred = references.map((reference) => {
    const found = lookUp(reference);
    if (found === undefined)
      throw malformed(
        where,
        `it refers to ${reference.subject} version ${reference.version}, which is not registered`,
        "Register that first.",
      );
    if (found.kind !== kind)
      throw malformed(where, `it refers to ${reference.subject}, which is of another kind`, "Refer to schemas of the same kind.");
    return { reference, found };
  });
  const base = { subject, version, kind, text, references, annotations };
  if (kind === "avro") {
    const parts: JsonValue[] = [];
    for (const { found } of referred)
      if (found.model.kind === "avro") for (const part of found.model.parts) if (!parts.includes(part)) parts.push(part);
    const type = avroModel(parsed, parts, where);
    const { sha256: fingerprint, crc64 } = fingerprints(type);
    return { ...base, fingerprint, crc64, model: { kind, type, parts: [...parts, parsed] } };
  }
  const documents = new Map<string, Document>();
  for (const { reference, found } of referred)
    if (found.model.kind === "json") documents.set(reference.name, found.model.document);
  if (typeof parsed !== "boolean" && !isJsonObject(parsed))
    throw malformed(where, "it is neither an object nor true or false", "Write an object.");
  const { root, refusal: untranslated } = modern(parsed as Schema, documents.size === 0);
  const document = explicit({ root, references: documents });
  // What it refers to is part of what it says; without references, it is the canonical JSON's own digest.
  const referredTo = referred.map(({ found }) => found.fingerprint).join("\n");
  const fingerprint = sha256(referredTo === "" ? canonicalize(parsed) : `${canonicalize(parsed)}\n${referredTo}`);
  const made: SchemaVersion = { ...base, fingerprint, model: { kind, document } };
  if (trusted) return made;
  const refusal = untranslated ?? refusals(document, { withPatterns: !uncompiled })[0];
  if (refusal !== undefined)
    throw malformed(
      `${where}${refusal.path === "" ? "" : ` at ${asWritten(refusal.path, parsed)}`}`,
      refusal.reason,
      refusal.hint,
    );
  if (uncompiled) return made;
  try {
    compileDocument(document);
  } catch (error) {
    throw malformed(
      where,
      `it is not a JSON Schema 2020-12: ${messageOf(error).slice(0, 300)}`,
      "Correct it; an unknown keyword is most likely misspelt.",
      error,
    );
  }
  return made;
}

function parse(text: string, where: string): JsonValue {
  try {
    const parsed = JSON.parse(text) as JsonValue;
    canonicalize(parsed);
    return parsed;
  } catch (error) {
    throw malformed(where, `it is not JSON: ${messageOf(error)}`, "Correct the schema.", error);
  }
}

function annotationsOf(parsed: JsonValue, where: string): Annotations {
  const found = annotationsSchema.safeParse(isJsonObject(parsed) ? (parsed.tributary ?? {}) : {});
  if (!found.success) {
    const issue = found.error.issues[0]!;
    throw malformed(
      where,
      `its member ${["tributary", ...issue.path].join(".")}: ${issue.message}`,
      "It may hold entity, events, key, title, occurredOn, personal and references.",
    );
  }
  const { references: _, entity, events, ...rest } = found.data;
  return { entity: entity ?? null, events: events ?? [], ...(rest as Omit<Annotations, "entity" | "events">) };
}

function avroModel(parsed: JsonValue, parts: readonly JsonValue[], where: string): Avro {
  try {
    return parseAvro(parsed, parts);
  } catch (error) {
    if (!(error instanceof AvroSchemaError)) throw error;
    throw malformed(where, `it is not an Avro schema: ${error.message}`, "Correct it.", error);
  }
}

/** Enough of a fingerprint to tell schemas of one name apart, and few bytes where it travels. */
const SHORT_DIGITS = 16;
export const shortFingerprint = ({ fingerprint }: SchemaVersion): string => fingerprint.slice(0, SHORT_DIGITS);

/** Each subject's short fingerprints, by version. */
export const shortFingerprints = (store: SchemaStore): Record<string, string[]> =>
  Object.fromEntries(store.subjects().map((subject) => [subject, store.versions(subject).map(shortFingerprint)]));

/** A short text that is the same for the same schemas. */
export function schemasDigest(store: SchemaStore): string {
  const have = shortFingerprints(store);
  const lines = Object.keys(have)
    .sort()
    .map((subject) => `${subject} ${have[subject]!.join(" ")}`);
  return sha256(lines.join("\n")).slice(0, SHORT_DIGITS);
}

/** The members that a schema declares at its top. */
export function membersOf({ model }: SchemaVersion): readonly string[] {
  if (model.kind === "avro") return model.type.kind === "record" ? model.type.fields.map(({ name: field }) => field) : [];
  const { root } = model.document;
  return isJsonObject(root as JsonValue) ? Object.keys(((root as JsonObject).properties ?? {}) as JsonObject) : [];
}

/**
 * Why events cannot be written with a schema, though it may be a good one; `null` when they can. The log keeps JSON objects: an Avro schema
 * must be a record, and hold no bytes.
 */
export function unfitForEvents({ model, subject }: SchemaVersion): string | null {
  if (!/^[a-z]/.test(subject) || subject !== subject.toLowerCase()) return "its name is not in small letters";
  if (model.kind === "json") return null;
  if (model.type.kind !== "record") return "it is not a record, and an event's data is an object";
  const bytes = firstBytes(model.type, "", new Set());
  return bytes === null ? null : `${bytes} is bytes, which the log, being JSON, cannot hold; use a string`;
}

function firstBytes(type: Avro, path: string, seen: Set<Avro>): string | null {
  if (seen.has(type)) return null;
  seen.add(type);
  switch (type.kind) {
    case "bytes":
    case "fixed":
      return path === "" ? type.kind : path;
    case "record":
      for (const field of type.fields) {
        const found = firstBytes(field.type, path === "" ? field.name : `${path}.${field.name}`, seen);
        if (found !== null) return found;
      }
      return null;
    case "array":
      return firstBytes(type.items, path, seen);
    case "map":
      return firstBytes(type.values, path, seen);
    case "union":
      for (const branch of type.branches) {
        const found = firstBytes(branch, path, seen);
        if (found !== null) return found;
      }
      return null;
    default:
      return null;
  }
}

/** A schema's text without references to others, where its language has such a form: Avro's. */
export const resolvedText = ({ model, text }: SchemaVersion): string =>
  model.kind === "avro" ? resolvedAvro(model.parts) : text;
