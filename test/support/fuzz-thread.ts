/** The thread of `fuzz.ts`: makes items from the seed and throws them at a door. Whatever is neither an answer nor a TributaryError ends it. */

import { join } from "node:path";
import { parentPort, workerData } from "node:worker_threads";
import {
  type Batch,
  decodeBatch,
  encodeBatch,
  formatHlc,
  GENESIS,
  isTributaryError,
  type JsonObject,
  type JsonValue,
  MAX_BATCH_BYTES,
  type OriginId,
  type PackedEvent,
  peekOrigin,
  type Seq,
} from "../../services/core/index.ts";
import { examplesOf } from "../../services/gate/compatibility.ts";
import { checkCompatibility, createGate, lintSchema, type SchemaVersion, schemaVersion } from "../../services/gate/index.ts";
import { loadSchemas } from "../../services/gate/node.ts";
import { doorkeeper, issueToken, makeKey, publicKey } from "../../services/http/tokens.ts";
import { type Door, EVERY } from "./fuzz.ts";
import { chooser } from "./random.ts";

const { door, seed, count, at } = workerData as { door: Door; seed: number; count: number; at: Int32Array };
const { int, chance, pick } = chooser(seed);

const PATTERNS = [
  "^(a+)+$",
  "(",
  "(?=a)",
  "(a)\\1",
  "^(a{1,40}){1,40}$",
  "(a{9}){9999999}",
  "[",
  "\\p{L}+",
  "^(\\p{L}|a)*$",
  "a".repeat(9_000),
  "(".repeat(3_000),
];
const ODD: readonly JsonValue[] = [
  null,
  true,
  false,
  0,
  -1,
  5,
  0.5,
  1e308,
  5e-324,
  -1e308,
  2 ** 53,
  2 ** 31,
  "",
  "#",
  "#/",
  "#/$defs/x",
  "__proto__",
  "constructor",
  "object",
  "string",
  "null",
  "record",
  "https://json-schema.org/draft/2020-12/schema",
  "x".repeat(3_000),
  "\u0000",
  "😀",
  [],
  {},
  [[]],
  [null],
  { type: "string" },
  { $ref: "#" },
  { not: {} },
  { oneOf: [-1] },
  { anyOf: [{ $ref: "#" }, { $ref: "#" }] },
  { items: { $ref: "#" } },
  ...PATTERNS.map((pattern) => ({ pattern })),
];
const KEYS = [
  "type",
  "$ref",
  "$id",
  "$schema",
  "$defs",
  "$anchor",
  "$dynamicRef",
  "oneOf",
  "anyOf",
  "allOf",
  "not",
  "if",
  "then",
  "else",
  "items",
  "prefixItems",
  "contains",
  "properties",
  "patternProperties",
  "additionalProperties",
  "propertyNames",
  "dependentRequired",
  "dependentSchemas",
  "required",
  "enum",
  "const",
  "pattern",
  "format",
  "minLength",
  "maxLength",
  "multipleOf",
  "minimum",
  "maximum",
  "minItems",
  "maxItems",
  "minContains",
  "uniqueItems",
  "unevaluatedProperties",
  "default",
  "tributary",
  "fields",
  "name",
  "symbols",
  "size",
  "values",
  "namespace",
  "aliases",
  "__proto__",
  "x-a",
  "",
];

const odd = (): JsonValue => structuredClone(pick(ODD));

/** Every location in a value: its holder, and its name there. */
function locations(value: JsonValue, out: { holder: JsonObject | JsonValue[]; name: string | number }[] = []): typeof out {
  if (typeof value !== "object" || value === null) return out;
  for (const name of Object.keys(value)) {
    out.push({ holder: value as JsonObject, name });
    locations((value as JsonObject)[name]!, out);
  }
  return out;
}

/** A copy of a value with a few things changed in it. */
function mutated(given: JsonValue): JsonValue {
  const box = { root: structuredClone(given) };
  for (let i = int(1, 4); i > 0; i--) {
    const all = locations(box as JsonObject);
    const { holder, name } = pick(all);
    // These are copies of parsed JSON, made to be written to.
    const of = holder as Record<string | number, JsonValue>;
    const how = int(0, 6);
    if (how === 0) of[name] = odd();
    else if (how === 1) of[name] = structuredClone(pick(all).holder as JsonValue);
    else if (how === 2 && name !== "root") delete of[name];
    else if (how === 3) of[name] = { [pick(["anyOf", "oneOf", "allOf"])]: [of[name]!, odd()] };
    else if (how === 4 && typeof of[name] === "object" && of[name] !== null && !Array.isArray(of[name]))
      Object.defineProperty(of[name], pick(KEYS), { value: odd(), enumerable: true, configurable: true, writable: true });
    else if (how === 5) of[name] = typeof of[name] === "number" ? (of[name] as number) * pick([-1, 10, 1e300, 0.1]) : odd();
    else of[name] = [of[name]!, of[name]!];
  }
  return box.root;
}

const bytesMutated = (given: Uint8Array): Uint8Array => {
  const out = given.slice(0, chance(0.2) ? int(0, given.length) : given.length);
  for (let i = int(0, 6); i > 0 && out.length > 0; i--)
    out[int(0, out.length - 1)] = pick([0, 1, 2, 0x7f, 0x80, 0xff, int(0, 255)]);
  return out;
};

const folder = loadSchemas(join(import.meta.dirname, "../../schemas"));
const shipped = folder.subjects().flatMap((subject) => folder.versions(subject));
const gate = createGate(folder);
const data: readonly JsonObject[] = [
  {},
  { name: "Amina", household: 5 },
  { a: [1, 2, { b: null }] },
  { text: "a".repeat(5_000) },
];
const make = (text: string, kind: "avro" | "json", version: number): SchemaVersion =>
  schemaVersion("thing", version, { kind, text, references: [] }, () => undefined);

/** How an item is made: with changes by chance, or so that the door takes it, or refuses it. */
type Kind = "any" | "whole" | "nothing";
const kindOf = (item: number): Kind => (item % EVERY === 0 ? "whole" : item % EVERY === 1 ? "nothing" : "any");
/** Takes or refuses; throws for what is neither. */
type Try = (item: number, kind: Kind) => boolean | Promise<boolean>;
const refusing = (work: () => boolean): boolean => {
  try {
    return work();
  } catch (error) {
    if (isTributaryError(error) && error.code !== "internal") return false;
    throw error;
  }
};

/** A schema that needs no other. */
const alone = shipped.find(({ text }) => !text.includes('"$ref"') && !text.includes("references")) ?? pick(shipped);
const trySchema: Try = (item, how) => {
  const from = how === "whole" ? alone : pick(shipped);
  const base = JSON.parse(from.text) as JsonValue;
  const text = how === "whole" ? from.text : how === "nothing" ? "{" : JSON.stringify(chance(0.15) ? odd() : mutated(base));
  const kind = how !== "any" || chance(0.9) ? from.kind : pick(["avro", "json"] as const);
  return refusing(() => {
    const schema = make(text, kind, 2);
    lintSchema(schema);
    const one = createGate({ subjects: () => ["thing"], versions: () => [schema, schema] });
    for (const each of data) one.problems({ subject: "thing", version: 2 }, each);
    if (item % 100 === 0) checkCompatibility(schema, [make(from.text, from.kind, 1)], "FULL");
    return true;
  });
};

const head = (schema: SchemaVersion, seq: number): PackedEvent["head"] => ({
  type: schema.annotations.events[0] ?? "thing.noted",
  origin: "relief.juba.t1.a" as OriginId,
  seq: seq as Seq,
  entity: { type: schema.annotations.entity ?? "thing", id: "X" },
  schema: { subject: schema.subject, version: schema.version },
  actor: "a",
  org: "relief",
  occurredAt: "2026-01-01T00:00:00.000Z",
  hlc: formatHlc({ wallMs: 1_767_225_600_000 + seq, counter: 0 }),
  basis: {},
});
const encoder = new TextEncoder();
const examples = new Map(shipped.map((schema) => [schema, [...examplesOf(schema).slice(0, 20), ...data]]));
/** An event that the gate takes. */
const good = shipped
  .flatMap((schema) =>
    examplesOf(schema).map((example) => ({
      ...{ head: head(schema, 0), fingerprint: "", encoding: "json" as const },
      payload: Buffer.from(JSON.stringify(example)),
    })),
  )
  .find((each) => gate.admit(each).ok);
if (good === undefined) throw new Error("the gate takes no example of its own schemas");
const tryEvent: Try = (_, how) => {
  const schema = pick(shipped);
  const base = pick(examples.get(schema)!);
  const text = JSON.stringify(chance(0.1) ? base : mutated(base));
  const bytes = encoder.encode(chance(0.8) ? text : text.slice(0, int(0, text.length)));
  const encoding = pick(["json", "avro"] as const);
  const given = {
    head: head(schema, 0),
    fingerprint: pick(["", "0".repeat(16), schema.fingerprint.slice(0, 16)]),
    encoding,
    payload: Buffer.from(chance(0.8) ? bytes : bytesMutated(bytes)),
  };
  const verdict = gate.admit(how === "any" ? given : { ...good, ...(how === "nothing" ? { payload: Buffer.from("{") } : {}) });
  if (typeof verdict.ok !== "boolean" || (!verdict.ok && verdict.problem.message.length > 2_000)) throw new Error("no verdict");
  return verdict.ok;
};

const plain = {
  compress: (bytes: Uint8Array) => bytes,
  decompress: (bytes: Uint8Array) => {
    if (bytes.length > MAX_BATCH_BYTES) throw new RangeError("too large");
    return bytes;
  },
};
const frames = [1, 3, 40].map((events) => {
  const batch: Batch = {
    origin: "relief.juba.t1.a" as OriginId,
    firstSeq: 7 as Seq,
    prev: GENESIS,
    head: GENESIS,
    sentAtMs: 1_767_225_600_000,
    events: Array.from({ length: events }, (_, i) => ({
      head: { ...head(pick(shipped), 7 + i), basis: { ["relief.juba.t2.b" as OriginId]: i as Seq }, correlationId: `c${i % 3}` },
      encoding: "json" as const,
      payload: encoder.encode('{"a":1}'),
    })),
  };
  return encodeBatch(batch, plain);
});
const tryFrame: Try = (_, how) => {
  const given = pick(frames);
  const frame = how === "whole" ? given : how === "nothing" ? new Uint8Array() : bytesMutated(given);
  // The first bytes say that it is a frame: they are mostly left as they are.
  if (how === "any" && chance(0.95)) frame.set([0x54, 0x42, 0].slice(0, frame.length));
  return refusing(() => {
    peekOrigin(frame, plain);
    const batch = decodeBatch(frame, plain);
    for (const { head: each } of batch.events)
      if (!Number.isSafeInteger(each.seq) || !Number.isSafeInteger(each.schema.version))
        throw new Error("a number without bounds");
    return true;
  });
};

async function tokenTry(): Promise<Try> {
  const key = await makeKey("k");
  const keeper = doorkeeper({ keys: [publicKey(key)] });
  const good = await issueToken(key, { org: "relief", site: "juba", lifetimeS: 3_600, nowMs: Date.now() });
  const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.= ~";
  return async (_, how) => {
    const chars = how === "nothing" ? [] : [...good];
    for (let i = how === "any" ? int(0, 3) : 0; i > 0; i--)
      chars.splice(int(0, chars.length - 1), int(0, 1), pick([...ALPHABET]));
    const token = chars.join("");
    try {
      await keeper.admit(`${how === "whole" ? "Bearer" : pick(["Bearer", "Basic", "bearer", ""])} ${token}`, Date.now());
      // The signature covers all of the token: nothing but the token itself is taken.
      if (token !== good) throw new Error(`it took ${token} for ${good}`);
      return true;
    } catch (error) {
      if (isTributaryError(error) && error.code.startsWith("token-")) return false;
      throw error;
    }
  };
}

const tries: Record<Door, () => Try | Promise<Try>> = {
  schemas: () => trySchema,
  events: () => tryEvent,
  frames: () => tryFrame,
  tokens: tokenTry,
};
const attempt = await tries[door]();
let taken = 0;
for (let item = 0; item < count; item++) {
  Atomics.store(at, 0, item);
  if (await attempt(item, kindOf(item))) taken++;
}
parentPort!.postMessage({ taken, refused: count - taken });
