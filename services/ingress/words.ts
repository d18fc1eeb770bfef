import { type ErrorCode, isTributaryError } from "../core/index.ts";

/** Failures of the hub's own machines. A driver's words for them name addresses, files and users, which must not be told outside. */
const INNER: readonly ErrorCode[] = [
  "backend-unreachable",
  "backend-missing",
  "backend-failed",
  "disk-full",
  "data-corrupt",
  "data-locked",
  "login-refused",
  "tls-refused",
  "internal",
];
const LATER = "Nothing is lost: send it again later. The hub's own log says more.";
/** Addresses with a scheme, addresses by number, names with a port. */
const ADDRESSES =
  /[a-z][a-z0-9+]*:\/\/\S+|(?:\d{1,3}\.){3}\d{1,3}(?::\d{1,5})?|\[[0-9a-f:]{2,}\](?::\d{1,5})?|\b[\w-]+(?:\.[\w-]+)*:\d{2,5}\b/gi;

/** What a sender is told of a failure: a code, words and what to do, and nothing about what stands behind the hub's door. */
export function wordsForSenders(error: unknown): { readonly code: ErrorCode; readonly message: string; readonly hint: string } {
  if (!isTributaryError(error))
    return { code: "internal", message: "the hub failed", hint: "Try again; the hub's log has the details." };
  if (!INNER.includes(error.code)) return { code: error.code, message: error.message, hint: error.hint };
  // A driver's words follow the first colon.
  const own = (error.message.split(/:\s/)[0] ?? "").replace(ADDRESSES, "…");
  return { code: error.code, message: own, hint: error.cause === undefined ? error.hint.replace(ADDRESSES, "…") : LATER };
}
