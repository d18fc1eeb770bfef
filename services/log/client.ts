import {
  AccessDeniedError,
  DeadlineExceededError,
  EventStoreDBClient,
  MaxAppendSizeExceededError,
  StreamNotFoundError,
  UnavailableError,
  WrongExpectedVersionError,
} from "@eventstore/db-client";
import { messageOf, TributaryError } from "../core/index.ts";

/** How long one call to the event store may take before its outcome counts as unknown. */
export const CALL_TIMEOUT_MS = 10_000;

/** Opens a client. `url` is `esdb://host:port?tls=false` or what a cluster's documentation gives. */
export function connect(url: string): EventStoreDBClient {
  try {
    return EventStoreDBClient.connectionString(url);
  } catch (error) {
    throw new TributaryError(
      "usage",
      `${JSON.stringify(url)} is no event store address: ${messageOf(error)}`,
      "Write it like esdb://127.0.0.1:2113?tls=false.",
      { cause: error },
    );
  }
}

/** Bounds a call in time: the client itself waits for ever when a batch-append stream ends without an error. */
export async function within<T>(what: string, call: Promise<T>, timeoutMs = CALL_TIMEOUT_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new DOMException(`${what}: no answer in ${timeoutMs} ms`, "TimeoutError")), timeoutMs);
  });
  try {
    return await Promise.race([call, late]);
  } catch (error) {
    throw asTributary(what, error);
  } finally {
    clearTimeout(timer);
  }
}

const NOT_FAILURES = [WrongExpectedVersionError, StreamNotFoundError, MaxAppendSizeExceededError];

/** A failure of the event store as one of ours; expected answers (a lost race, a missing stream) pass as they are. */
export function asTributary(what: string, error: unknown): unknown {
  if (error instanceof TributaryError || NOT_FAILURES.some((kind) => error instanceof kind)) return error;
  if (error instanceof AccessDeniedError) {
    return new TributaryError(
      "backend-failed",
      `the event store refuses ${what}`,
      "Check the user and password in TRIBUTARY_EVENTSTORE_URL.",
      {
        cause: error,
      },
    );
  }
  if (/DATA_LOSS|events\.db is damaged/.test(messageOf(error)))
    return new TributaryError(
      "data-corrupt",
      `the event store's data are damaged (${what}): ${messageOf(error)}`,
      "Stop the hub, keep its folder as it is, check the disk, and restore the last backup into a new folder: devices send again what it lacks.",
      { cause: error },
    );
  if (/disk is full|No space left/i.test(messageOf(error))) {
    return new TributaryError(
      "disk-full",
      "the event store's disk is full",
      "Free some space there; nothing was lost, and senders try again.",
      {
        cause: error,
      },
    );
  }
  const unreachable =
    error instanceof UnavailableError ||
    error instanceof DeadlineExceededError ||
    (error instanceof DOMException && error.name === "TimeoutError") ||
    /discover|ECONNREFUSED|UNAVAILABLE|CANCELLED|No connection|getaddrinfo/i.test(messageOf(error));
  return unreachable
    ? new TributaryError(
        "backend-unreachable",
        `the event store does not answer (${what}): ${messageOf(error)}`,
        "Start it, or check its address.",
        {
          cause: error,
        },
      )
    : new TributaryError("backend-failed", `the event store failed at ${what}: ${messageOf(error)}`, "See its log.", {
        cause: error,
      });
}
