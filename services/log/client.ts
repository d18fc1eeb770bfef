import {
  AccessDeniedError,
  DeadlineExceededError,
  EventStoreDBClient,
  MaxAppendSizeExceededError,
  NotLeaderError,
  StreamNotFoundError,
  UnavailableError,
  WrongExpectedVersionError,
} from "@eventstore/db-client";
import { assert, messageOf, TributaryError } from "../core/index.ts";
import { addressProblem } from "./address.ts";

/** How long one call to the event store may take before its outcome counts as unknown. */
export const CALL_TIMEOUT_MS = 10_000;

/** Opens a client. `url` is what `logAddress` makes of an address. */
export function connect(url: string): EventStoreDBClient {
  try {
    return appendingByCalls(EventStoreDBClient.connectionString(url));
  } catch (error) {
    throw addressProblem(url, error);
  }
}

/*
 * The client would append over one lasting stream, and keeps the callers that wait for an answer in one table for all clients of the process (its 6.2.1,
 * streams/appendToStream/batchAppend.js): when any such stream ends (a client closes, or goes to another node), the appends of all others fail, and their
 * answers, which come all the same, are thrown where nobody can catch them. Without this feature, the client makes a call for each append, which has a deadline too.
 */
function appendingByCalls(client: EventStoreDBClient): EventStoreDBClient {
  const supports = Reflect.get(client, "supports") as (method: { path: string }, feature?: string) => Promise<boolean>;
  assert(typeof supports === "function", "the client asks what its server can do");
  Reflect.set(client, "supports", async (method: { path: string }, feature?: string) =>
    method.path.endsWith("/BatchAppend") ? false : supports(method, feature),
  );
  return client;
}

/** For reads that must see what was written before: only the leader answers them. A follower that is asked names the leader, and the client goes there. */
export const LEADER = { requiresLeader: true } as const;

/** Bounds the time of a call, and of what the client does before it (finding a leader) and after it. Throws `backend-unreachable` when the time is over, and the store's failures as ours. */
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
  const words = wordsOf(error);
  if (error instanceof AccessDeniedError || /UNAUTHENTICATED/.test(words)) return notAllowed(what, error);
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
  if (/certificate|CERT_/i.test(words))
    return new TributaryError(
      "backend-unreachable",
      `the event store's certificate is not trusted (${what}): ${words}`,
      "With a certificate authority of your own, add tlsCAFile=/path/ca.crt to TRIBUTARY_EVENTSTORE_URL; else use the name that the certificate has.",
      { cause: error },
    );
  const unreachable =
    error instanceof UnavailableError ||
    error instanceof DeadlineExceededError ||
    error instanceof NotLeaderError ||
    (error instanceof DOMException && error.name === "TimeoutError") ||
    /discover|ECONNREFUSED|UNAVAILABLE|CANCELLED|DEADLINE|No connection|getaddrinfo/i.test(words);
  return unreachable
    ? new TributaryError("backend-unreachable", `the event store does not answer (${what}): ${words}`, unreachableHint(words), {
        cause: error,
      })
    : new TributaryError("backend-failed", `the event store failed at ${what}: ${words}`, "See its log.", { cause: error });
}

/** A failure's words; some of the client's failures have only a kind, such as `deadline-exceeded`. */
function wordsOf(error: unknown): string {
  const message = messageOf(error).trim();
  if (message !== "" && message !== "undefined") return message;
  const { type } = (error ?? {}) as { type?: unknown };
  return typeof type === "string" ? type : "it says nothing";
}

// The client looks for a cluster's members without saying why it finds none.
const unreachableHint = (words: string): string =>
  /discover/i.test(words)
    ? "Start it, or check its address; a cluster with a certificate authority of its own needs tlsCAFile in it."
    : "Start it, or check its address.";

/** Calls that read the whole log: they need a right of their own, which a user that is not an administrator does not have by default. */
const WHOLE_LOG = /the log|the watchdog/;

function notAllowed(what: string, error: unknown): TributaryError {
  const isUnknown = /UNAUTHENTICATED/.test(wordsOf(error));
  return new TributaryError(
    "backend-failed",
    `the event store refuses ${what}`,
    isUnknown
      ? "Check the user and password in TRIBUTARY_EVENTSTORE_URL; they count only with tls=true."
      : WHOLE_LOG.test(what)
        ? "The user in TRIBUTARY_EVENTSTORE_URL may not read $all: make it one of $admins, or give it the right in the metadata of $all (docs/production.md)."
        : "Check the user and password in TRIBUTARY_EVENTSTORE_URL, and what its default ACL allows (docs/production.md).",
    { cause: error },
  );
}
