/**
 * GraphQL over a socket: the protocol graphql-transport-ws (https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md), by its own library. In come frames; out go what is followed, and answers.
 * Who asks is known before anything is answered, and asked again while the socket stays open. Never a frame beyond its bound, never more than a bound of what nobody takes.
 */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { type ExecutionArgs, GraphQLError, type GraphQLSchema, getOperationAST, validate } from "graphql";
import { CloseCode, type Context, makeServer, type Server, type SubscribePayload } from "graphql-ws";
import { type WebSocket, WebSocketServer } from "ws";
import { isTributaryError, messageOf, TributaryError } from "../../core/index.ts";
import type { Gatekeeper, Principal } from "../../http/index.ts";
import { refused, toldError, toldErrors } from "./errors.ts";
import type { ApiHub, Asking } from "./hub.ts";
import { type GraphqlLimits, mustAskFreely, parseWithin, refuseTooMuch } from "./limits.ts";

/** The sub-protocol that a socket must speak. */
export const PROTOCOL_NAME = "graphql-transport-ws";

export interface SocketLimits {
  /** Questions that one socket has under way. */
  readonly operationsPerSocket: number;
  /** Sockets that are open at a time. */
  readonly sockets: number;
  /** Bytes that wait to be taken by a slow reader, before it is cut off. */
  readonly outboundBytes: number;
  /** How long it may take until somebody says who they are. Milliseconds. */
  readonly initMs: number;
  /** How often it is asked again who has a socket open, and whether the other side is still there. Milliseconds. */
  readonly againMs: number;
}
export const SOCKET_LIMITS: SocketLimits = {
  operationsPerSocket: 100,
  sockets: 5_000,
  outboundBytes: 4_194_304,
  initMs: 10_000,
  againMs: 5_000,
};

export interface SocketOptions {
  readonly hub: ApiHub;
  readonly gate: Gatekeeper;
  readonly schema: () => GraphQLSchema;
  readonly limits: GraphqlLimits;
  readonly sockets?: Partial<SocketLimits>;
}

export interface Sockets {
  /** Takes a connection that asks for a socket. */
  take(request: IncomingMessage, socket: Duplex, head: Buffer): void;
  close(): Promise<void>;
}

interface Extra extends Record<PropertyKey, unknown> {
  readonly authorization: string | undefined;
  readonly socket: WebSocket;
  who?: Principal;
}
type Asked = Context<Record<string, unknown> | undefined, Extra>;

/** Opens the sockets of a hub's GraphQL. */
export function openSockets(options: SocketOptions): Sockets {
  const limits = { ...SOCKET_LIMITS, ...options.sockets };
  const wss = new WebSocketServer({
    noServer: true,
    maxPayload: options.limits.maxBodyBytes,
    // Bytes that compress a secret beside what an attacker sends tell of the secret, and memory for it would be kept for each socket.
    perMessageDeflate: false,
    handleProtocols: (offered) => (offered.has(PROTOCOL_NAME) ? PROTOCOL_NAME : false),
  });
  const server = serverOf(options, limits);
  return {
    take(request, socket, head) {
      if (wss.clients.size >= limits.sockets) {
        socket.end("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\n\r\n");
        return;
      }
      wss.handleUpgrade(request, socket, head, (client) => serve(server, client, request, { options, limits }));
    },
    async close() {
      for (const client of wss.clients) client.close(1001, "the hub is being stopped");
      // Who does not answer that does not keep the hub from stopping.
      const cut = setTimeout(() => {
        for (const client of wss.clients) client.terminate();
      }, CLOSE_MS);
      await new Promise<void>((resolve) => wss.close(() => resolve()));
      clearTimeout(cut);
    },
  };
}

interface ServeDeps {
  readonly options: SocketOptions;
  readonly limits: SocketLimits;
}

/** Speaks with one socket until it is closed. */
function serve(server: Server<Extra>, client: WebSocket, request: IncomingMessage, { options, limits }: ServeDeps): void {
  const extra: Extra = { authorization: request.headers.authorization, socket: client };
  const { gate, hub } = options;
  client.on("error", (error) => hub.say({ event: "socket-failed", message: messageOf(error) }));
  let isThere = true;
  client.on("pong", () => {
    isThere = true;
  });
  const look = setInterval(() => {
    if (!isThere) return client.terminate();
    isThere = false;
    client.ping();
    if (extra.who === undefined) return;
    gate.again(extra.who, Date.now()).then(
      (who) => {
        extra.who = who;
      },
      (error: unknown) => {
        if (isTributaryError(error) && error.status < 500) client.close(CloseCode.Forbidden, error.code);
      },
    );
  }, limits.againMs);
  const closed = server.opened(
    {
      protocol: client.protocol,
      send: (data) =>
        new Promise((resolve, reject) => {
          // Who does not take what comes is cut off: it goes on from its last resume position.
          if (client.bufferedAmount > limits.outboundBytes) {
            client.close(SLOW, "too-slow");
            client.terminate();
            return reject(
              new TributaryError("too-slow", "nobody takes what the socket is sent", "Connect again, and read faster."),
            );
          }
          client.send(data, (error) => (error == null ? resolve() : reject(error)));
        }),
      close: (code, reason) => client.close(code, reason),
      onMessage: (take) =>
        client.on("message", (data, isBinary) => {
          if (isBinary) return client.close(CloseCode.BadRequest, "Frames are texts");
          take(String(data)).catch((error: unknown) => {
            hub.say({ event: "socket-failed", message: messageOf(error) });
            client.close(CloseCode.InternalServerError, "Internal server error");
          });
        }),
    },
    extra,
  );
  client.once("close", (code, reason) => {
    clearInterval(look);
    void closed(code, String(reason));
  });
}

/** How long sockets have to end when the hub is being stopped. */
const CLOSE_MS = 1_000;
/** "Try again later" (RFC 6455, registered close codes). */
const SLOW = 1013;

function serverOf({ hub, gate, schema, limits: bounds }: SocketOptions, limits: SocketLimits): Server<Extra> {
  return makeServer<Record<string, unknown> | undefined, Extra>({
    connectionInitWaitTimeout: limits.initMs,
    async onConnect({ extra, connectionParams }) {
      const given = connectionParams?.authorization;
      try {
        extra.who = await gate.admit(typeof given === "string" ? given : extra.authorization, Date.now());
        return true;
      } catch (error) {
        if (!isTributaryError(error) || error.status >= 500) {
          hub.say({ event: "api-failed", message: messageOf(error) });
          extra.socket.close(CloseCode.InternalServerError, isTributaryError(error) ? error.code : "internal");
        } else extra.socket.close(CloseCode.Forbidden, error.code);
        return false;
      }
    },
    async onSubscribe(context, _id, payload) {
      try {
        // Each question counts as a request does, over however few sockets they come.
        if (context.extra.who !== undefined) await gate.count?.(context.extra.who);
      } catch (error) {
        return [isTributaryError(error) ? refused(error) : toldError(error, hub.say)];
      }
      return argsOf(context, payload, { hub, gate, schema, bounds, limits });
    },
    onError: (_context, _id, _payload, errors) => [...toldErrors(errors, hub.say)],
    onNext: (...[, , , , result]) =>
      result.errors === undefined ? result : { ...result, errors: [...toldErrors(result.errors, hub.say)] },
  });
}

interface ArgsDeps extends Pick<SocketOptions, "hub" | "gate" | "schema"> {
  readonly bounds: GraphqlLimits;
  readonly limits: SocketLimits;
}

/** What is to be executed, or why not: the same bounds and the same words as over HTTP. */
function argsOf(
  { extra, subscriptions }: Asked,
  { query, variables, operationName }: SubscribePayload,
  { hub, gate, schema: current, bounds, limits }: ArgsDeps,
): ExecutionArgs | readonly GraphQLError[] {
  const { who } = extra;
  try {
    if (who === undefined) throw new TributaryError("token-missing", "nobody has said who asks", "Send connection_init first.");
    if (Object.keys(subscriptions).length > limits.operationsPerSocket)
      throw new TributaryError(
        "too-many-requests",
        `${limits.operationsPerSocket} questions of this socket are under way (the setting operationsPerSocket)`,
        "Complete some, or open another socket.",
      );
    mustAskFreely(who);
    const schema = current();
    const document = parseWithin(query, bounds);
    const problems = validate(schema, document);
    if (problems.length > 0) return toldErrors(problems, hub.say);
    const operation = getOperationAST(document, operationName);
    if (operation == null) return [new GraphQLError("Unable to identify operation")];
    refuseTooMuch(schema, document, operation, { variables: variables ?? {}, limits: bounds });
    const asking: Asking = { principal: who, hub, again: () => gate.again(extra.who ?? who, Date.now()) };
    return {
      ...{ schema, document, contextValue: asking, variableValues: variables ?? {} },
      ...(operationName == null ? {} : { operationName }),
    };
  } catch (error) {
    return [isTributaryError(error) ? refused(error) : toldError(error, hub.say)];
  }
}
