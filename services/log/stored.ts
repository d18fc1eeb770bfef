import {
  type BinaryEventType,
  binaryEvent,
  type EventData,
  type JSONEventType,
  jsonEvent,
  type ResolvedEvent,
} from "@eventstore/db-client";
import {
  type Appendable,
  type ClockNote,
  type Content,
  canonicalize,
  clipsFromStored,
  clipsToStored,
  type EventHead,
  type EventId,
  type Hash,
  isHash,
  isJsonObject,
  isOriginId,
  type LogEntry,
  MAX_EVENT_BYTES,
  type OriginId,
  position,
  type QuarantineMark,
  type QuarantineReason,
  type Seq,
  type Signature,
  type Vector,
} from "../core/index.ts";
import { zstd } from "../core/node.ts";

/** The event store counts an event's data and metadata together, and takes 1 MiB; this is left for what it adds itself, and for a run's signature. */
const MAX_STORED_BYTES = 1_048_576 - 1_280;
/** What a packed event may unpack to: an event as large as one may be, and the vector of thousands of origins. */
const MAX_UNPACKED_BYTES = 8 * 1_048_576;

export const ORIGIN_PREFIX = "origin-";
export const streamOf = (origin: OriginId): string => ORIGIN_PREFIX + origin;
export const QUARANTINED = "quarantined";

type Metadata = Record<string, unknown> & { readonly origin: OriginId; readonly hash: Hash };

/** What the metadata of a quarantined event says; its data are the bytes that its hash covers, or those packed together with a basis that is too large. */
interface Held {
  readonly type: string;
  readonly reason: QuarantineReason;
  readonly packed?: "zstd";
}

/**
 * The form in which the event store keeps an event: the envelope as JSON in the metadata. An accepted event's data are readable JSON. A quarantined one's are
 * bytes: as a text inside a text they could grow beyond what the store takes, and an event that cannot be stored would block its device.
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
    ...(item.clips === undefined ? {} : { clipped: clipsToStored(item.clips) }),
    ...(correlationId === undefined ? {} : { $correlationId: correlationId }),
    ...(causationId === undefined ? {} : { $causationId: causationId }),
    ...(lastQuarantined === undefined ? {} : { lastQuarantined: lastQuarantined ?? -1 }),
    ...(quarantined === undefined ? {} : { quarantined }),
  };
}

/** Whether the event store takes an event. An upper estimate settles it for nearly all. */
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
  const { type, actor, entity, schema, correlationId = "", causationId = "" } = head;
  const names = type.length + actor.length + entity.id.length + entity.type.length + schema.subject.length;
  // Names are at most 200 characters of at most 4 bytes (6 where JSON escapes them); the fixed members (hashes, clock, ids, keys) take under 1,000.
  return dataBytes + basisBytes + 1_000 + 6 * (names + correlationId.length + causationId.length);
}

/** Reads an event back; `null` for an event that is none of ours (another writer's, or metadata that lacks the envelope). */
export function fromStored({ event }: ResolvedEvent): LogEntry | null {
  if (event === undefined || !event.streamId.startsWith(ORIGIN_PREFIX)) return null;
  const metadata = event.metadata as Metadata | undefined;
  if (metadata === undefined || !isOriginId(metadata.origin) || !isHash(metadata.hash)) return null;
  const { clock, signed, clipped, $correlationId, $causationId, lastQuarantined, quarantined, ...rest } = metadata as Metadata & {
    readonly clock?: ClockNote;
    readonly signed?: Signature;
    readonly clipped?: unknown;
    readonly $correlationId?: string;
    readonly $causationId?: string;
    readonly lastQuarantined?: number;
    readonly quarantined?: Held;
  };
  const kept = event.isJson ? readable(event.type, event.data) : bytesOf(event.data as Uint8Array, quarantined);
  if (kept === null) return null;
  const clips = clipsFromStored(kept.clipped ?? clipped);
  const head = {
    ...rest,
    ...(kept.basis === undefined ? {} : { basis: kept.basis }),
    id: event.id as EventId,
    type: kept.type,
    ...($correlationId === undefined ? {} : { correlationId: $correlationId }),
    ...($causationId === undefined ? {} : { causationId: $causationId }),
  } as unknown as EventHead;
  return {
    head,
    content: kept.content,
    clock: clock ?? null,
    ...(signed === undefined ? {} : { signed }),
    ...(clips === undefined ? {} : { clips }),
    position: position((event as unknown as { position: { commit: bigint } }).position.commit),
    recordedAtMs: event.created.getTime(),
    ...(typeof lastQuarantined === "number" ? { lastQuarantined: lastQuarantined < 0 ? null : (lastQuarantined as Seq) } : {}),
  };
}

interface Kept {
  readonly type: string;
  readonly content: Content;
  readonly basis?: Vector;
  readonly clipped?: unknown;
}

/** Of an event kept as JSON: accepted, or quarantined as logs had it before, a text inside the data. */
function readable(type: string, data: unknown): Kept | null {
  if (!isJsonObject(data)) return null;
  if (type !== QUARANTINED) return { type, content: { kind: "accepted", data } };
  const old = data as unknown as { readonly type: string; readonly reason: QuarantineReason; readonly text: string };
  return { type: old.type, content: { kind: "quarantined", reason: old.reason, text: old.text } };
}

/** Of an event kept as bytes: those that its hash covers. */
function bytesOf(data: Uint8Array, about: Held | undefined): Kept | null {
  if (about === undefined) return null;
  const { type, reason, packed } = about;
  const text = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString();
  if (packed === undefined) return { type, content: { kind: "quarantined", reason, text: text(data) } };
  const whole = JSON.parse(text(zstd.decompress(data, MAX_UNPACKED_BYTES))) as {
    readonly basis: Vector;
    readonly clipped?: unknown;
    readonly text: string;
  };
  return { type, basis: whole.basis, clipped: whole.clipped, content: { kind: "quarantined", reason, text: whole.text } };
}

/** The data's text as the event's hash covers it. */
export const textOf = (content: Content): string => (content.kind === "accepted" ? canonicalize(content.data) : content.text);
