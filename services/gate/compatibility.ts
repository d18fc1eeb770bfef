import { isJsonObject, type JsonObject, type JsonValue, messageOf } from "../core/index.ts";
import { avroMismatches } from "./avro/compat.ts";
import { avroExamples } from "./avro/examples.ts";
import { fits, meanings } from "./avro/model.ts";
import { avroReader } from "./avro/resolve.ts";
import { type Casters, NO_CASTERS, type Walk, walkCasters } from "./casters.ts";
import { compile } from "./compiled.ts";
import { jsonMismatches } from "./json/compat/mismatches.ts";
import type { JsonMismatch } from "./json/compat/proof.ts";
import { type Document, viewOf } from "./json/document.ts";
import { jsonExamples } from "./json/examples.ts";
import { asWritten } from "./json/pointers.ts";
import { readable } from "./json/reading.ts";
import { type Oracle, oracle } from "./json/validator.ts";
import { type SchemaVersion, unfitForEvents } from "./schema.ts";
import { jsonProblem } from "./words.ts";

/** What a new version must be compatible with. TRANSITIVE: all earlier versions; otherwise the last one. */
export const LEVELS = [
  "NONE",
  "BACKWARD",
  "BACKWARD_TRANSITIVE",
  "FORWARD",
  "FORWARD_TRANSITIVE",
  "FULL",
  "FULL_TRANSITIVE",
] as const;
export type Level = (typeof LEVELS)[number];
/** Sites are away for long: an old version may come back after many new ones. */
export const DEFAULT_LEVEL: Level = "FULL_TRANSITIVE";

export const isLevel = (text: unknown): text is Level => (LEVELS as readonly unknown[]).includes(text);

/** A reason why a version may not be registered. */
export interface Finding {
  /** `backward`: the new version cannot read what `against` writes; `forward`: the other way round. */
  readonly direction: "backward" | "forward";
  /** The earlier version that the new one is not compatible with. */
  readonly against: number;
  readonly rule: string;
  readonly message: string;
  /** JSON pointers into the new schema and into the earlier one. */
  readonly path: string;
  readonly againstPath: string;
  /** A document that the writer's version takes, and what the reader's version says of it; `null` when none could be made. */
  readonly counterexample: { readonly document: JsonValue; readonly problem: string } | null;
  /** What to do instead. */
  readonly hint: string;
}

/** How many documents a caster is tried on, at most. */
const MAX_TRIED = 100;

/**
 * Checks a new version against the earlier ones (in ascending order). Returns the reasons why not; an empty list means that it may be registered. Every
 * counterexample has been put to the validators that the gate itself uses.
 */
export function checkCompatibility(
  candidate: SchemaVersion,
  earlier: readonly SchemaVersion[],
  level: Level,
  casters: Casters = NO_CASTERS,
): Finding[] {
  if (level === "NONE") return [];
  const against = level.endsWith("_TRANSITIVE") ? earlier : earlier.slice(-1);
  const out: Finding[] = [];
  for (const version of against) {
    const { fingerprint, annotations } = version;
    if (annotations.entity !== null && annotations.entity !== candidate.annotations.entity) {
      out.push({
        direction: "backward",
        against: version.version,
        rule: "entity",
        message: `it was about a ${annotations.entity}, and is about ${candidate.annotations.entity === null ? "nothing" : `a ${candidate.annotations.entity}`}`,
        path: "/tributary/entity",
        againstPath: "/tributary/entity",
        counterexample: null,
        hint: "Events of both are about the same things: make it a subject of its own.",
      });
    }
    if (fingerprint === candidate.fingerprint && saysTheSame(candidate, version)) continue;
    if (!level.startsWith("FORWARD"))
      for (const found of readsAll(candidate, version, casters)) out.push(asFinding("backward", { candidate, version }, found));
    if (!level.startsWith("BACKWARD"))
      for (const found of readsAll(version, candidate, casters)) out.push(asFinding("forward", { candidate, version }, found));
  }
  return out;
}

/** Whether two versions of one fingerprint mean the same. An Avro schema's fingerprint says how values are written, and nothing about what they mean. */
const saysTheSame = ({ model: a }: SchemaVersion, { model: b }: SchemaVersion): boolean =>
  a.kind === "avro" ? b.kind === "avro" && meanings(a.type).join() === meanings(b.type).join() : b.kind === "json";

interface Mismatch extends JsonMismatch {
  readonly counterexample: Finding["counterexample"];
}

/** Makes a finding: the new version is the reader of what an earlier one wrote, or the writer of what the earlier one shall read. */
const asFinding = (
  direction: Finding["direction"],
  { candidate, version }: { readonly candidate: SchemaVersion; readonly version: SchemaVersion },
  found: Mismatch,
): Finding => ({
  direction,
  against: version.version,
  rule: found.rule,
  message: found.message,
  path: inText(candidate, direction === "backward" ? found.readerPath : found.writerPath),
  againstPath: inText(version, direction === "backward" ? found.writerPath : found.readerPath),
  counterexample: found.counterexample,
  hint: hintFor(direction, found.rule, version.version),
});

/** A pointer into a schema as it was registered. */
const inText = ({ kind, text }: SchemaVersion, pointer: string): string =>
  kind === "json" ? asWritten(pointer, JSON.parse(text)) : pointer;

/** Whether all data of one version can be read with another. */
export const canRead = (reader: SchemaVersion, writer: SchemaVersion, casters: Casters): boolean =>
  reader === writer || readsAll(reader, writer, casters).length === 0;

/** What keeps `reader` from reading all that `writer` writes. */
function readsAll(reader: SchemaVersion, writer: SchemaVersion, casters: Casters): Mismatch[] {
  const walk = walkCasters(casters, { subject: reader.subject, from: writer.version, to: reader.version });
  if (walk !== null && unfitForEvents(writer) === null && unfitForEvents(reader) === null)
    return castersFail(reader, writer, walk);
  if (reader.model.kind === "avro" && writer.model.kind === "avro") return avroFails(reader, writer);
  if (reader.model.kind === "json" && writer.model.kind === "json")
    return jsonFails(reader.model.document, writer.model.document);
  return [
    {
      rule: "kind",
      message: `${writer.kind === "avro" ? "Avro" : "JSON Schema"} data is not read with ${reader.kind === "avro" ? "an Avro schema" : "a JSON Schema"}`,
      readerPath: "",
      writerPath: "",
      counterexample: null,
    },
  ];
}

function avroFails(reader: SchemaVersion, writer: SchemaVersion): Mismatch[] {
  const r = (reader.model as Extract<SchemaVersion["model"], { kind: "avro" }>).type;
  const w = (writer.model as Extract<SchemaVersion["model"], { kind: "avro" }>).type;
  const mismatches = avroMismatches(r, w);
  if (mismatches.length === 0) return [];
  const read = avroReader(r, w);
  const failing: NonNullable<Finding["counterexample"]>[] = [];
  for (const document of avroExamples(w)) {
    if (!fits(w, document)) continue;
    try {
      read(document);
    } catch (error) {
      if (!failing.some(({ problem }) => problem === messageOf(error))) failing.push({ document, problem: messageOf(error) });
    }
  }
  return mismatches.map((mismatch, i) => ({ ...mismatch, counterexample: failing[i] ?? failing[0] ?? null }));
}

function jsonFails(reader: Document, writer: Document): Mismatch[] {
  const relaxed = readable(reader);
  const ask = oracle();
  const mismatches = jsonMismatches(relaxed, writer, ask);
  const examples = jsonExamples(writer, ask, relaxed).filter((document) => !ask(viewOf(relaxed), document));
  if (mismatches.length === 0) {
    // The proof says that there can be no such document. If one is found all the same, the document is right.
    const [document] = examples;
    return document === undefined
      ? []
      : [
          {
            rule: "example",
            message: "a document shows it",
            readerPath: "",
            writerPath: "",
            counterexample: { document, problem: problemOf(ask, relaxed, document) },
          },
        ];
  }
  const failing = examples.slice(0, MAX_TRIED).map((document) => ({
    document,
    errors: ask
      .errors(relaxed, document)
      .map((error) => ({ error, location: decodeURIComponent(error.schemaPath.replace(/^[^#]*#/, "")) })),
  }));
  return mismatches.map((mismatch) => {
    const isAt = (location: string): boolean =>
      location.startsWith(mismatch.readerPath) || mismatch.readerPath.startsWith(location);
    const shows = failing.find(({ errors }) => errors.some(({ location }) => isAt(location))) ?? failing[0];
    if (shows === undefined) return { ...mismatch, counterexample: null };
    const { error } = shows.errors.find(({ location }) => isAt(location)) ?? shows.errors[0]!;
    return { ...mismatch, counterexample: { document: shows.document, problem: jsonProblem(error, shows.document).message } };
  });
}

function problemOf(ask: Oracle, reader: Document, document: JsonValue): string {
  const [error] = ask.errors(reader, document);
  return error === undefined ? "it does not fit" : jsonProblem(error, document).message;
}

/** A declared caster cannot be proved right, so it is tried on documents of every kind that the writer's schema allows. */
function castersFail(reader: SchemaVersion, writer: SchemaVersion, walk: Walk): Mismatch[] {
  const target = compile(reader);
  for (const document of examplesOf(writer).slice(0, MAX_TRIED)) {
    if (!isJsonObject(document)) continue;
    const problem = castProblem(document);
    if (problem !== null) {
      return [
        {
          rule: "caster",
          message: `what the caster makes of version ${writer.version} does not fit version ${reader.version}`,
          readerPath: "",
          writerPath: "",
          counterexample: { document, problem },
        },
      ];
    }
  }
  return [];

  function castProblem(document: JsonObject): string | null {
    try {
      // The versions in between are not at hand here; what a step without a caster would do is left to the last read.
      const data = walk.run(document, (given) => given);
      return target.check(target.readFrom(target, data))?.message ?? null;
    } catch (error) {
      return messageOf(error);
    }
  }
}

/** Documents that fit a schema, the plainest first. */
export function examplesOf({ model }: SchemaVersion): JsonValue[] {
  return model.kind === "avro" ? avroExamples(model.type) : jsonExamples(model.document, oracle());
}

function hintFor(direction: Finding["direction"], rule: string, against: number): string {
  switch (rule) {
    case "required":
    case "reader_field_missing_default_value":
      return direction === "backward"
        ? "Make the field optional, or give it a default."
        : `Version ${against} needs that field: keep it, or write a downcaster that fills it in.`;
    case "type":
    case "type_mismatch":
    case "logical_type_mismatch":
    case "missing_union_branch":
      return "Keep the field as it is, and add another with the new type under another name.";
    case "enum":
    case "const":
    case "missing_enum_symbols":
      return direction === "forward"
        ? `Version ${against} does not know the new value: write a downcaster that turns it into one it knows (Avro: give the enum a default from the start).`
        : "Keep every value that was allowed; retire one by agreement, not in the schema.";
    case "additionalProperties":
    case "false":
      return "Keep the field; a field that is no longer wanted can stay optional.";
    case "name_mismatch":
      return "Keep the name, or give the new one the old as an alias.";
    case "caster":
      return "Correct the caster so that its result fits.";
    case "kind":
      return "Make it a subject of its own.";
    case "pattern":
    case "format":
      return "Keep the rule as it was written; a new rule needs a new field.";
    default:
      return direction === "backward"
        ? "Loosen the rule to what was allowed before."
        : `Keep within what version ${against} allows, or write a downcaster.`;
  }
}
