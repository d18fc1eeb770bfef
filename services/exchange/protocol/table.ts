/** The events of a page while it is written: each stands once, however many sections name it, in the order in which they are first named. */
import {
  addHead,
  assert,
  GENESIS,
  type Hash,
  type HeadColumns,
  hexBytes,
  joined,
  type PackedEvent,
  type Position,
  positionToNumber,
  type SchemaRef,
  TributaryError,
  type Writer,
  writeHeads,
} from "../../core/index.ts";
import { tooMany } from "./frame.ts";
import { MAX_PAGE_EVENTS } from "./messages.ts";
import type { PagedEvent } from "./page.ts";
import { type Base, CLIP_CODES, ENCODINGS, eventKey, HASH_BYTES } from "./parts.ts";
import { type ShapedData, shapedData } from "./shaped.ts";

/** How an event's text travels: Avro where the asker can read it, else the text itself as UTF-8. */
export type Pack = (schema: SchemaRef, text: string) => Pick<PackedEvent, "encoding" | "payload">;

export interface Table {
  readonly events: readonly PagedEvent[];
  /** Names an event: how far it stands before the first that is not named yet; 0 is that one. */
  mention(event: PagedEvent): number;
}

export function eventTable(): Table {
  const events: PagedEvent[] = [];
  const index = new Map<string, number>();
  return {
    events,
    mention(event) {
      const key = eventKey(event.head.origin, event.head.seq);
      const at = index.get(key);
      if (at === undefined) {
        index.set(key, events.length);
        events.push(event);
        if (events.length > MAX_PAGE_EVENTS) throw tooMany("events", events.length, MAX_PAGE_EVENTS);
        return 0;
      }
      assert(events[at]?.hash === event.hash, `event ${key} has one hash in a page`);
      return events.length - at;
    },
  };
}

/** A position as the number that travels. The log would have to hold 8 PiB before it did not fit. */
export function numberOf(at: Position): number {
  const number = positionToNumber(at);
  assert(Number.isSafeInteger(number), `position ${at} is below 2^53`);
  return number;
}

/** Writes a text of so many bytes in hexadecimal. */
export function writeHex(out: Writer, hex: string, bytes: number): void {
  assert(hex.length === bytes * 2, `${hex} has ${bytes} bytes in hexadecimal`);
  out.fixed(hexBytes(hex));
}

export const writeHashes = (out: Writer, hashes: readonly Hash[]): void => {
  assert(
    hashes.every(({ length }) => length === HASH_BYTES * 2),
    "a hash has 32 bytes",
  );
  out.bytes(hexBytes(hashes.join("")));
};

const encoder = new TextEncoder();
const NOTHING = new Uint8Array(0);

/** Columns of a page's events beside their heads. */
interface Columns {
  readonly origin: number[];
  readonly seq: number[];
  readonly position: number[];
  readonly recordedMs: number[];
  readonly encoding: number[];
  readonly payloads: Uint8Array[];
}

/** Writes the events' heads, columns and data, and what is said of the few of which something is said. `heads` may have texts in its dictionaries already. */
export function writeEvents(
  out: Writer,
  events: readonly PagedEvent[],
  heads: HeadColumns,
  { base, pack }: { readonly base: Base; readonly pack: Pack | undefined },
): void {
  const columns: Columns = { origin: [], seq: [], position: [], recordedMs: [], encoding: [], payloads: [] };
  const shaped = shapedData();
  const last = new Map<string, { seq: number; wallMs: number }>();
  let { position, nowMs: recordedMs } = base;
  for (const { head, text, position: at, recordedAtMs } of events) {
    const before = last.get(head.origin);
    columns.origin.push(heads.origins.of(head.origin));
    columns.seq.push(head.seq - (before === undefined ? 0 : before.seq + 1));
    const wallMs = addHead(heads, head, "", before?.wallMs ?? recordedAtMs);
    last.set(head.origin, { seq: head.seq, wallMs });
    columns.position.push(numberOf(at) - position);
    position = numberOf(at);
    columns.recordedMs.push(recordedAtMs - recordedMs);
    recordedMs = recordedAtMs;
    const { encoding, payload } = travelling(head, text, pack, shaped);
    columns.encoding.push(ENCODINGS.indexOf(encoding));
    columns.payloads.push(payload);
  }
  const clips = clipsOf(events, heads);
  writeHeads(out, heads);
  for (const column of [columns.origin, columns.seq, columns.position, columns.recordedMs, columns.encoding])
    out.array(column, out.long);
  out.array(columns.payloads, ({ length }) => out.long(length));
  out.bytes(joined(columns.payloads));
  shaped.write(out);
  writeHashes(out, prevsOf(events));
  const hashes = events.flatMap(({ text, hash }) => (text === null ? [hash] : []));
  writeHashes(out, hashes);
  writeNotes(out, events);
  out.array(clips, ({ skip, clips: of }) => {
    out.long(skip);
    out.array(of, (numbers) => numbers.forEach(out.long));
  });
}

/** The form in which an event's data travels, and its bytes there, if it has any of its own. */
function travelling(
  head: PagedEvent["head"],
  text: string | null,
  pack: Pack | undefined,
  shaped: ShapedData,
): { readonly encoding: (typeof ENCODINGS)[number]; readonly payload: Uint8Array } {
  if (text === null) return { encoding: "none", payload: NOTHING };
  const packed = pack?.(head.schema, text);
  if (packed?.encoding === "avro") return packed;
  return shaped.add(head, text) ? { encoding: "shaped", payload: NOTHING } : { encoding: "json", payload: encoder.encode(text) };
}

/** The hashes before those events whose predecessor is not in the page. Throws `chain-broken` where the log's own chain does not hold. */
function prevsOf(events: readonly PagedEvent[]): Hash[] {
  const hashes = new Map(events.map(({ head, hash }) => [eventKey(head.origin, head.seq), hash]));
  return events.flatMap(({ head: { origin, seq }, prev }) => {
    const known = seq === 0 ? GENESIS : hashes.get(eventKey(origin, seq - 1));
    if (known !== undefined && known !== prev)
      throw new TributaryError(
        "chain-broken",
        `event ${seq} of ${origin} does not follow the one before it in the hub's log`,
        "Run tributary verify on the hub.",
      );
    return known === undefined ? [prev] : [];
  });
}

/** Those of a list of which something is said, each with the number of items between it and the one before. */
function sparse<T, U>(list: readonly T[], of: (item: T) => U | null): { readonly skip: number; readonly value: U }[] {
  let next = 0;
  return list.flatMap((item, i) => {
    const value = of(item);
    if (value === null) return [];
    const skip = i - next;
    next = i + 1;
    return [{ skip, value }];
  });
}

function writeNotes(out: Writer, events: readonly PagedEvent[]): void {
  const held = sparse(events, (event) => event.held);
  out.array(held, ({ skip, value: { code, message, path } }) => {
    out.long(skip);
    out.string(code);
    out.string(message);
    out.long(path === null ? 0 : 1);
    if (path !== null) out.string(path);
  });
  const clocks = sparse(events, (event) => event.clock);
  out.array(clocks, ({ skip, value }) => {
    out.long(skip);
    out.string(JSON.stringify(value.offsetMs));
  });
}

/** Each clip as three numbers; the origins that they name go into the dictionary. */
function clipsOf(events: readonly PagedEvent[], heads: HeadColumns) {
  return sparse(events, (event) => event.clips ?? null).map(({ skip, value }) => ({
    skip,
    clips: Object.entries(value).map(([origin, { code, to }]) => [heads.origins.of(origin), CLIP_CODES.indexOf(code), to ?? -1]),
  }));
}
