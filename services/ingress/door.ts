import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { headers } from "nats";
import {
  type Batch,
  decodeBatch,
  HEADER_TOKEN,
  isTributaryError,
  MAX_FRAME_BYTES,
  MEDIA_TYPE_PROBLEM,
  messageOf,
  type OriginId,
  partsOf,
  peekOrigin,
  type Reply,
  replySchema,
  SUBJECTS,
  TributaryError,
} from "../core/index.ts";
import { batchKey, zstd } from "../core/node.ts";
import type { Log } from "../log/index.ts";
import { answerOf, type Deps, parseJson, refusalOf } from "./hello.ts";
import { checkOrigin, type Doorkeeper } from "./token.ts";

/** How long a request waits for its receipt unless it asks otherwise, and at most. Then it is told 202: queued. */
const DEFAULT_WAIT_MS = 10_000;
const MAX_WAIT_MS = 60_000;
/** Requests waiting for receipts at a time; beyond, 503 says to come back. */
const MAX_WAITING = 1_000;
const PUBLISH_TIMEOUT_MS = 5_000;

/** A request for somebody else's routes, and the answer. */
export interface DoorRequest {
  readonly method: string;
  readonly url: URL;
  readonly authorization: string | undefined;
  body(): Promise<string>;
}
export interface DoorAnswer {
  readonly status: number;
  readonly type?: string;
  readonly body: unknown;
}

export interface Listening {
  readonly url: string;
  readonly port: number;
  close(): Promise<void>;
}

/**
 * The HTTP door, for sites where NATS is blocked:
 *
 *   POST /v1/ingress         a batch frame; published into the same stream. 200 receipt, 202 queued, 4xx problem
 *   GET  /v1/ingress/hello   ?origin=…&since=…: where the hub stands with this origin
 *   POST /v1/ingress/hello   the same, with {have, proposes} as body: what schemas the device has; or a whole request, signed: a hello, an enrolment, a rotation
 *   GET  /v1/health          200 when broker and event store answer
 *   …                        what `also` answers: the schema registry
 *
 * Errors are problem documents (RFC 9457) with our code in `code` and what to do in `hint`.
 */
export async function listen(
  deps: Deps & {
    log: Log;
    host: string;
    port: number;
    also?: (request: DoorRequest, keeper: Doorkeeper) => Promise<DoorAnswer | null>;
  },
): Promise<Listening> {
  const { nc, keeper, vouch, seal, say, log, host, port, also } = deps;
  const waiting = new Map<string, Set<(reply: Reply) => void>>();
  const replies = nc.subscribe(`${SUBJECTS.receipt}.>`, {
    callback: (_, message) => {
      // As it came: the hub has signed all of it, also what this process does not know.
      const raw = message.json<Reply>();
      const reply = replySchema.safeParse(raw);
      if (reply.success && reply.data.batch !== null) for (const resolve of waiting.get(reply.data.batch) ?? []) resolve(raw);
    },
  });

  const ingest = async (request: IncomingMessage): Promise<DoorAnswer> => {
    const { authorization } = request.headers;
    const claims = authorization === undefined ? null : await keeper.admit(authorization, Date.now());
    const frame = await bodyOf(request);
    // Without a token it is the batch's own signature that lets it in.
    const origin = claims === null ? await signedOrigin(frame) : peekOrigin(frame, zstd);
    if (claims !== null) checkOrigin(claims, origin);
    if (waiting.size >= MAX_WAITING) {
      throw new TributaryError("backend-failed", "the hub is busy", "Send the batch again in a few seconds.");
    }
    const key = batchKey(frame);
    const replied = Promise.withResolvers<Reply>();
    const waiters = waiting.get(key) ?? new Set();
    waiting.set(key, waiters.add(replied.resolve));
    try {
      const about = headers();
      if (authorization !== undefined) about.set(HEADER_TOKEN, authorization);
      const { org, site, device } = partsOf(origin);
      await nc
        .jetstream()
        .publish(`${SUBJECTS.ingress}.${org}.${site}.${device}`, frame, { headers: about, timeout: PUBLISH_TIMEOUT_MS })
        .catch((error: unknown) => {
          throw new TributaryError(
            "backend-unreachable",
            `the broker did not take the batch: ${messageOf(error)}`,
            "Send it again later.",
            {
              cause: error,
            },
          );
        });
      const reply = await Promise.race([replied.promise, waitMs(request).then(() => null)]);
      if (reply === null) return { status: 202, body: { kind: "queued", batch: key, origin } };
      if (reply.kind === "receipt") return { status: 200, body: reply };
      return problem(new TributaryError(reply.code, reply.message, reply.hint), request.url, { ...reply, refusal: reply });
    } finally {
      waiters.delete(replied.resolve);
      if (waiters.size === 0) waiting.delete(key);
    }
  };

  const signedOrigin = async (frame: Uint8Array): Promise<OriginId> => {
    const batch = signedBatch(frame);
    if (batch === null) {
      await keeper.admit(undefined, Date.now());
      throw new Error("invariant broken: without a token nobody is admitted");
    }
    await vouch.batch(undefined, batch, Date.now());
    return batch.origin;
  };

  const hello = async (request: IncomingMessage, query: URLSearchParams): Promise<DoorAnswer> => {
    const nowMs = Date.now();
    const { authorization } = request.headers;
    const since = query.get("since");
    // Who shows a token that is none learns no more than that, whatever the body.
    if (authorization !== undefined && request.method !== "POST") await keeper.admit(authorization, nowMs);
    const body = request.method === "POST" ? (parseJson(await bodyOf(request)) as Record<string, unknown> | null) : {};
    // A whole request as the body, as over the broker; or, as version 1 has it, in the address.
    const raw =
      body?.origin !== undefined || body?.kind !== undefined
        ? body
        : {
            ...body,
            origin: query.get("origin"),
            since: since === null || since === "" ? null : Number(since),
            ...(query.has("schemas") ? { schemas: query.get("schemas") } : {}),
          };
    try {
      return { status: 200, body: await answerOf(deps, authorization, raw, nowMs) };
    } catch (error) {
      return refused(error, request.url, vouch.refusing(raw));
    }
  };

  /** A problem that carries the hub's signed word. */
  const refused = async (
    error: unknown,
    url: string | undefined,
    of: ReturnType<typeof vouch.refusing> = {},
  ): Promise<DoorAnswer> => {
    if (!isTributaryError(error)) say({ event: "http-failed", error });
    const refusal = refusalOf(error, { batch: null, origin: null, firstSeq: null, through: null, ...of });
    return problem(new TributaryError(refusal.code, refusal.message, refusal.hint), url, { refusal: await seal(refusal) });
  };

  const health = async (): Promise<DoorAnswer> => {
    const end = await log.end();
    return {
      status: nc.isClosed() ? 503 : 200,
      body: { broker: nc.isClosed() ? "closed" : "ok", log: { end: end?.toString() ?? null } },
    };
  };

  const route = async (request: IncomingMessage): Promise<DoorAnswer> => {
    const url = new URL(request.url ?? "/", "http://hub");
    const { pathname, searchParams } = url;
    const key = `${request.method} ${pathname}`;
    if (key === "POST /v1/ingress") return ingest(request);
    if (key === "GET /v1/ingress/hello" || key === "POST /v1/ingress/hello") return hello(request, searchParams);
    if (key === "GET /v1/health") return health();
    const body = async (): Promise<string> => (await bodyOf(request)).toString();
    const answer = await also?.(
      { method: request.method ?? "GET", url, authorization: request.headers.authorization, body },
      keeper,
    );
    if (answer != null) return answer;
    throw new TributaryError("not-found", `there is no ${key}`, "See docs/protocol.md for the routes.");
  };

  const server = createServer((request, response) => {
    const serve = async (): Promise<void> => {
      try {
        send(response, await route(request));
      } catch (error) {
        send(response, await refused(error, request.url));
      }
    };
    void serve();
  });
  server.requestTimeout = MAX_WAIT_MS;

  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) =>
      reject(
        error.code === "EADDRINUSE"
          ? new TributaryError(
              "port-in-use",
              `port ${port} of ${host} is in use`,
              "Stop the program that listens there, or choose another with --port.",
              {
                cause: error,
              },
            )
          : error,
      ),
    );
    server.listen(port, host, resolve);
  });
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${bound}`,
    port: bound,
    async close() {
      replies.unsubscribe();
      server.closeIdleConnections();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      const stopping = refusalOf(new TributaryError("backend-failed", "the hub is stopping", "Send the batch again."), {
        batch: null,
        origin: null,
        firstSeq: null,
        through: null,
      });
      for (const waiters of waiting.values()) for (const resolve of waiters) resolve(stopping);
      setTimeout(() => server.closeAllConnections(), 1_000).unref();
      await closed;
    },
  };
}

/** A batch that speaks for itself; `null` for bytes that are none, or that nobody has signed. */
function signedBatch(frame: Uint8Array): Batch | null {
  try {
    const batch = decodeBatch(frame, zstd);
    return batch.signature === undefined ? null : batch;
  } catch (error) {
    if (isTributaryError(error) && error.code !== "protocol-unsupported") return null;
    throw error;
  }
}

const problem = (error: TributaryError, instance: string | undefined, more: Record<string, unknown> = {}): DoorAnswer => ({
  status: error.status,
  type: MEDIA_TYPE_PROBLEM,
  body: {
    ...more,
    type: `urn:tributary:problem:${error.code}`,
    title: error.code,
    status: error.status,
    detail: error.message,
    hint: error.hint,
    code: error.code,
    instance,
  },
});

function send(response: ServerResponse, { status, body, type = "application/json" }: DoorAnswer): void {
  if (response.headersSent || response.destroyed) return;
  const text = JSON.stringify(body);
  response.writeHead(status, {
    "content-type": type,
    "content-length": Buffer.byteLength(text),
    ...(status === 401 ? { "www-authenticate": "Bearer" } : {}),
    ...(status === 503 ? { "retry-after": "5" } : {}),
    // A refused upload is not read to its end.
    ...(status === 413 ? { connection: "close" } : {}),
  });
  response.end(text);
}

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const tooLarge = (): TributaryError =>
    new TributaryError("batch-too-large", `a batch has at most ${MAX_FRAME_BYTES} bytes`, "Send fewer events at a time.");
  if (Number(request.headers["content-length"] ?? 0) > MAX_FRAME_BYTES) throw tooLarge();
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_FRAME_BYTES) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** `Prefer: wait=<seconds>` (RFC 7240). */
function waitMs(request: IncomingMessage): Promise<void> {
  const asked = /(?:^|,\s*)wait=(\d+)/.exec(String(request.headers.prefer ?? ""))?.[1];
  const ms = asked === undefined ? DEFAULT_WAIT_MS : Math.min(Number(asked) * 1000, MAX_WAIT_MS);
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
