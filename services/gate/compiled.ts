import avsc from "avsc";
import { ALL_WITHHELD, type JsonObject, type JsonValue, messageOf, type Opened } from "../core/index.ts";
import { sourceOf } from "./avro/compat.ts";
import { avroDecoder, type Decoded } from "./avro/decode.ts";
import { avroCheck } from "./avro/misfit.ts";
import type { Avro, AvroRecord } from "./avro/model.ts";
import { avroNormaliser, avroReader } from "./avro/resolve.ts";
import { beginCheck } from "./json/patterns.ts";
import { jsonReader } from "./json/reading.ts";
import { comparesValues, compileDocument, multiplies, type Oracle, oracle } from "./json/validator.ts";
import { depthOf, longestList, reservedName } from "./json/values.ts";
import { type SchemaVersion, unfitForEvents } from "./schema.ts";
import { avroProblem, bounded, jsonProblem, noField, type Problem } from "./words.ts";

/** Avro data larger than this is refused: an event has less. */
const MAX_AVRO_BYTES = 1_048_576;

/** Lists whose items are compared each with each have at most this many items. */
const MAX_COMPARED = 2_000;
/** How deep data may nest where each level is looked at more than once, so that the work doubles with each level. */
const MAX_BRANCHING_DEPTH = 12;

/** A schema ready for use; compiling takes milliseconds, so each schema is compiled once. */
export interface Compiled {
  readonly schema: SchemaVersion;
  /** What is wrong with the data; `null` when it fits. */
  check(data: JsonObject): Problem | null;
  /** Everything that is wrong with the data, as far as it can be told at once. */
  checkAll(data: JsonObject): readonly Problem[];
  /** What is wrong with one field by itself; `null` when it fits, `undefined` when the schema has no such field. */
  checkField(name: string, value: JsonValue): Problem | null | undefined;
  /** Fills in the defaults that an Avro decode would return; JSON Schema data is returned as it is. */
  normalise(data: JsonObject): JsonObject;
  /** Avro only: turns data into the binary form, and back with its canonical JSON. `decode` throws `RangeError` on anything but exactly one whole value. */
  encode(data: JsonObject): Uint8Array;
  decode(bytes: Uint8Array): Decoded;
  /** Reads data that `writer` wrote. Throws where the data cannot be read. */
  readFrom(writer: Compiled, data: JsonObject): JsonObject;
  /** The same for data of which some members are withheld: these are named as the reader names them, and no default stands in their place. */
  readOpened(writer: Compiled, opened: Opened): Opened;
  /** What members of data that `writer` wrote are called here. Throws as `readFrom` does. */
  namesFrom(writer: Compiled, names: readonly string[]): readonly string[];
}

const unsupported = (): never => {
  throw new TypeError("JSON Schema data has no binary form");
};

/** Compiles a schema. Throws `TypeError` for a schema that events cannot be written with. */
export function compile(schema: SchemaVersion): Compiled {
  const unfit = unfitForEvents(schema);
  if (unfit !== null) throw new TypeError(unfit);
  return schema.model.kind === "avro" ? compileAvro(schema) : compileJson(schema);
}

function compileJson(schema: SchemaVersion): Compiled {
  const { document } = schema.model as Extract<SchemaVersion["model"], { kind: "json" }>;
  const validate = compileDocument(document);
  const compares = comparesValues(document);
  const isBranching = multiplies(document);
  const no = (message: string, path: string | null): Problem => ({
    code: "invalid",
    message: bounded(message),
    path: path === null ? null : bounded(path),
  });
  /** What the validator would take too long for, or get wrong. */
  const unsafe = (data: JsonObject): Problem | null => {
    if (isBranching && depthOf(data) > MAX_BRANCHING_DEPTH)
      return no(`the event nests more than ${MAX_BRANCHING_DEPTH} deep`, null);
    if (!compares) return null;
    if (longestList(data) > MAX_COMPARED) return no(`the event has a list of more than ${MAX_COMPARED} entries`, null);
    const path = reservedName(data);
    return path === null ? null : no(`${path.join(".")} has a name that no field may have`, `/${path.join("/")}`);
  };
  const failed = (error: unknown): Problem => no(`it cannot be checked: ${messageOf(error)}`, null);
  let read: ((value: JsonValue) => JsonValue) | null = null;
  let all: Oracle | null = null;
  const errors = (data: JsonObject): Problem[] | Error => {
    all ??= oracle();
    try {
      return all.errors(document, data).map((error) => jsonProblem(error, data));
    } catch (error) {
      return error instanceof Error ? error : new Error(messageOf(error));
    }
  };
  const readFrom = (_: Compiled, data: JsonObject): JsonObject => {
    read ??= jsonReader(document);
    return read(data) as JsonObject;
  };
  return {
    schema,
    check(data) {
      try {
        beginCheck();
        return unsafe(data) ?? (validate(data) ? null : jsonProblem(validate.errors![0]!, data));
      } catch (error) {
        return failed(error);
      }
    },
    checkAll: (data) => {
      const problem = unsafe(data);
      if (problem !== null) return [problem];
      const found = errors(data);
      return found instanceof Error ? [failed(found)] : found;
    },
    checkField(name, value) {
      const data = { [name]: value };
      const problem = unsafe(data);
      if (problem !== null) return problem;
      const problems = errors(data);
      if (problems instanceof Error) return failed(problems);
      if (problems.some(({ message }) => message === noField(name))) return undefined;
      return problems.find(({ path }) => path === `/${name}` || path?.startsWith(`/${name}/`)) ?? null;
    },
    normalise: (data) => data,
    encode: unsupported,
    decode: unsupported,
    readFrom,
    readOpened: (from, opened) => readAround((data) => readFrom(from, data), opened),
    namesFrom: (_, names) => names,
  };
}

function compileAvro(schema: SchemaVersion): Compiled {
  const { type, parts } = schema.model as Extract<SchemaVersion["model"], { kind: "avro" }>;
  if (type.kind !== "record") throw new TypeError("no record");
  const check = avroCheck(type);
  const decodeBytes = avroDecoder(type);
  const normal = avroNormaliser(type);
  /** Made when first used: only writers need it, and the hub is not one. */
  let writer: avsc.Type | null = null;
  const readers = new WeakMap<Avro, (value: JsonValue) => JsonValue>();
  const encode = (data: JsonObject): Uint8Array => {
    writer ??= avscType(parts);
    return writer.toBuffer(data);
  };
  const decode = (bytes: Uint8Array): Decoded => {
    if (bytes.length > MAX_AVRO_BYTES) throw new RangeError(`more than ${MAX_AVRO_BYTES} bytes`);
    return decodeBytes(bytes);
  };
  const namesOf = (written: AvroRecord, names: readonly string[]): readonly string[] =>
    type.fields.filter((field) => names.includes(sourceOf(field, written)?.name ?? ALL_WITHHELD)).map(({ name }) => name);
  return {
    schema,
    check: (data) => avroProblem(check(data)),
    checkAll: (data) => {
      const problem = avroProblem(check(data));
      return problem === null ? [] : [problem];
    },
    checkField(name, value) {
      const field = type.fields.find((each) => each.name === name);
      return field === undefined ? undefined : avroProblem(avroCheck({ ...type, fields: [field] })({ [name]: value }));
    },
    normalise: (data) => normal(data) as JsonObject,
    encode,
    decode,
    readFrom({ schema: from }, data) {
      if (from.model.kind !== "avro") throw new TypeError("no Avro");
      let read = readers.get(from.model.type);
      if (read === undefined) {
        read = avroReader(type, from.model.type);
        readers.set(from.model.type, read);
      }
      return read(data) as JsonObject;
    },
    readOpened(from, { data, withheld }) {
      const written = recordOf(from);
      if (withheld.includes(ALL_WITHHELD)) return { data: {}, withheld };
      const hidden = namesOf(written, withheld);
      const open = { ...type, fields: type.fields.filter(({ name }) => !hidden.includes(name)) };
      return { data: avroReader(open, written)(data) as JsonObject, withheld: hidden };
    },
    namesFrom: (from, names) => namesOf(recordOf(from), names),
  };
}

function recordOf({ schema: { model } }: Compiled): AvroRecord {
  if (model.kind !== "avro" || model.type.kind !== "record") throw new TypeError("no Avro");
  return model.type;
}

/** Reads data around members that are withheld. */
function readAround(read: (data: JsonObject) => JsonObject, { data, withheld }: Opened): Opened {
  if (withheld.includes(ALL_WITHHELD)) return { data: {}, withheld };
  // While it is read something stands for each, so that no default is filled in; where the reader does not know them, it is left out.
  const filled = read({ ...data, ...Object.fromEntries(withheld.map((name) => [name, null])) });
  return {
    data: Object.fromEntries(Object.entries(filled).filter(([name]) => !withheld.includes(name))),
    withheld: withheld.filter((name) => Object.hasOwn(filled, name)),
  };
}

/** The schema as a type of `avsc`, with values as plain JSON. Throws avsc's error for unions whose branches JSON cannot tell apart. */
export function avscType(parts: readonly JsonValue[]): avsc.Type {
  const registry: Record<string, avsc.Type> = {};
  const options = { omitRecordMethods: true, wrapUnions: "never", registry } as unknown as Parameters<
    typeof avsc.Type.forSchema
  >[1];
  let last: avsc.Type | null = null;
  for (const part of parts) last = avsc.Type.forSchema(part as avsc.Schema, options);
  return last!;
}
