import {
  type BinaryEventType,
  binaryEvent,
  type EventData,
  type JSONEventType,
  jsonEvent,
  type RecordedEvent,
  type ResolvedEvent,
} from "@eventstore/db-client";
import {
  type Appendable,
  assert,
  type Content,
  canonicalize,
  clipsFromStored,
  clipsToStored,
  type EventHead,
  type EventId,
  isJsonObject,
  type LogEntry,
  MAX_EVENT_BYTES,
  messageOf,
  type OriginId,
  type Position,
  position,
  positionToText,
  type QuarantineMark,
  type TakenIn,
  TributaryError,
  type Vector,
} from "../core/index.ts";
import { zstd } from "../core/node.ts";
import { type Held, Malformed, readEnvelope, reasonOf, textOf as textIn, vectorOf } from "./envelope.ts";

/** The event store takes 1 MiB for an event's data and metadata together; 1,280 bytes are left for what it adds itself and for a run's two signatures. */
const MAX_STORED_BYTES = 1_048_576 - 1_280;
/** How many bytes a packed event may unpack to: the largest event, and a vector of thousands of origins. */
const MAX_UNPACKED_BYTES = 8 * 1_048_576;

export const ORIGIN_PREFIX = "origin-";
export const streamOf = (origin: OriginId): string => ORIGIN_PREFIX + origin;
export const QUARANTINED = "quarantined";

/**
 * The form in which the event store keeps an event: the envelope is JSON in the metadata. An accepted event's data are readable JSON. A quarantined event's data are
 * bytes: as a text inside a JSON text they could grow beyond what the store takes, and an event that cannot be stored would block its device.
 */
export function toStored(item: Appendable, lastQuarantined?: QuarantineMark): EventData {
  const { content } = item;
  const { id, type } = item.head;
  const metadata = metadataOf(item, lastQuarantined);
  if (content.kind === "accepted") return jsonEvent({ id, type, data: content.data as JSONEventType["data"], metadata });
  const data = Buffer.from(content.text);
  if (data.length + jsonBytes(metadata) <= MAX_STORED_BYTES) return held(id, data, metadata);
  const { basis, clipped, ...rest } = metadata;
  const bytes = Buffer.from(zstd.compress(Buffer.from(JSON.stringify({ basis, clipped, text: content.text }))));
  return held(id, bytes, { ...rest, quarantined: { ...heldOf(item), packed: "zstd" } });
}

const held = (id: EventId, data: Uint8Array, metadata: Record<string, unknown>): EventData =>
  binaryEvent<BinaryEventType>({ id, type: QUARANTINED, data, metadata });

const jsonBytes = (value: unknown): number => Buffer.byteLength(JSON.stringify(value));

const heldOf = ({ head, content }: Appendable): Held | undefined =>
  content.kind === "quarantined" ? { type: head.type, reason: { ...content.reason } } : undefined;

function metadataOf(item: Appendable, lastQuarantined: QuarantineMark): Record<string, unknown> {
  const { id: _, type: __, correlationId, causationId, ...rest } = item.head;
  const quarantined = heldOf(item);
  return {
    ...rest,
    ...(item.clock === null ? {} : { clock: item.clock }),
    ...(item.signed === undefined ? {} : { signed: item.signed }),
    ...(item.noted === undefined ? {} : { noted: item.noted }),
    ...(item.taken === undefined ? {} : { taken: storedTaken(item.taken) }),
    ...(item.clips === undefined ? {} : { clipped: clipsToStored(item.clips) }),
    ...(correlationId === undefined ? {} : { $correlationId: correlationId }),
    ...(causationId === undefined ? {} : { $causationId: causationId }),
    ...(lastQuarantined === undefined ? {} : { lastQuarantined: lastQuarantined ?? -1 }),
    ...(quarantined === undefined ? {} : { quarantined }),
  };
}

const storedTaken = ({ hub, position: at }: TakenIn): Record<string, unknown> => ({
  hub,
  ...(at === null ? {} : { position: positionToText(at) }),
});

/** Whether the event store takes an event. For nearly all events, an upper estimate is enough to tell. */
export function fitsStore(item: Appendable): boolean {
  if (storedBytes(item) <= MAX_EVENT_BYTES) return true;
  const { data, metadata } = toStored(item, item.head.seq);
  return (data instanceof Uint8Array ? data.length : jsonBytes(data)) + jsonBytes(metadata) <= MAX_STORED_BYTES;
}

/** An upper estimate of what the event store counts for an event: its data, its metadata, and framing. */
export function storedBytes({ head, content, clips }: Appendable): number {
  const dataBytes =
    content.kind === "accepted"
      ? Buffer.byteLength(JSON.stringify(content.data))
      : Buffer.byteLength(content.text) +
        4 * (head.type.length + content.reason.message.length + (content.reason.path?.length ?? 0)) +
        100;
  let basisBytes = 0;
  for (const origin in head.basis) basisBytes += origin.length + 20;
  for (const origin in clips) basisBytes += origin.length + 50;
  const { type, actor, entity, schema, correlationId, causationId } = head;
  const texts: Record<Chosen, string | undefined> = { type, actor, correlationId, causationId };
  let names = entity.id.length + entity.type.length + schema.subject.length;
  for (const text of Object.values(texts)) names += text?.length ?? 0;
  // Names are at most 200 characters of at most 4 bytes (6 where JSON escapes them); the fixed members (hashes, clock, ids, keys) take under 1,000.
  return dataBytes + basisBytes + 1_000 + 6 * names;
}

/** Texts that an author chose: all members but those of a fixed size, and those that are counted in their parts. The compiler asks for a new one. */
type Chosen = Exclude<
  keyof EventHead,
  "id" | "prev" | "hash" | "origin" | "org" | "seq" | "occurredAt" | "hlc" | "basis" | "entity" | "schema"
>;

/** Reads an event back; `null` for an event that is not ours: it is in another stream, or has no envelope. Throws `data-corrupt`. */
export function fromStored({ event }: ResolvedEvent): LogEntry | null {
  if (event === undefined || !event.streamId.startsWith(ORIGIN_PREFIX)) return null;
  try {
    return entryOf(event);
  } catch (error) {
    throw new TributaryError(
      "data-corrupt",
      `event ${event.revision} of ${event.streamId}, at position ${positionToText(positionIn(event))}, cannot be read: ${messageOf(error)}`,
      "Another program wrote it, or the event store is damaged. Keep its data as they are, and restore the last backup into a new folder: devices send again what it lacks.",
      { cause: error },
    );
  }
}

/** Where a recorded event stands. The client's types name the position only for reads of `$all`; it comes with each event. */
export function positionIn(event: RecordedEvent): Position {
  const { position: at } = event as RecordedEvent & { readonly position?: { readonly commit: bigint } };
  assert(at !== undefined, "a recorded event has a position");
  return position(at.commit);
}

function entryOf(event: RecordedEvent): LogEntry | null {
  const envelope = readEnvelope(event.metadata);
  if (envelope === null) return null;
  const { signed, noted, taken, lastQuarantined } = envelope;
  const kept = event.isJson ? readable(event.type, event.data) : bytesOf(event.data, envelope.held);
  const clips = clipsFromStored(kept.clipped ?? envelope.clipped);
  const basis = kept.basis ?? envelope.basis;
  if (basis === undefined) throw new Malformed("basis is missing");
  return {
    // The event store's ids are UUIDs; whether this one follows from clock and hash is the auditor's question.
    head: { ...envelope.head, id: event.id as EventId, type: kept.type, basis },
    content: kept.content,
    clock: envelope.clock,
    ...(signed === undefined ? {} : { signed }),
    ...(noted === undefined ? {} : { noted }),
    ...(taken === undefined ? {} : { taken }),
    ...(clips === undefined ? {} : { clips }),
    position: positionIn(event),
    recordedAtMs: event.created.getTime(),
    ...(lastQuarantined === undefined ? {} : { lastQuarantined }),
  };
}

interface Kept {
  readonly type: string;
  readonly content: Content;
  readonly basis?: Vector;
  readonly clipped?: unknown;
}

/** Reads an event kept as JSON: an accepted one, or a quarantined one in the earlier form, as a text inside the data. */
function readable(type: string, data: unknown): Kept {
  if (!isJsonObject(data)) throw new Malformed("its data are not a JSON object");
  if (type !== QUARANTINED) return { type, content: { kind: "accepted", data } };
  const reason = reasonOf(data.reason, "reason");
  return { type: textIn(data.type, "type"), content: { kind: "quarantined", reason, text: textIn(data.text, "text") } };
}

/** Reads a quarantined event kept as bytes: those that its hash covers. */
function bytesOf(data: Uint8Array, about: Held | undefined): Kept {
  if (about === undefined) throw new Malformed("quarantined is missing");
  const { type, reason, packed } = about;
  const text = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString();
  if (packed === undefined) return { type, content: { kind: "quarantined", reason, text: text(data) } };
  const whole: unknown = JSON.parse(text(zstd.decompress(data, MAX_UNPACKED_BYTES)));
  if (!isJsonObject(whole)) throw new Malformed("its packed data are not a JSON object");
  const content: Content = { kind: "quarantined", reason, text: textIn(whole.text, "text") };
  return { type, basis: vectorOf(whole.basis), clipped: whole.clipped, content };
}

/** The text of the data that the event's hash covers. */
export const textOf = (content: Content): string => (content.kind === "accepted" ? canonicalize(content.data) : content.text);
