import { type Position, position, positionToNumber } from "../../core/index.ts";
import { EMPTY, eachField, fieldOf, proto } from "./proto.ts";

/** EventStoreDB's messages (`event_store.client.streams`, `.shared`, `google.rpc.Status`) as plain values. */

export type Expected =
  | { readonly kind: "any" | "no_stream" | "stream_exists" }
  | { readonly kind: "revision"; readonly revision: number };

export interface ProposedEvent {
  readonly id: string;
  readonly type: string;
  readonly contentType: string;
  readonly data: Buffer;
  readonly metadata: Buffer;
}

/** The revision of a tombstone: 2^63 − 1. */
export const TOMBSTONE_REVISION = 2n ** 63n - 1n;
const TICKS_PER_MS = 10_000n;

const streamName = (identifier: Buffer): string => (fieldOf(identifier, 3) ?? EMPTY).toString("utf8");
const identifier = (stream: string): Buffer => proto().text(3, stream).finish();

const hex = (n: bigint, digits: number): string => BigInt.asUintN(64, n).toString(16).padStart(digits, "0");

function uuidOf(message: Buffer): string {
  let id = "";
  eachField(message, ({ number, bytes }) => {
    if (number === 2) id = bytes.toString("utf8");
    if (number !== 1) return;
    let most = 0n;
    let least = 0n;
    eachField(bytes, (half) => {
      if (half.number === 1) most = half.big;
      if (half.number === 2) least = half.big;
    });
    const all = hex(most, 16) + hex(least, 16);
    id = `${all.slice(0, 8)}-${all.slice(8, 12)}-${all.slice(12, 16)}-${all.slice(16, 20)}-${all.slice(20)}`;
  });
  return id;
}

/** The options of Append, Delete and Tombstone (fields 1–5) and of BatchAppend (the same, and 6: the deadline) share one layout. */
export interface WriteOptions {
  readonly stream: string;
  readonly expected: Expected;
}

export function decodeWriteOptions(message: Buffer): WriteOptions {
  let stream = "";
  let expected: Expected = { kind: "any" };
  eachField(message, ({ number, uint, bytes }) => {
    if (number === 1) stream = streamName(bytes);
    else if (number === 2) expected = { kind: "revision", revision: uint };
    else if (number === 3) expected = { kind: "no_stream" };
    else if (number === 4) expected = { kind: "any" };
    else if (number === 5) expected = { kind: "stream_exists" };
  });
  return { stream, expected };
}

function decodeProposed(message: Buffer): ProposedEvent {
  let id = "";
  let type = "";
  let contentType = "";
  let data: Buffer = EMPTY;
  let metadata: Buffer = EMPTY;
  eachField(message, ({ number, bytes }) => {
    if (number === 1) id = uuidOf(bytes);
    else if (number === 2) {
      const key = (fieldOf(bytes, 1) ?? EMPTY).toString("utf8");
      const value = (fieldOf(bytes, 2) ?? EMPTY).toString("utf8");
      if (key === "type") type = value;
      else if (key === "content-type") contentType = value;
    } else if (number === 3) metadata = bytes;
    else if (number === 4) data = bytes;
  });
  return { id, type, contentType, data, metadata };
}

export interface BatchAppendReq {
  readonly correlationId: string;
  readonly options: (WriteOptions & { readonly identifier: Buffer; readonly deadlineMs: number }) | null;
  readonly events: readonly ProposedEvent[];
  readonly isFinal: boolean;
}

/** The instant (google.protobuf.Timestamp) after which the caller no longer wants an append; Infinity: there is none. */
function decodeDeadline(options: Buffer): number {
  const timestamp = fieldOf(options, 6);
  if (timestamp === null) return Number.POSITIVE_INFINITY;
  let ms = 0;
  eachField(timestamp, ({ number, uint }) => {
    ms += number === 1 ? uint * 1000 : number === 2 ? uint / 1e6 : 0;
  });
  return ms;
}

export function decodeBatchAppendReq(message: Buffer): BatchAppendReq {
  let correlationId = "";
  let options: BatchAppendReq["options"] = null;
  let isFinal = false;
  const events: ProposedEvent[] = [];
  eachField(message, ({ number, uint, bytes }) => {
    if (number === 1) correlationId = uuidOf(bytes);
    else if (number === 2)
      options = { ...decodeWriteOptions(bytes), identifier: fieldOf(bytes, 1) ?? EMPTY, deadlineMs: decodeDeadline(bytes) };
    else if (number === 3) events.push(decodeProposed(bytes));
    else if (number === 4) isFinal = uint === 1;
  });
  return { correlationId, options, events, isFinal };
}

export type AppendReq =
  | { readonly kind: "options"; readonly options: WriteOptions }
  | { readonly kind: "event"; readonly event: ProposedEvent };

export function decodeAppendReq(message: Buffer): AppendReq {
  const options = fieldOf(message, 1);
  return options === null
    ? { kind: "event", event: decodeProposed(fieldOf(message, 2) ?? EMPTY) }
    : { kind: "options", options: decodeWriteOptions(options) };
}

export const decodeDeleteReq = (message: Buffer): WriteOptions => decodeWriteOptions(fieldOf(message, 1) ?? EMPTY);

/** Where a read begins: `At` is a revision in a stream, or a position in the whole log. */
export type From<At> = { readonly kind: "start" } | { readonly kind: "end" } | { readonly kind: "at"; readonly at: At };

export interface Filter {
  readonly on: "stream" | "type";
  readonly regex: string;
  readonly prefixes: readonly string[];
  /** How many events are looked at between two checkpoints. */
  readonly checkpointEvery: number;
}

/** What is read: a stream, or the whole log. */
type Source = { readonly stream: string; readonly from: From<number> } | { readonly stream: null; readonly from: From<Position> };

export type ReadReq = Source & {
  readonly backwards: boolean;
  readonly resolveLinks: boolean;
  /** How many events are read; `null`: it is a subscription. */
  readonly count: number | null;
  readonly filter: Filter | null;
};

/** Which stream is read, and from which revision. */
function decodeStreamOptions(message: Buffer): { readonly stream: string; readonly from: From<number> } {
  let stream = "";
  let from: From<number> = { kind: "start" };
  eachField(message, ({ number, uint, bytes }) => {
    if (number === 1) stream = streamName(bytes);
    else if (number === 2) from = { kind: "at", at: uint };
    else if (number === 3) from = { kind: "start" };
    else if (number === 4) from = { kind: "end" };
  });
  return { stream, from };
}

/** Where a read of the whole log begins. */
function decodeAllOptions(message: Buffer): From<Position> {
  let from: From<Position> = { kind: "start" };
  eachField(message, ({ number, bytes }) => {
    if (number === 1) from = { kind: "at", at: decodeCommit(bytes) };
    else if (number === 2) from = { kind: "start" };
    else if (number === 3) from = { kind: "end" };
  });
  return from;
}

/** The commit position in a position message, which also has a prepare position. */
function decodeCommit(message: Buffer): Position {
  let commit = 0n;
  eachField(message, ({ number, big }) => {
    if (number === 1) commit = big;
  });
  return position(commit);
}

/** How many events a server looks at between checkpoints when the client names no window. */
const DEFAULT_WINDOW = 32;

function decodeFilter(message: Buffer): Filter {
  let on: Filter["on"] = "stream";
  let regex = "";
  const prefixes: string[] = [];
  let window = DEFAULT_WINDOW;
  let multiplier = 1;
  eachField(message, ({ number, uint, bytes }) => {
    if (number === 1 || number === 2) {
      on = number === 1 ? "stream" : "type";
      eachField(bytes, (part) => {
        if (part.number === 1) regex = part.bytes.toString("utf8");
        else if (part.number === 2) prefixes.push(part.bytes.toString("utf8"));
      });
    } else if (number === 3) window = uint;
    else if (number === 5) multiplier = uint;
  });
  return { on, regex, prefixes, checkpointEvery: Math.max(1, window) * Math.max(1, multiplier) };
}

export function decodeReadReq(message: Buffer): ReadReq {
  let source: Source = { stream: null, from: { kind: "start" } };
  let backwards = false;
  let resolveLinks = false;
  let count: number | null = 0;
  let filter: Filter | null = null;
  eachField(fieldOf(message, 1) ?? EMPTY, ({ number, uint, bytes }) => {
    if (number === 1) source = decodeStreamOptions(bytes);
    else if (number === 2) source = { stream: null, from: decodeAllOptions(bytes) };
    else if (number === 3) backwards = uint === 1;
    else if (number === 4) resolveLinks = uint === 1;
    else if (number === 5) count = uint;
    else if (number === 6) count = null;
    else if (number === 7) filter = decodeFilter(bytes);
  });
  return { ...source, backwards, resolveLinks, count, filter };
}

// --- answers ---------------------------------------------------------------------------------------------------------

const mapEntry = (key: string, value: string): Buffer => proto(64).text(1, key).text(2, value).finish();

export interface Recorded {
  readonly stream: string;
  readonly revision: number | bigint;
  readonly position: Position;
  readonly createdMs: number;
}

/** A recorded event as the ReadResp that a reader gets: encoded once when it is written, and sent as it is from then on. */
export function encodeEvent(event: ProposedEvent, { stream, revision, position, createdMs }: Recorded): Buffer {
  const recorded = proto(400 + event.data.length + event.metadata.length)
    .message(1, proto(64).text(2, event.id).finish())
    .message(2, identifier(stream))
    .uint(3, revision)
    .uint(4, positionToNumber(position))
    .uint(5, positionToNumber(position))
    .message(6, mapEntry("type", event.type))
    .message(6, mapEntry("content-type", event.contentType))
    .message(6, mapEntry("created", (BigInt(Math.trunc(createdMs)) * TICKS_PER_MS).toString()))
    .bytes(7, event.metadata)
    .bytes(8, event.data)
    .finish();
  return readEvent(recorded, null, position);
}

const readEvent = (event: Buffer | null, link: Buffer | null, position: Position): Buffer => {
  const body = proto((event?.length ?? 0) + (link?.length ?? 0) + 48);
  if (event !== null) body.message(1, event);
  if (link !== null) body.message(2, link);
  body.uint(3, positionToNumber(position), true);
  const inner = body.finish();
  return proto(inner.length + 16)
    .message(1, inner)
    .finish();
};

/** The RecordedEvent inside a ReadResp that `encodeEvent` made. */
const recordedIn = (readResp: Buffer): Buffer => fieldOf(fieldOf(readResp, 1)!, 1)!;

export const dataIn = (readResp: Buffer): Buffer => fieldOf(recordedIn(readResp), 8) ?? EMPTY;

/** A link and the event that it points to (`null`: it is gone) as one answer. */
export const encodeResolved = (link: Buffer, target: Buffer | null, position: Position): Buffer =>
  readEvent(target === null ? null : recordedIn(target), recordedIn(link), position);

export const encodeConfirmation = (id: string): Buffer => proto().message(2, proto().text(1, id).finish()).finish();
const positionMessage = (position: Position): Buffer => {
  const commit = positionToNumber(position);
  return proto(32).uint(1, commit, true).uint(2, commit, true).finish();
};
export const encodeCheckpoint = (position: Position): Buffer => proto(40).message(3, positionMessage(position)).finish();
export const encodeNotFound = (stream: string): Buffer =>
  proto()
    .message(4, proto().message(1, identifier(stream)).finish())
    .finish();
export const CAUGHT_UP = proto().message(8, EMPTY).finish();

export interface AppendSuccess {
  /** `null`: the stream holds no event (no event was appended). */
  readonly revision: number | null;
  readonly position: Position;
}

export interface WrongVersion {
  readonly expected: Expected;
  /** The stream's last revision; −1: the stream does not exist. */
  readonly actual: number;
}

export function encodeAppendSuccess({ revision, position }: AppendSuccess): Buffer {
  const success = proto();
  if (revision === null) success.message(2, EMPTY);
  else success.uint(1, revision, true);
  return proto()
    .message(1, success.message(3, positionMessage(position)).finish())
    .finish();
}

export function encodeAppendWrongVersion({ expected, actual }: WrongVersion): Buffer {
  const wrong = proto();
  if (actual < 0) wrong.message(7, EMPTY);
  else wrong.uint(6, actual, true);
  if (expected.kind === "revision") wrong.uint(8, expected.revision, true);
  else wrong.message({ any: 9, stream_exists: 10, no_stream: 11 }[expected.kind], EMPTY);
  return proto().message(2, wrong.finish()).finish();
}

export const encodeDeleteResp = (position: Position): Buffer => proto().message(1, positionMessage(position)).finish();

const uuidMessage = (id: string): Buffer => proto(64).text(2, id).finish();

export function encodeBatchSuccess(
  req: { correlationId: string; identifier: Buffer },
  { revision, position }: AppendSuccess,
): Buffer {
  const success = proto();
  if (revision === null) success.message(2, EMPTY);
  else success.uint(1, revision, true);
  success.message(3, positionMessage(position));
  return proto().message(1, uuidMessage(req.correlationId)).message(3, success.finish()).message(4, req.identifier).finish();
}

export type BatchFailure =
  | { readonly kind: "WrongExpectedVersion"; readonly wrong: WrongVersion }
  | { readonly kind: "StreamDeleted"; readonly stream: string }
  | { readonly kind: "MaximumAppendSizeExceeded"; readonly bytes: number }
  | { readonly kind: "BadRequest"; readonly message: string }
  | { readonly kind: "Unknown"; readonly message: string }
  | { readonly kind: "Timeout" };

/** `google.rpc.Code` of each failure, as the server gives it. */
const CODES: Record<BatchFailure["kind"], number> = {
  WrongExpectedVersion: 9,
  StreamDeleted: 9,
  MaximumAppendSizeExceeded: 3,
  BadRequest: 3,
  Unknown: 2,
  Timeout: 4,
};

function failureDetails(failure: BatchFailure): Buffer {
  switch (failure.kind) {
    case "WrongExpectedVersion": {
      const { expected, actual } = failure.wrong;
      const wrong = proto();
      if (actual < 0) wrong.message(2, EMPTY);
      else wrong.uint(1, actual, true);
      if (expected.kind === "revision") wrong.uint(3, expected.revision, true);
      else wrong.message({ any: 4, stream_exists: 5, no_stream: 6 }[expected.kind], EMPTY);
      return wrong.finish();
    }
    case "StreamDeleted":
      return proto().message(1, identifier(failure.stream)).finish();
    case "MaximumAppendSizeExceeded":
      return proto().uint(1, failure.bytes).finish();
    case "BadRequest":
      return proto().text(1, failure.message).finish();
    case "Unknown":
    case "Timeout":
      return EMPTY;
  }
}

export function encodeBatchFailure(req: { correlationId: string; identifier: Buffer }, failure: BatchFailure): Buffer {
  // The client shows a failure's words only when it does not know its type.
  const type = failure.kind === "Unknown" ? "google.rpc.DebugInfo" : `event_store.client.${failure.kind}`;
  const any = proto().text(1, `type.googleapis.com/${type}`).bytes(2, failureDetails(failure)).finish();
  const message = failure.kind === "Unknown" ? failure.message : failure.kind;
  const status = proto().uint(1, CODES[failure.kind]).text(2, message).message(3, any).finish();
  return proto().message(1, uuidMessage(req.correlationId)).message(2, status).message(4, req.identifier).finish();
}

const METHODS: readonly (readonly [method: string, features: readonly string[]])[] = [
  ["read", ["position", "events"]],
  ["append", []],
  ["delete", []],
  ["tombstone", []],
  ["batchappend", ["deadline_duration"]],
];

export function encodeSupportedMethods(version: string): Buffer {
  const out = proto();
  const add = (service: string, method: string, features: readonly string[] = []): void => {
    const body = proto().text(1, method).text(2, service);
    for (const feature of features) body.text(3, feature);
    out.message(1, body.finish());
  };
  for (const [method, features] of METHODS) add("event_store.client.streams.streams", method, features);
  add("event_store.client.gossip.gossip", "read");
  add("event_store.client.server_features.serverfeatures", "getsupportedmethods");
  return out.text(2, version).finish();
}

const LEADER = 8;

export const encodeClusterInfo = (id: string, host: string, port: number, nowMs: number): Buffer =>
  proto()
    .message(
      1,
      proto()
        .message(1, uuidMessage(id))
        .uint(2, BigInt(Math.trunc(nowMs)) * TICKS_PER_MS)
        .uint(3, LEADER)
        .uint(4, 1)
        .message(5, proto().text(1, host).uint(2, port).finish())
        .finish(),
    )
    .finish();
