import { status as code, Metadata, type ServiceError, type status } from "@grpc/grpc-js";
import { messageOf } from "../../core/index.ts";
import type { Expected } from "./messages.ts";
import { isDamage } from "./store/database.ts";

/** Where a node writes its log. */
export type NodeLog = (event: Record<string, unknown>) => void;

/** A gRPC error. The official client recognises it by its `trailers`. */
export function failure(grpcCode: status, message: string, trailers: Readonly<Record<string, string>> = {}): ServiceError {
  const metadata = new Metadata();
  for (const [key, value] of Object.entries(trailers)) metadata.set(key, value);
  return Object.assign(new Error(message), { code: grpcCode, details: message, metadata });
}

const latin = (text: string): string => text.replace(/[^\x20-\x7e]/g, "?");

export const streamDeleted = (stream: string): ServiceError =>
  failure(code.FAILED_PRECONDITION, `Event stream '${stream}' is deleted.`, {
    exception: "stream-deleted",
    "stream-name": latin(stream),
  });

/** Expected versions as the real server numbers them. */
const numberOf = (expected: Expected): number =>
  expected.kind === "revision" ? expected.revision : { any: -2, no_stream: -1, stream_exists: -4 }[expected.kind];

export const wrongVersion = (stream: string, expected: Expected, actual: number): ServiceError =>
  failure(
    code.FAILED_PRECONDITION,
    `Delete failed due to WrongExpectedVersion. Stream: ${stream}, Expected version: ${numberOf(expected)}, Actual version: ${actual}`,
    {
      exception: "wrong-expected-version",
      "stream-name": latin(stream),
      "expected-version": String(numberOf(expected)),
      "actual-version": String(actual),
    },
  );

export const tooLarge = (limitBytes: number): ServiceError =>
  failure(code.INVALID_ARGUMENT, `Maximum Append Size of ${limitBytes} Exceeded.`, {
    exception: "maximum-append-size-exceeded",
    "maximum-append-size": String(limitBytes),
  });

export const missingMetadata = (): ServiceError =>
  failure(code.INVALID_ARGUMENT, "Required Metadata Property 'type' or 'content-type' is missing", {
    exception: "missing-required-metadata-property",
    "required-metadata-properties": "type,content-type",
  });

/** A failure in the form that the client gets: a gRPC error as it is, a full disk and a damaged file by their names, all else as unknown. */
export function asServiceError(error: unknown, log: NodeLog): Partial<ServiceError> {
  if (typeof (error as ServiceError).code === "number" && "metadata" in (error as object)) return error as ServiceError;
  log({ event: "call-failed", error });
  const full = ((error as { errcode?: number }).errcode ?? 0) === 13;
  if (full) return failure(code.RESOURCE_EXHAUSTED, "the disk is full: nothing of this append was written");
  return isDamage(error)
    ? failure(code.DATA_LOSS, `events.db is damaged: ${messageOf(error)}`)
    : failure(code.UNKNOWN, messageOf(error));
}
