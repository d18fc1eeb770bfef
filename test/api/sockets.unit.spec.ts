import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { buildSchema, type GraphQLSchema } from "graphql";
import { afterEach, expect, it } from "vitest";
import WebSocket from "ws";
import type { ApiHub } from "../../services/api/graphql/hub.ts";
import { GRAPHQL_LIMITS } from "../../services/api/graphql/limits.ts";
import { openSockets, type SocketLimits } from "../../services/api/graphql/sockets.ts";
import { TributaryError } from "../../services/core/index.ts";
import { type Gatekeeper, type Principal, paced } from "../../services/http/index.ts";
import { eventually } from "../support/temp.ts";

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

/** A schema of which one field goes on for ever, as fast as it is taken. */
function endless(): GraphQLSchema {
  const schema = buildSchema("type Query { one: Int } type Subscription { flood: String, calm: Int }");
  const fields = schema.getSubscriptionType()?.getFields() ?? {};
  async function* flood(): AsyncGenerator<{ flood: string }> {
    for (;;) yield { flood: "x".repeat(65_536) };
  }
  async function* calm(): AsyncGenerator<{ calm: number }> {
    yield { calm: 1 };
    await new Promise(() => {});
  }
  if (fields.flood !== undefined) fields.flood.subscribe = flood;
  if (fields.calm !== undefined) fields.calm.subscribe = calm;
  return schema;
}

const amina = { kind: "person", issuer: "tributary", org: "relief", subject: "amina" } as Principal;

/** Sockets with small limits, for somebody whom `again` may turn away. */
async function served(sockets: Partial<SocketLimits>, again: Gatekeeper["again"] = async (who) => who): Promise<string> {
  const said: Record<string, unknown>[] = [];
  const opened = openSockets({
    hub: { say: (event) => said.push(event) } as Pick<ApiHub, "say"> as ApiHub,
    gate: paced({ admit: async () => amina, again }, { requestsPerPerson: 20, requestsPerOrganisation: 1_000 }),
    schema: endless,
    limits: GRAPHQL_LIMITS,
    sockets,
  });
  const server: Server = createServer();
  server.on("upgrade", (request, socket, head) => opened.take(request, socket, head));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(async () => {
    await opened.close();
    await new Promise((resolve) => server.close(resolve));
  });
  return `ws://127.0.0.1:${(server.address() as AddressInfo).port}/graphql`;
}

/** A socket that has said who it is. */
async function greeted(url: string): Promise<WebSocket> {
  const socket = new WebSocket(url, "graphql-transport-ws");
  await new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.once("message", resolve);
    socket.once("open", () => socket.send('{"type":"connection_init"}'));
  });
  return socket;
}
const closing = (socket: WebSocket): Promise<number> => new Promise((resolve) => socket.once("close", resolve));
const ask = (socket: WebSocket, id: string, query: string): void =>
  socket.send(JSON.stringify({ type: "subscribe", id, payload: { query } }));
const next = (socket: WebSocket): Promise<string> =>
  new Promise((resolve) => socket.once("message", (data) => resolve(String(data))));

it("who may not ask any more is cut off, whatever they follow", async () => {
  let may = true;
  const url = await served({ againMs: 20 }, async (who) => {
    if (may) return who;
    throw new TributaryError("revoked", "the token was revoked", "Ask for another.");
  });
  const socket = await greeted(url);
  ask(socket, "1", "subscription { calm }");
  expect(await next(socket)).toContain('"next"');
  may = false;
  expect(await closing(socket)).toBe(4403);
});

it("the machine's failures cut nobody off", async () => {
  const failing = Promise.withResolvers<void>();
  let asked = 0;
  const url = await served({ againMs: 10 }, async () => {
    if (++asked > 3) failing.resolve();
    throw new TributaryError("backend-unreachable", "the log does not answer", "Try again.");
  });
  const socket = await greeted(url);
  await failing.promise;
  expect(socket.readyState).toBe(WebSocket.OPEN);
  ask(socket, "1", "{ one }");
  expect(await next(socket)).toContain('"data":{"one":null}');
  socket.close();
});

it("who takes nothing of what they follow is cut off, and others are not held up", async () => {
  const url = await served({ againMs: 100, sockets: 2 });
  const [slow, quick] = [await greeted(url), await greeted(url)];
  slow.pause();
  ask(slow, "1", "subscription { flood }");
  ask(quick, "1", "subscription { calm }");
  expect(await next(quick)).toContain('"next"');
  const cut = closing(slow);
  // There is room for another socket once the slow one is gone.
  const third = await eventually("the slow one is cut off", () => greeted(url).catch(() => null));
  ask(quick, "2", "{ one }");
  expect(await next(quick)).toContain('"one":null');
  slow.resume();
  expect(await cut).toBe(1006);
  quick.close();
  third.close();
});

it("a socket has so many questions under way, and a hub so many sockets", async () => {
  const url = await served({ operationsPerSocket: 2, sockets: 2 });
  const socket = await greeted(url);
  for (const id of ["1", "2"]) {
    ask(socket, id, "subscription { calm }");
    expect(await next(socket)).toContain('"next"');
  }
  ask(socket, "3", "subscription { calm }");
  expect(await next(socket)).toMatch(/"type":"error".*operationsPerSocket/);
  socket.send('{"type":"complete","id":"1"}');
  ask(socket, "4", "subscription { calm }");
  expect(await next(socket)).toContain('"next"');
  const second = await greeted(url);
  await expect(greeted(url)).rejects.toThrow("503");
  second.close();
  await closing(second);
  (await greeted(url)).close();
  socket.close();
});

it("nobody stays who does not say who they are", async () => {
  const url = await served({ initMs: 30 });
  const socket = new WebSocket(url, "graphql-transport-ws");
  expect(await closing(socket)).toBe(4408);
});

it("questions over a socket count as requests do", async () => {
  const socket = await greeted(await served({}));
  const answers: string[] = [];
  const all = new Promise<void>((resolve) =>
    socket.on("message", (data) => {
      if (/"type":"(?:next|error)"/.test(String(data)) && answers.push(String(data)) === 20) resolve();
    }),
  );
  for (let n = 0; n < 20; n++) ask(socket, String(n), "{ one }");
  await all;
  // Connecting was one of the 20.
  expect(answers.filter((each) => each.includes('"one":null'))).toHaveLength(19);
  expect(answers.filter((each) => each.includes("requestsPerPerson"))).toHaveLength(1);
  socket.close();
});

it("who does not answer a goodbye does not keep a hub from stopping", async () => {
  const socket = await greeted(await served({}));
  socket.pause();
  await closers.pop()?.();
  socket.terminate();
});
