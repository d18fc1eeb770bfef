import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { headers } from "nats";
import {
  HEADER_TOKEN,
  type Hello,
  helloRequestSchema,
  isTributaryError,
  MAX_FRAME_BYTES,
  MEDIA_TYPE_PROBLEM,
  messageOf,
  partsOf,
  peekOrigin,
  type Reply,
  replySchema,
  SUBJECTS,
  TributaryError,
} from "../core/index.ts";
import { batchKey, zstd } from "../core/node.ts";
import type { Log } from "../log/index.ts";
import { type Deps, refusalOf } from "./hello.ts";
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
 *   POST /v1/ingress/hello   the same, with {have, proposes} as body: what schemas the device has
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
  const { nc, keeper, accepts, say, log, host, port, also } = deps;
  const waiting = new Map<string, Set<(reply: Reply) => void>>();
  const replies = nc.subscribe(`${SUBJECTS.receipt}.>`, {
    callback: (_, message) => {
      const reply = replySchema.safeParse(message.json());
      if (reply.success && reply.data.batch !== null)
        for (const resolve of waiting.get(reply.data.batch) ?? []) resolve(reply.data);
    },
  });

  const ingest = async (request: IncomingMessage): Promise<DoorAnswer> => {
    const claims = await keeper.admit(request.headers.authorization, Date.now());
    const frame = await bodyOf(request);
    const origin = peekOrigin(frame, zstd);
    checkOrigin(claims, origin);
    if (waiting.size >= MAX_WAITING) {
      throw new TributaryError("backend-failed", "the hub is busy", "Send the batch again in a few seconds.");
    }
    const key = batchKey(frame);
    const replied = Promise.withResolvers<Reply>();
    const waiters = waiting.get(key) ?? new Set();
    waiting.set(key, waiters.add(replied.resolve));
    try {
      const about = headers();
      about.set(HEADER_TOKEN, keeper.forMessage(request.headers.authorization!, frame));
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
      return problem(new TributaryError(reply.code, reply.message, reply.hint), request.url, { ...reply });
    } finally {
      waiters.delete(replied.resolve);
      if (waiters.size === 0) waiting.delete(key);
    }
  };

  const hello = async (request: IncomingMessage, query: URLSearchParams): Promise<DoorAnswer> => {
    const nowMs = Date.now();
    const claims = await keeper.admit(request.headers.authorization, nowMs);
    const since = query.get("since");
    const news = request.method === "POST" ? helloNews(await bodyOf(request)) : {};
    const asked = helloRequestSchema.safeParse({
      ...news,
      origin: query.get("origin"),
      since: since === null || since === "" ? null : Number(since),
      ...(query.has("schemas") ? { schemas: query.get("schemas") } : {}),
    });
    if (!asked.success) {
      throw new TributaryError(
        "input-malformed",
        "the hello cannot be read",
        "Ask with ?origin=org.site.device.epoch and &since=<seq>.",
      );
    }
    checkOrigin(claims, asked.data.origin);
    const body: Hello = await accepts.hello(asked.data, nowMs);
    return { status: 200, body };
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
        if (!isTributaryError(error)) say({ event: "http-failed", error });
        const { code, message, hint } = refusalOf(error, { batch: null, origin: null, firstSeq: null, through: null });
        send(response, problem(new TributaryError(code, message, hint), request.url));
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

/** What a device says of its schemas. Checked with the rest of the hello. */
function helloNews(body: Buffer): object {
  try {
    const { have, proposes } = JSON.parse(body.toString()) as { have?: unknown; proposes?: unknown };
    return { have, proposes };
  } catch (error) {
    throw new TributaryError("input-malformed", "the hello's body is no JSON", 'Send {"have": {…}, "proposes": […]}.', {
      cause: error,
    });
  }
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
