import { type JSONEventType, jsonEvent, type ResolvedEvent } from "@eventstore/db-client";
import {
  type ClockNote,
  canonicalize,
  type EventBody,
  type EventId,
  type Hash,
  isHash,
  isJsonObject,
  isOriginId,
  type JsonObject,
  type OriginId,
  type Position,
  position,
  type Seq,
  type Signature,
} from "../core/index.ts";

export type EventHead = Omit<EventBody, "data"> & { readonly id: EventId; readonly prev: Hash; readonly hash: Hash };

/** Why the gate held an event back. */
export interface QuarantineReason {
  readonly code: string;
  readonly message: string;
  /** JSON pointer into the data, where the problem has a place. */
  readonly path: string | null;
}

export type Content =
  | { readonly kind: "accepted"; readonly data: JsonObject }
  /** Held back by the gate: kept at its seq, as the text that its hash covers. */
  | { readonly kind: "quarantined"; readonly reason: QuarantineReason; readonly text: string };

/** An event on its way into the log. */
export interface Appendable {
  readonly head: EventHead;
  readonly content: Content;
  readonly clock: ClockNote | null;
  /** The origin's signature of the run that ends here: of this event and all before it. Beside the hashed event. */
  readonly signed?: Signature;
}

/** An event in the log. */
export interface LogEntry extends Appendable {
  readonly position: Position;
  /** When the event store recorded it, by its clock. */
  readonly recordedAtMs: number;
}

/** Where an origin stands in the log. */
export interface OriginHead {
  readonly through: Seq;
  readonly hash: Hash;
  readonly position: Position;
}

export const ORIGIN_PREFIX = "origin-";
export const streamOf = (origin: OriginId): string => ORIGIN_PREFIX + origin;
export const QUARANTINED = "quarantined";

type Metadata = Record<string, unknown> & { readonly origin: OriginId; readonly hash: Hash };

/** The form in which the event store keeps an event: readable JSON, the envelope in the metadata. */
export function toStored({ head, content, clock, signed }: Appendable): ReturnType<typeof jsonEvent<JSONEventType>> {
  const { id, type, correlationId, causationId, ...rest } = head;
  const metadata = {
    ...rest,
    ...(clock === null ? {} : { clock }),
    ...(signed === undefined ? {} : { signed }),
    ...(correlationId === undefined ? {} : { $correlationId: correlationId }),
    ...(causationId === undefined ? {} : { $causationId: causationId }),
  };
  return content.kind === "accepted"
    ? jsonEvent({ id, type, data: content.data as JSONEventType["data"], metadata })
    : jsonEvent({ id, type: QUARANTINED, data: { type, reason: { ...content.reason }, text: content.text }, metadata });
}

/** Reads an event back; `null` for an event that is none of ours (another writer's, or metadata that lacks the envelope). */
export function fromStored({ event }: ResolvedEvent): LogEntry | null {
  if (event === undefined || !event.isJson || !event.streamId.startsWith(ORIGIN_PREFIX)) return null;
  const metadata = event.metadata as Metadata | undefined;
  if (metadata === undefined || !isOriginId(metadata.origin) || !isHash(metadata.hash)) return null;
  const { clock, signed, $correlationId, $causationId, ...rest } = metadata as Metadata & {
    readonly clock?: ClockNote;
    readonly signed?: Signature;
    readonly $correlationId?: string;
    readonly $causationId?: string;
  };
  const data = event.data as unknown;
  if (!isJsonObject(data)) return null;
  const quarantined = event.type === QUARANTINED;
  const held = data as unknown as { readonly type: string; readonly reason: QuarantineReason; readonly text: string };
  const head = {
    ...rest,
    id: event.id as EventId,
    type: quarantined ? held.type : event.type,
    ...($correlationId === undefined ? {} : { correlationId: $correlationId }),
    ...($causationId === undefined ? {} : { causationId: $causationId }),
  } as unknown as EventHead;
  return {
    head,
    content: quarantined ? { kind: "quarantined", reason: held.reason, text: held.text } : { kind: "accepted", data },
    clock: clock ?? null,
    ...(signed === undefined ? {} : { signed }),
    position: position((event as unknown as { position: { commit: bigint } }).position.commit),
    recordedAtMs: event.created.getTime(),
  };
}

/** The data's text as the event's hash covers it. */
export const textOf = (content: Content): string => (content.kind === "accepted" ? canonicalize(content.data) : content.text);
