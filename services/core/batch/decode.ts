import { reader } from "../avro-bytes.ts";
import { MAX_WALL_MS } from "../hlc.ts";
import type { Hash, Seq } from "../ids.ts";
import {
  type Batch,
  type Compression,
  type HeadInBatch,
  MAX_BATCH_BYTES,
  MAX_BATCH_EVENTS,
  MAX_BATCH_HEADS,
  type PackedEvent,
} from "./batch.ts";
import { pick } from "./columns.ts";
import { openFrame, readable, readableLater, readFrame } from "./frame.ts";
import { type HeadCursor, headAt, originIn, readHeads, STEP_NUMBERS } from "./heads.ts";
import { MORE } from "./schema.ts";
import { bytesHex } from "./texts.ts";

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

/** Events between two steps of reading a body. */
const STEP_EVENTS = 50;

function* readBody(body: Uint8Array, version: number): Generator<void, Batch> {
  const columns = yield* readColumns(body, version);
  checkColumns(columns);
  const events = yield* eventsIn(columns);
  const { origin, firstSeq, prev, head, sentAtMs, signature } = columns;
  const heads = columns.heads === undefined ? [] : signedHeads(columns.heads);
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
  const origin = originIn(from.string());
  const firstSeq = from.long();
  if (firstSeq < 0 || firstSeq > Number.MAX_SAFE_INTEGER) throw new RangeError("no seq");
  const prev = bytesHex(from.fixed(32)) as Hash;
  const head = bytesHex(from.fixed(32)) as Hash;
  const sentAtMs = from.long();
  if (Math.abs(sentAtMs) > MAX_WALL_MS) throw new RangeError("no time");
  const events = yield* readHeads(from, MAX_BATCH_EVENTS);
  const encoding = from.array(MAX_BATCH_EVENTS, from.long);
  const length = from.array(MAX_BATCH_EVENTS, from.long);
  const data = from.bytes();
  // What stands behind is of a version to come, and is passed over.
  const more = version >= 2 ? from.array(MAX_MORE, () => ({ tag: from.long(), value: from.bytes() })) : [];
  const tagged = (wanted: number): Uint8Array | undefined => more.find(({ tag }) => tag === wanted)?.value;
  return {
    ...{ origin, firstSeq, prev, head, sentAtMs, events, encoding, length, data },
    signature: tagged(MORE.signature),
    heads: tagged(MORE.heads),
  };
}

function checkColumns({ events, encoding, length, signature }: Columns): void {
  if (signature !== undefined && signature.length !== SIGNATURE_BYTES) throw new RangeError("its signature has the wrong length");
  if (events.count === 0) throw new RangeError("it holds no events");
  if (encoding.length !== events.count || length.length !== events.count) throw new RangeError("its columns differ in length");
  if (encoding.some((form) => form !== 0 && form !== 1)) throw new RangeError("an event has an unknown encoding");
}

/** How far the columns that do not hold one number for each event have been read. */
interface Cursor extends HeadCursor {
  wallMs: number;
  data: number;
}

function* eventsIn(columns: Columns): Generator<void, PackedEvent[]> {
  const { events: heads, data } = columns;
  const events: PackedEvent[] = [];
  const at: Cursor = { wallMs: columns.sentAtMs, entity: 0, basis: 0, data: 0 };
  let pauseAfter = STEP_NUMBERS;
  for (let i = 0; i < heads.count; i++) {
    if (i % STEP_EVENTS === STEP_EVENTS - 1 || at.basis >= pauseAfter) {
      pauseAfter = at.basis + STEP_NUMBERS;
      yield;
    }
    events.push(eventIn(columns, i, at));
  }
  if (at.data !== data.length || at.basis !== heads.basis.length) throw new RangeError("it has bytes left over");
  return events;
}

function eventIn({ origin, firstSeq, events, encoding, length, data }: Columns, i: number, at: Cursor): PackedEvent {
  at.wallMs += pick(events.wallMs, i);
  const payloadBytes = pick(length, i);
  if (payloadBytes < 0 || at.data + payloadBytes > data.length) throw new RangeError("its data is cut short");
  const { head, fingerprint } = headAt(events, i, { origin, seq: firstSeq + i, wallMs: at.wallMs }, at);
  const payload = data.subarray(at.data, at.data + payloadBytes);
  at.data += payloadBytes;
  return {
    head,
    ...(fingerprint === "" ? {} : { fingerprint }),
    encoding: encoding[i] === 1 ? "avro" : "json",
    payload,
  };
}

function signedHeads(value: Uint8Array): HeadInBatch[] {
  const from = reader(value);
  return from.array(MAX_BATCH_HEADS, () => {
    const origin = originIn(from.string());
    const through = from.long();
    if (through < 0 || through > Number.MAX_SAFE_INTEGER) throw new RangeError("no seq");
    return { origin, through: through as Seq, head: bytesHex(from.fixed(32)) as Hash, signature: from.fixed(SIGNATURE_BYTES) };
  });
}
