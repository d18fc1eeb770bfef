/** A page's events as its reader finds them: columns are read, chains are computed again. */
import {
  bytesHex,
  type ChainHash,
  type Clip,
  type Clips,
  eventText,
  GENESIS,
  type Hash,
  type HeadCursor,
  headAt,
  type OriginId,
  type Position,
  pick,
  position,
  type QuarantineReason,
  type Reader,
  type ReadHeads,
  readHeads,
  type SchemaRef,
  type Seq,
} from "../../core/index.ts";
import { MAX_PAGE_EVENTS } from "./messages.ts";
import type { PagedEvent } from "./page.ts";
import { type Base, CLIP_CODES, ENCODINGS, eventKey, HASH_BYTES } from "./parts.ts";
import { readShaped, type ShapedReader } from "./shaped.ts";

/** The text of an event's data that travelled as Avro. Throws for bytes that its schema does not write. */
export type Unpack = (schema: SchemaRef, payload: Uint8Array) => string;

/** What differs between Node and a browser, and what knows schemas. */
export interface EventReading {
  /** Left out: this reader has no schemas, and takes no Avro. */
  readonly unpack?: Unpack;
  readonly chainHash: ChainHash;
}

/** Refuses what is not UTF-8, as it could not be written again as it came. A text that begins with U+FEFF keeps it. */
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true, fatal: true });

export const whole = (n: number, what: string): number => {
  if (Number.isSafeInteger(n) && n >= 0) return n;
  throw new RangeError(`${n} is not ${what}`);
};
export const positionOf = (n: number): Position => position(BigInt(whole(n, "a position")));

/** Takes the hashes out of bytes, one after the other. */
export function hashesIn(bytes: Uint8Array): { next(): Hash; end(): void } {
  let at = 0;
  return {
    next() {
      if (at + HASH_BYTES > bytes.length) throw new RangeError("a hash is missing");
      at += HASH_BYTES;
      return bytesHex(bytes.subarray(at - HASH_BYTES, at)) as Hash;
    },
    end() {
      if (at !== bytes.length) throw new RangeError("it has hashes left over");
    },
  };
}

interface Columns {
  readonly heads: ReadHeads;
  readonly origin: readonly number[];
  readonly seq: readonly number[];
  readonly position: readonly number[];
  readonly recordedMs: readonly number[];
  readonly encoding: readonly number[];
  readonly length: readonly number[];
  readonly data: Uint8Array;
  readonly shaped: ShapedReader;
}

/** Reads the events of a page, with hashes that are computed from their contents. Throws `RangeError` for what is malformed. */
export function readEvents(from: Reader, base: Base, reading: EventReading): PagedEvent[] {
  const steps = readHeads(from, MAX_PAGE_EVENTS);
  let step = steps.next();
  while (step.done !== true) step = steps.next();
  const column = (): number[] => from.array(MAX_PAGE_EVENTS, from.long);
  const columns: Columns = {
    heads: step.value,
    ...{ origin: column(), seq: column(), position: column(), recordedMs: column(), encoding: column(), length: column() },
    data: from.bytes(),
    shaped: readShaped(from),
  };
  const [prevs, hashes] = [hashesIn(from.bytes()), hashesIn(from.bytes())];
  const notes = readNotes(from, step.value);
  const events = unchained(columns, base, reading.unpack ?? noSchemas);
  return chained(events, { prevs, hashes, chainHash: reading.chainHash }).map((event, i): PagedEvent => {
    const clips = notes.clips.get(i);
    const read: PagedEvent = {
      ...event,
      held: notes.held.get(i) ?? null,
      clock: notes.clocks.get(i) ?? null,
      ...(clips === undefined ? {} : { clips }),
    };
    if (read.text !== null) computed.add(read);
    return read;
  });
}

/** Events as they were read, whose hashes were computed from their contents. A copy of one is not among them, whatever was changed in it. */
const computed = new WeakSet<PagedEvent>();

/** Whether an event's hash was computed from its content when its page was read: then it need not be computed again. */
export const hasComputedHash = (event: PagedEvent): boolean => computed.has(event);

type Unchained = Pick<PagedEvent, "head" | "position" | "recordedAtMs" | "text">;

function unchained(columns: Columns, base: Base, unpack: Unpack): Unchained[] {
  const { heads, origin, seq, position: positions, recordedMs, encoding, length, data, shaped } = columns;
  for (const other of [origin, seq, positions, recordedMs, encoding, length])
    if (other.length !== heads.count) throw new RangeError("its columns differ in length");
  const last = new Map<OriginId, { readonly seq: number; readonly wallMs: number }>();
  const at: HeadCursor & { data: number } = { entity: 0, basis: 0, data: 0 };
  let { position: where, nowMs: recorded } = base;
  const events = origin.map((index, i): Unchained => {
    const of = pick(heads.origins, index);
    const before = last.get(of);
    where += pick(positions, i);
    recorded = whole(recorded + pick(recordedMs, i), "a time");
    const seqHere = whole(pick(seq, i) + (before === undefined ? 0 : before.seq + 1), "a seq");
    const wallMs = (before?.wallMs ?? recorded) + pick(heads.wallMs, i);
    last.set(of, { seq: seqHere, wallMs });
    const { head } = headAt(heads, i, { origin: of, seq: seqHere, wallMs }, at);
    const bytes = pick(length, i);
    if (bytes < 0 || at.data + bytes > data.length) throw new RangeError("its data is cut short");
    const payload = data.subarray(at.data, at.data + bytes);
    at.data += bytes;
    return {
      head,
      position: positionOf(where),
      recordedAtMs: recorded,
      text: textOf(head, shaped, { encoding: pick(ENCODINGS, pick(encoding, i)), payload, unpack }),
    };
  });
  if (at.data !== data.length || at.basis !== heads.basis.length || at.entity !== heads.entities.length)
    throw new RangeError("it has bytes left over");
  shaped.end();
  return events;
}

const noSchemas: Unpack = () => {
  throw new RangeError("its data is Avro, and this reader has no schemas");
};

interface Travelled {
  readonly encoding: (typeof ENCODINGS)[number];
  readonly payload: Uint8Array;
  readonly unpack: Unpack;
}

function textOf(head: PagedEvent["head"], shaped: ShapedReader, { encoding, payload, unpack }: Travelled): string | null {
  switch (encoding) {
    case "json":
      return utf8.decode(payload);
    case "avro":
      return unpack(head.schema, payload);
    case "none":
      if (payload.length > 0) break;
      return null;
    case "shaped":
      if (payload.length > 0) break;
      return shaped.next(head);
  }
  throw new RangeError("an event has bytes that its encoding has no use for");
}

type Hashes = ReturnType<typeof hashesIn>;

/** Computes each origin's chain from its first event in the page on. */
function chained(
  events: readonly Unchained[],
  { prevs, hashes, chainHash }: { readonly prevs: Hashes; readonly hashes: Hashes; readonly chainHash: ChainHash },
): (Unchained & Pick<PagedEvent, "prev" | "hash">)[] {
  const index = new Map(events.map(({ head: { origin, seq } }, i) => [eventKey(origin, seq), i]));
  if (index.size !== events.length) throw new RangeError("an event stands in it twice");
  // What travels stands in the order of the events, what is computed goes by seq.
  const told = events.map(({ head: { origin, seq }, text }) => ({
    prev: seq === 0 ? GENESIS : index.has(eventKey(origin, seq - 1)) ? null : prevs.next(),
    hash: text === null ? hashes.next() : null,
  }));
  prevs.end();
  hashes.end();
  const out = new Map<number, Unchained & Pick<PagedEvent, "prev" | "hash">>();
  const bySeq = events.map((event, i) => ({ event, i })).sort((a, b) => a.event.head.seq - b.event.head.seq);
  for (const { event, i } of bySeq) {
    const { origin, seq } = event.head;
    const prev = told[i]?.prev ?? out.get(index.get(eventKey(origin, seq - 1)) ?? -1)?.hash;
    if (prev === undefined) throw new RangeError("an event has no predecessor");
    const hash = told[i]?.hash ?? chainHash(prev, eventText(event.head, event.text ?? ""));
    out.set(i, { ...event, prev, hash });
  }
  return events.map((_, i) => {
    const event = out.get(i);
    if (event === undefined) throw new RangeError("an event is missing");
    return event;
  });
}

interface Notes {
  readonly held: ReadonlyMap<number, QuarantineReason>;
  readonly clocks: ReadonlyMap<number, { readonly offsetMs: number }>;
  readonly clips: ReadonlyMap<number, Clips>;
}

/** What is said of some events, by their indexes. */
function sparse<T>(from: Reader, count: number, read: () => T): ReadonlyMap<number, T> {
  let at = -1;
  const found = from.array(count, (): [number, T] => {
    at += whole(from.long(), "a count of events") + 1;
    if (at >= count) throw new RangeError("an index points nowhere");
    return [at, read()];
  });
  return new Map(found);
}

function readNotes(from: Reader, { count, origins }: ReadHeads): Notes {
  const held = sparse(from, count, () => ({
    code: from.string(),
    message: from.string(),
    path: readOptional(from, from.string),
  }));
  const clocks = sparse(from, count, () => {
    const offsetMs: unknown = JSON.parse(from.string());
    if (typeof offsetMs !== "number") throw new RangeError("a clock's offset is not a number");
    return { offsetMs };
  });
  const clips = sparse(
    from,
    count,
    (): Clips =>
      Object.fromEntries(
        from.array(origins.length, (): [OriginId, Clip] => [
          pick(origins, from.long()),
          { code: pick(CLIP_CODES, from.long()), to: clippedTo(from.long()) },
        ]),
      ),
  );
  return { held, clocks, clips };
}

const clippedTo = (n: number): Seq | null => (n === -1 ? null : (whole(n, "a seq") as Seq));

/** Avro's union of nothing and something. */
export function readOptional<T>(from: Reader, read: () => T): T | null {
  const branch = from.long();
  if (branch === 0) return null;
  if (branch === 1) return read();
  throw new RangeError("a union has no such branch");
}
