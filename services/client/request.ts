/** One question to a hub, and its answer. In come documents of GraphQL; out comes what they asked for, or a HubError. A write is sent once; a read may be sent twice. */
import { HubError, misused } from "./error.ts";

/** A token, or what gives one: it is asked at first, and again when the hub refuses the one that it gave. */
export type Token = string | (() => string | Promise<string>);

export interface RequestOptions {
  readonly token: Token;
  /** How long one answer is waited for. Default: 30 s. */
  readonly timeoutMs?: number | undefined;
}

/** How one question is asked. */
export interface Asking {
  /** Ends the waiting. The promise is then rejected with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Asks by a document. Throws `HubError`. */
export type Ask = (document: string, variables: object, options: Asking & { readonly isWrite: boolean }) => Promise<unknown>;

const TIMEOUT_MS = 30_000;
/** Before a read is sent a second time, where the hub does not say how long to wait. */
const PAUSE_MS = 1_000;
/** A hub that asks for a longer wait is not waited for. */
const MAX_PAUSE_MS = 30_000;
/** What may be over soon. */
const PASSING: readonly string[] = ["backend-unreachable", "too-many-requests"];
const MAX_TIMER_MS = 2_147_483_647;

/** What a hub answered. */
type Outcome = { readonly data: unknown } | { readonly error: HubError; readonly pauseMs: number };

/** Makes what asks a hub. Throws `usage` for an address or a setting that cannot be meant. */
export function asker(url: string, { token, timeoutMs = TIMEOUT_MS }: RequestOptions): Ask {
  const endpoint = endpointOf(url);
  if (!(timeoutMs > 0 && timeoutMs <= MAX_TIMER_MS))
    throw misused(`timeoutMs is ${timeoutMs}`, "Give milliseconds, more than 0.");
  const tokens = keepToken(token);
  return async (document, variables, { isWrite, signal }) => {
    const body = JSON.stringify({ query: document, variables });
    const attempt = async (): Promise<Outcome> => {
      const used = await tokens.current();
      const outcome = await post(endpoint, { body, token: used, timeoutMs, signal });
      // Who is not let in has neither read nor written: also a write may be sent with another token.
      if (!("error" in outcome) || !isNotLetIn(outcome.error)) return outcome;
      const other = await tokens.instead(used);
      return other === used ? outcome : post(endpoint, { body, token: other, timeoutMs, signal });
    };
    const first = await attempt();
    if (!("error" in first)) return first.data;
    if (isWrite || !PASSING.includes(first.error.code) || first.pauseMs > MAX_PAUSE_MS) throw first.error;
    await pause(first.pauseMs, signal);
    const second = await attempt();
    if ("error" in second) throw second.error;
    return second.data;
  };
}

/** What the hub refuses as a whole is told by its status; what it refuses of an answer has status 200. */
const isNotLetIn = ({ code, status }: HubError): boolean => status === 401 || (status === 403 && code === "revoked");

/** The address of a hub's GraphQL. Throws `usage` for an address that cannot be meant. */
export function endpointOf(url: string): string {
  const parsed = URL.canParse(url) ? new URL(url) : null;
  if (
    parsed === null ||
    !/^https?:$/.test(parsed.protocol) ||
    parsed.username !== "" ||
    parsed.search !== "" ||
    parsed.hash !== ""
  )
    throw misused(
      `${JSON.stringify(url)} is not the address of a hub`,
      "Give the address of its HTTP door, like https://hub.example.org.",
    );
  return `${parsed.origin}${parsed.pathname.replace(/\/+$/, "")}/graphql`;
}

/** The token that counts, and another one instead of one that the hub has refused; the same where there is no other. */
export interface Tokens {
  current(): Promise<string>;
  instead(refused: string): Promise<string>;
}

/** Whichever questions wait for a token wait for the same one. */
export function keepToken(token: Token): Tokens {
  let kept: Promise<string> | null = null;
  /** What `kept` has given; `null`: it has not given one yet. */
  let given: string | null = null;
  const ask = (): Promise<string> => {
    given = null;
    const asked = (async () => usable(typeof token === "string" ? token : await token()))();
    kept = asked;
    asked.then(
      (got) => {
        if (kept === asked) given = got;
      },
      () => {
        // One that was not given is asked for again by the next question.
        if (kept === asked) kept = null;
      },
    );
    return asked;
  };
  const current = (): Promise<string> => kept ?? ask();
  return {
    current,
    // The first of those that were refused asks, and the others take what it is given.
    instead: (refused) => (typeof token !== "string" && given === refused ? ask() : current()),
  };
}

/** A token that can stand in a header. What is wrong with one is told without quoting it. */
function usable(token: string): string {
  if (typeof token === "string" && /^[\x21-\x7e]+$/.test(token)) return token;
  throw new HubError(
    "token-missing",
    "there is no token, or it has characters that no token has",
    "Give one that `tributary token issue` or your provider made.",
  );
}

interface Post {
  readonly body: string;
  readonly token: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

async function post(endpoint: string, { body, token, timeoutMs, signal }: Post): Promise<Outcome> {
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    const response = await fetch(endpoint, {
      method: "POST",
      headers: {
        authorization: `Bearer ${token}`,
        "content-type": "application/json",
        accept: "application/graphql-response+json, application/json",
      },
      body,
      signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
      // A token goes to this hub alone, and a page to log in at is not an answer.
      redirect: "error",
      credentials: "omit",
      cache: "no-store",
    });
    return outcomeOf(response, await response.text());
  } catch (cause) {
    if (signal?.aborted === true) throw signal.reason;
    const message = timeout.aborted
      ? `the hub has not answered within ${timeoutMs / 1_000} s`
      : `the hub at ${new URL(endpoint).host} was not reached`;
    return {
      error: new HubError("backend-unreachable", message, "Look at the link and the address, and try again.", { cause }),
      pauseMs: PAUSE_MS,
    };
  }
}

function outcomeOf({ status, headers }: Response, text: string): Outcome {
  const answer = parsed(text);
  const [first] = isObject(answer) && Array.isArray(answer.errors) ? answer.errors.filter(isObject) : [];
  if (first === undefined && status < 300 && isObject(answer) && isObject(answer.data)) return { data: answer.data };
  const said = isObject(answer) ? answer : {};
  const extensions = isObject(first?.extensions) ? first.extensions : said;
  const error = new HubError(
    textOf(extensions.code) ?? codeOf(status),
    textOf(first?.message) ?? textOf(said.detail) ?? `the answer (status ${status}) is not a hub's`,
    textOf(extensions.hint) ?? "Look at the address, and at what stands between this program and the hub.",
    { status },
  );
  return { error, pauseMs: pauseOf(headers.get("retry-after")) };
}

/** Of an answer that something else than the hub gave. */
const codeOf = (status: number): string =>
  status === 429
    ? "too-many-requests"
    : status === 401
      ? "token-invalid"
      : [502, 503, 504].includes(status)
        ? "backend-unreachable"
        : "internal";

function pauseOf(retryAfter: string | null): number {
  if (retryAfter === null || retryAfter.trim() === "") return PAUSE_MS;
  const ms = /^\d+$/.test(retryAfter.trim()) ? Number(retryAfter) * 1_000 : Date.parse(retryAfter) - Date.now();
  return Number.isNaN(ms) ? PAUSE_MS : Math.max(0, ms);
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const ended = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", ended);
      resolve();
    }, ms);
    if (signal?.aborted === true) ended();
    else signal?.addEventListener("abort", ended, { once: true });
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const textOf = (value: unknown): string | null => (typeof value === "string" ? value : null);
