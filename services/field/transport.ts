import { connect, headers, type NatsConnection, NatsError } from "nats";
import {
  HEADER_TOKEN,
  type Hello,
  type HelloRequest,
  helloSchema,
  MEDIA_TYPE_BATCH,
  messageOf,
  type OriginId,
  type Reply,
  refusalSchema,
  replySchema,
  SUBJECTS,
  TributaryError,
} from "../core/index.ts";
import { batchKey } from "../core/node.ts";
import { askForProof, jsonFrom, wordOf } from "./answers.ts";
import type { Identity } from "./keys.ts";
import type { FieldName } from "./store.ts";

/** How long a device waits for the hub's answer to one message. */
const ANSWER_TIMEOUT_MS = 10_000;
const CONNECT_TIMEOUT_MS = 5_000;

/** A way to the hub. All its failures are TributaryErrors; `backend-unreachable` ones are worth another try. */
export interface Transport {
  /** Batches that may be under way at a time while their order is kept. */
  readonly window: number;
  /** `null`: the way is open but the hub does not answer; batches may still be queued. */
  hello(request: HelloRequest): Promise<Hello | null>;
  /** Asks the hub something else than a hello, and returns its answer as it came: whoever asks looks at its signature. */
  ask(question: object, believes: (answer: unknown) => boolean): Promise<unknown>;
  /** Hands over a frame. Resolves when it is queued; `reply` is the hub's word, `null` when none came in time. */
  send(frame: Uint8Array, origin: OriginId): Promise<{ readonly reply: Promise<Reply | null> }>;
  /** Who asks, and whose answers count. */
  readonly identity: Identity;
  /** Bytes handed to the network so far: frames and their headers, without TCP and TLS. */
  readonly sentBytes: number;
  close(): Promise<void>;
}

export interface TransportOptions {
  /** `nats://…`, `tls://…`, `http://…` or `https://…` */
  readonly url: string;
  /** Not needed by a device whose key is enrolled. */
  readonly token?: string;
  readonly identity: Identity;
  readonly name: FieldName;
  readonly replyTimeoutMs: number;
}

export async function openTransport(options: TransportOptions): Promise<Transport> {
  const scheme = URL.parse(options.url)?.protocol;
  if (scheme === "nats:" || scheme === "tls:") return natsTransport(options);
  if (scheme === "http:" || scheme === "https:") return httpTransport(options);
  throw new TributaryError(
    "usage",
    `${JSON.stringify(options.url)} is no hub address`,
    "Write it like nats://hub:4222 or https://hub:8080.",
  );
}

const away = (what: string, error: unknown): TributaryError =>
  new TributaryError(
    "backend-unreachable",
    `${what}: ${messageOf(error)}`,
    "The events are safe on this device; sync again when there is a link.",
    {
      cause: error,
    },
  );

const strange = (what: string): TributaryError =>
  new TributaryError(
    "backend-failed",
    `the hub's answer to ${what} makes no sense`,
    "Check the address: is this a Tributary hub of the same version?",
  );

/** Asks; where the hub says that the question is not of now, it has said what time it is, and is asked once more. */
async function inTheHubsTime(
  identity: Identity,
  request: HelloRequest,
  exchange: (asked: HelloRequest & { readonly nonce: string }) => Promise<unknown>,
): Promise<unknown> {
  const answer = await exchange(identity.asked(request));
  if (!identity.setsClock(answer)) return answer;
  const { nonce: _, ...again } = request;
  return exchange(identity.asked(again));
}

function parseHello(json: unknown, identity: Identity): Hello {
  const refusal = refusalSchema.safeParse(json);
  if (refusal.success) throw new TributaryError(refusal.data.code, refusal.data.message, refusal.data.hint);
  const hello = helloSchema.safeParse(json);
  if (!hello.success) throw strange("the hello");
  identity.learn(json);
  return hello.data;
}

async function natsTransport({ url, token, identity, name, replyTimeoutMs }: TransportOptions): Promise<Transport> {
  let nc: NatsConnection;
  try {
    nc = await connect({
      servers: url,
      name: "tributary-field",
      timeout: CONNECT_TIMEOUT_MS,
      maxReconnectAttempts: 3,
      reconnectTimeWait: 250,
    });
  } catch (error) {
    throw away(`the hub's broker at ${new URL(url).host} does not answer`, error);
  }
  const place = `${name.org}.${name.site}.${name.device}`;
  const waiting = new Map<string, (reply: Reply | null) => void>();
  nc.subscribe(`${SUBJECTS.receipt}.${place}`, {
    callback: (_, message) => {
      const raw = jsonFrom(message.data);
      const reply = replySchema.safeParse(raw);
      if (!reply.success || reply.data.batch === null || !waiting.has(reply.data.batch)) return;
      if (identity.believes(raw)) waiting.get(reply.data.batch)?.(reply.data);
    },
  });
  void nc.closed().then(() => {
    for (const resolve of waiting.values()) resolve(null);
  });
  const js = nc.jetstream();
  const about = (): ReturnType<typeof headers> => {
    const h = headers();
    if (token !== undefined) h.set(HEADER_TOKEN, `Bearer ${token}`);
    return h;
  };
  const headerBytes = about().toString().length;
  let sentBytes = 0;

  return {
    window: 4,
    identity,
    ask: (question, believes) => {
      const bytes = new TextEncoder().encode(JSON.stringify(question));
      return askForProof(nc, `${SUBJECTS.hello}.${place}`, bytes, {
        headers: about(),
        timeoutMs: ANSWER_TIMEOUT_MS,
        believes,
      }).catch((error: unknown) => {
        throw away("the hub does not answer", error);
      });
    },
    async hello(request) {
      const exchange = async (asked: HelloRequest & { readonly nonce: string }): Promise<unknown> =>
        askForProof(nc, `${SUBJECTS.hello}.${place}`, new TextEncoder().encode(JSON.stringify(asked)), {
          headers: about(),
          timeoutMs: ANSWER_TIMEOUT_MS,
          believes: (answer) => identity.believes(answer, asked.nonce),
        });
      try {
        return parseHello(await inTheHubsTime(identity, request, exchange), identity);
      } catch (error) {
        if (error instanceof TributaryError) throw error;
        // 503: nobody listens. The broker is there, so batches can be queued all the same.
        if (error instanceof NatsError && (error.code === "503" || error.code === "TIMEOUT")) return null;
        throw away("the hub does not answer", error);
      }
    },
    async send(frame) {
      const key = batchKey(frame);
      const replied = Promise.withResolvers<Reply | null>();
      const timer = setTimeout(() => replied.resolve(null), replyTimeoutMs);
      waiting.set(key, replied.resolve);
      void replied.promise.finally(() => {
        clearTimeout(timer);
        waiting.delete(key);
      });
      try {
        await js.publish(`${SUBJECTS.ingress}.${place}`, frame, { headers: about(), timeout: ANSWER_TIMEOUT_MS });
      } catch (error) {
        replied.resolve(null);
        throw away("the broker did not take the batch", error);
      }
      sentBytes += frame.length + headerBytes;
      return { reply: replied.promise };
    },
    get sentBytes() {
      return sentBytes;
    },
    async close() {
      await nc.close();
    },
  };
}

async function httpTransport({ url, token, identity, replyTimeoutMs }: TransportOptions): Promise<Transport> {
  const base = url.endsWith("/") ? url.slice(0, -1) : url;
  const authorized: Record<string, string> = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const where = `the server at ${base}`;
  const waitS = Math.max(1, Math.floor(replyTimeoutMs / 1000));
  let sentBytes = 0;
  const call = async (
    what: string,
    path: string,
    init: RequestInit,
    timeoutMs: number,
  ): Promise<{ status: number; json: unknown }> => {
    try {
      const response = await fetch(base + path, { ...init, signal: AbortSignal.timeout(timeoutMs) });
      const text = await response.text();
      return { status: response.status, json: text.startsWith("{") ? JSON.parse(text) : null };
    } catch (error) {
      const { cause } = error as { cause?: unknown };
      throw away(`${what}: the hub at ${base} does not answer`, cause ?? error);
    }
  };
  const hello = async (request: HelloRequest): Promise<Hello> => {
    const query = new URLSearchParams({ origin: request.origin, since: request.since === null ? "" : String(request.since) });
    if (request.schemas !== undefined) query.set("schemas", request.schemas);
    let last: { status: number; json: unknown } = { status: 0, json: null };
    // The address says what a hub of version 1 reads; the body is the whole request, as it was signed.
    const word = await inTheHubsTime(identity, request, async (asked) => {
      last = await question(`/v1/ingress/hello?${query}`, asked);
      return wordOf(identity, where, last, last.status === 200 ? asked.nonce : undefined);
    });
    if (last.status === 200) return parseHello(word, identity);
    throw problemOf(last.json, last.status) ?? strange("the hello");
  };
  const question = (path: string, body: object): Promise<{ status: number; json: unknown }> =>
    call("the hello", path, { method: "POST", headers: authorized, body: JSON.stringify(body) }, ANSWER_TIMEOUT_MS);

  return {
    window: 1,
    identity,
    hello,
    async ask(body, believes) {
      const { status, json } = await question("/v1/ingress/hello", body);
      const word = status === 200 ? json : ((json as { refusal?: unknown } | null)?.refusal ?? null);
      if (believes(word)) return word;
      throw problemOf(json, status) ?? strange("the question");
    },
    async send(frame, origin) {
      const { status, json } = await call(
        "the batch",
        "/v1/ingress",
        {
          method: "POST",
          body: frame as Uint8Array<ArrayBuffer>,
          headers: { ...authorized, "content-type": MEDIA_TYPE_BATCH, prefer: `wait=${waitS}` },
        },
        replyTimeoutMs + ANSWER_TIMEOUT_MS,
      );
      sentBytes += frame.length + (authorized.authorization?.length ?? 0) + 200;
      wordOf(identity, where, { status, json });
      if (status === 200 || status === 202) {
        const reply = replySchema.safeParse(json);
        return { reply: Promise.resolve(reply.success ? reply.data : null) };
      }
      const error = problemOf(json, status);
      if (error === null) throw strange("the batch");
      if (error.status === 503) throw error;
      // Only what the hub has signed says where it stands.
      const { through = null } = (identity.isPinned ? (json as { refusal: object }).refusal : json) as {
        through?: number | null;
      };
      return {
        reply: Promise.resolve({
          kind: "refusal",
          batch: batchKey(frame),
          origin,
          firstSeq: null,
          code: error.code,
          message: error.message,
          hint: error.hint,
          through: through as Reply["through"],
        }),
      };
    },
    get sentBytes() {
      return sentBytes;
    },
    async close() {},
  };
}

/** A problem document as the error it stands for. */
function problemOf(json: unknown, status: number): TributaryError | null {
  const { code, detail, hint } = (json ?? {}) as { code?: unknown; detail?: unknown; hint?: unknown };
  if (typeof code === "string" && typeof detail === "string") {
    return new TributaryError(code as TributaryError["code"], detail, typeof hint === "string" ? hint : "");
  }
  if (status === 401 || status === 403)
    return new TributaryError("token-invalid", `the hub refuses the token (${status})`, "Ask for a new one.");
  return status >= 500 ? new TributaryError("backend-unreachable", `the hub answers ${status}`, "Sync again later.") : null;
}
