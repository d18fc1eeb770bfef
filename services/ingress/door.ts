import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { headers, type NatsConnection } from "nats";
import {
  decodeBatchInTurns,
  deviceOf,
  HEADER_TOKEN,
  isTributaryError,
  MAX_FRAME_BYTES,
  MEDIA_TYPE_PROBLEM,
  messageOf,
  type OriginId,
  partsOf,
  peekSender,
  type Refusal,
  type Reply,
  SUBJECTS,
  TributaryError,
} from "../core/index.ts";
import { batchKey, zstdBegin, zstdInTurns } from "../core/node.ts";
import { type Claims, checkOrigin, type Doorkeeper } from "../http/index.ts";
import { type BrokerWatch, publishFailure } from "./broker.ts";
import { breaths, paced, SLICE_MS } from "./fair.ts";
import type { Health } from "./health.ts";
import type { AnswerHello } from "./hello.ts";
import { type Receipts, receipts } from "./receipts.ts";
import { type DoorAnswer, fromJson, refusalOf, UNKNOWN } from "./reply.ts";
import { isAway, type Standing } from "./standing.ts";
import { unproven } from "./unproven.ts";
import type { seal, Vouch } from "./vouch.ts";

/** How long a request waits for its receipt unless it asks otherwise, and at most. Then it is told 202: queued. */
const DEFAULT_WAIT_MS = 10_000;
const MAX_WAIT_MS = 60_000;
const PUBLISH_TIMEOUT_MS = 5_000;
/** A request for somebody else's routes. */
export interface DoorRequest {
  readonly method: string;
  readonly url: URL;
  readonly authorization: string | undefined;
  body(): Promise<string>;
}

export interface Listening {
  readonly url: string;
  readonly port: number;
  close(): Promise<void>;
}

export interface DoorDeps {
  readonly nc: NatsConnection;
  readonly keeper: Doorkeeper;
  readonly vouch: Vouch;
  /** Signs what the hub says. */
  readonly seal: ReturnType<typeof seal>;
  /** Whether the hub has signed what came over the broker in its name. */
  readonly isOwn: (message: Reply) => boolean;
  readonly hello: AnswerHello;
  readonly standing: Standing;
  readonly broker: Pick<BrokerWatch, "look">;
  readonly health: Health;
  readonly say: (event: Record<string, unknown>) => void;
  readonly host: string;
  readonly port: number;
  readonly also?: (request: DoorRequest, keeper: Doorkeeper) => Promise<DoorAnswer | null>;
}

/**
 * The HTTP door, for sites where NATS is blocked:
 *
 *   POST /v1/ingress         a batch frame; published into the same stream. 200 receipt, 202 queued, 4xx problem
 *   GET  /v1/ingress/hello   ?origin=…&since=…: where the hub stands with this origin
 *   POST /v1/ingress/hello   the same, with the other members of a hello as body, or all of them, signed; an enrolment or a rotation
 *   GET  /healthz            200: the process is alive
 *   GET  /readyz             200, or 503 with the reason, part by part; /v1/health is the same
 *   …                        what `also` answers: the schema registry
 *
 * Errors are problem documents (RFC 9457) with our code in `code` and what to do in `hint`.
 */
export async function listen(deps: DoorDeps): Promise<Listening> {
  const { keeper, say, health, also, host, port } = deps;
  const waiting = receipts(deps.nc, deps.isOwn);
  const signed = signedBatches(deps);

  const route = async (request: IncomingMessage): Promise<DoorAnswer> => {
    const url = urlOf(request);
    const key = `${request.method} ${url.pathname}`;
    if (key === "POST /v1/ingress") return ingest({ ...deps, signed }, waiting, request);
    if (key === "GET /v1/ingress/hello" || key === "POST /v1/ingress/hello") return hello(deps, request, url.searchParams);
    if (key === "GET /healthz") return health.alive();
    if (key === "GET /readyz" || key === "GET /v1/health") return health.ready();
    const body = async (): Promise<string> => (await bodyOf(request)).toString();
    const answer = await also?.(
      { method: request.method ?? "GET", url, authorization: request.headers.authorization, body },
      keeper,
    );
    if (answer != null) return answer;
    throw new TributaryError("not-found", `there is no ${key}`, "See docs/protocol.md for the routes.");
  };

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    // A connection that breaks off is its sender's matter.
    request.on("error", () => {});
    response.on("error", () => {});
    try {
      send(response, await route(request));
    } catch (error) {
      if (response.destroyed) return;
      send(response, await refused(deps, error, request.url));
    }
  };
  const server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => say({ event: "http-unanswered", message: messageOf(error) }));
  });
  server.requestTimeout = MAX_WAIT_MS;
  await begin(server, host, port);
  server.on("error", (error) => say({ event: "http-failed", error }));
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${bound}`,
    port: bound,
    async close() {
      server.closeIdleConnections();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      waiting.close();
      setTimeout(() => server.closeAllConnections(), 1_000).unref();
      await closed;
    },
  };
}

async function begin(server: Server, host: string, port: number): Promise<void> {
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
  server.removeAllListeners("error");
}

/** Puts a batch into the stream, and waits for the hub's word. What is refused once the batch was read names it: the word is good for no other. */
async function ingest(
  deps: DoorDeps & { readonly signed: SignedBatches },
  waiting: Receipts,
  request: IncomingMessage,
): Promise<DoorAnswer> {
  const token = await shownToken(deps, request.headers.authorization);
  // Of a connection that breaks off it is forgotten.
  const address = request.socket.remoteAddress;
  const frame = await bodyOf(request);
  const key = batchKey(frame);
  try {
    const { origin, authorization } = await admitted(deps, token, { frame, address });
    return await taken(deps, waiting, request, { frame, key, origin, authorization });
  } catch (error) {
    return refused(deps, error, request.url, { batch: key });
  }
}

interface ShownToken {
  readonly authorization: string | undefined;
  /** `null`: none came, or one that is refused. */
  readonly claims: Claims | null;
  readonly refusal: unknown;
}

async function shownToken({ keeper }: DoorDeps, authorization: string | undefined): Promise<ShownToken> {
  if (authorization === undefined) return { authorization, claims: null, refusal: null };
  try {
    return { authorization, claims: await keeper.admit(authorization, Date.now()), refusal: null };
  } catch (refusal) {
    return { authorization, claims: null, refusal };
  }
}

/**
 * Whose batch it is. Without a token that counts it is the batch's own signature that lets it in: a device whose key is enrolled goes on when its token has ended.
 * Who is nobody is refused by the name at the frame's head; nothing else of the frame is unpacked.
 */
async function admitted(
  { signed }: { readonly signed: SignedBatches },
  { authorization, claims, refusal }: ShownToken,
  came: Came,
): Promise<{ readonly origin: OriginId; readonly authorization: string | undefined }> {
  if (claims !== null) {
    const origin = await peekSender(came.frame, zstdBegin);
    checkOrigin(claims, origin);
    return { origin, authorization };
  }
  if (refusal === null) return { origin: await signed(came), authorization: undefined };
  try {
    return { origin: await signed(came), authorization: undefined };
  } catch (error) {
    // What ails the hub is no word about the batch: it may come again.
    throw isAway(error) ? error : refusal;
  }
}

interface Delivery {
  readonly frame: Uint8Array;
  readonly key: string;
  readonly origin: OriginId;
  readonly authorization: string | undefined;
}

async function taken(
  { nc, keeper, standing, broker }: DoorDeps,
  waiting: Receipts,
  request: IncomingMessage,
  { frame, key, origin, authorization }: Delivery,
): Promise<DoorAnswer> {
  const { org, site, device } = partsOf(origin);
  const receipt = waiting.wait(`${org}.${site}`, key, frame.length);
  try {
    const about = headers();
    if (authorization !== undefined) about.set(HEADER_TOKEN, keeper.forMessage(authorization, frame));
    await nc
      .jetstream()
      .publish(`${SUBJECTS.ingress}.${org}.${site}.${device}`, frame, { headers: about, timeout: PUBLISH_TIMEOUT_MS })
      .catch((error: unknown) => {
        void broker.look();
        throw publishFailure(error);
      });
    // While the event store is away no receipt comes; the batch is in the stream all the same.
    const away = standing.away();
    if (away !== null) return { status: 202, body: { kind: "queued", batch: key, origin, because: away.code } };
    const reply = await Promise.race([receipt.reply, waitMs(request).then(() => null)]);
    if (reply === null) return { status: 202, body: { kind: "queued", batch: key, origin } };
    if (reply.kind === "receipt") return { status: 200, body: reply };
    return problem(new TributaryError(reply.code, reply.message, reply.hint), request.url, { ...reply, refusal: reply });
  } finally {
    receipt.end();
  }
}

/** Where the hub stands: asked in the query alone, or with the rest of a hello as body. */
async function hello(deps: DoorDeps, request: IncomingMessage, query: URLSearchParams): Promise<DoorAnswer> {
  const since = query.get("since");
  const more = request.method === "POST" ? fromJson(await bodyOf(request)) : {};
  if (typeof more !== "object" || more === null || Array.isArray(more))
    throw new TributaryError("input-malformed", "the hello's body is no JSON object", 'Send {"have": {…}, "proposes": […]}.');
  // What was signed is answered as it came; the address may say part of a hello, as version 1 has it.
  const asked =
    "kind" in more
      ? more
      : {
          ...more,
          ...(query.has("origin") ? { origin: query.get("origin") } : {}),
          ...(query.has("since") || !("since" in more)
            ? { since: since === null || since === "" ? null : wholeNumber(since) }
            : {}),
          ...(query.has("schemas") ? { schemas: query.get("schemas") } : {}),
        };
  try {
    return { status: 200, body: await deps.hello({ authorization: request.headers.authorization }, asked, Date.now()) };
  } catch (error) {
    return refused(deps, error, request.url, deps.vouch.refusing(asked));
  }
}

/** A problem that carries the hub's signed word. */
async function refused(
  { seal, say }: DoorDeps,
  error: unknown,
  url: string | undefined,
  of: ReturnType<Vouch["refusing"]> & Partial<Pick<Refusal, "batch">> = {},
): Promise<DoorAnswer> {
  if (!isTributaryError(error)) say({ event: "http-failed", error });
  const refusal = refusalOf(error, { ...UNKNOWN, ...of });
  return problem(new TributaryError(refusal.code, refusal.message, refusal.hint), url, { refusal: await seal(refusal) });
}

/** A batch, and the address that it came from. */
interface Came {
  readonly frame: Uint8Array;
  readonly address: string | undefined;
}

/** The origin of a batch that speaks for itself; throws for one that nobody has signed who may. */
type SignedBatches = (came: Came) => Promise<OriginId>;

/** Looks at batches that came without a token: by the sender's name first, then, of senders who have a key, at the whole, some at a time and in slices. */
function signedBatches({ keeper, vouch }: Pick<DoorDeps, "keeper" | "vouch">): SignedBatches {
  const places = unproven();
  const breathe = breaths();
  const nobody = async (): Promise<never> => {
    await keeper.admit(undefined, Date.now());
    throw new Error("invariant broken: without a token nobody is admitted");
  };
  /** What cannot be read speaks for nobody. */
  const readable = async <T>(read: Promise<T>): Promise<T> => {
    try {
      return await read;
    } catch (error) {
      if (isTributaryError(error) && error.code !== "protocol-unsupported") return nobody();
      throw error;
    }
  };
  return async ({ frame, address }) => {
    const origin = await readable(peekSender(frame, zstdBegin));
    const device = deviceOf(origin);
    await vouch.maySign(device, Date.now());
    return places.run(device, address, async (sender) => {
      const batch = await readable(decodeBatchInTurns(frame, zstdInTurns, paced(breathe, sender, SLICE_MS)));
      if (batch.signature === undefined) return nobody();
      await vouch.batch({ authorization: undefined }, batch, Date.now());
      return batch.origin;
    });
  };
}

function urlOf(request: IncomingMessage): URL {
  const url = URL.parse(request.url ?? "/", "http://hub");
  if (url === null)
    throw new TributaryError("usage", "the request's address cannot be read", "See docs/protocol.md for the routes.");
  return url;
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
  const text = JSON.stringify(body) ?? "null";
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

/** A number as people write it, not as JavaScript reads it: no `0x10`, no `1e9`. */
const wholeNumber = (text: string): number => (/^\d{1,16}$/.test(text) ? Number(text) : Number.NaN);

/** `Prefer: wait=<seconds>` (RFC 7240). */
function waitMs(request: IncomingMessage): Promise<void> {
  const asked = /(?:^|,\s*)wait=(\d{1,9})(?=\s*(?:[,;]|$))/.exec(String(request.headers.prefer ?? ""))?.[1];
  const ms = asked === undefined ? DEFAULT_WAIT_MS : Math.min(Number(asked) * 1000, MAX_WAIT_MS);
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
