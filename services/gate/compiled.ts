import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import formats from "ajv-formats";
import avsc from "avsc";
import { isJsonObject, type JsonObject, type JsonValue, messageOf, TributaryError } from "../core/index.ts";
import { avroType, type SchemaVersion } from "./store.ts";
import { avroProblem, jsonProblem, type Problem } from "./words.ts";

/** Data larger than this, decoded, is refused: no form is, and a few hostile Avro bytes can claim any length. */
const MAX_AVRO_BYTES = 1_048_576;

/** A schema ready for use; compiling takes milliseconds, so each is compiled once. */
export interface Compiled {
  readonly schema: SchemaVersion;
  /** What is wrong with the data; `null` when it fits. */
  check(data: JsonObject): Problem | null;
  /** Fills the defaults that an Avro decode would return; JSON Schema data is returned as it is. */
  normalise(data: JsonObject): JsonObject;
  /** Avro only: the binary form, and back. `decode` throws on anything but exactly one whole value. */
  encode(data: JsonObject): Uint8Array;
  decode(bytes: Uint8Array): JsonObject;
  /** Reads data that `writer` wrote. */
  readFrom(writer: Compiled, data: JsonObject): JsonObject;
}

export const compile = (schema: SchemaVersion): Compiled => (schema.kind === "avro" ? compileAvro(schema) : compileJson(schema));

const unsupported = (): never => {
  throw new TypeError("JSON Schema data has no binary form");
};

function compileJson(schema: SchemaVersion): Compiled {
  const ajv = new Ajv2020({
    strict: true,
    strictTypes: false,
    strictRequired: false,
    allErrors: false,
    verbose: true,
    validateFormats: true,
  });
  formats.default(ajv);
  ajv.addKeyword("tributary");
  let validate: ValidateFunction;
  const parsed = JSON.parse(schema.text) as JsonObject;
  try {
    validate = ajv.compile(parsed);
  } catch (error) {
    throw new TributaryError(
      "schema-malformed",
      `${schema.subject} version ${schema.version}: ${messageOf(error)}`,
      "Correct the schema file.",
      { cause: error },
    );
  }
  const defaults = Object.entries((parsed.properties ?? {}) as Record<string, JsonObject>).filter(
    ([, property]) => property.default !== undefined,
  );
  return {
    schema,
    check: (data) => (validate(data) ? null : jsonProblem(validate.errors![0]!, data)),
    normalise: (data) => data,
    encode: unsupported,
    decode: unsupported,
    readFrom(_, data) {
      let out: Record<string, JsonValue> | null = null;
      for (const [name, property] of defaults) {
        if (data[name] !== undefined) continue;
        out ??= { ...data };
        out[name] = property.default!;
      }
      return out ?? data;
    },
  };
}

function compileAvro(schema: SchemaVersion): Compiled {
  const type = avroType(JSON.parse(schema.text));
  if (!avsc.Type.isType(type, "record")) {
    throw new TributaryError(
      "schema-malformed",
      `${schema.subject} version ${schema.version} is no record`,
      "Make it a record: an event's data is an object.",
    );
  }
  const bounds = boundsOf(type);
  const resolvers = new Map<string, avsc.Resolver>();
  const plain = (value: unknown): JsonObject => plainCopy(value) as JsonObject;
  const self: Compiled & { readonly type: avsc.Type } = {
    schema,
    type,
    check: (data) => avroProblem(type, data),
    normalise: (data) => plain(type.fromBuffer(type.toBuffer(data))),
    encode: (data) => type.toBuffer(data),
    decode(bytes) {
      bounds(bytes);
      const value: unknown = type.fromBuffer(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength));
      if (!isJsonObject(value)) throw new RangeError("no record");
      return plain(value);
    },
    readFrom(writer, data) {
      const from = (writer as typeof self).type;
      const key = writer.schema.fingerprint;
      let resolver = resolvers.get(key);
      if (resolver === undefined) {
        resolver = type.createResolver(from);
        resolvers.set(key, resolver);
      }
      return plain(type.fromBuffer(from.toBuffer(data), resolver));
    },
  };
  return self;
}

/** avsc's records have constructors of their own; a copy as plain objects behaves like parsed JSON everywhere. */
function plainCopy(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(plainCopy);
  const out: Record<string, unknown> = {};
  for (const key in value) out[key] = plainCopy((value as Record<string, unknown>)[key]);
  return out;
}

/**
 * A check that runs before avsc decodes: an array of nothings (nulls, empty records) can claim billions of items in a few bytes.
 * Types without such items need none, since every item then takes a byte.
 */
function boundsOf(type: avsc.Type): (bytes: Uint8Array) => void {
  if (mayHoldNothings(type, new Set())) {
    throw new TributaryError(
      "schema-malformed",
      `${type.name ?? "the schema"} has an array or map whose items take no bytes`,
      "Give the items a field.",
    );
  }
  return (bytes) => {
    if (bytes.length > MAX_AVRO_BYTES) throw new RangeError(`more than ${MAX_AVRO_BYTES} bytes`);
  };
}

function mayHoldNothings(type: avsc.Type, seen: Set<avsc.Type>): boolean {
  if (seen.has(type)) return false;
  seen.add(type);
  if (avsc.Type.isType(type, "array")) {
    const { itemsType } = type as avsc.types.ArrayType;
    return isNothing(itemsType) || mayHoldNothings(itemsType, seen);
  }
  if (avsc.Type.isType(type, "map")) return mayHoldNothings((type as avsc.types.MapType).valuesType, seen);
  if (avsc.Type.isType(type, "record"))
    return (type as avsc.types.RecordType).fields.some((field) => mayHoldNothings(field.type, seen));
  if (avsc.Type.isType(type, "union"))
    return (type as avsc.types.UnwrappedUnionType).types.some((branch) => mayHoldNothings(branch, seen));
  return false;
}

const isNothing = (type: avsc.Type): boolean =>
  type.typeName === "null" ||
  (avsc.Type.isType(type, "record") && (type as avsc.types.RecordType).fields.every((field) => isNothing(field.type)));
