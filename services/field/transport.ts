import { headers, type Msg, type MsgHdrs, type NatsConnection, NatsError } from "nats";
import {
  HEADER_TOKEN,
  type Hello,
  type HelloRequest,
  helloSchema,
  isNatsUrl,
  MEDIA_TYPE_BATCH,
  messageOf,
  type NatsSettings,
  type OriginId,
  type Reply,
  refusalSchema,
  replySchema,
  SUBJECTS,
  TributaryError,
  withoutLogin,
} from "../core/index.ts";
import { batchKey, messageAuthorization } from "../core/node.ts";
import { brokerFailure, connectField } from "./broker.ts";
import type { FieldName } from "./store.ts";

/** How long a device waits for the hub's answer to one message. */
const ANSWER_TIMEOUT_MS = 10_000;
/** A hello is small, and asked again this often meanwhile: one that a hub or broker just lost while it starts anew must not cost the whole time. */
const HELLO_TRIES = 4;
/** A cluster takes up to 9 s to choose a new leader for a stream; what is handed over meanwhile is lost. */
const PUBLISH_TRIES = 6;
const ACK_PATIENCE_MS = 2_000;

/** A way to the hub. All its failures are TributaryErrors; `backend-unreachable` ones are worth another try. */
export interface Transport {
  /** Batches that may be under way at a time while their order is kept. */
  readonly window: number;
  /** `null`: the way is open but the hub does not answer; batches may still be queued. */
  hello(request: HelloRequest): Promise<Hello | null>;
  /** Hands over a frame. Resolves when it is queued; `reply` is the hub's word, `null` when none came in time. */
  send(frame: Uint8Array, origin: OriginId): Promise<{ readonly reply: Promise<Reply | null> }>;
  /** Bytes handed to the network so far: frames and their headers, without TCP and TLS. */
  readonly sentBytes: number;
  close(): Promise<void>;
}

export interface TransportOptions {
  /** `nats://…`, `tls://…` (several, separated by commas), `http://…` or `https://…` */
  readonly url: string;
  readonly token: string;
  /** Login and certificates at the broker, where the token's own login is not the one to use. */
  readonly nats?: NatsSettings;
  readonly name: FieldName;
  readonly replyTimeoutMs: number;
}

export async function openTransport(options: TransportOptions): Promise<Transport> {
  if (isNatsUrl(options.url)) return natsTransport(options);
  const scheme = URL.parse(options.url)?.protocol;
  if (scheme === "http:" || scheme === "https:") return httpTransport(options);
  throw new TributaryError(
    "usage",
    `${JSON.stringify(withoutLogin(options.url))} is no hub address`,
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

function parseHello(json: unknown): Hello {
  const refusal = refusalSchema.safeParse(json);
  if (refusal.success) throw new TributaryError(refusal.data.code, refusal.data.message, refusal.data.hint);
  const hello = helloSchema.safeParse(json);
  if (!hello.success) throw strange("the hello");
  return hello.data;
}

async function natsTransport({ url, token, name, nats = {}, replyTimeoutMs }: TransportOptions): Promise<Transport> {
  const nc = await connectField(url, nats, token, name);
  const place = `${name.org}.${name.site}.${name.device}`;
  const waiting = new Map<string, (reply: Reply | null) => void>();
  /** Set when the broker does not let this login hear its receipts: no use in sending. */
  let deaf: TributaryError | null = null;
  nc.subscribe(`${SUBJECTS.receipt}.${place}`, {
    callback: (error, message) => {
      if (error !== null) {
        deaf = brokerFailure("the broker does not bring receipts", error);
        for (const resolve of waiting.values()) resolve(null);
        return;
      }
      const reply = replySchema.safeParse(message.json());
      if (reply.success && reply.data.batch !== null) waiting.get(reply.data.batch)?.(reply.data);
    },
  });
  void nc.closed().then(() => {
    for (const resolve of waiting.values()) resolve(null);
  });
  const about = (message: Uint8Array): ReturnType<typeof headers> => {
    const h = headers();
    h.set(HEADER_TOKEN, messageAuthorization(token, message));
    return h;
  };
  const headerBytes = about(new Uint8Array()).toString().length;
  let sentBytes = 0;

  return {
    window: 4,
    async hello(request) {
      try {
        const question = new TextEncoder().encode(JSON.stringify(request));
        const answer = await asked(nc, `${SUBJECTS.hello}.${place}`, question, about(question));
        return parseHello(answer.json());
      } catch (error) {
        if (error instanceof TributaryError) throw error;
        // 503: nobody listens. The broker is there, so batches can be queued all the same.
        if (error instanceof NatsError && (error.code === "503" || error.code === "TIMEOUT")) return null;
        throw brokerFailure("the hub does not answer", error);
      }
    },
    async send(frame) {
      if (deaf !== null) throw deaf;
      const key = batchKey(frame);
      const replied = Promise.withResolvers<Reply | null>();
      const timer = setTimeout(() => replied.resolve(null), replyTimeoutMs);
      waiting.set(key, replied.resolve);
      void replied.promise.finally(() => {
        clearTimeout(timer);
        waiting.delete(key);
      });
      try {
        await published(nc, `${SUBJECTS.ingress}.${place}`, frame, about(frame));
      } catch (error) {
        replied.resolve(null);
        throw brokerFailure("the broker did not take the batch", error);
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

/**
 * Hands a frame to the stream. A stream whose leader has just died forgets what it was given: once the server has the whole frame, on a slow link later, and no
 * acknowledgement has come for ACK_PATIENCE_MS, the frame is handed over again. A frame that is there twice does no harm.
 */
async function published(nc: NatsConnection, subject: string, frame: Uint8Array, about: MsgHdrs): Promise<void> {
  for (let tries = 1; ; tries++) {
    const isLast = tries >= PUBLISH_TRIES;
    const timeout = isLast ? ACK_PATIENCE_MS : ANSWER_TIMEOUT_MS;
    const acked = nc.jetstream().publish(subject, frame, { headers: about, timeout });
    if (isLast) return void (await acked);
    let timer: NodeJS.Timeout | undefined;
    const late = nc.flush().then(
      () =>
        new Promise<"late">((resolve) => {
          timer = setTimeout(() => resolve("late"), ACK_PATIENCE_MS);
        }),
    );
    // Whichever is not waited for any more may fail unheard.
    for (const promise of [acked, late]) promise.catch(() => {});
    try {
      if ((await Promise.race([acked, late.catch(() => acked)])) !== "late") return;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** A request that is sent again, to the same inbox or another, until it has an answer. Throws as the last try did. */
async function asked(nc: NatsConnection, subject: string, question: Uint8Array, about: MsgHdrs): Promise<Msg> {
  for (let tries = 1; ; tries++) {
    try {
      return await nc.request(subject, question, { headers: about, timeout: ANSWER_TIMEOUT_MS / HELLO_TRIES });
    } catch (error) {
      if (!(error instanceof NatsError) || error.code !== "TIMEOUT" || tries >= HELLO_TRIES || nc.isClosed()) throw error;
    }
  }
}

async function httpTransport({ url, token, replyTimeoutMs }: TransportOptions): Promise<Transport> {
  const base = url.endsWith("/") ? url.slice(0, -1) : url;
  const authorization = `Bearer ${token}`;
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
    const { have, proposes, schemas } = request;
    if (schemas !== undefined) query.set("schemas", schemas);
    const news = have === undefined && proposes === undefined ? undefined : { have, proposes };
    const { status, json } = await call(
      "the hello",
      `/v1/ingress/hello?${query}`,
      news === undefined
        ? { headers: { authorization } }
        : { method: "POST", headers: { authorization }, body: JSON.stringify(news) },
      ANSWER_TIMEOUT_MS,
    );
    if (status === 200) return parseHello(json);
    throw problemOf(json, status) ?? strange("the hello");
  };

  return {
    window: 1,
    hello,
    async send(frame, origin) {
      const { status, json } = await call(
        "the batch",
        "/v1/ingress",
        {
          method: "POST",
          body: frame as Uint8Array<ArrayBuffer>,
          headers: { authorization, "content-type": MEDIA_TYPE_BATCH, prefer: `wait=${waitS}` },
        },
        replyTimeoutMs + ANSWER_TIMEOUT_MS,
      );
      sentBytes += frame.length + authorization.length + 200;
      if (status === 200 || status === 202) {
        const reply = replySchema.safeParse(json);
        return { reply: Promise.resolve(reply.success ? reply.data : null) };
      }
      const error = problemOf(json, status);
      if (error === null) throw strange("the batch");
      if (error.status === 503) throw error;
      const { through = null } = json as { through?: number | null };
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
