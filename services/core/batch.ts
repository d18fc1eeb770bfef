import { type Reader, reader, writer } from "./avro-bytes.ts";
import { isTributaryError, messageOf, TributaryError } from "./errors.ts";
import type { EntityRef, EventBody, SchemaRef } from "./event.ts";
import { envelopeProblem } from "./event.ts";
import { formatHlc, MAX_WALL_MS, parseHlc } from "./hlc.ts";
import { type Hash, isOriginId, type OriginId, orgOf, type Seq } from "./ids.ts";
import { PROTOCOL } from "./protocol-version.ts";
import type { Vector } from "./vector.ts";

/**
 * The wire form of a run of one origin's events.
 *
 * A frame is three bytes, `T`, `B` and one that says the version (above) and the compression (below: 0 none, 1 zstd), then one Avro record
 * (`BATCH_SCHEMA`). Version 1 has a 0 for its number, and no `more`. What a reader does not know in `more`, or behind it, it passes over. Texts that
 * repeat (types, schemas, actors, origins, entities) stand once in dictionaries; the events themselves are columns, so
 * that equal neighbours compress to next to nothing. Neither ids nor hashes travel: both follow from the content, and
 * `prev` and `head` pin the chain's two ends.
 */
export interface Batch {
  readonly origin: OriginId;
  readonly firstSeq: Seq;
  /** Hash of the event before the first, and of the last. */
  readonly prev: Hash;
  readonly head: Hash;
  /** The device's wall clock when it sent this: lets the hub notice a wrong clock. Not covered by any hash. */
  readonly sentAtMs: number;
  readonly events: readonly PackedEvent[];
  /** The origin's Ed25519 signature of the run's end, where it came with one. */
  readonly signature?: Uint8Array;
  /** Signed heads of other origins that the events' bases name, as far as the sender was given them: what shows that the events which they claim to have seen are there. */
  readonly heads?: readonly HeadInBatch[];
}

/** Where a run of an origin ended, with that origin's signature of it (`runText`): it stands for all of the origin's events up to there. */
export interface HeadInBatch {
  readonly origin: OriginId;
  readonly through: Seq;
  readonly head: Hash;
  readonly signature: Uint8Array;
}

/** An event as it travels: the envelope, and the data still in the form that its schema gives it. */
export interface PackedEvent {
  readonly head: Omit<EventBody, "data">;
  /**
   * The first 16 hexadecimal digits of the fingerprint of the schema that the writer calls `head.schema`: a hub that knows another schema by that name
   * must not take the data for it.
   */
  readonly fingerprint?: string;
  /** `json`: canonical JSON text as UTF-8. `avro`: the body that `head.schema` writes. */
  readonly encoding: "json" | "avro";
  readonly payload: Uint8Array;
}

export interface Compression {
  compress(bytes: Uint8Array): Uint8Array;
  /** Must throw rather than return more than `maxBytes`. */
  decompress(bytes: Uint8Array, maxBytes: number): Uint8Array;
}

export const MAX_BATCH_EVENTS = 2_000;
/** A frame on the wire: below the broker's default payload limit of 1 MiB. */
export const MAX_FRAME_BYTES = 1_000_000;
/** The same, decompressed: a frame that grows beyond is refused unread. */
export const MAX_BATCH_BYTES = 8 * 1_048_576;

/** Origins that the events of a batch name in their bases, and numbers that say so, at most. An entity that many devices write must not make a batch unreadable. */
export const MAX_BATCH_ORIGINS = 16_000;
export const MAX_BATCH_BASIS = 1_000_000;
/** A fingerprint has 64 digits, of which 16 travel. */
const MAX_FINGERPRINT = 64;

const ints = { type: "array", items: "int" } as const;
const longs = { type: "array", items: "long" } as const;
const strings = { type: "array", items: "string" } as const;

/** What `more` holds, by tag. Tags are never used again for anything else. */
export const MORE = { signature: 1, heads: 2 } as const;
const SIGNATURE_BYTES = 64;
/** Signed heads of other origins in one batch, at most; each takes some 150 bytes. */
export const MAX_BATCH_HEADS = 1_000;
/** Members of `more`, at most: what newer versions bring. */
const MAX_MORE = 64;

/** The Avro schema of what `more` holds under the tag `heads`. */
export const HEADS_SCHEMA = {
  type: "array",
  items: {
    type: "record",
    name: "SignedHead",
    namespace: "tributary.wire",
    fields: [
      { name: "origin", type: "string" },
      { name: "through", type: "long" },
      { name: "head", type: { type: "fixed", name: "Hash", size: 32 } },
      { name: "signature", type: { type: "fixed", name: "Ed25519", size: 64 } },
    ],
  },
} as const;

/** The Avro schema of the record inside a frame, in its newest version. */
export const BATCH_SCHEMA = {
  type: "record",
  name: "Batch",
  namespace: "tributary.wire",
  fields: [
    { name: "origin", type: "string" },
    { name: "firstSeq", type: "long" },
    { name: "prev", type: { type: "fixed", name: "Hash", size: 32 } },
    { name: "head", type: "Hash" },
    { name: "sentAtMs", type: "long" },
    { name: "types", type: strings },
    {
      name: "schemas",
      type: {
        type: "array",
        items: {
          type: "record",
          name: "SchemaRef",
          fields: [
            { name: "subject", type: "string" },
            { name: "version", type: "int" },
            { name: "fingerprint", type: "string" },
          ],
        },
      },
    },
    { name: "actors", type: strings },
    { name: "origins", type: strings },
    { name: "entityTypes", type: strings },
    {
      name: "entities",
      type: {
        type: "array",
        items: {
          type: "record",
          name: "EntityRef",
          fields: [
            { name: "type", type: "int" },
            { name: "id", type: ["string", { type: "fixed", name: "Uuid", size: 16 }] },
          ],
        },
      },
    },
    { name: "links", type: { type: "array", items: ["string", "Uuid"] } },
    { name: "type", type: ints },
    { name: "schema", type: ints },
    { name: "actor", type: ints },
    { name: "entity", type: ints, doc: "0: the next entity of the dictionary; k: the one k before that" },
    { name: "wallMs", type: longs, doc: "difference to the event before; the first to sentAtMs" },
    { name: "counter", type: ints },
    { name: "occurredMs", type: longs, doc: "difference to the event's wallMs" },
    { name: "basis", type: longs, doc: "per event: how many pairs, then origin index and seq (own origin: event's seq − seq)" },
    { name: "correlation", type: ints, doc: "index in links + 1, 0 none; empty when no event has one" },
    { name: "causation", type: ints, doc: "likewise" },
    { name: "encoding", type: ints, doc: "0 JSON, 1 Avro" },
    { name: "length", type: ints },
    { name: "data", type: "bytes" },
    {
      name: "more",
      type: {
        type: "array",
        items: {
          type: "record",
          name: "More",
          fields: [
            { name: "tag", type: "int" },
            { name: "value", type: "bytes" },
          ],
        },
      },
      doc: "since version 2: what came later, by tag; a reader passes over tags that it does not know",
    },
  ],
} as const;

const MAGIC = [0x54, 0x42] as const;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

const hexBytes = (hex: string): Uint8Array => {
  const out = new Uint8Array(hex.length / 2);
  for (let i = 0; i < out.length; i++) out[i] = Number.parseInt(hex.slice(i * 2, i * 2 + 2), 16);
  return out;
};
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));
const bytesHex = (bytes: Uint8Array): string => {
  let out = "";
  for (const byte of bytes) out += HEX[byte]!;
  return out;
};
const uuidText = (bytes: Uint8Array): string => {
  const hex = bytesHex(bytes);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
};

/** A list in which each text stands once; `of` gives its index. */
function dictionary(): { readonly list: string[]; of(text: string): number } {
  const list: string[] = [];
  const index = new Map<string, number>();
  return {
    list,
    of(text) {
      let at = index.get(text);
      if (at === undefined) {
        at = list.length;
        index.set(text, at);
        list.push(text);
      }
      return at;
    },
  };
}

/**
 * Writes a batch as a frame of a protocol version (default: the newest). The caller has cut it to `MAX_BATCH_EVENTS`; a frame above `MAX_FRAME_BYTES` is
 * the caller's to halve and write again.
 * Long because it writes the columns in the order of the schema, as `readBody` reads them.
 */
export function encodeBatch(batch: Batch, compression: Compression, version: number = PROTOCOL.newest): Uint8Array {
  const types = dictionary();
  const schemas = dictionary();
  const schemaRefs: (SchemaRef & { readonly fingerprint: string })[] = [];
  const actors = dictionary();
  const origins = dictionary();
  const entityTypes = dictionary();
  const entities = dictionary();
  const entityRefs: EntityRef[] = [];
  const links = dictionary();
  const type: number[] = [];
  const schema: number[] = [];
  const actor: number[] = [];
  const entity: number[] = [];
  const wallMs: number[] = [];
  const counter: number[] = [];
  const occurredMs: number[] = [];
  const basis: number[] = [];
  const correlation: number[] = [];
  const causation: number[] = [];
  const encoding: number[] = [];
  const length: number[] = [];
  let lastWallMs = batch.sentAtMs;
  let dataBytes = 0;

  for (const { head, fingerprint = "", encoding: form, payload } of batch.events) {
    const stamp = parseHlc(head.hlc);
    type.push(types.of(head.type));
    const schemaAt = schemas.of(`${head.schema.subject}@${head.schema.version}`);
    if (schemaAt === schemaRefs.length) schemaRefs.push({ ...head.schema, fingerprint });
    schema.push(schemaAt);
    actor.push(actors.of(head.actor));
    const entityAt = entities.of(`${head.entity.type}\n${head.entity.id}`);
    if (entityAt === entityRefs.length) {
      entityRefs.push(head.entity);
      entityTypes.of(head.entity.type);
      entity.push(0);
    } else {
      entity.push(entityRefs.length - entityAt);
    }
    wallMs.push(stamp.wallMs - lastWallMs);
    lastWallMs = stamp.wallMs;
    counter.push(stamp.counter);
    occurredMs.push(Date.parse(head.occurredAt) - stamp.wallMs);
    const known = Object.keys(head.basis).sort() as OriginId[];
    basis.push(known.length);
    for (const origin of known) {
      const seq = head.basis[origin]!;
      basis.push(origins.of(origin), origin === batch.origin ? head.seq - seq : seq);
    }
    correlation.push(head.correlationId === undefined ? 0 : links.of(head.correlationId) + 1);
    causation.push(head.causationId === undefined ? 0 : links.of(head.causationId) + 1);
    encoding.push(form === "avro" ? 1 : 0);
    length.push(payload.length);
    dataBytes += payload.length;
  }

  const data = new Uint8Array(dataBytes);
  let at = 0;
  for (const { payload } of batch.events) {
    data.set(payload, at);
    at += payload.length;
  }

  const out = writer(dataBytes + 64 * batch.events.length + 1024);
  const textOrUuid = (text: string): void => {
    const uuid = UUID.test(text);
    out.long(uuid ? 1 : 0);
    if (uuid) out.fixed(hexBytes(text.replaceAll("-", "")));
    else out.string(text);
  };
  out.string(batch.origin);
  out.long(batch.firstSeq);
  out.fixed(hexBytes(batch.prev));
  out.fixed(hexBytes(batch.head));
  out.long(batch.sentAtMs);
  out.array(types.list, out.string);
  out.array(schemaRefs, ({ subject, version, fingerprint }) => {
    out.string(subject);
    out.long(version);
    out.string(fingerprint);
  });
  out.array(actors.list, out.string);
  out.array(origins.list, out.string);
  out.array(entityTypes.list, out.string);
  out.array(entityRefs, (ref) => {
    out.long(entityTypes.of(ref.type));
    textOrUuid(ref.id);
  });
  out.array(links.list, textOrUuid);
  const empty: number[] = [];
  for (const column of [type, schema, actor, entity, wallMs, counter, occurredMs, basis]) out.array(column, out.long);
  for (const column of [correlation, causation]) out.array(links.list.length === 0 ? empty : column, out.long);
  out.array(encoding, out.long);
  out.array(length, out.long);
  out.bytes(data);
  if (version >= 2)
    out.array(moreOf(batch), ({ tag, value }) => {
      out.long(tag);
      out.bytes(value);
    });

  const body = compression.compress(out.finish());
  const frame = new Uint8Array(3 + body.length);
  frame.set([...MAGIC, (version === 1 ? 0 : version << 4) | 1]);
  frame.set(body, 3);
  return frame;
}

/** What a batch holds beside its columns, by tag. */
function moreOf({ signature, heads = [] }: Batch): { readonly tag: number; readonly value: Uint8Array }[] {
  const more: { readonly tag: number; readonly value: Uint8Array }[] = [];
  if (signature !== undefined) more.push({ tag: MORE.signature, value: signature });
  if (heads.length > 0) {
    const out = writer(heads.length * 160 + 16);
    out.array(heads, (one) => {
      out.string(one.origin);
      out.long(one.through);
      out.fixed(hexBytes(one.head));
      out.fixed(one.signature);
    });
    more.push({ tag: MORE.heads, value: out.finish() });
  }
  return more;
}

function readHeads(value: Uint8Array): HeadInBatch[] {
  const from = reader(value);
  return from.array(MAX_BATCH_HEADS, () => {
    const origin = from.string();
    if (!isOriginId(origin)) throw new RangeError(`${quoted(origin)} is no origin`);
    const through = from.long();
    if (through < 0 || through > Number.MAX_SAFE_INTEGER) throw new RangeError("no seq");
    return { origin, through: through as Seq, head: bytesHex(from.fixed(32)) as Hash, signature: from.fixed(SIGNATURE_BYTES) };
  });
}

const undecodable = (why: string, cause?: unknown): TributaryError =>
  new TributaryError(
    "batch-undecodable",
    `the batch cannot be read: ${why}`,
    "Send it again; if it fails again the sender's software is damaged or too old.",
    { cause },
  );

/**
 * Reads a frame. Checks its form and every envelope, not the chain and not the data: those need the gate.
 * Throws `batch-undecodable` or `batch-too-large`; bounded in time and memory whatever the bytes.
 */
export const decodeBatch = (frame: Uint8Array, compression: Compression): Batch =>
  readFrame(frame, compression, (body, version) => {
    const steps = readBody(body, version);
    for (let step = steps.next(); ; step = steps.next()) if (step.done === true) return step.value;
  });

/** The same, a few events at a time: `pause` is awaited in between, so that a reader of large frames keeps others waiting only shortly. */
export async function decodeBatchInTurns(
  frame: Uint8Array,
  decompress: (bytes: Uint8Array, maxBytes: number) => Uint8Array | Promise<Uint8Array>,
  pause: () => Promise<void>,
): Promise<Batch> {
  const { packed, isPacked, version } = openFrame(frame);
  const body = isPacked ? await readableLater(async () => decompress(packed, MAX_BATCH_BYTES)) : packed;
  const steps = readBody(body, version);
  for (;;) {
    const step = readable(() => steps.next());
    if (step.done === true) return step.value;
    await pause();
  }
}

function readFrame<T>(frame: Uint8Array, compression: Compression, read: (body: Uint8Array, version: number) => T): T {
  const { packed, isPacked, version } = openFrame(frame);
  return readable(() => read(isPacked ? compression.decompress(packed, MAX_BATCH_BYTES) : packed, version));
}

/** What a frame says of itself before anything in it is unpacked. */
function openFrame(frame: Uint8Array): { readonly packed: Uint8Array; readonly isPacked: boolean; readonly version: number } {
  if (frame.length > MAX_FRAME_BYTES) {
    throw new TributaryError(
      "batch-too-large",
      `the batch has ${frame.length} bytes; ${MAX_FRAME_BYTES} are allowed`,
      "Send fewer events at a time.",
    );
  }
  const [first, second, form = 0xf] = frame;
  if (first !== MAGIC[0] || second !== MAGIC[1] || (form & 0xf) > 1) throw undecodable("it is no Tributary batch");
  const version = Math.max(1, form >> 4);
  if (version > PROTOCOL.newest) {
    throw new TributaryError(
      "protocol-unsupported",
      `the batch is written in version ${version} of the protocol; this hub speaks ${PROTOCOL.oldest} to ${PROTOCOL.newest}`,
      "Update the hub, or send again in a version that its hello names.",
    );
  }
  return { packed: frame.subarray(3), isPacked: (form & 0xf) === 1, version };
}

function readable<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw isTributaryError(error) && error.code === "batch-undecodable" ? error : undecodable(messageOf(error), error);
  }
}

async function readableLater<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw undecodable(messageOf(error), error);
  }
}

/** Bytes of a frame's content in which its origin stands, whatever its length. */
const PEEK_BYTES = 1_024;

/**
 * Whose batch a frame says it is, of its first bytes alone: nothing else of it is unpacked, so that a stranger's frame costs next to nothing. `begin` unpacks
 * so many bytes of the content. Throws like `decodeBatch`.
 */
export async function peekSender(
  frame: Uint8Array,
  begin: (packed: Uint8Array, bytes: number) => Promise<Uint8Array>,
): Promise<OriginId> {
  const { packed, isPacked } = openFrame(frame);
  const body = isPacked ? await readableLater(() => begin(packed, PEEK_BYTES)) : packed.subarray(0, PEEK_BYTES);
  return originIn(readable(() => reader(body).string()));
}

const originIn = (text: string): OriginId => {
  if (isOriginId(text)) return text;
  throw undecodable(`${quoted(text)} is no origin`);
};

/** Whose batch a frame is, without reading the events: for routing. Throws like `decodeBatch`. */
export function peekOrigin(frame: Uint8Array, compression: Compression): OriginId {
  return originIn(readFrame(frame, compression, (body) => reader(body).string()));
}

/** Events between two steps of reading a body, and numbers of their bases: one event may have tens of thousands. */
const STEP_EVENTS = 50;
const STEP_NUMBERS = 10_000;

/** An array of numbers, read in steps. */
function* longsInSteps(from: Reader, max: number): Generator<void, number[]> {
  const out: number[] = [];
  for (let count = from.long(); count !== 0; count = from.long()) {
    if (count < 0) {
      count = -count;
      from.long();
    }
    if (out.length + count > max) throw new RangeError(`more than ${max} items`);
    for (let i = 0; i < count; i++) {
      out.push(from.long());
      if (out.length % STEP_NUMBERS === 0) yield;
    }
  }
  return out;
}

// Long because it reads the columns in the order of the schema, as `encodeBatch` writes them.
function* readBody(body: Uint8Array, version: number): Generator<void, Batch> {
  const from = reader(body);
  const n = MAX_BATCH_EVENTS;
  const textOrUuid = (): string => {
    const branch = from.long();
    if (branch === 0) return from.string();
    if (branch === 1) return uuidText(from.fixed(16));
    throw new RangeError("no such branch");
  };
  const column = (): number[] => from.array(n, from.long);

  const origin = from.string();
  if (!isOriginId(origin)) throw new RangeError(`${quoted(origin)} is no origin`);
  const firstSeq = from.long();
  if (firstSeq < 0 || firstSeq > Number.MAX_SAFE_INTEGER) throw new RangeError("no seq");
  const prev = bytesHex(from.fixed(32)) as Hash;
  const head = bytesHex(from.fixed(32)) as Hash;
  const sentAtMs = from.long();
  if (Math.abs(sentAtMs) > MAX_WALL_MS) throw new RangeError("no time");
  const types = from.array(n, from.string);
  const schemas = from.array(n, () => ({ subject: from.string(), version: from.long(), fingerprint: from.string() }));
  if (schemas.some(({ fingerprint }) => fingerprint.length > MAX_FINGERPRINT)) throw new RangeError("no fingerprint");
  const actors = from.array(n, from.string);
  const origins = from.array(MAX_BATCH_ORIGINS, from.string);
  for (const known of origins) if (!isOriginId(known)) throw new RangeError(`${quoted(known)} is no origin`);
  const entityTypes = from.array(n, from.string);
  const entities = from.array(n, () => ({ type: pick(entityTypes, from.long()), id: textOrUuid() }));
  const links = from.array(n * 2, textOrUuid);
  const type = column();
  const schema = column();
  const actor = column();
  const entity = column();
  const wallMs = column();
  const counter = column();
  const occurredMs = column();
  const basis = yield* longsInSteps(from, MAX_BATCH_BASIS);
  const correlation = column();
  const causation = column();
  const encoding = column();
  const length = column();
  const data = from.bytes();
  // What stands behind is of a version to come, and passed over.
  const more = version >= 2 ? from.array(MAX_MORE, () => ({ tag: from.long(), value: from.bytes() })) : [];
  const tagged = (wanted: number): Uint8Array | undefined => more.find(({ tag }) => tag === wanted)?.value;
  const signature = tagged(MORE.signature);
  const signedHeads = tagged(MORE.heads);
  const heads = signedHeads === undefined ? [] : readHeads(signedHeads);
  if (signature !== undefined && signature.length !== SIGNATURE_BYTES) throw new RangeError("a signature of another length");
  const count = type.length;
  if (count === 0) throw new RangeError("it holds no events");
  for (const other of [schema, actor, entity, wallMs, counter, occurredMs, encoding, length]) {
    if (other.length !== count) throw new RangeError("its columns differ in length");
  }

  for (const optional of [correlation, causation]) {
    if (optional.length !== 0 && optional.length !== count) throw new RangeError("its columns differ in length");
    if (optional.some((index) => index < 0)) throw new RangeError("an index points nowhere");
  }
  if (encoding.some((form) => form !== 0 && form !== 1)) throw new RangeError("no such encoding");

  const events: PackedEvent[] = [];
  let lastWallMs = sentAtMs;
  let nextEntity = 0;
  let basisAt = 0;
  let dataAt = 0;
  let work = 0;
  for (let i = 0; i < count; i++) {
    if (i % STEP_EVENTS === STEP_EVENTS - 1 || work >= STEP_NUMBERS) {
      work = 0;
      yield;
    }
    const seq = firstSeq + i;
    lastWallMs += wallMs[i]!;
    const back = entity[i]!;
    const entityAt = back === 0 ? nextEntity++ : nextEntity - back;
    const vector: Record<OriginId, Seq> = {};
    const pairs = pick(basis, basisAt++);
    if (pairs < 0 || pairs > origins.length) throw new RangeError("no such count of origins");
    work += 2 * pairs;
    for (let pair = 0; pair < pairs; pair++) {
      const of = pick(origins, pick(basis, basisAt++)) as OriginId;
      const known = pick(basis, basisAt++);
      vector[of] = (of === origin ? seq - known : known) as Seq;
    }
    const payloadBytes = length[i]!;
    if (payloadBytes < 0 || dataAt + payloadBytes > data.length) throw new RangeError("data cut short");
    const { subject, version, fingerprint } = pick(schemas, schema[i]!);
    const eventHead: Omit<EventBody, "data"> = {
      type: pick(types, type[i]!),
      origin,
      seq: seq as Seq,
      entity: pick(entities, entityAt),
      schema: { subject, version },
      actor: pick(actors, actor[i]!),
      org: orgOf(origin),
      occurredAt: new Date(lastWallMs + occurredMs[i]!).toISOString(),
      hlc: formatHlc({ wallMs: lastWallMs, counter: counter[i]! }),
      basis: vector as Vector,
      ...(correlation.length > 0 && pick(correlation, i) > 0 ? { correlationId: pick(links, correlation[i]! - 1) } : {}),
      ...(causation.length > 0 && pick(causation, i) > 0 ? { causationId: pick(links, causation[i]! - 1) } : {}),
    };
    const problem = envelopeProblem(eventHead);
    if (problem !== null) throw new RangeError(`event ${seq}: ${problem}`);
    events.push({
      head: eventHead,
      ...(fingerprint === "" ? {} : { fingerprint }),
      encoding: encoding[i] === 1 ? "avro" : "json",
      payload: data.subarray(dataAt, dataAt + payloadBytes),
    });
    dataAt += payloadBytes;
  }
  if (dataAt !== data.length || basisAt !== basis.length) throw new RangeError("bytes left over");
  return {
    ...{ origin, firstSeq: firstSeq as Seq, prev, head, sentAtMs, events },
    ...(signature === undefined ? {} : { signature }),
    ...(heads.length === 0 ? {} : { heads }),
  };
}

/** Some of what a stranger wrote, for a message. */
const quoted = (text: string): string => JSON.stringify(text.slice(0, 80));

function pick<T>(list: readonly T[], index: number): T {
  const item = list[index];
  if (item === undefined) throw new RangeError("an index points nowhere");
  return item;
}
