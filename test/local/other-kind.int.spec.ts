import { once } from "node:events";
import { rmSync } from "node:fs";
import { createServer as createHttp } from "node:http";
import { createServer as createHttp2 } from "node:http2";
import { type AddressInfo, createServer, type Server } from "node:net";
import { join } from "node:path";
import { createServer as createTls } from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { TributaryError } from "../../services/core/index.ts";
import { kindsAt, type ServerKind, unlessOtherKind } from "../../services/core/node.ts";
import { silenceOf, startEventStore, startNats, startPostgres } from "../../services/local/index.ts";
import { otherKindBehind } from "../../services/local/ping.ts";
import { runHere } from "../support/here.ts";
import { newDir } from "../support/home.ts";
import { eventually } from "../support/temp.ts";

const dir = newDir("kinds");
const db = ["--db", join(dir, "juba.db")];

/** Servers that answer as those of each kind do, and one that accepts connections and says nothing. */
const SERVERS: Readonly<Record<ServerKind | "silent", () => Server>> = {
  nats: () => createServer((socket) => void socket.on("error", () => {}).write('INFO {"server_id":"X","version":"2.9.10"}\r\n')),
  ssh: () => createServer((socket) => void socket.on("error", () => {}).write("SSH-2.0-OpenSSH_9.9\r\n")),
  http: () => createHttp((_, response) => response.writeHead(404).end("nothing here")),
  http2: () => createHttp2().on("sessionError", () => {}),
  // It has no certificate, and says so in TLS.
  tls: () => createTls({}).on("tlsClientError", () => {}),
  postgres: () =>
    createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", (bytes) => (bytes.readUInt32BE(0) === 8 ? socket.write("N") : socket.destroy()));
    }),
  silent: () => createServer((socket) => void socket.on("error", () => {})),
};
const open: Server[] = [];
const hosts: Record<string, string> = {};
const at = (kind: keyof typeof SERVERS): string => hosts[kind] ?? "";
const portAt = (kind: keyof typeof SERVERS) => ({ host: "127.0.0.1", port: Number(at(kind).split(":")[1]) });

beforeAll(async () => {
  for (const [kind, make] of Object.entries(SERVERS)) {
    const server = make();
    open.push(server);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    hosts[kind] = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }
  expect((await runHere("field", "init", "--org", "relief", "--site", "juba", "--device", "t1", ...db)).code).toBe(0);
});
afterEach(() => vi.unstubAllEnvs());
afterAll(() => {
  for (const server of open) server.close();
  rmSync(dir, { recursive: true, force: true });
});

it.each(["nats", "ssh", "http", "http2", "tls", "postgres"] as const)(
  "a server of the kind %s is known by its first bytes",
  async (kind) => {
    expect([...(await kindsAt(portAt(kind)))]).toEqual([kind]);
  },
);

it("of a server that says nothing, and of an address where nothing listens, nothing is claimed", async () => {
  expect([...(await kindsAt(portAt("silent")))]).toEqual([]);
  expect([...(await kindsAt({ host: "127.0.0.1", port: 1 }))]).toEqual([]);
});

it("what answers at an address comes at once, also where the driver would wait for ever", async () => {
  const told = new TributaryError("backend-unreachable", "another kind", "Check the address.");
  const asking = { ask: async () => told, isAnswer: () => false, lateMs: 1 };
  await expect(unlessOtherKind(new Promise(() => {}), asking)).rejects.toBe(told);
  await expect(unlessOtherKind(Promise.reject(new Error("no link")), asking)).rejects.toBe(told);
  await expect(unlessOtherKind(Promise.reject(new Error("wrong password")), { ...asking, isAnswer: () => true })).rejects.toThrow(
    "wrong password",
  );
  await expect(unlessOtherKind(Promise.reject(new Error("no link")), { ...asking, ask: async () => null })).rejects.toThrow(
    "no link",
  );
  expect(await unlessOtherKind(Promise.resolve(1), asking)).toBe(1);
});

it("a driver's own error stands where asking fails, and what connects too late is closed", async () => {
  const asking = { ask: () => Promise.reject(new RangeError("no such port")), isAnswer: () => false, lateMs: 1 };
  await expect(unlessOtherKind(Promise.reject(new Error("no link")), asking)).rejects.toThrow("no link");
  const told = new TributaryError("backend-unreachable", "another kind", "Check the address.");
  const late = Promise.withResolvers<string>();
  const closed: string[] = [];
  const attempt = unlessOtherKind(late.promise, { ...asking, ask: async () => told }, (opened) => void closed.push(opened));
  await expect(attempt).rejects.toBe(told);
  late.resolve("a connection");
  await eventually("the close", async () => closed.length === 1);
  expect(closed).toEqual(["a connection"]);
});

it("a port that there cannot be is told in words", async () => {
  expect(await silenceOf("nats://127.0.0.1:99999")).toBe("127.0.0.1:99999: there is no port 99999");
  expect(await silenceOf("esdb://127.0.0.1:99999")).toBe("127.0.0.1:99999: there is no port 99999");
  expect([...(await kindsAt({ host: "127.0.0.1", port: 99_999 }))]).toEqual([]);
});

it("several addresses, each with its scheme or not, are all asked", async () => {
  const { port } = portAt("http");
  for (const url of [`nats://127.0.0.1:${port},nats://127.0.0.1:${port}`, `nats://u:p@127.0.0.1:${port},127.0.0.1:${port}`])
    expect((await otherKindBehind("TRIBUTARY_NATS_URL", url))?.message).toContain("a server that speaks HTTP");
});

/** Addresses of hubs, what listens there, and what is said. */
const HUBS: readonly [scheme: string, kind: keyof typeof SERVERS, says: string, todo: (host: string) => string][] = [
  ["nats", "http", "a server that speaks HTTP, not a NATS server", (host) => `Write http://${host} if`],
  ["nats", "tls", "a server that speaks TLS, as https does, not a NATS server", (host) => `Write https://${host} if`],
  ["nats", "postgres", "a PostgreSQL server, not a NATS server", () => "Ask for the hub's address"],
  ["tls", "http", "a server that speaks HTTP, not a NATS server", (host) => `Write http://${host} if`],
  ["http", "nats", "a NATS server, not one that speaks http", (host) => `Write nats://${host}.`],
  ["http", "tls", "a server that speaks TLS, as https does, not one that speaks http", (host) => `Write https://${host} if`],
  ["http", "postgres", "a PostgreSQL server, not one that speaks http", () => "Ask for the hub's address"],
  ["http", "http2", "a server that speaks HTTP/2", () => "Ask for the hub's address"],
  ["https", "http", "a server that speaks HTTP, not one that speaks https", (host) => `Write http://${host} if`],
  ["https", "nats", "a NATS server, not one that speaks https", (host) => `Write nats://${host}.`],
  ["https", "ssh", "an SSH server, not one that speaks https", () => "Ask for the hub's address"],
];

it.each(HUBS)(
  "a device is told what answers at %s:// where a server of the kind %s listens, and does not try again",
  async (scheme, kind, says, todo) => {
    const { code, stderr } = await runHere("field", "sync", "--hub", `${scheme}://${at(kind)}`, "--token", "t", ...db);
    expect(code).toBe(7);
    expect(stderr).toContain(`what answers at ${at(kind)} is ${says}`);
    expect(stderr).toContain(todo(at(kind)));
    expect(stderr).toContain("The events are safe on this device.");
    expect(stderr).not.toMatch(/trying again|\n\s+at /i);
  },
);

describe("the addresses of a hub's servers", () => {
  const ADDRESSES = {
    TRIBUTARY_NATS_URL: (host: string) => `nats://${host}`,
    TRIBUTARY_POSTGRES_URL: (host: string) => `postgres://hub:secret@${host}/tributary`,
    TRIBUTARY_EVENTSTORE_URL: (host: string) => `esdb://${host}?tls=false`,
  } as const;
  const RIGHT = { TRIBUTARY_NATS_URL: "nats", TRIBUTARY_POSTGRES_URL: "postgres", TRIBUTARY_EVENTSTORE_URL: "http2" } as const;
  const VARIABLES = ["TRIBUTARY_NATS_URL", "TRIBUTARY_POSTGRES_URL", "TRIBUTARY_EVENTSTORE_URL"] as const;
  const KINDS = ["nats", "http", "tls", "postgres", "http2"] as const;
  const wrong = VARIABLES.flatMap((variable) =>
    KINDS.filter((kind) => kind !== RIGHT[variable]).map((kind) => [variable, kind] as const),
  );

  it.each(wrong)("%s with a server of the kind %s behind it: that is told, without the password", async (variable, kind) => {
    const told = await otherKindBehind(variable, ADDRESSES[variable](at(kind)));
    expect(told?.message).toMatch(new RegExp(`^${variable} names .*${at(kind)}.*, and what answers there is a`));
    expect(told?.message).not.toContain("secret");
    expect(told?.hint).toMatch(/Check|leave out/);
  });

  it("with the right server behind it, or one that is silent, nothing is said", async () => {
    for (const variable of VARIABLES)
      for (const kind of [RIGHT[variable], "silent"] as const)
        expect(await otherKindBehind(variable, ADDRESSES[variable](at(kind)))).toBeNull();
  });

  it.each([
    ["TRIBUTARY_NATS_URL", startNats],
    ["TRIBUTARY_POSTGRES_URL", startPostgres],
    ["TRIBUTARY_EVENTSTORE_URL", startEventStore],
  ] as const)("a hub whose %s names a web server does not start, and says what answered", async (variable, start) => {
    vi.stubEnv(variable, ADDRESSES[variable](at("http")));
    await expect(start({ dataDir: dir })).rejects.toMatchObject({
      code: "backend-unreachable",
      message: expect.stringContaining("what answers there is a server that speaks HTTP"),
    });
  });

  it("a command on a running hub counts a server of another kind as silent, and names it", async () => {
    expect(await silenceOf(`nats://${at("http")}`)).toContain("a server that speaks HTTP answers there");
    expect(await silenceOf(`nats://${at("silent")}`)).toContain("it accepts connections, but does not answer");
    expect(await silenceOf(`nats://${at("ssh")}`)).toContain("an SSH server answers there");
    expect(await silenceOf(`postgres://${at("http")}/x`)).toContain("a server that speaks HTTP answers there");
    expect(await silenceOf(`esdb://${at("nats")}?tls=false`)).toContain("a NATS server answers there");
    for (const [url, kind] of [
      ["nats://", "nats"],
      ["postgres://", "postgres"],
    ] as const)
      expect(await silenceOf(`${url}${at(kind)}`)).toBeNull();
    expect(await silenceOf(`esdb://${at("http2")}?tls=false`)).toBeNull();
  });
});
