import { isJsonObject, type JsonObject, type JsonValue, MAX_FRAME_BYTES, messageOf, TributaryError } from "../../core/index.ts";
import { type Reference, type Registered, type Registry, resolvedText, type SchemaText, subjectName } from "../../gate/index.ts";
import type { Admission, Answer, AnswerWords, BodyKind } from "../../http/index.ts";
import { ApiError, CODES, MEDIA_TYPE } from "./refusal.ts";

/** What the registry's routes share: whose registry it is, who may read it and who may write it. */
export interface RegistryDeps {
  readonly registry: Registry;
  readonly reader: Admission<Actor>;
  readonly writer: Admission<Actor>;
}
export interface Actor {
  readonly actor: string;
}

export const ok = (body: unknown): Answer => ({ status: 200, type: MEDIA_TYPE, body });
export const answers = (words: string): Readonly<Record<number, AnswerWords>> => ({ 200: { words, type: MEDIA_TYPE } });

const limited = {
  maxBytes: MAX_FRAME_BYTES,
  types: [MEDIA_TYPE, "application/json"],
  tooLarge: () =>
    new TributaryError("batch-too-large", `a batch has at most ${MAX_FRAME_BYTES} bytes`, "Send fewer events at a time."),
};

/** A JSON object with these members. */
export const objectBody = (properties: JsonObject, required: readonly string[] = []): BodyKind<JsonObject> => ({
  ...limited,
  schema: { type: "object", ...(required.length === 0 ? {} : { required: [...required] }), properties },
  read: jsonObject,
});

/** A schema as a client sends it. */
export interface GivenSchema extends SchemaText {
  /** The id and the version that the client would like the schema to have; `null`: it does not say. Numbers below 0, and a version of 0, say nothing. */
  readonly wanted: { readonly id: number | null; readonly version: number | null };
}

/** A schema: `schema` is its text, `schemaType` the language it is written in, `references` the schemas it refers to. */
export const schemaBody: BodyKind<GivenSchema> = {
  ...limited,
  schema: {
    type: "object",
    required: ["schema"],
    properties: {
      schema: { type: "string" },
      schemaType: { enum: ["AVRO", "JSON"], default: "AVRO" },
      id: { type: "integer", description: "The id that the registry will give it. Ids of a client's own are refused." },
      version: { type: "integer", description: "The version that it will have." },
      references: {
        type: "array",
        items: {
          type: "object",
          required: ["name", "subject", "version"],
          properties: { name: { type: "string" }, subject: { type: "string" }, version: { type: "integer" } },
        },
      },
    },
  },
  read: (bytes) => schemaText(jsonObject(bytes)),
};

function jsonObject(bytes: Uint8Array): JsonObject {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder().decode(bytes));
  } catch (error) {
    throw new ApiError(400, `the body is not JSON: ${messageOf(error)}`);
  }
  if (isJsonObject(parsed)) return parsed;
  throw new ApiError(400, "the body is not a JSON object");
}

function schemaText({ schema, schemaType: asked, references: referred, id, version }: JsonObject): GivenSchema {
  const schemaType = asked ?? "AVRO";
  const references = referred ?? [];
  if (typeof schema !== "string") throw new ApiError(CODES.invalidSchema, "The member schema, a text, is missing.");
  if (schemaType !== "AVRO" && schemaType !== "JSON")
    throw new ApiError(
      CODES.invalidSchema,
      `Schemas of type ${JSON.stringify(schemaType)} are not kept here: only AVRO and JSON.`,
    );
  if (!isReferences(references)) throw new ApiError(CODES.invalidSchema, "references is a list of {name, subject, version}.");
  return {
    kind: schemaType === "JSON" ? "json" : "avro",
    text: schema,
    references: references.map((each) => ({ name: each.name, subject: each.subject, version: each.version })),
    wanted: { id: numberOr(id, 0), version: numberOr(version, 1) },
  };
}

const numberOr = (value: JsonValue | undefined, from: number): number | null =>
  typeof value === "number" && value >= from ? value : null;

const isReferences = (value: unknown): value is readonly Reference[] => Array.isArray(value) && value.every(isReference);
const isReference = (value: unknown): value is Reference =>
  isJsonObject(value) && typeof value.name === "string" && typeof value.subject === "string" && Number.isInteger(value.version);

/** Parameters of a query that ask for deleted versions. */
export const DELETED = {
  deleted: "`true`: deleted versions as well.",
  deletedOnly: "`true`: deleted versions only.",
} as const;
/** Parameters of a query that ask for a part of a list. */
export const PAGE = {
  offset: "How many of the list are passed over; default 0.",
  limit: "How many are listed, at most; all of them without it, and for 0 or less.",
} as const;
/** The forms in which a schema may be told. Confluent's registry passes over others, and so does this one. */
export const FORMAT = {
  format: "`resolved`: an Avro schema with what it refers to written out; otherwise the text that was registered.",
} as const;
export const NORMALIZE = { normalize: "`true`: a text that differs in its layout only is the same schema." } as const;

type Asked<Parameters> = Readonly<Partial<Record<keyof Parameters, string>>>;

export type Shown = "live" | "all" | "deleted";
/** Which versions a query asks for. */
export const shownBy = ({ deleted, deletedOnly }: Asked<typeof DELETED>): Shown =>
  deletedOnly === "true" ? "deleted" : deleted === "true" ? "all" : "live";

/** Whether a text that differs in its layout only is the same schema: because the query says so, or because it was set. */
export const normalizes = (registry: Registry, subject: string, { normalize }: Asked<typeof NORMALIZE>): boolean =>
  normalize === "true" || registry.normalizes(subject);

/** The part of a list that a query asks for. */
export function pageOf<T>(list: readonly T[], { offset, limit }: Asked<typeof PAGE>): T[] {
  const from = wholeNumber("offset", offset) ?? 0;
  const count = wholeNumber("limit", limit) ?? 0;
  if (from < 0) throw new ApiError(400, "offset is a whole number, 0 or more.");
  return list.slice(from, count > 0 ? from + count : undefined);
}

function wholeNumber(name: string, given: string | undefined): number | undefined {
  if (given === undefined || given === "") return undefined;
  if (!/^-?\d{1,9}$/.test(given))
    throw new ApiError(400, `${name} must be a whole number, not ${JSON.stringify(given.slice(0, 40))}.`);
  return Number(given);
}

/** A subject's versions of one kind; there may be none. */
export const shownOf = (registry: Registry, subject: string, shown: Shown): readonly Registered[] =>
  registry.registered(subject, { withDeleted: shown !== "live" }).filter(({ deleted }) => shown !== "deleted" || deleted);

/** A subject's versions. Throws for a subject that has none to show: a hidden version is shown only to those who ask for hidden ones. */
export function versionsOf(registry: Registry, subject: string, shown: Shown = "live"): readonly Registered[] {
  if (registry.registered(subject, { withDeleted: shown !== "live" }).length === 0)
    throw new ApiError(CODES.subject, `Subject '${subject}' not found.`);
  return shownOf(registry, subject, shown);
}

/** One version by its number, or the `latest`. */
export function versionOf(registry: Registry, subject: string, given: string, shown: Shown = "live"): Registered {
  const number = versionNumber(given);
  const versions = versionsOf(registry, subject, shown);
  const found = number === "latest" ? versions.at(-1) : versions.find(({ schema }) => schema.version === number);
  if (found === undefined) throw new ApiError(CODES.version, `Version ${given} not found.`);
  return found;
}

/** The version that a path names. Throws where it is neither a number from 1 nor `latest`. */
export function versionNumber(given: string): number | "latest" {
  if (given === "latest" || given === "-1") return "latest";
  if (/^[1-9]\d{0,8}$/.test(given)) return Number(given);
  throw new ApiError(
    CODES.invalidVersion,
    `The specified version '${given}' is not a valid version id. Allowed values are between 1 and 999999999, and "latest".`,
  );
}

/** A subject that is about to be written. Throws for a name that no subject may have. */
export function writableSubject(subject: string): string {
  try {
    return subjectName(subject);
  } catch (error) {
    throw new ApiError(
      CODES.invalidSubject,
      `The specified subject '${subject.slice(0, 60)}' is not a valid subject: ${messageOf(error)}`,
    );
  }
}

const typeOf = ({ kind }: { readonly kind: SchemaText["kind"] }): { schemaType?: "JSON" } =>
  kind === "json" ? { schemaType: "JSON" } : {};

/** A schema's text in the form that a query asks for. */
export const textIn = ({ schema }: Registered, { format }: Asked<typeof FORMAT>): string =>
  format?.trim().toLowerCase() === "resolved" ? resolvedText(schema) : schema.text;

export const contentOf = (version: Registered, query: Asked<typeof FORMAT> = {}): Record<string, unknown> => ({
  ...typeOf(version.schema),
  schema: textIn(version, query),
  ...(version.schema.references.length === 0 ? {} : { references: version.schema.references }),
});

export const described = (version: Registered, query: Asked<typeof FORMAT> = {}): Record<string, unknown> => ({
  subject: version.schema.subject,
  version: version.schema.version,
  id: version.id,
  guid: version.guid,
  ...contentOf(version, query),
});

/** The ids of the schemas that refer to a given one. */
export function referencedBy(registry: Registry, { schema }: Registered, shown: Shown = "live"): number[] {
  const ids = new Set<number>();
  for (const subject of registry.subjects()) {
    for (const version of shownOf(registry, subject, shown))
      if (version.schema.references.some((each) => each.subject === schema.subject && each.version === schema.version))
        ids.add(version.id);
  }
  return [...ids];
}
