import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { afterEach, beforeAll, describe, expect, it, onTestFinished, vi } from "vitest";
import { inboxPrefix, type NatsSettings, parseNatsUrl, SUBJECTS, withoutLogin } from "../../services/core/index.ts";
import { siteLogin } from "../../services/core/node.ts";
import { openField } from "../../services/field/index.ts";
import { issueToken, makeKey } from "../../services/http/index.ts";
import { connectBroker, startIngress } from "../../services/ingress/index.ts";
import { type Backend, natsSettings, startEventStore, startNats } from "../../services/local/index.ts";
import { type Log, openLog } from "../../services/log/index.ts";
import { connectAs, serveNats, type TestServer } from "../support/broker.ts";
import { newDir } from "../support/home.ts";
import { gate, number, ORG, registration } from "../support/hub.ts";
import { promptly, tempDir } from "../support/temp.ts";

const ROOT = join(import.meta.dirname, "../..");
const TLS = join(ROOT, "test/vectors/tls");
const pem = (name: string): string => readFileSync(join(TLS, name), "utf8");
/** It has characters that an address must encode and a setting need not. */
const PASSWORD = "p@ss/w:rd,100%#?";
const encoded = encodeURIComponent(PASSWORD);

/** What nats-server's own library for keys offers, for making users as an operator does. */
interface Nkeys {
  createUser(): Pair;
  createAccount(): Pair;
  createOperator(): Pair;
}
interface Pair {
  getPublicKey(): string;
  getSeed(): Uint8Array;
  sign(bytes: Uint8Array): Uint8Array;
}
const nkeys = createRequire(createRequire(import.meta.url).resolve("nats"))("nkeys.js") as Nkeys;

async function server(more: string): Promise<TestServer> {
  const running = await serveNats(
    tempDir(),
    (port, store) => `host: 127.0.0.1\nport: ${port}\njetstream { store_dir: ${JSON.stringify(store)} }\n${more}`,
  );
  onTestFinished(() => running.end());
  return running;
}

/** Expects that hub and device both get in: the hub prepares its streams, the device is told that no hub answers yet, and keeps its events. */
async function bothGetIn(url: string, settings: NatsSettings): Promise<void> {
  const nc = await connectBroker(url, "test", settings);
  expect((await (await nc.jetstreamManager()).getAccountInfo()).streams).toBeGreaterThanOrEqual(0);
  await nc.close();
  await expect(deviceSync(url, settings)).rejects.toMatchObject({
    code: "sync-gave-up",
    message: expect.stringContaining("did not take the batch"),
  });
}

async function deviceSync(url: string, settings?: NatsSettings, token = "no.real.token"): Promise<unknown> {
  const field = openField({ path: join(tempDir(), "d.db"), name: { org: ORG, site: "juba", device: "t1" }, schemas: gate });
  try {
    await field.append(registration(number(1)));
    return await field.sync({ url, token, maxTries: 1, ...(settings === undefined ? {} : { nats: settings }) });
  } finally {
    field.close();
  }
}

describe("hub and device log in at a NATS server", () => {
  it("with user and password, in the address or as settings, whatever letters the password has", async () => {
    const { port } = await server(`authorization { user: "u", password: ${JSON.stringify(PASSWORD)} }`);
    await bothGetIn(`nats://u:${encoded}@127.0.0.1:${port}`, {});
    await bothGetIn(`nats://127.0.0.1:${port}`, { user: "u", password: PASSWORD });
  });

  it("with a token", async () => {
    const { port } = await server(`authorization { token: ${JSON.stringify(PASSWORD)} }`);
    await bothGetIn(`nats://${encoded}@127.0.0.1:${port}`, {});
    await bothGetIn(`nats://127.0.0.1:${port}`, { token: PASSWORD });
  });

  it("with an nkey, whose seed is never sent", async () => {
    const user = nkeys.createUser();
    const { port } = await server(`authorization { users: [ { nkey: ${user.getPublicKey()} } ] }`);
    await bothGetIn(`nats://127.0.0.1:${port}`, { nkeySeed: Buffer.from(user.getSeed()).toString() });
    const other = Buffer.from(nkeys.createUser().getSeed()).toString();
    await expect(connectBroker(`nats://127.0.0.1:${port}`, "test", { nkeySeed: other })).rejects.toMatchObject({
      code: "login-refused",
    });
  });

  it("with a creds file, where an operator's JWTs say who may do what", async () => {
    const [operator, account, user] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createUser()];
    const system = nkeys.createAccount();
    const open = { subs: -1, conn: -1, leaf: -1, imports: -1, exports: -1, data: -1, payload: -1, wildcards: true };
    const storage = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };
    const accounts = [
      `${account.getPublicKey()}: ${jwt(operator, account, "APP", { type: "account", limits: { ...open, ...storage } })}`,
      `${system.getPublicKey()}: ${jwt(operator, system, "SYS", { type: "account", limits: open })}`,
    ];
    const trusted = jwt(operator, operator, "OP", { type: "operator", system_account: system.getPublicKey() });
    const { port } = await server(
      `operator: ${trusted}\nsystem_account: ${system.getPublicKey()}\nresolver: MEMORY\nresolver_preload: {\n${accounts.join("\n")}\n}`,
    );
    const userJwt = jwt(account, user, "juba", { type: "user", subs: -1, data: -1, payload: -1 });
    const creds = `-----BEGIN NATS USER JWT-----\n${userJwt}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${Buffer.from(user.getSeed()).toString()}\n------END USER NKEY SEED------\n`;
    await bothGetIn(`nats://127.0.0.1:${port}`, { creds });
    await expect(connectBroker(`nats://127.0.0.1:${port}`, "test")).rejects.toMatchObject({ code: "login-refused" });
    await expect(connectBroker(`nats://127.0.0.1:${port}`, "test", { creds: "nothing" })).rejects.toMatchObject({
      code: "input-malformed",
    });
  });

  it("with a client certificate, at a server whose authority is the organisation's own", async () => {
    const { port } = await server(
      `tls { cert_file: "${TLS}/server.pem", key_file: "${TLS}/server.key", ca_file: "${TLS}/ca.pem", verify: true }`,
    );
    const mine = { ca: pem("ca.pem"), cert: pem("client.pem"), key: pem("client.key") };
    for (const url of [`tls://localhost:${port}`, `nats://127.0.0.1:${port}`]) await bothGetIn(url, mine);
    const connecting = (settings: NatsSettings): Promise<unknown> => connectBroker(`tls://localhost:${port}`, "test", settings);
    await expect(connecting({})).rejects.toMatchObject({
      code: "tls-refused",
      message: expect.stringContaining("authority"),
      hint: expect.stringContaining("TRIBUTARY_NATS_CA"),
    });
    await expect(connecting({ ...mine, ca: pem("other-ca.pem") })).rejects.toMatchObject({ code: "tls-refused" });
    await expect(connecting({ ca: mine.ca })).rejects.toMatchObject({
      code: "backend-unreachable",
      hint: expect.stringContaining("client certificate"),
    });
    await expect(connecting({ ...mine, key: pem("server.key") })).rejects.toMatchObject({ code: "tls-refused" });
    await expect(deviceSync(`tls://localhost:${port}`)).rejects.toMatchObject({ code: "tls-refused" });
  });

  it("but not without TLS if the address insists on it", async () => {
    const { port } = await server("");
    await expect(connectBroker(`tls://127.0.0.1:${port}`, "test")).rejects.toMatchObject({
      code: "tls-refused",
      message: expect.stringContaining("does not offer TLS"),
    });
  });

  it("at any of several servers", async () => {
    const { port } = await server(`authorization { user: "u", password: "p" }`);
    await bothGetIn(`nats://u:p@127.0.0.1:9,nats://127.0.0.1:${port}`, {});
  });
});

describe("a login that is not enough", () => {
  it("is told at once, without the password, and a device keeps its events", async () => {
    const { port } = await server(`authorization { user: "u", password: "right" }`);
    const failure = await promptly(
      "the refusal",
      () => 8_000,
      () => deviceSync(`nats://u:${encoded}@127.0.0.1:${port}`).catch((error: unknown) => error),
    );
    expect(failure).toMatchObject({ code: "login-refused", message: "the hub's broker refuses the login" });
    expect(`${String(failure)} ${JSON.stringify(failure)}`).not.toMatch(/p@ss|p%40ss/);
  });

  it("names the subject on which it lacks a right", async () => {
    const { port } = await server(
      `authorization { users: [ { user: u, password: p, permissions: { publish: { allow: ["hello.>"] }, subscribe: { allow: [">"] } } } ] }`,
    );
    await expect(deviceSync(`nats://u:p@127.0.0.1:${port}`)).rejects.toMatchObject({
      code: "login-refused",
      message: expect.stringContaining(`publish on ${SUBJECTS.ingress}.${ORG}.juba.t1`),
    });
    const deaf = await server(
      `authorization { users: [ { user: u, password: p, permissions: { publish: { allow: [">"] }, subscribe: { allow: ["_INBOX_>", "_INBOX_${ORG}_juba.>"] } } } ] }`,
    );
    await expect(deviceSync(`nats://u:p@127.0.0.1:${deaf.port}`)).rejects.toMatchObject({
      code: "login-refused",
      message: expect.stringContaining(`subscribe to ${SUBJECTS.receipt}.${ORG}.juba.t1`),
    });
  });
});

describe("settings", () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  it("come from files that options or variables name; one that is not there is named by its option", () => {
    const dir = tempDir();
    writeFileSync(join(dir, "ca.pem"), "CA");
    writeFileSync(join(dir, "a.creds"), "CREDS");
    vi.stubEnv("TRIBUTARY_NATS_CA", join(dir, "ca.pem"));
    vi.stubEnv("TRIBUTARY_NATS_USER", "u");
    vi.stubEnv("TRIBUTARY_NATS_PASSWORD", PASSWORD);
    expect(natsSettings()).toEqual({ ca: "CA", user: "u", password: PASSWORD });
    expect(natsSettings({ creds: join(dir, "a.creds") })).toEqual({ ca: "CA", creds: "CREDS" });
    const missing = (read: () => unknown, by: string): void =>
      expect(read).toThrow(expect.objectContaining({ code: "not-found", message: expect.stringContaining(by) }));
    missing(() => natsSettings({ ca: join(dir, "none.pem") }), "--nats-ca");
    vi.stubEnv("TRIBUTARY_NATS_CERT", join(dir, "none.pem"));
    missing(() => natsSettings(), "TRIBUTARY_NATS_CERT");
  });

  it.each([
    ["nats://a:4222", ["a:4222"], {}],
    ["nats://a, nats://b:5000,tls://[::1]:6000/", ["a:4222", "b:5000", "[::1]:6000"], { isTls: true }],
    ["nats://a,b:5", ["a:4222", "b:5"], {}],
    [`nats://u:${encoded}@a,nats://b`, ["a:4222", "b:4222"], { user: "u", pass: PASSWORD }],
    [`nats://u:${encoded}@a,nats://u:${encoded}@b`, ["a:4222", "b:4222"], { user: "u", pass: PASSWORD }],
    ["nats://u:p/w@a", ["a:4222"], { user: "u", pass: "p/w" }],
    ["nats://u:@a", ["a:4222"], { user: "u", pass: "" }],
    [`nats://${encoded}@a`, ["a:4222"], { token: PASSWORD }],
  ])("an address such as %s is read", (url, servers, rest) => {
    expect(parseNatsUrl(url)).toEqual({ servers, isTls: false, ...rest });
  });

  it.each([
    "nats://",
    "nats://a:0",
    "nats://a:99999",
    "nats://a b",
    "nats://u:s3@cret@a",
    "nats://u:s3,cret@a",
    "nats://u:s3%cret@a",
    "nats://u:s3cret@a,nats://v:s3cret@b",
    "nats://u:s3cret@a:b",
  ])("an address such as %s is refused, and no secret of it is shown", (url) => {
    const read = (): unknown => parseNatsUrl(url);
    expect(read).toThrow(expect.objectContaining({ code: "usage" }));
    expect(read).not.toThrow(/s3|cret/);
    expect(withoutLogin(url)).not.toMatch(/s3|cret/);
  });
});

describe("the configuration in docs/production.md", () => {
  let token: string;
  let running: TestServer;
  let eventstore: Backend;
  let log: Log;
  const started: (() => Promise<unknown>)[] = [];
  beforeAll(async () => {
    const dir = newDir("doc");
    const key = await makeKey("doc");
    token = await issueToken(key, { org: ORG, site: "juba", lifetimeS: 3_600, nowMs: Date.now() });
    const { user, pass } = siteLogin(token, ORG, "juba");
    const text = readFileSync(join(ROOT, "docs/production.md"), "utf8");
    const conf = /```\n(# nats\.conf\n[\s\S]*?)```/.exec(text)?.[1] ?? "";
    expect(conf).toContain("accounts {");
    running = await serveNats(dir, (port, store) =>
      conf
        .replace("port: 4222", `host: 127.0.0.1\nport: ${port}`)
        .replace("/var/lib/nats", store)
        .replace("relief.juba.user", user)
        .replace("juba's password", pass),
    );
    eventstore = await startEventStore({ dataDir: dir });
    log = openLog(eventstore.url);
    const hubUrl = `nats://hub:${encodeURIComponent("hub's password")}@127.0.0.1:${running.port}`;
    const ingress = await startIngress({ org: "relief", natsUrl: hubUrl, log, gate, keys: { keys: [key] }, listen: null });
    started.push(
      () => ingress.close(),
      () => log.close(),
      () => eventstore.close(),
      () => running.end(),
      async () => rmSync(dir, { recursive: true, force: true }),
    );
    return async () => {
      for (const close of started) await close();
    };
  });

  it("lets a site sync with its token alone", async () => {
    expect(await deviceSync(`nats://127.0.0.1:${running.port}`, undefined, token)).toMatchObject({ confirmed: 1, pending: 0 });
  });

  it("keeps the site from everything else, and others out", async () => {
    const url = `nats://127.0.0.1:${running.port}`;
    await expect(connectAs(url)).rejects.toMatchObject({ code: "AUTHORIZATION_VIOLATION" });
    const { user, pass } = siteLogin(token, ORG, "juba");
    const site = await connectAs(url, { user, password: pass }, { inboxPrefix: inboxPrefix(ORG, "juba") });
    onTestFinished(() => site.close());
    const operator = await connectAs(`nats://hub:${encodeURIComponent("hub's password")}@127.0.0.1:${running.port}`);
    onTestFinished(() => operator.close());
    await operator.jetstream().publish("dead.x", "evidence");
    for (const subject of [
      "$JS.API.STREAM.PURGE.DEAD",
      "$JS.API.STREAM.DELETE.INGRESS",
      "$JS.API.CONSUMER.MSG.NEXT.INGRESS.ingress",
    ])
      await expect(site.request(subject, "", { timeout: 500 })).rejects.toThrow();
    site.publish(`ingress.${ORG}.juba.t1`, "x", { reply: "$JS.API.STREAM.PURGE.DEAD" });
    site.publish(`hello.${ORG}.juba.t1`, "x", { reply: "$JS.API.STREAM.PURGE.DEAD" });
    await site.flush();
    await new Promise((resolve) => setTimeout(resolve, 500));
    expect((await (await operator.jetstreamManager()).streams.info("DEAD")).state.messages).toBeGreaterThanOrEqual(1);
  });
});

it("a hub whose NATS wants a login says so when it starts, and how to give it", async () => {
  const { port } = await server(`authorization { user: "u", password: "right" }`);
  vi.stubEnv("TRIBUTARY_NATS_URL", `nats://127.0.0.1:${port}`);
  onTestFinished(() => {
    vi.unstubAllEnvs();
  });
  await expect(startNats({ dataDir: tempDir() })).rejects.toMatchObject({
    code: "login-refused",
    message: expect.stringContaining("TRIBUTARY_NATS_URL"),
  });
  vi.stubEnv("TRIBUTARY_NATS_USER", "u");
  vi.stubEnv("TRIBUTARY_NATS_PASSWORD", "right");
  expect(await startNats({ dataDir: tempDir() })).toMatchObject({ how: "environment" });
});

/** A JWT as NATS's operators sign them. */
function jwt(by: Pair, of: Pair, name: string, nats: Record<string, unknown>): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const claims = {
    jti: name,
    iat: Math.floor(Date.now() / 1000),
    iss: by.getPublicKey(),
    name,
    sub: of.getPublicKey(),
    nats: { ...nats, version: 2 },
  };
  const text = `${part({ typ: "JWT", alg: "ed25519-nkey" })}.${part(claims)}`;
  return `${text}.${Buffer.from(by.sign(Buffer.from(text))).toString("base64url")}`;
}
