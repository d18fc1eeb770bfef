/**
 * Every failure that a person or a program may meet has one code here. `docs/errors.md` lists the same codes;
 * a test keeps the two lists the same. `exit` is the process exit code, `status` the HTTP one.
 */
const CODES = {
  // what the caller gave
  usage: { exit: 2, status: 400 },
  "input-malformed": { exit: 3, status: 400 },
  "event-invalid": { exit: 3, status: 422 },
  "event-too-large": { exit: 3, status: 413 },
  "schema-unknown": { exit: 3, status: 422 },
  "schema-malformed": { exit: 3, status: 422 },
  "schema-incompatible": { exit: 3, status: 409 },
  "schema-conflict": { exit: 3, status: 409 },
  "schema-readonly": { exit: 3, status: 422 },
  "projection-malformed": { exit: 3, status: 500 },
  "projection-failed": { exit: 3, status: 500 },
  "not-found": { exit: 4, status: 404 },
  "method-not-allowed": { exit: 2, status: 405 },
  // who the caller is
  "token-missing": { exit: 5, status: 401 },
  "token-invalid": { exit: 5, status: 401 },
  "token-expired": { exit: 5, status: 401 },
  "token-scope": { exit: 5, status: 403 },
  "token-site": { exit: 5, status: 403 },
  "not-permitted": { exit: 5, status: 403 },
  "right-missing": { exit: 5, status: 403 },
  "login-refused": { exit: 5, status: 503 },
  "tls-refused": { exit: 5, status: 503 },
  "key-unknown": { exit: 5, status: 403 },
  "code-invalid": { exit: 5, status: 403 },
  revoked: { exit: 5, status: 403 },
  "request-stale": { exit: 5, status: 403 },
  "hub-unproven": { exit: 5, status: 502 },
  // the log's discipline
  "batch-undecodable": { exit: 6, status: 400 },
  "batch-too-large": { exit: 6, status: 413 },
  "page-undecodable": { exit: 6, status: 502 },
  "page-too-large": { exit: 6, status: 413 },
  "protocol-unsupported": { exit: 6, status: 400 },
  "batch-gap": { exit: 6, status: 409 },
  "chain-broken": { exit: 6, status: 422 },
  "signature-invalid": { exit: 6, status: 422 },
  "origin-forked": { exit: 6, status: 409 },
  "restored-behind": { exit: 6, status: 409 },
  "verify-failed": { exit: 6, status: 500 },
  // what a deployment would break
  "would-break": { exit: 9, status: 409 },
  // the machine and its servers
  "too-many-requests": { exit: 7, status: 429 },
  "backend-unreachable": { exit: 7, status: 503 },
  "backend-missing": { exit: 7, status: 503 },
  "backend-failed": { exit: 7, status: 503 },
  "sync-gave-up": { exit: 7, status: 503 },
  "too-slow": { exit: 7, status: 429 },
  "disk-full": { exit: 8, status: 507 },
  "data-locked": { exit: 8, status: 409 },
  "data-corrupt": { exit: 8, status: 500 },
  "path-unusable": { exit: 8, status: 500 },
  "port-in-use": { exit: 8, status: 500 },
  "port-refused": { exit: 8, status: 500 },
  "already-running": { exit: 8, status: 409 },
  internal: { exit: 1, status: 500 },
} as const;

export type ErrorCode = keyof typeof CODES;

/**
 * An operating failure: what happened (`message`), what to do about it (`hint`), and a stable `code`.
 * Expected outcomes are returned, not thrown; bugs are asserted.
 */
export class TributaryError extends Error {
  override readonly name = "TributaryError";
  readonly code: ErrorCode;
  readonly hint: string;

  constructor(code: ErrorCode, message: string, hint: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
    this.hint = hint;
  }

  /** The process exit code that this failure ends a command with. */
  get exitCode(): number {
    return (CODES[this.code] ?? CODES.internal).exit;
  }

  /** The HTTP status that this failure answers a request with. */
  get status(): number {
    return (CODES[this.code] ?? CODES.internal).status;
  }
}

/** What a failure to listen says, by the system's code; what else there is comes back as it is. */
export function listenFailure(
  error: { readonly code?: string },
  {
    host,
    port,
    title,
    option,
  }: { readonly host: string; readonly port: number; readonly title: string; readonly option: string },
): unknown {
  const because = { cause: error };
  switch (error.code) {
    case "EADDRINUSE":
      return new TributaryError(
        "port-in-use",
        `port ${port} of ${host}, wanted for ${title}, is in use`,
        `Stop the program that listens there, or choose another port with ${option}.`,
        because,
      );
    case "EACCES":
    case "EPERM":
      return new TributaryError(
        "port-refused",
        `the system does not let this user listen on port ${port} of ${host}, wanted for ${title}`,
        `Choose a port above 1023 with ${option}; a proxy can pass on what comes to a lower one.`,
        because,
      );
    case "EADDRNOTAVAIL":
    case "EAFNOSUPPORT":
    case "ENOTFOUND":
      return new TributaryError(
        "port-refused",
        `${host}, where ${title} is to listen, is not an address of this machine`,
        `Choose one of its addresses with ${option}, 127.0.0.1 for this machine only, or 0.0.0.0 for all.`,
        because,
      );
    default:
      return error;
  }
}

/** All codes, for the test that compares `docs/errors.md` with this file. */
export const ERROR_CODES = Object.keys(CODES) as readonly ErrorCode[];

export const isTributaryError = (error: unknown): error is TributaryError => error instanceof TributaryError;

/** Throws a bug report when `condition` is false: for invariants, never for input. */
export function assert(condition: unknown, invariant: string): asserts condition {
  if (!condition) throw new Error(`invariant broken: ${invariant}`);
}

/** The message of anything thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
