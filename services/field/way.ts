import {
  type Hello,
  type HelloRequest,
  helloSchema,
  isJsonObject,
  isTributaryError,
  messageOf,
  type NatsSettings,
  type OriginId,
  type Reply,
  refusalSchema,
  TributaryError,
} from "../core/index.ts";
import { otherKindAt, SERVER_KINDS, type ServerKind } from "../core/node.ts";
import type { PullQuestion } from "../exchange/protocol/index.ts";
import type { Identity } from "./keys.ts";
import type { FieldName } from "./store.ts";

/** How long a device waits for the hub's answer to one message, besides the time that the message takes on its way. */
export const ANSWER_TIMEOUT_MS = 10_000;
/** A hello that exchanges schemas may be large, in either direction. */
export const NEWS_TIMEOUT_MS = 60_000;

/** What may come of asking where the hub stands. */
export type HelloOutcome =
  | { readonly kind: "hello"; readonly hello: Hello }
  /** The way is open, but nobody can say where the log stands (`because`: the hub's words). Batches may be queued all the same. */
  | { readonly kind: "away"; readonly because: TributaryError | null };

export interface Sending {
  /** Resolves when the frame is queued; fails with a TributaryError when it is not. */
  readonly taken: Promise<void>;
  /** The hub's word; `null` when none came in time. Never fails. */
  readonly reply: Promise<Reply | null>;
}

/** A way to the hub. All its failures are TributaryErrors; `backend-unreachable` ones are worth another try. */
export interface Transport {
  /** Batches that may be under way at a time while their order is kept. */
  readonly window: number;
  /** Whether `taken` resolves when a frame has arrived, rather than when the hub is done with it. */
  readonly tellsArrival: boolean;
  /** The largest frame that this way carries. */
  readonly maxFrameBytes: number;
  /** `false` once the link was lost: another has to be opened. */
  readonly isOpen: boolean;
  hello(request: HelloRequest): Promise<HelloOutcome>;
  /** Asks the hub something other than a hello, and returns its answer as it came: the caller checks its signature. */
  ask(question: object, believes: (answer: unknown) => boolean): Promise<unknown>;
  /**
   * Asks for what a replica lacks, and returns the page's frame, which the hub has signed for this question where its key is known. A refusal is thrown in the hub's words
   * (`revoked` among them), what nobody has signed as `hub-unproven`. `patienceMs`: how long the answer may take to begin to come.
   */
  pull(question: PullQuestion, patienceMs?: number): Promise<Uint8Array>;
  /** Who asks, and whose answers count. */
  readonly identity: Identity;
  /**
   * Hands over a frame. `carryMs`: how long the frame, and what is under way before it, may take to arrive if the link works at all. `wantsReply`: `false` asks
   * only that the frame is queued.
   */
  send(frame: Uint8Array, origin: OriginId, carryMs?: number, wantsReply?: boolean): Sending;
  /** Bytes handed to the network so far, whatever came of them: frames, hellos and their headers, without TCP and TLS. */
  readonly sentBytes: number;
  /** Bytes of answers, receipts and pages that have come so far, with their headers. */
  readonly receivedBytes: number;
  close(): Promise<void>;
}

export interface TransportOptions {
  /** The hub's address, of one of the kinds in `WAYS` of core; several `nats://…` are separated by commas. */
  readonly url: string;
  /** The site's token. A device whose key is enrolled needs none. */
  readonly token?: string;
  readonly identity: Identity;
  /** Login and certificates at the broker, where the device's own login is not the one to use. */
  readonly nats?: NatsSettings;
  /** A one-time code, for a device that has neither token nor enrolled key yet. */
  readonly code?: string;
  readonly name: FieldName;
  readonly replyTimeoutMs: number;
}

export const away = (what: string, error: unknown): TributaryError =>
  new TributaryError(
    "backend-unreachable",
    `${what}: ${messageOf(error)}`,
    "The events are safe on this device; sync again when there is a link.",
    { cause: error },
  );

export const strange = (what: string): TributaryError =>
  new TributaryError(
    "backend-failed",
    `the answer to ${what} cannot be understood`,
    "Check the address: is this a Tributary hub of the same version, and does nothing on the way answer in its place (a sign-in page)?",
  );

/** The hub's own words for a broker that has no room. A device waits; it does not stop. */
export const brokerFull = (what: string, error: unknown): TributaryError =>
  away(
    "the hub cannot queue the batch now",
    new TributaryError(
      "disk-full",
      `the hub's broker is full: ${what}`,
      "Free some room at the hub; nothing on this device is lost.",
      {
        cause: error,
      },
    ),
  );

/** Asks. If the hub answers that the question's time is wrong, it has told its own time, and is asked once more. `sign` makes the question as it travels. */
export async function inTheHubsTime<Asked extends { readonly nonce: string }, Answer>(
  identity: Pick<Identity, "setsClock">,
  sign: (nonce?: string) => Asked,
  exchange: (asked: Asked) => Promise<Answer>,
): Promise<Answer> {
  const asked = sign();
  const answer = await exchange(asked);
  return identity.setsClock(answer) ? exchange(sign(asked.nonce)) : answer;
}

/** Reads JSON that came from outside; `undefined` when it is not JSON. */
export function jsonOf(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

/** With these codes a hub says that its log cannot be reached or written now; its broker still takes batches. */
const AWAY: readonly string[] = ["backend-unreachable", "backend-failed", "disk-full"];

/** The hub's answer to a hello, as it came in. */
export function helloOutcome(json: unknown, identity: Identity): HelloOutcome {
  const refusal = refusalSchema.safeParse(json);
  if (refusal.success) {
    const error = new TributaryError(refusal.data.code, refusal.data.message, refusal.data.hint);
    if (AWAY.includes(error.code)) return { kind: "away", because: error };
    throw error;
  }
  const hello = helloSchema.safeParse(json);
  if (!hello.success) throw strange("the hello");
  identity.learn(json);
  return { kind: "hello", hello: hello.data };
}

export const isAway = (error: TributaryError): boolean => AWAY.includes(error.code);

/** The error that a problem document stands for; `null` when it is not one. */
export function problemOf(json: unknown): TributaryError | null {
  if (!isJsonObject(json)) return null;
  const { code, detail, hint } = json;
  if (typeof code !== "string" || typeof detail !== "string") return null;
  // A code of a newer hub is passed on as it is; `TributaryError` decides what it means for the exit code.
  return new TributaryError(code as TributaryError["code"], detail, typeof hint === "string" ? hint : "");
}

/** Error codes of addresses where nothing can be: refused, unknown, without a route. Waiting a second does not change that. */
const NOTHING_THERE = ["ECONNREFUSED", "ENOTFOUND", "EHOSTUNREACH", "ENETUNREACH", "EAI_AGAIN", "CONNECTION_REFUSED"];

/** What OpenSSL says of an answer that is not TLS. */
export const isNotTls = (code: string): boolean =>
  /^ERR_SSL_(?:WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST)$/.test(code);
/** Node's HTTP client on an answer that is not HTTP. */
export const isNotHttp = (error: unknown): boolean => error instanceof Error && error.name === "HTTPParserError";

/** The cause of a failure to reach a hub: a server of another kind listens at its address. */
export class OtherKind extends Error {}

/** What listens at an address where a hub should; `null`: a server of the right kind, or nothing that is known. `host` is `host:port`, as in the address. */
export async function otherServer(host: string, wanted: ServerKind): Promise<TributaryError | null> {
  const [, bracketed, plain, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(host) ?? [];
  const name = bracketed ?? plain;
  if (name === undefined) return null;
  const kind = await otherKindAt({ host: name, port: Number(port) }, wanted);
  if (kind === null) return null;
  return new TributaryError(
    "backend-unreachable",
    `what answers at ${host} is ${SERVER_KINDS[kind]}, not ${wanted === "nats" ? SERVER_KINDS.nats : `one that speaks ${wanted === "tls" ? "https" : "http"}`}`,
    `${WRITE_INSTEAD[kind]?.(host) ?? "Ask for the hub's address: `tributary site add` prints it there."} The events are safe on this device.`,
    { cause: new OtherKind(kind) },
  );
}

/** How an address is written at which such a server answers. */
const WRITE_INSTEAD: Partial<Record<ServerKind, (host: string) => string>> = {
  nats: (host) => `Write nats://${host}.`,
  http: (host) => `Write http://${host} if that is the hub's HTTP door.`,
  tls: (host) => `Write https://${host} if that is the hub's HTTP door.`,
};

/** What a failure says of the address: nothing listens there, or a server of another kind; `null`: it says neither. Waiting changes neither. */
export function whatIsThere(error: unknown): "nothing" | "another kind" | null {
  for (let at: unknown = error, depth = 0; at instanceof Error && depth < 8; depth++) {
    const { code, chainedError, cause } = at as { code?: unknown; chainedError?: unknown; cause?: unknown };
    if (isNotHttp(at) || at instanceof OtherKind) return "another kind";
    if (!isTributaryError(at) && typeof code === "string") {
      if (NOTHING_THERE.includes(code)) return "nothing";
      if (isNotTls(code)) return "another kind";
    }
    at = chainedError ?? cause;
  }
  return null;
}
