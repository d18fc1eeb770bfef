import { request } from "node:http";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TributaryError } from "../../services/core/index.ts";
import {
  type BodyKind,
  type Listening,
  listen,
  maySocket,
  type Route,
  route,
  type ServerOptions,
  type Surface,
} from "../../services/http/index.ts";
import { eventually } from "../support/temp.ts";

const MAX_BYTES = 10_000;
const bytes: BodyKind<Uint8Array> = {
  maxBytes: MAX_BYTES,
  types: ["application/vnd.tributary.batch"],
  read: (bytes) => bytes,
  tooLarge: () => new TributaryError("batch-too-large", "too many bytes", "Send fewer."),
};
const answers = { 200: { words: "As it was asked." } };
let begun = Promise.withResolvers<void>();

const routes: Route[] = [
  route({
    ...{ method: "POST", path: "/frames", name: "frames", words: "Counts bytes.", body: bytes, answers },
    handle: ({ body }) => ({ status: 200, body: { bytes: body.length, first: body[0] ?? null } }),
  }),
  route({
    ...{ method: "GET", path: "/echo/{text}/end", name: "echo", words: "Says what it was asked.", answers, query: { q: "Any." } },
    handle: ({ params: { text }, query: { q } }) => ({ status: 200, body: { text, q: q ?? null } }),
  }),
  route({
    ...{ method: "DELETE", path: "/echo/{text}/end", name: "forget", words: "Forgets.", answers },
    handle: ({ params: { text } }) => ({ status: 200, body: text }),
  }),
  route({
    ...{ method: "GET", path: "/slow", name: "slow", words: "Never answers.", answers },
    handle() {
      begun.resolve();
      return new Promise(() => {});
    },
  }),
  route({
    ...{ method: "POST", path: "/closed", name: "closed", words: "Lets nobody in.", body: bytes, answers },
    who: {
      ...{ token: "required", scopes: [] },
      admit(): null {
        throw new TributaryError("token-missing", "no token came", "Send one.");
      },
    },
    handle: () => ({ status: 200, body: null }),
  }),
  route({
    ...{ method: "GET", path: "/broken", name: "broken", words: "Fails.", answers },
    handle() {
      throw new Error("a secret of the machine");
    },
  }),
];
const surface: Surface = { name: "test", roots: [], routes };
const foreign: Surface = {
  ...{ name: "foreign", roots: ["foreign"], routes: [] },
  unknown: ({ path }) => ({ status: 404, body: { theirs: path } }),
};
const said: Record<string, unknown>[] = [];
const start = (options: Partial<ServerOptions> = {}): Promise<Listening> =>
  listen({
    ...{ host: "127.0.0.1", port: 0, surfaces: [surface, foreign], info: { title: "Test", version: "1" } },
    say: (event) => said.push(event),
    ...options,
  });

let server: Listening;
beforeAll(async () => {
  server = await start();
});
afterAll(() => server.close());

/** Sends text as it is, and gives all that comes back until the connection ends. */
const raw = (text: string, { port } = server): Promise<string> =>
  new Promise((resolve) => {
    let answer = "";
    const socket = connect(port, "127.0.0.1", () => socket.write(text));
    socket.setEncoding("utf8").on("data", (chunk: string) => (answer += chunk));
    socket.on("error", () => {});
    socket.on("close", () => resolve(answer));
  });
const get = (path: string, rest = ""): string => `GET ${path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n${rest}\r\n`;
const bodyOf = (answer: string): unknown => JSON.parse(answer.slice(answer.indexOf("\r\n\r\n") + 4));
/** Posts a body in chunks, without telling its length. */
const chunked = (
  path: string,
  chunk: Uint8Array,
  times: number,
): Promise<{ status?: number; connection?: string; text: string }> =>
  new Promise((resolve, reject) => {
    const asked = request(server.url + path, { method: "POST", agent: false });
    let isOver = false;
    asked.on("response", (response) => {
      isOver = true;
      let text = "";
      response.on("data", (more: Buffer) => (text += more.toString()));
      const { statusCode: status, headers } = response;
      const told = { ...(status === undefined ? {} : { status }), connection: String(headers.connection) };
      response.on("end", () => resolve({ ...told, text }));
    });
    // Nobody reads the rest of a refused upload.
    asked.on("error", (error) => (isOver ? null : reject(error)));
    for (let i = 0; i < times; i++) asked.write(chunk);
    asked.end();
  });

describe("what a browser is told", () => {
  const PAGE = "https://app.example.org";
  const served = (origins?: readonly string[]) =>
    listen({
      ...{ host: "127.0.0.1", port: 0, info: { title: "test", version: "1" }, say: () => {} },
      surfaces: [{ name: "test", roots: [], routes }],
      ...(origins === undefined ? {} : { origins }),
    });

  it("of every answer, also of refusals: nothing of it is a page, and its type is not guessed", async () => {
    const server = await served();
    try {
      for (const path of ["/echo/a/end", "/none", "/closed", "/broken", "/v1/openapi.json"]) {
        const { headers } = await fetch(`${server.url}${path}`, { headers: { origin: PAGE } });
        expect([path, headers.get("x-content-type-options"), headers.get("content-security-policy")]).toEqual([
          path,
          "nosniff",
          "default-src 'none'; frame-ancestors 'none'",
        ]);
        expect(headers.get("access-control-allow-origin")).toBeNull();
      }
    } finally {
      await server.close();
    }
  });

  it("is that pages of the origins that are allowed may read answers, and no others; never with cookies", async () => {
    const server = await served([PAGE]);
    try {
      const ask = (method: string, origin: string) => fetch(`${server.url}/echo/a/end`, { method, headers: { origin } });
      for (const origin of ["https://app.example.org.evil.org", "http://app.example.org", "null", "https://APP.example.org"]) {
        const { headers } = await ask("GET", origin);
        expect([origin, headers.get("access-control-allow-origin"), headers.get("vary")]).toEqual([origin, null, "origin"]);
        expect((await ask("OPTIONS", origin)).headers.get("access-control-allow-methods")).toBeNull();
      }
      const { headers } = await ask("GET", PAGE);
      expect(headers.get("access-control-allow-origin")).toBe(PAGE);
      expect(headers.get("access-control-allow-credentials")).toBeNull();
      const before = await ask("OPTIONS", PAGE);
      expect(before.status).toBe(204);
      expect(before.headers.get("access-control-allow-methods")).toBe("GET, DELETE, HEAD, OPTIONS");
      expect(before.headers.get("access-control-allow-headers")).toContain("authorization");
    } finally {
      await server.close();
    }
  });

  it.each([
    [undefined, "hub.example.org", true],
    [PAGE, "hub.example.org", true],
    ["https://hub.example.org", "hub.example.org", true],
    ["https://hub.example.org:444", "hub.example.org", false],
    ["https://evil.org", "hub.example.org", false],
    ["null", "hub.example.org", false],
    ["https://hub.example.org@evil.org", "hub.example.org", false],
    ["https://evil.org", undefined, false],
  ])("of a socket: whether a page of %s may open one at %s", (origin, host, may) => {
    expect(maySocket([PAGE], origin, host)).toBe(may);
  });
});

describe("a body", () => {
  it("is taken as bytes, whatever type the request names, or none, or one that is not a type", async () => {
    for (const type of ["application/vnd.tributary.batch", "application/json", "text/plain; charset=utf-16", ";;,", "", null]) {
      const head = `POST /frames HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n${type === null ? "" : `Content-Type: ${type}\r\n`}`;
      const answer = await raw(`${head}Content-Length: 4\r\n\r\n{"a"`);
      expect(answer, String(type)).toMatch(/^HTTP\/1.1 200 /);
      expect(bodyOf(answer)).toEqual({ bytes: 4, first: 0x7b });
    }
    const zstd = await fetch(`${server.url}/frames`, {
      ...{ method: "POST", body: new Uint8Array([0x28, 0xb5, 0x2f, 0xfd]), headers: { "content-encoding": "zstd" } },
    });
    expect(await zstd.json()).toEqual({ bytes: 4, first: 0x28 });
    expect(await (await fetch(`${server.url}/frames`, { method: "POST" })).json()).toEqual({ bytes: 0, first: null });
  });

  it("may be as large as its route says and no larger, even if no length is given; the server does not wait for the rest", async () => {
    const fitting = await fetch(`${server.url}/frames`, { method: "POST", body: new Uint8Array(MAX_BYTES) });
    expect(await fitting.json()).toMatchObject({ bytes: MAX_BYTES });
    expect(await chunked("/frames", new Uint8Array(1_000), 10)).toMatchObject({ status: 200 });
    const tooMuch = await chunked("/frames", new Uint8Array(1_000), 11);
    expect(tooMuch).toMatchObject({ status: 413, connection: "close" });
    expect(JSON.parse(tooMuch.text)).toMatchObject({ code: "batch-too-large", hint: "Send fewer.", status: 413 });
    // Told at once, before a byte of it has come.
    const told = await raw(`POST /frames HTTP/1.1\r\nHost: hub\r\nContent-Length: ${MAX_BYTES + 1}\r\n\r\n`);
    expect(told).toMatch(/^HTTP\/1.1 413 /);
    expect(told).toMatch(/connection: close/i);
  });

  it("of somebody who may not ask is not read, nor is one that its route does not take", async () => {
    const head = `HTTP/1.1\r\nHost: hub\r\nConnection: close\r\nContent-Length: ${10 * MAX_BYTES}\r\n\r\n`;
    expect(await raw(`POST /closed ${head}`)).toMatch(/^HTTP\/1.1 401 [\s\S]*www-authenticate: Bearer/i);
    expect(await raw(`DELETE /echo/a/end ${head}`)).toMatch(/^HTTP\/1.1 200 /);
    expect(await raw(`POST /nowhere ${head}`)).toMatch(/^HTTP\/1.1 404 /);
  });

  it("that breaks off, or is late, costs its own connection and nothing else", async () => {
    const hasty = await start({ limits: { requestMs: 300, headersMs: 200, lookMs: 50 } });
    const broken = connect(hasty.port, "127.0.0.1", () => {
      broken.write("POST /frames HTTP/1.1\r\nHost: hub\r\nContent-Length: 100\r\n\r\nabc");
      setTimeout(() => broken.destroy(), 20);
    });
    broken.on("error", () => {});
    expect(await raw("POST /frames HTTP/1.1\r\nHost: hub\r\nContent-Length: 100\r\n\r\nabc", hasty)).toMatch(/^HTTP\/1.1 408 /);
    // This one is in time as soon as the machine lets it be.
    await eventually("an answer", async () => (await fetch(`${hasty.url}/echo/a/end`)).status === 200);
    expect(said).toEqual([]);
    await hasty.close();
  });
});

describe("a connection", () => {
  it("that never sends anything, or headers that never end, is closed after its bound", async () => {
    const hasty = await start({ limits: { requestMs: 400, headersMs: 200, lookMs: 50 } });
    const [silent, endless] = await Promise.all([raw("", hasty), raw("GET /echo/a/end HTTP/1.1\r\nHost: hub\r\nX-", hasty)]);
    for (const answer of [silent, endless]) expect(answer).toMatch(/^HTTP\/1.1 408 /);
    await hasty.close();
  });

  it("that does not speak HTTP, or sends endless headers, is told so and closed", async () => {
    expect(await raw("\u0016\u0003\u0001 hello\r\n\r\n")).toMatch(/^HTTP\/1.1 400 /);
    expect(await raw(get("/echo/a/end", `X-Long: ${"x".repeat(20_000)}\r\n`))).toMatch(/^HTTP\/1.1 431 /);
  });

  it("under way holds nothing up when the server closes", async () => {
    const other = await start();
    begun = Promise.withResolvers();
    const slow = fetch(`${other.url}/slow`).catch(() => "cut");
    const idle = connect(other.port, "127.0.0.1");
    idle.on("error", () => {});
    await begun.promise;
    // It would never be answered.
    await other.close();
    expect(await slow).toBe("cut");
    idle.destroy();
  });
});

describe("an address", () => {
  it("may have any text as a part, escaped: slashes, percent signs, long texts, other scripts", async () => {
    for (const text of ["a/b", "100%", "a%2Fb", "ü☃ ٣", "a:b", "x".repeat(5_000), "*", "a?b#c", "{text}", "..a", "%zz"]) {
      const answer = await fetch(`${server.url}/echo/${encodeURIComponent(text)}/end?q=${encodeURIComponent(text)}&q=other`);
      expect(await answer.json()).toEqual({ text, q: text });
    }
    // A percent sign that escapes nothing is text; one slash more, or one at the end, is not.
    expect(bodyOf(await raw(get("/echo/100%/end")))).toEqual({ text: "100%", q: null });
    expect(bodyOf(await raw(get("/echo/%zz/end")))).toEqual({ text: "%zz", q: null });
    expect(bodyOf(await raw(get("/echo//a/end/")))).toEqual({ text: "a", q: null });
    expect(bodyOf(await raw(get("/elsewhere/../echo/a/end")))).toEqual({ text: "a", q: null });
    // As a proxy sends it.
    expect(bodyOf(await raw(get("http://hub/echo/a/end")))).toEqual({ text: "a", q: null });
  });

  it("that cannot be read is refused, and one without a route is not found", async () => {
    expect(bodyOf(await raw(get("//")))).toMatchObject({ status: 400, code: "usage" });
    for (const path of ["/nowhere", "/echo/a", "/echo/a/end/more", "*", "/__proto__"])
      expect(bodyOf(await raw(get(path))), path).toMatchObject({ status: 404, code: "not-found", instance: path });
    expect(bodyOf(await raw(get("/foreign/x")))).toEqual({ theirs: "/foreign/x" });
  });

  it("with a method that it does not take names those that it takes, and OPTIONS names the same", async () => {
    for (const method of ["POST", "PUT", "PATCH"]) {
      const answer = await fetch(`${server.url}/echo/a/end`, { method });
      expect([answer.status, answer.headers.get("allow")]).toEqual([405, "GET, DELETE, HEAD, OPTIONS"]);
      expect(await answer.json()).toMatchObject({ code: "method-not-allowed", hint: "Use GET, DELETE, HEAD, OPTIONS." });
    }
    const options = await fetch(`${server.url}/frames`, { method: "OPTIONS" });
    expect([options.status, options.headers.get("allow")]).toEqual([204, "POST, OPTIONS"]);
    expect((await fetch(`${server.url}/nowhere`, { method: "OPTIONS" })).status).toBe(404);
  });

  it("is answered to HEAD as to GET, without the body", async () => {
    const whole = await fetch(`${server.url}/echo/a/end`);
    const head = await fetch(`${server.url}/echo/a/end`, { method: "HEAD" });
    expect(head.status).toBe(200);
    for (const name of ["content-type", "content-length"]) expect(head.headers.get(name)).toBe(whole.headers.get(name));
    expect(await head.text()).toBe("");
    expect((await fetch(`${server.url}/frames`, { method: "HEAD" })).status).toBe(405);
  });
});

describe("a server", () => {
  it("says only that it failed if the fault is its own, and its log says the rest", async () => {
    const answer = await fetch(`${server.url}/broken`);
    expect([answer.status, answer.headers.get("content-type")]).toEqual([500, "application/problem+json"]);
    expect(await answer.text()).not.toContain("secret");
    expect(said.splice(0)).toMatchObject([{ event: "http-failed", error: { message: "a secret of the machine" } }]);
  });

  it("whose port is in use says so, and which to choose", async () => {
    await expect(start({ port: server.port })).rejects.toMatchObject({
      ...{ code: "port-in-use", message: `port ${server.port} of 127.0.0.1, wanted for the HTTP door, is in use` },
      hint: expect.stringContaining("--listen"),
    });
  });

  it("listens on IPv6 hosts, and writes their address in brackets", async () => {
    const six = await start({ host: "::1" });
    expect(six.url).toBe(`http://[::1]:${six.port}`);
    expect((await fetch(`${six.url}/echo/a/end`)).status).toBe(200);
    await six.close();
  });

  it("goes on serving whatever strangers send", async () => {
    const parts = [
      "GET ",
      "POST ",
      "/frames",
      "/echo/%",
      " HTTP/1.1\r\n",
      "\r\n",
      "Host: hub\r\n",
      "\0",
      "Content-Length: 9\r\n",
    ];
    const strange = Array.from({ length: 60 }, (_, i) => Array.from({ length: 8 }, (_, j) => parts[(i * 7 + j * (i + 3)) % 9]));
    const sockets = strange.map((each) => {
      const socket = connect(server.port, "127.0.0.1", () => socket.write(each.join("")));
      return socket.on("error", () => {});
    });
    await sleep(100);
    expect((await fetch(`${server.url}/echo/a/end`)).status).toBe(200);
    for (const socket of sockets) socket.destroy();
    expect(said).toEqual([]);
  });
});
