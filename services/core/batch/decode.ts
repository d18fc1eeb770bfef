import { type Reader, reader } from "../avro-bytes.ts";
import { type EventBody, envelopeProblem } from "../event.ts";
import { formatHlc, MAX_WALL_MS } from "../hlc.ts";
import { type Hash, isOriginId, type OriginId, orgOf, type Seq } from "../ids.ts";
import {
  type Batch,
  type Compression,
  type HeadInBatch,
  MAX_BATCH_BASIS,
  MAX_BATCH_BYTES,
  MAX_BATCH_EVENTS,
  MAX_BATCH_HEADS,
  MAX_BATCH_ORIGINS,
  type PackedEvent,
} from "./batch.ts";
import { openFrame, readable, readableLater, readFrame } from "./frame.ts";
import { MORE } from "./schema.ts";
import { bytesHex, quoted, uuidText } from "./texts.ts";

/** A fingerprint has 64 digits, of which 16 travel. */
const MAX_FINGERPRINT = 64;

const SIGNATURE_BYTES = 64;
/** At most so many members of `more`, which hold what newer versions bring. */
const MAX_MORE = 64;

/**
 * Reads a frame. Checks its form and every envelope, but neither the chain nor the data: those need the gate.
 * Throws `batch-undecodable` or `batch-too-large`. Time and memory are bounded, whatever the bytes are.
 */
export const decodeBatch = (frame: Uint8Array, compression: Compression): Batch =>
  readFrame(frame, compression, (body, version) => {
    const steps = readBody(body, version);
    for (let step = steps.next(); ; step = steps.next()) if (step.done === true) return step.value;
  });

/** The same, a few events at a time: `pause` is awaited in between, so a reader of large frames keeps others waiting only briefly. */
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

function* readBody(body: Uint8Array, version: number): Generator<void, Batch> {
  const columns = yield* readColumns(body, version);
  checkColumns(columns);
  const events = yield* eventsIn(columns);
  const { origin, firstSeq, prev, head, sentAtMs, signature } = columns;
  const heads = columns.heads === undefined ? [] : readHeads(columns.heads);
  return {
    ...{ origin, firstSeq: firstSeq as Seq, prev, head, sentAtMs, events },
    ...(signature === undefined ? {} : { signature }),
    ...(heads.length === 0 ? {} : { heads }),
  };
}

type Columns = ReturnType<typeof readColumns> extends Generator<void, infer T> ? T : never;

/** A body as it stands: dictionaries and columns, each within its bounds. */
function* readColumns(body: Uint8Array, version: number) {
  const from = reader(body);
  const n = MAX_BATCH_EVENTS;
  const textOrUuid = (): string => textOrUuidFrom(from);
  const column = (): number[] => from.array(n, from.long);

  const origin = from.string();
  if (!isOriginId(origin)) throw new RangeError(`${quoted(origin)} is not an origin`);
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
  for (const known of origins) if (!isOriginId(known)) throw new RangeError(`${quoted(known)} is not an origin`);
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
  // What stands behind is of a version to come, and is passed over.
  const more = version >= 2 ? from.array(MAX_MORE, () => ({ tag: from.long(), value: from.bytes() })) : [];
  const tagged = (wanted: number): Uint8Array | undefined => more.find(({ tag }) => tag === wanted)?.value;
  return {
    ...{ origin, firstSeq, prev, head, sentAtMs, types, schemas, actors, origins, entityTypes, entities, links },
    ...{ type, schema, actor, entity, wallMs, counter, occurredMs, basis, correlation, causation, encoding, length, data },
    signature: tagged(MORE.signature),
    heads: tagged(MORE.heads),
  };
}

function textOrUuidFrom(from: Reader): string {
  const branch = from.long();
  if (branch === 0) return from.string();
  if (branch === 1) return uuidText(from.fixed(16));
  throw new RangeError("a union has no such branch");
}

function checkColumns(columns: Columns): void {
  const { type, schema, actor, entity, wallMs, counter, occurredMs, encoding, length, correlation, causation } = columns;
  const { signature } = columns;
  if (signature !== undefined && signature.length !== SIGNATURE_BYTES) throw new RangeError("its signature has the wrong length");
  const count = type.length;
  if (count === 0) throw new RangeError("it holds no events");
  for (const other of [schema, actor, entity, wallMs, counter, occurredMs, encoding, length]) {
    if (other.length !== count) throw new RangeError("its columns differ in length");
  }

  for (const optional of [correlation, causation]) {
    if (optional.length !== 0 && optional.length !== count) throw new RangeError("its columns differ in length");
    if (optional.some((index) => index < 0)) throw new RangeError("an index points nowhere");
  }
  if (encoding.some((form) => form !== 0 && form !== 1)) throw new RangeError("an event has an unknown encoding");
}

/** How far the columns that do not hold one number for each event have been read. */
interface Cursor {
  wallMs: number;
  entity: number;
  basis: number;
  data: number;
}

function* eventsIn(columns: Columns): Generator<void, PackedEvent[]> {
  const { type, basis, data } = columns;
  const events: PackedEvent[] = [];
  const at: Cursor = { wallMs: columns.sentAtMs, entity: 0, basis: 0, data: 0 };
  let pauseAfter = STEP_NUMBERS;
  for (let i = 0; i < type.length; i++) {
    if (i % STEP_EVENTS === STEP_EVENTS - 1 || at.basis >= pauseAfter) {
      pauseAfter = at.basis + STEP_NUMBERS;
      yield;
    }
    events.push(eventIn(columns, i, at));
  }
  if (at.data !== data.length || at.basis !== basis.length) throw new RangeError("it has bytes left over");
  return events;
}

function eventIn(columns: Columns, i: number, at: Cursor): PackedEvent {
  const { origin, firstSeq, correlation, causation, links, data } = columns;
  const seq = firstSeq + i;
  at.wallMs += pick(columns.wallMs, i);
  const back = pick(columns.entity, i);
  const entityAt = back === 0 ? at.entity++ : at.entity - back;
  const basis = basisIn(columns, seq, at);
  const payloadBytes = pick(columns.length, i);
  if (payloadBytes < 0 || at.data + payloadBytes > data.length) throw new RangeError("its data is cut short");
  const { subject, version, fingerprint } = pick(columns.schemas, pick(columns.schema, i));
  const head: Omit<EventBody, "data"> = {
    type: pick(columns.types, pick(columns.type, i)),
    origin,
    seq: seq as Seq,
    entity: pick(columns.entities, entityAt),
    schema: { subject, version },
    actor: pick(columns.actors, pick(columns.actor, i)),
    org: orgOf(origin),
    occurredAt: new Date(at.wallMs + pick(columns.occurredMs, i)).toISOString(),
    hlc: formatHlc({ wallMs: at.wallMs, counter: pick(columns.counter, i) }),
    basis,
    ...linkIn("correlationId", links, correlation[i]),
    ...linkIn("causationId", links, causation[i]),
  };
  const problem = envelopeProblem(head);
  if (problem !== null) throw new RangeError(`event ${seq}: ${problem}`);
  const payload = data.subarray(at.data, at.data + payloadBytes);
  at.data += payloadBytes;
  return {
    head,
    ...(fingerprint === "" ? {} : { fingerprint }),
    encoding: columns.encoding[i] === 1 ? "avro" : "json",
    payload,
  };
}

function basisIn({ origin, origins, basis }: Columns, seq: number, at: Cursor): EventBody["basis"] {
  const vector: Record<OriginId, Seq> = {};
  const pairs = pick(basis, at.basis++);
  if (pairs < 0 || pairs > origins.length) throw new RangeError("a basis names more origins than there are");
  for (let pair = 0; pair < pairs; pair++) {
    // Each origin was checked when the dictionary was read; a number that is not a seq is reported with the envelope.
    const of = pick(origins, pick(basis, at.basis++)) as OriginId;
    const known = pick(basis, at.basis++);
    vector[of] = (of === origin ? seq - known : known) as Seq;
  }
  return vector;
}

/** `index`: where the link stands in `links`, counted from 1; 0 or nothing: there is no link. */
const linkIn = (name: "correlationId" | "causationId", links: readonly string[], index = 0): Partial<EventBody> =>
  index === 0 ? {} : { [name]: pick(links, index - 1) };

function readHeads(value: Uint8Array): HeadInBatch[] {
  const from = reader(value);
  return from.array(MAX_BATCH_HEADS, () => {
    const origin = from.string();
    if (!isOriginId(origin)) throw new RangeError(`${quoted(origin)} is not an origin`);
    const through = from.long();
    if (through < 0 || through > Number.MAX_SAFE_INTEGER) throw new RangeError("no seq");
    return { origin, through: through as Seq, head: bytesHex(from.fixed(32)) as Hash, signature: from.fixed(SIGNATURE_BYTES) };
  });
}

function pick<T>(list: readonly T[], index: number): T {
  const item = list[index];
  if (item === undefined) throw new RangeError("an index points nowhere");
  return item;
}
