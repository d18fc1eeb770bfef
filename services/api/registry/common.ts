import { isJsonObject, type JsonObject, MAX_FRAME_BYTES, messageOf, TributaryError } from "../../core/index.ts";
import type { Reference, Registered, Registry, SchemaText } from "../../gate/index.ts";
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

/** A JSON object, of which one member counts. */
export const memberBody = (member: string): BodyKind<JsonObject> => ({
  ...limited,
  schema: { type: "object", required: [member], properties: { [member]: { type: "string" } } },
  read: jsonObject,
});

/** A schema: `schema` is its text, `schemaType` what it is written in, `references` what it refers to. */
export const schemaBody: BodyKind<SchemaText> = {
  ...limited,
  schema: {
    type: "object",
    required: ["schema"],
    properties: {
      schema: { type: "string" },
      schemaType: { enum: ["AVRO", "JSON"], default: "AVRO" },
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

function schemaText({ schema, schemaType = "AVRO", references = [] }: JsonObject): SchemaText {
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
    references: references.map(({ name, subject, version }) => ({ name, subject, version })),
  };
}

const isReferences = (value: unknown): value is readonly Reference[] => Array.isArray(value) && value.every(isReference);
const isReference = (value: unknown): value is Reference =>
  isJsonObject(value) && typeof value.name === "string" && typeof value.subject === "string" && Number.isInteger(value.version);

/** Parameters of a query that ask for deleted versions as well. */
export const DELETED = {
  deleted: "`true`: deleted versions as well.",
  deletedOnly: "The same: `true` for deleted versions as well.",
} as const;
export const withDeleted = ({ deleted, deletedOnly }: Readonly<Partial<Record<keyof typeof DELETED, string>>>): boolean =>
  deleted === "true" || deletedOnly === "true";

/** A subject's versions. Throws for a subject that has none. */
export function versionsOf(registry: Registry, subject: string, withDeleted = false): readonly Registered[] {
  const found = registry.registered(subject, { withDeleted });
  if (found.length > 0) return found;
  const all = registry.registered(subject, { withDeleted: true });
  throw all.length > 0
    ? new ApiError(CODES.deleted, `Subject '${subject}' was soft deleted.`)
    : new ApiError(CODES.subject, `Subject '${subject}' not found.`);
}

/** One version by its number, or the `latest`. */
export function versionOf(registry: Registry, subject: string, given: string, withDeleted = false): Registered {
  const versions = versionsOf(registry, subject, withDeleted);
  const last = versions.at(-1);
  if ((given === "latest" || given === "-1") && last !== undefined) return last;
  if (!/^[1-9]\d{0,8}$/.test(given))
    throw new ApiError(CODES.invalidVersion, `The specified version '${given}' is not a valid version id.`);
  const found = versions.find(({ schema }) => schema.version === Number(given));
  if (found === undefined) throw new ApiError(CODES.version, `Version ${given} not found.`);
  return found;
}

const typeOf = ({ kind }: { readonly kind: SchemaText["kind"] }): { schemaType?: "JSON" } =>
  kind === "json" ? { schemaType: "JSON" } : {};

export const contentOf = ({ schema }: Registered): Record<string, unknown> => ({
  ...typeOf(schema),
  schema: schema.text,
  ...(schema.references.length === 0 ? {} : { references: schema.references }),
});

export const described = (version: Registered): Record<string, unknown> => ({
  subject: version.schema.subject,
  version: version.schema.version,
  id: version.id,
  ...contentOf(version),
});

/** The ids of schemas that refer to one. */
export function referencedBy(registry: Registry, { schema }: Registered): number[] {
  const ids = new Set<number>();
  for (const subject of registry.subjects()) {
    for (const version of registry.registered(subject))
      if (version.schema.references.some((each) => each.subject === schema.subject && each.version === schema.version))
        ids.add(version.id);
  }
  return [...ids];
}
