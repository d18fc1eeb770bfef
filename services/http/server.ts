import type { IncomingMessage, Server } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { type Duplex, Readable } from "node:stream";
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { isTributaryError, listenFailure, messageOf, TributaryError } from "../core/index.ts";
import { addressOf } from "./address.ts";
import { type ApiInfo, openApiSurface } from "./openapi.ts";
import { corsHeaders, maySocket, preflightHeaders, STRICT_HEADERS } from "./origins.ts";
import { anyProblem } from "./problem.ts";
import type { Answer, Asking, Route, Surface, Upgrade } from "./route.ts";

/**
 * The only file that knows the server's library. It maps tables of routes onto it.
 *
 * The library is Fastify. Measured against Hono (4.13.19 with @hono/node-server 2.1.9) and the bare node:http server of before, all in the same run, 2026-11-28,
 * 2 cores, processor time of the server a request (the better of two rounds) and requests a second:
 *
 *                      node:http          Fastify 5.12.8     Hono
 *   GET, 14 bytes      38 µs, 10.3 k/s    43 µs, 9.8 k/s     59 µs, 6.9 k/s
 *   POST of 10 kB      55 µs,  8.1 k/s    40 µs, 10.0 k/s    123 µs, 5.0 k/s
 *   POST of 100 kB     90 µs,  5.0 k/s    182 µs, 3.9 k/s    932 µs, 0.7 k/s
 *   POST of 1 MB       0.7 ms, 854/s      1.5 ms, 395/s      5.3 ms, 136/s
 *   modules at start   0                  248                30
 *   packages added     0                  29, 6 MB           2, 4 MB
 *
 * Batches have up to 1 MB: what decides is a body that is read within a limit, as bytes, which Fastify does on the stream itself (also of one that tells no length)
 * and Hono through web streams. Fastify has the time-outs and hooks that come before a body; its modules are loaded when a server starts, not before. Both are MIT.
 */

/** Bounds of a connection, in milliseconds. */
export interface Limits {
  /** Until a request's headers are there; a connection that never sends any is closed after it as well. */
  readonly headersMs: number;
  /** Until the whole request is there. */
  readonly requestMs: number;
  /** Between two requests. */
  readonly keepAliveMs: number;
  /** How often the first two are looked at. */
  readonly lookMs: number;
  /** How long answers under way may take when the server closes. */
  readonly closeMs: number;
}
const LIMITS: Limits = { headersMs: 30_000, requestMs: 60_000, keepAliveMs: 5_000, lookMs: 5_000, closeMs: 1_000 };
/** No part of a path is longer: all headers together are not (Node's `maxHeaderSize`). */
const MAX_PART_CHARS = 16_384;

export interface ServerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly surfaces: readonly Surface[];
  /** What the document that describes the routes is called. */
  readonly info: ApiInfo;
  readonly say: (event: Record<string, unknown>) => void;
  /** The answer to failures that no surface answers; default: a problem document. */
  readonly failed?: (error: unknown, asking: Asking) => Answer | Promise<Answer>;
  readonly limits?: Partial<Limits>;
  /** Origins of web pages that may ask from a browser, besides the server's own. */
  readonly origins?: readonly string[];
}

export interface Listening {
  readonly url: string;
  readonly port: number;
  close(): Promise<void>;
}

declare module "fastify" {
  interface FastifyContextConfig {
    readonly of?: { readonly surface: Surface; readonly route?: Route; readonly allowed?: readonly string[] };
  }
  interface FastifyRequest {
    /** What the route's admission said. */
    who: unknown;
    /** What the request calls its body. */
    bodyType: string | undefined;
  }
}

/**
 * Serves routes:
 *
 *   request ─▶ route ─┬▶ who asks ─▶ body, within its limit ─▶ handler ─▶ answer
 *                     ├▶ the path with another method ─▶ 405 with `Allow`; OPTIONS ─▶ 204 with `Allow`
 *                     └▶ none ─▶ 404
 *
 * The route's surface answers what is thrown on the way, or else a problem document does.
 */
export async function listen({
  host,
  port,
  surfaces,
  info,
  say,
  failed,
  limits,
  origins = [],
}: ServerOptions): Promise<Listening> {
  const bounds = { ...LIMITS, ...limits };
  const all = [...surfaces, openApiSurface(surfaces, info)];
  const app = await open(bounds, origins);
  const told = teller({ surfaces: all, say, ...(failed === undefined ? {} : { failed }) });
  serve(app, all, told);
  await app.ready();
  const { server } = app;
  // Not `app.listen`: of a name with several addresses it opens several servers, and closes the connections of one.
  await begin(server, host, port);
  server.on("error", (error) => say({ event: "http-failed", error }));
  const upgrades = surfaces.flatMap(({ upgrade }) => upgrade ?? []);
  server.on("upgrade", upgrading(upgrades, origins));
  // It listens on a port, not on a pipe.
  const bound = (server.address() as AddressInfo).port;
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${bound}`,
    port: bound,
    async close() {
      await Promise.all(upgrades.map((each) => each.close()));
      server.closeIdleConnections();
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      const cut = setTimeout(() => server.closeAllConnections(), bounds.closeMs);
      await closed;
      clearTimeout(cut);
      await app.close();
    },
  };
}

/** Hands connections that ask for a socket to whoever serves their path; others end. A web page of another origin may not: a browser sends its requests wherever a page says. */
function upgrading(upgrades: readonly Upgrade[], origins: readonly string[]) {
  return (request: IncomingMessage, socket: Duplex, head: Buffer): void => {
    socket.on("error", () => socket.destroy());
    const end = (status: string): void => {
      socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
    };
    const path = (addressOf(request.url ?? "/") ?? "").split("?", 1)[0];
    const found = upgrades.find((each) => each.path === path);
    if (found === undefined) end("404 Not Found");
    else if (!maySocket(origins, request.headers.origin, request.headers.host)) end("403 Forbidden");
    else found.take(request, socket, head);
  };
}

async function open({ headersMs, requestMs, keepAliveMs, lookMs }: Limits, origins: readonly string[]): Promise<FastifyInstance> {
  const { default: fastify } = await import("fastify");
  const app = fastify({
    http: { headersTimeout: headersMs, connectionsCheckingInterval: lookMs },
    requestTimeout: requestMs,
    keepAliveTimeout: keepAliveMs,
    return503OnClosing: false,
    clientErrorHandler: unreadable,
    rewriteUrl: ({ url = "/" }) => addressOf(url) ?? "/",
    routerOptions: { ignoreTrailingSlash: true, ignoreDuplicateSlashes: true, maxParamLength: MAX_PART_CHARS, querystringParser },
  });
  app.decorateRequest("who", null);
  app.decorateRequest("bodyType", undefined);
  // A body is read as its route says, whatever media type the request names.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", { parseAs: "buffer" }, (_, body, done) => done(null, body));
  app.addHook("onRequest", async (request, reply) => {
    const { raw, originalUrl, routeOptions } = request;
    const { origin } = raw.headers;
    reply.headers({ ...STRICT_HEADERS, ...corsHeaders(origins, origin) });
    const allowed = routeOptions.config.of?.allowed;
    if (raw.method === "OPTIONS" && allowed !== undefined) reply.headers(preflightHeaders(origins, origin, allowed));
    request.bodyType = raw.headers["content-type"];
    delete raw.headers["content-type"];
    const route = routeOptions.config.of?.route;
    if (route === undefined || route.body.maxBytes === 0) {
      // For the library a request without these headers has no body; Node skips what comes.
      delete raw.headers["content-length"];
      delete raw.headers["transfer-encoding"];
    }
    if (addressOf(originalUrl) === null)
      throw new TributaryError("usage", "the request's address cannot be read", "See docs/protocol.md for the routes.");
  });
  return app;
}

/** The first of each parameter. */
function querystringParser(text: string): Record<string, string> {
  const found: Record<string, string> = Object.create(null);
  for (const [name, value] of new URLSearchParams(text)) found[name] ??= value;
  return found;
}

/** Answers what is not HTTP, or comes too late. The connection ends. */
function unreadable(error: NodeJS.ErrnoException, socket: Socket): void {
  if (error.code === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const status =
    error.code === "ERR_HTTP_REQUEST_TIMEOUT"
      ? "408 Request Timeout"
      : error.code === "HPE_HEADER_OVERFLOW"
        ? "431 Request Header Fields Too Large"
        : "400 Bad Request";
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\n\r\n`, () => socket.destroy());
}

interface Teller {
  failure(error: unknown, surface: Surface | undefined, asking: Asking): Promise<Answer>;
  unknown(asking: Asking, allowed: readonly string[], surface?: Surface): Promise<Answer>;
}

/** The answers to failures, and to what is not a route: the surface's own, or else the server's. */
function teller({ surfaces, say, failed }: Pick<ServerOptions, "surfaces" | "say" | "failed">): Teller {
  const byHouse = (error: unknown, asking: Asking): Answer | Promise<Answer> => {
    if (failed !== undefined) return failed(error, asking);
    if (!isTributaryError(error)) say({ event: "http-failed", error });
    return anyProblem(error, asking);
  };
  const failure: Teller["failure"] = async (error, surface, asking) => {
    try {
      return (await surface?.failed?.(error, asking)) ?? (await byHouse(error, asking));
    } catch (second) {
      say({ event: "http-unanswered", message: messageOf(second) });
      return anyProblem(second, asking);
    }
  };
  return {
    failure,
    async unknown(asking, allowed, known) {
      const root = asking.path.split("/").find((part) => part !== "") ?? "";
      const surface = known ?? surfaces.find(({ roots }) => roots.includes(root));
      try {
        const own = await surface?.unknown?.(asking, allowed);
        if (own != null) return own;
      } catch (error) {
        return failure(error, surface, asking);
      }
      const isKnown = allowed.length > 0;
      const error = isKnown
        ? new TributaryError("method-not-allowed", `${asking.path} does not take ${asking.method}`, `Use ${allowed.join(", ")}.`)
        : new TributaryError(
            "not-found",
            `there is no ${asking.method} ${asking.path}`,
            "See docs/protocol.md for the routes, or ask for /v1/openapi.json.",
          );
      const answer = await failure(error, surface, asking);
      return isKnown ? { ...answer, headers: { ...answer.headers, allow: allowed.join(", ") } } : answer;
    },
  };
}

function serve(app: FastifyInstance, surfaces: readonly Surface[], told: Teller): void {
  const paths = new Map<string, { readonly surface: Surface; readonly methods: string[] }>();
  for (const surface of surfaces) {
    for (const route of surface.routes) {
      mount(app, surface, route);
      const path = paths.get(route.path) ?? { surface, methods: [] };
      paths.set(route.path, path);
      path.methods.push(route.method);
    }
  }
  for (const [path, { surface, methods }] of paths) {
    const taken = methods.includes("GET") ? [...methods, "HEAD"] : methods;
    const allowed = [...taken, "OPTIONS"];
    app.route({
      method: app.supportedMethods.filter((method) => !taken.includes(method)),
      url: urlOf(path),
      config: { of: { surface, allowed } },
      handler: async (request, reply) =>
        send(
          reply,
          request.method === "OPTIONS"
            ? { status: 204, body: undefined, headers: { allow: allowed.join(", ") } }
            : await told.unknown(askingOf(request), allowed, surface),
        ),
    });
  }
  app.setNotFoundHandler(async (request, reply) => send(reply, await told.unknown(askingOf(request), [])));
  app.setErrorHandler<FastifyError>(async (error, request, reply) => {
    // A connection that breaks off is its sender's matter.
    if (reply.raw.destroyed) return reply.hijack();
    const { surface, route } = request.routeOptions.config.of ?? {};
    const cause = error.code === "FST_ERR_CTP_BODY_TOO_LARGE" && route !== undefined ? route.body.tooLarge() : error;
    return send(reply, await told.failure(cause, surface, askingOf(request)));
  });
}

function mount(app: FastifyInstance, surface: Surface, route: Route): void {
  const { method, path, who, body } = route;
  app.route({
    method,
    url: urlOf(path),
    bodyLimit: Math.max(1, body.maxBytes),
    config: { of: { surface, route } },
    onRequest: async (request) => {
      request.who = await who.admit(askingOf(request));
    },
    handler: async (request, reply) => {
      const bytes = request.body instanceof Uint8Array ? request.body : new Uint8Array();
      const { params, query, headers } = request as { params: Strings; query: Strings; headers: Strings };
      const { bodyType } = request;
      const named = bodyType === undefined ? headers : { ...headers, "content-type": bodyType };
      const asked = { ...askingOf(request), params, query, headers: named, body: body.read(bytes), who: request.who };
      return send(reply, await route.handle(asked));
    },
  });
}

type Strings = Readonly<Record<string, string>>;

const urlOf = (path: string): string => path.replaceAll(/\{(\w+)\}/g, ":$1");

const askingOf = ({ method, url, originalUrl, raw }: FastifyRequest): Asking => ({
  method,
  path: url.split("?", 1)[0] ?? url,
  instance: originalUrl,
  authorization: raw.headers.authorization,
  address: addressOfSender(raw),
});

/** Node forgets the address when a connection breaks off. */
const addressOfSender = ({ socket }: IncomingMessage): string | undefined => socket.remoteAddress;

function send(reply: FastifyReply, { status, body, type = "application/json", headers }: Answer): FastifyReply {
  if (reply.sent || reply.raw.destroyed) {
    // Whoever makes its pieces must know that nobody takes them.
    if (isPieces(body)) void body[Symbol.asyncIterator]().return?.();
    return reply.hijack();
  }
  const before = reply.getHeader("vary");
  const varying = before === undefined || headers?.vary === undefined ? undefined : `${String(before)}, ${headers.vary}`;
  reply.code(status).headers({
    ...(status === 401 ? { "www-authenticate": "Bearer" } : {}),
    ...(status === 503 ? { "retry-after": "5" } : {}),
    // At most a window of `pace.ts`; the words say how long exactly.
    ...(status === 429 ? { "retry-after": "10" } : {}),
    // A refused upload is not read to its end.
    ...(status === 413 ? { connection: "close" } : {}),
    ...headers,
    ...(varying === undefined ? {} : { vary: varying }),
  });
  if (status === 204 || status === 304) return reply.send();
  if (isPieces(body)) return reply.header("content-type", type).send(Readable.from(body));
  // As bytes: to text the library would add a character set that JSON does not have.
  const bytes = body instanceof Uint8Array ? Buffer.from(body.buffer, body.byteOffset, body.byteLength) : null;
  return reply.header("content-type", type).send(bytes ?? Buffer.from(JSON.stringify(body) ?? "null"));
}

/** Whether a body comes in pieces. Where one fails to come, the connection ends before the answer does, so that nobody takes a part for the whole. */
const isPieces = (body: unknown): body is AsyncIterable<string> =>
  typeof body === "object" && body !== null && Symbol.asyncIterator in body;

async function begin(server: Server, host: string, port: number): Promise<void> {
  const failed = Promise.withResolvers<never>();
  const onError = (error: NodeJS.ErrnoException): void =>
    failed.reject(listenFailure(error, { host, port, title: "the HTTP door", option: "--listen" }));
  server.once("error", onError);
  await Promise.race([new Promise<void>((resolve) => server.listen(port, host, resolve)), failed.promise]);
  server.off("error", onError);
}
