import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { NatsConnection } from "nats";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { verify } from "../../services/audit/index.ts";
import { issueCode, revokeDevice, revokeSite, revokeToken } from "../../services/cli/hub-keys.ts";
import {
  eventIdOf,
  eventText,
  GENESIS,
  type Hash,
  type HelloRequest,
  type JsonObject,
  messageText,
  type OriginId,
  type PublicKey,
  publicKeySchema,
  runText,
  wallMsOf,
} from "../../services/core/index.ts";
import { batchKey, chainHash, isSignedBy, keyIdOf, makeKeyPair, signerOf } from "../../services/core/node.ts";
import type { Field, SyncProgress } from "../../services/field/index.ts";
import { deviceKey, hubKeys, openIdentity, pinHub } from "../../services/field/keys.ts";
import { fixedKeyring, issueToken, makeKey, withNextKey, withoutKey } from "../../services/http/index.ts";
import { keepEvidence } from "../../services/ingress/evidence.ts";
import { DEAD_STREAM } from "../../services/ingress/index.ts";
import { forksOf, type KeyBook, type Log, openKeyBook, openLog } from "../../services/log/index.ts";
import { startNode } from "../../services/log/node/index.ts";
import { batchOf, frameOf, post } from "../support/attack.ts";
import { connectAs } from "../support/broker.ts";
import { number, ORG, openTestHub, registration, type TestHub, update } from "../support/hub.ts";
import { all, eventually, sleep } from "../support/temp.ts";

let hub: TestHub;
let nc: NatsConnection;
let book: KeyBook;
const ring = () => fixedKeyring({ keys: [hub.key] });
const natsUrl = (): string => hub.backends.nats.url;
const door = (path = ""): string => `${hub.ingress.http!.url}/v1/ingress${path}`;
const publicHalf = (): PublicKey => publicKeySchema.parse(hub.key);

beforeAll(async () => {
  hub = await openTestHub();
  nc = await connectAs(natsUrl());
  // As the command line opens it, beside the processes of the hub.
  book = await openKeyBook(hub.log.journal, { signer: () => ring().state().signer });
});
afterAll(async () => {
  book?.close();
  await nc?.close();
  await hub?.close();
});

const codeFor = async (site: string, device?: string, days = 1): Promise<string> =>
  (await issueCode(book, ring(), { org: ORG, site, days, actor: "coordinator", ...(device === undefined ? {} : { device }) }))
    .code;
const inLog = async (origin: string): Promise<number> => (await all(hub.log.readOrigin(origin as OriginId))).length;
const quick = { maxTries: 1, replyTimeoutMs: 1_500 } as const;

/** A device that has synced once with its site's token: its key is enrolled, and it knows the hub's. */
async function enrolled(site: string, device = "t1"): Promise<Field> {
  const field = hub.field(site, device);
  await field.append(registration(number(1)));
  await field.sync({ url: natsUrl(), token: await hub.token(site) });
  return field;
}

describe("who can reach the broker", () => {
  it("cannot make a device believe that the hub has its events: a forged receipt counts for nothing (I2)", async () => {
    const field = await enrolled("forged-receipt");
    for (let i = 2; i <= 8; i++) await field.append(registration(number(i)));
    const origin = field.store.current().name;
    const place = origin.slice(0, origin.lastIndexOf("."));
    const strange = signerOf(makeKeyPair());
    const spy = nc.subscribe(`ingress.${place}`, {
      callback: (_, { data }) => {
        const forged = {
          kind: "receipt",
          batch: batchKey(data),
          origin,
          through: 7,
          head: field.store.current().head,
          position: "999999",
          quarantined: [],
        };
        nc.publish(`receipt.${place}`, JSON.stringify(forged));
        nc.publish(`receipt.${place}`, JSON.stringify({ ...forged, signature: strange.sign(messageText("receipt", forged)) }));
        // With the right key's name on it, and a signature of something else.
        const stolen = { kid: keyIdOf(publicHalf()), value: strange.sign("else").value };
        nc.publish(`receipt.${place}`, JSON.stringify({ ...forged, signature: stolen }));
        nc.publish(`receipt.${place}`, "no JSON at all");
      },
    });
    await nc.flush();
    // One event a batch: the forged receipt for the first says that all are in the log, before the hub has any.
    const done: number[] = [];
    const onProgress = (progress: SyncProgress): void => {
      if (progress.kind !== "synced") return;
      done.push(progress.done);
    };
    await field.sync({ url: natsUrl(), batchEvents: 1, onProgress });
    spy.unsubscribe();
    expect(done[0]).toBeLessThan(8);
    expect(field.status().keys.unproven).toBeGreaterThanOrEqual(3);
    expect(field.status().levels).toEqual({ LOCAL: 0, QUEUED: 0, SYNCED: 8 });
    expect(await inLog(origin)).toBe(8);
  });

  it("cannot make a device open epochs: a forged hello that comes first is passed over, and the hub's is taken", async () => {
    const field = await enrolled("forged-hello");
    const origin = field.store.current().name;
    let forged = 0;
    const spy = nc.subscribe("hello.relief.forged-hello.*", {
      callback: (_, message) => {
        const { nonce } = message.json<HelloRequest>();
        const receipt = {
          kind: "receipt",
          batch: null,
          origin,
          through: 50,
          head: "ab".repeat(32),
          position: "1",
          quarantined: [],
        };
        message.respond(JSON.stringify({ kind: "hello", nowMs: 0, nonce, receipt, avro: {} }));
        message.respond(
          JSON.stringify({
            kind: "refusal",
            batch: null,
            origin,
            firstSeq: null,
            code: "revoked",
            message: "",
            hint: "",
            through: null,
          }),
        );
        forged++;
      },
    });
    await nc.flush();
    for (let i = 0; i < 5; i++) {
      await field.append(update(number(1), { phone: `+25470000000${i}` }));
      await field.sync({ url: natsUrl() });
    }
    spy.unsubscribe();
    expect(forged).toBeGreaterThanOrEqual(5);
    expect(field.status().origins).toHaveLength(1);
    expect(field.status().levels.SYNCED).toBe(6);
  });

  it("cannot ask in a device's name with a hello that it has seen", async () => {
    const field = await enrolled("replayed-hello");
    let seen: Uint8Array = new Uint8Array();
    const spy = nc.subscribe("hello.relief.replayed-hello.*", {
      callback: (_, { data }) => {
        seen = data;
      },
    });
    await nc.flush();
    await field.sync({ url: natsUrl() });
    spy.unsubscribe();
    const again = await nc.request("hello.relief.replayed-hello.t1", seen);
    expect(again.json()).toMatchObject({ kind: "refusal", code: "request-stale" });
    const later = await post(door("/hello"), JSON.parse(new TextDecoder().decode(seen)) as object);
    expect(later).toMatchObject({ status: 403, body: { code: "request-stale" } });
    // Nor with one that was signed long ago, and never seen.
    const old = openIdentity(field.store, { url: natsUrl(), now: () => Date.now() - 3_600_000 }).asked({
      origin: field.store.current().name,
      since: null,
    });
    expect(await post(door("/hello"), old)).toMatchObject({ status: 403, body: { code: "request-stale" } });
    // Nor with one whose words were changed.
    const { since: _, ...fresh } = openIdentity(field.store, { url: natsUrl(), now: Date.now }).asked({
      origin: field.store.current().name,
      since: 0 as never,
    });
    expect(await post(door("/hello"), { ...fresh, since: null })).toMatchObject({
      status: 422,
      body: { code: "signature-invalid" },
    });
  });

  it("cannot send in a device's name, with the site's token and without the device's key", async () => {
    const field = await enrolled("stolen-token");
    const token = await hub.token("stolen-token");
    const thief = hub.field("stolen-token", "t1", { path: join(hub.dir, "thief.db") });
    await thief.append(registration(number(66)));
    await expect(thief.sync({ url: natsUrl(), token })).rejects.toMatchObject({ code: "key-unknown" });
    await expect(thief.sync({ url: hub.ingress.http!.url, token })).rejects.toMatchObject({ code: "key-unknown" });
    const { name, head } = field.store.current();
    const unsigned = batchOf(name, ['{"phone":"+254711111111"}'], { firstSeq: 1, prev: head });
    expect(await post(door(), frameOf(unsigned), token)).toMatchObject({ status: 422, body: { code: "signature-invalid" } });
    expect(await post(door(), frameOf(unsigned, 1), token)).toMatchObject({ status: 422, body: { code: "signature-invalid" } });
    const dead = await (await nc.jetstreamManager()).streams.getMessage(DEAD_STREAM, {
      last_by_subj: "dead.relief.stolen-token.t1",
    });
    expect([...dead.data]).toEqual([...frameOf(unsigned, 1)]);
    expect(await post(door("/hello"), { origin: name, since: null }, token)).toMatchObject({
      status: 403,
      body: { code: "key-unknown" },
    });
    expect(await inLog(name)).toBe(1);
    await field.append(update(number(1), { phone: "+254700000009" }));
    expect(await field.sync({ url: natsUrl() })).toMatchObject({ confirmed: 1 });
  });

  it("cannot send in a device's name with another device's key, and a batch that nobody signed needs a token", async () => {
    const victim = await enrolled("sibling", "t1");
    const sibling = await enrolled("sibling", "t2");
    const { name, head } = victim.store.current();
    pinHub(sibling.store, [publicHalf()]);
    const batch = openIdentity(sibling.store, { url: natsUrl(), now: Date.now }).stamped(
      batchOf(name, ['{"phone":"+254711111111"}'], { firstSeq: 1, prev: head }),
    );
    expect(batch.signature).toHaveLength(64);
    expect(await post(door(), frameOf(batch))).toMatchObject({ status: 422, body: { code: "signature-invalid" } });
    expect(await post(door(), frameOf(batch), await hub.token("sibling"))).toMatchObject({
      status: 422,
      body: { code: "signature-invalid" },
    });
    const { signature: _, ...bare } = batch;
    expect(await post(door(), frameOf(bare))).toMatchObject({ status: 401, body: { code: "token-missing" } });
    expect(await post(door(), new Uint8Array([1, 2, 3]))).toMatchObject({ status: 401, body: { code: "token-missing" } });
    expect(await inLog(name)).toBe(1);
  });

  it("cannot play the hub over HTTP: what its key has not signed is not believed", async () => {
    const field = await enrolled("false-door");
    await field.append(registration(number(2)));
    const { name, head } = field.store.current();
    const lies = signerOf(makeKeyPair());
    const server = createServer((request, response) => {
      request.resume().on("end", () => {
        const receipt = { kind: "receipt", batch: null, origin: name, through: 1, head, position: "9", quarantined: [] };
        const hello = {
          kind: "hello",
          nowMs: Date.now(),
          receipt,
          avro: {},
          keys: [lies.key],
          protocol: { oldest: 1, newest: 2 },
        };
        response.end(JSON.stringify({ ...hello, signature: lies.sign(messageText("hello", hello)) }));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await expect(field.sync({ url, ...quick })).rejects.toMatchObject({ code: "hub-unproven" });
    server.closeAllConnections();
    server.close();
    expect(field.status().levels.SYNCED).toBe(1);
    expect(hubKeys(field.store)).toEqual([publicHalf()]);
  });
});

/** Carries between a device and the hub's door, and answers in the hub's place where `lie` says what. */
async function carrier(lie: (path: string) => { readonly status: number; readonly body: unknown } | null): Promise<string> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", async () => {
      const said = lie(request.url!);
      if (said !== null) {
        response.writeHead(said.status).end(typeof said.body === "string" ? said.body : JSON.stringify(said.body));
        return;
      }
      const { authorization } = request.headers;
      const headers = authorization === undefined ? {} : { authorization };
      const body = Buffer.concat(chunks);
      const answer = await fetch(hub.ingress.http!.url + request.url!, { method: "POST", body, headers });
      response.writeHead(answer.status).end(await answer.text());
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

describe("who carries what a device and its hub say over HTTP", () => {
  const isBatch = (path: string): boolean => path === "/v1/ingress";
  const signedBatch = (field: Field, texts: readonly string[], at: Parameters<typeof batchOf>[2] = {}): Uint8Array =>
    frameOf(openIdentity(field.store, { url: natsUrl(), now: Date.now }).stamped(batchOf(field.store.current().name, texts, at)));

  it("cannot answer a batch with a receipt that the hub has signed for another one, of this device or of another (I2)", async () => {
    const field = await enrolled("carried", "t1");
    const other = await enrolled("carried", "t2");
    const receipts: Record<string, unknown>[] = [];
    for (const sender of [field, other]) {
      const { head } = sender.store.current();
      const { status, body } = await post(
        door(),
        signedBatch(sender, ['{"phone":"+254700000001"}'], { firstSeq: 1, prev: head }),
      );
      expect(status).toBe(200);
      receipts.push(body);
    }
    const own = await enrolled("carried", "t3");
    const [mine] = await all(hub.log.readOrigin(own.store.current().name));
    const again = await post(door(), signedBatch(own, ['{"phone":null}'], { firstSeq: 1, prev: mine!.head.hash }));
    receipts.push(again.body);
    for (const receipt of receipts) {
      const late = hub.field("carried", `late-${receipts.indexOf(receipt)}`);
      const of = receipt === again.body ? own : late;
      if (of === late) {
        await late.append(registration(number(1)));
        await late.sync({ url: natsUrl(), token: await hub.token("carried") });
      }
      await of.append(registration(number(2)));
      const before = of.status().levels.SYNCED;
      const url = await carrier((path) => (isBatch(path) ? { status: 200, body: receipt } : null));
      // Its own: the log has gone on, and what the device wrote moves on; the receipt is for neither.
      await expect(of.sync({ url, ...quick })).rejects.toMatchObject({ code: "hub-unproven" });
      expect(of.status().levels.SYNCED).toBe(before);
    }
  });

  it("cannot put other words around a refusal, nor one that the hub has signed for another batch: no event is set aside for it", async () => {
    const field = await enrolled("wrapped");
    await field.append(registration(number(2)));
    const origins = field.store.origins().length;
    const of = await enrolled("wrapped", "t2");
    const { name, head } = of.store.current();
    const { body } = await post(door(), frameOf(batchOf(name, ['{"phone":"1"}'], { firstSeq: 1, prev: head })));
    expect(body.refusal).toMatchObject({ kind: "refusal", signature: expect.any(Object) });
    const lie = { code: "batch-undecodable", detail: "your event is broken", hint: "" };
    const problem = { ...lie, refusal: body.refusal };
    const cases: [(path: string) => { status: number; body: unknown } | null, string][] = [
      [(path) => (isBatch(path) ? { status: 422, body: problem } : null), (body.refusal as { code: string }).code],
      [(path) => (isBatch(path) ? { status: 500, body: lie } : null), "sync-gave-up"],
      [(path) => (isBatch(path) ? { status: 413, body: "too large" } : null), "sync-gave-up"],
      [(path) => (isBatch(path) ? { status: 413, body: lie } : null), "sync-gave-up"],
      [(path) => (isBatch(path) ? null : { status: 403, body: { ...problem, code: "revoked" } }), "hub-unproven"],
      [(path) => (isBatch(path) ? null : { status: 500, body: { ...lie, code: "revoked" } }), "sync-gave-up"],
      [(path) => (isBatch(path) ? null : { status: 413, body: "too large" }), "sync-gave-up"],
    ];
    for (const [lies, code] of cases) {
      const told = expect(field.sync({ url: await carrier(lies), ...quick }), `${cases.findIndex(([each]) => each === lies)}`);
      await told.rejects.toMatchObject({ code });
      expect(field.store.origins()).toHaveLength(origins);
      expect(field.status().levels.SYNCED).toBe(1);
    }
    expect(await field.sync({ url: hub.ingress.http!.url })).toMatchObject({ confirmed: 1, setAside: [], moved: 0 });
  });

  it("is told of which batch a refusal is, also where it is refused at the door", async () => {
    const field = await enrolled("bound");
    const frame = frameOf(batchOf(field.store.current().name, ['{"phone":null}'], { firstSeq: 1 }));
    const elsewhere = await hub.token("bound-2");
    for (const [token, code] of [
      [undefined, "token-missing"],
      [elsewhere, "token-site"],
      ["no.such.token", "token-invalid"],
    ] as const) {
      const { body } = await post(door(), code === "token-missing" ? new Uint8Array([1, 2]) : frame, token);
      const key = batchKey(code === "token-missing" ? new Uint8Array([1, 2]) : frame);
      expect(body).toMatchObject({ code, refusal: { kind: "refusal", batch: key, code, signature: expect.any(Object) } });
    }
  });

  it("stops no follower: a sign-in page in between goes away by itself", async () => {
    const field = await enrolled("hotel");
    let pages = 0;
    const url = await carrier(() =>
      pages < 4 ? { status: [200, 302, 403, 511][pages++]!, body: "<html>Welcome to the hotel</html>" } : null,
    );
    const follower = field.follow({ url, random: () => 0.05 });
    await field.append(registration(number(2)));
    await eventually("the receipt", async () => field.status().levels.SYNCED === 2);
    expect(pages).toBe(4);
    await follower.close();
    expect(await follower.done).toBeNull();
  });
});

describe("a token that has ended", () => {
  it("stops no device whose key is enrolled, over HTTP either, and lets nobody else in", async () => {
    const field = await enrolled("ended");
    const expired = await hub.token("ended", { lifetimeS: 60, nowMs: Date.now() - 3_600_000 });
    const revoked = await hub.token("ended");
    const { jti } = JSON.parse(Buffer.from(revoked.split(".")[1]!, "base64url").toString()) as { jti: string };
    await revokeToken(book, jti, "coordinator");
    const bare = (): Uint8Array => frameOf(batchOf(field.store.current().name, ['{"phone":null}'], { firstSeq: 9 }));
    await eventually("the revocation", async () => (await post(door(), bare(), revoked)).body.code === "revoked");
    for (const [i, token] of [expired, revoked].entries()) {
      await field.append(registration(number(2 + i)));
      expect(await field.sync({ url: hub.ingress.http!.url, token, ...quick })).toMatchObject({ confirmed: 1, pending: 0 });
    }
    expect(await post(door(), bare(), expired)).toMatchObject({ status: 401, body: { code: "token-expired" } });
    const stranger = hub.field("ended", "t2");
    await stranger.append(registration(number(9)));
    await expect(stranger.sync({ url: hub.ingress.http!.url, token: expired, ...quick })).rejects.toMatchObject({
      code: "token-expired",
    });
  });
});

describe("a code", () => {
  it("enrols a device, which syncs without a token from then on, over NATS and HTTP", async () => {
    for (const url of [natsUrl(), hub.ingress.http!.url]) {
      const device = url.startsWith("nats") ? "by-nats" : "by-http";
      const field = hub.field("coded", device);
      await field.append(registration(number(1)));
      await expect(field.sync({ url, ...quick })).rejects.toMatchObject({ code: "token-missing" });
      const done = await field.enrol({ url, code: await codeFor("coded") });
      expect(done).toEqual({ device: `relief.coded.${device}`, kid: field.status().keys.device, hub: [keyIdOf(publicHalf())] });
      expect(await field.sync({ url })).toMatchObject({ confirmed: 1, pending: 0 });
      const [entry] = await all(hub.log.readOrigin(field.store.current().name));
      const { origin, seq, hash } = entry!.head;
      const { kty, crv, x } = deviceKey(field.store);
      expect(isSignedBy({ kty, crv, x }, runText({ origin, through: seq, head: hash }), entry!.signed!)).toBe(true);
    }
  });

  it("is what a device is told to ask for that has no token, and whose key the hub does not know (any more)", async () => {
    const field = hub.field("forgotten");
    await field.append(registration(number(1)));
    await expect(field.sync({ url: hub.ingress.http!.url })).rejects.toMatchObject({
      code: "token-missing",
      message: "no token came, and no key is enrolled for relief.forgotten.t1 at this hub",
      hint: expect.stringContaining("one-time code"),
    });
    expect(field.status().levels).toEqual({ LOCAL: 1, QUEUED: 0, SYNCED: 0 });
  });

  it("is good once, for its own site and device, until it runs out", async () => {
    const refused = (field: Field, code: string) => expect(field.enrol({ url: natsUrl(), code })).rejects;
    const code = await codeFor("once");
    const first = hub.field("once", "a");
    await first.enrol({ url: natsUrl(), code });
    // The answer may have been lost: the same device may say it again.
    await first.enrol({ url: natsUrl(), code: code.toUpperCase().replaceAll("-", " ") });
    await refused(hub.field("once", "b"), code).toMatchObject({ code: "code-invalid", message: expect.stringContaining("used") });
    await refused(hub.field("once", "b"), await codeFor("elsewhere")).toMatchObject({ code: "code-invalid" });
    await refused(hub.field("once", "b"), await codeFor("once", "c")).toMatchObject({ code: "code-invalid" });
    await refused(hub.field("once", "b"), await codeFor("once", "b", -1)).toMatchObject({
      message: expect.stringContaining("ran out"),
    });
    await refused(hub.field("once", "b"), `${"a".repeat(16)}${code.replaceAll("-", "").slice(16)}`).toMatchObject({
      code: "code-invalid",
    });
    await refused(hub.field("once", "b"), "not a code").toMatchObject({ code: "code-invalid" });
    // A code for any device of the site takes over none that has a key; one that names it does.
    const twin = hub.field("once", "a", { path: join(hub.dir, "once-twin.db") });
    await refused(twin, await codeFor("once")).toMatchObject({
      code: "code-invalid",
      message: expect.stringContaining("names no device"),
    });
    await twin.enrol({ url: natsUrl(), code: await codeFor("once", "a") });
    // One code, two devices at the same moment, at two processes of the hub.
    const second = await hub.startIngress();
    const shared = await codeFor("once");
    const outcomes = await Promise.allSettled([
      hub.field("once", "x").enrol({ url: hub.ingress.http!.url, code: shared }),
      hub.field("once", "y").enrol({ url: second.http!.url, code: shared }),
    ]);
    expect(outcomes.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    await second.close();
    // Nothing of a code but its digest is in the log.
    const kept = JSON.stringify((await hub.log.journal.read("keys")).map(({ data }) => data));
    expect(kept).not.toContain(shared);
    expect(kept).not.toContain(shared.replaceAll("-", ""));
  });

  it("names its hub: a server that answers in the hub's place is not believed", async () => {
    const field = hub.field("mitm");
    const lies = signerOf(makeKeyPair());
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const { nonce, device } = JSON.parse(Buffer.concat(chunks).toString()) as { nonce: string; device: string };
        const enrolled = {
          kind: "enrolled",
          device,
          kid: field.status().keys.device,
          nonce,
          nowMs: Date.now(),
          protocol: { oldest: 1, newest: 2 },
          keys: [lies.key],
        };
        response.end(JSON.stringify({ ...enrolled, signature: lies.sign(messageText("enrolled", enrolled)) }));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await expect(field.enrol({ url, code: await codeFor("mitm") })).rejects.toThrow();
    server.closeAllConnections();
    server.close();
    expect(hubKeys(field.store)).toEqual([]);
  });

  it("lets a new tablet take the place of one that was lost, and the lost one stays out", async () => {
    const lost = await enrolled("replaced");
    await revokeDevice(book, "relief.replaced.t1", "coordinator", "left in a taxi");
    await eventually("the revocation", async () =>
      lost.sync({ url: natsUrl(), ...quick }).then(
        () => false,
        (error) => error.code === "revoked",
      ),
    );
    const token = await hub.token("replaced");
    const fresh = hub.field("replaced", "t1", { path: join(hub.dir, "replacement.db") });
    await fresh.append(registration(number(9)));
    await expect(fresh.sync({ url: natsUrl(), token })).rejects.toMatchObject({ code: "revoked" });
    await fresh.enrol({ url: natsUrl(), code: await codeFor("replaced", "t1") });
    expect(await fresh.sync({ url: natsUrl() })).toMatchObject({ confirmed: 1 });
    await lost.append(registration(number(10)));
    await expect(lost.sync({ url: natsUrl(), token, ...quick })).rejects.toMatchObject({ code: "key-unknown" });
    await expect(lost.sync({ url: hub.ingress.http!.url, token, ...quick })).rejects.toMatchObject({ code: "key-unknown" });
  });
});

describe("a revocation", () => {
  /** Writes and syncs until the hub refuses; returns how long that took from `since` on, and by which code. */
  const untilRefused = async (field: Field, url: string, revoke: () => Promise<unknown>, token?: string) => {
    let revokedAtMs = Number.POSITIVE_INFINITY;
    const timer = setTimeout(() => void revoke().then(() => (revokedAtMs = performance.now())), 500);
    try {
      for (let i = 0; i < 400; i++) {
        await field.append(update(number(1), { phone: `+2547${String(i).padStart(8, "0")}` }));
        await field.sync({ url, maxTries: 1, ...(token === undefined ? {} : { token }) });
        await sleep(10);
      }
      throw new Error("it was never refused");
    } catch (error) {
      return { code: (error as { code?: string }).code, afterMs: performance.now() - revokedAtMs };
    } finally {
      clearTimeout(timer);
    }
  };

  it("of a device is felt within two seconds while it syncs, at each process of the hub, and its events stay on it (I32)", async () => {
    const second = await hub.startIngress();
    for (const url of [natsUrl(), second.http!.url]) {
      const device = url.startsWith("nats") ? "a" : "b";
      const field = await enrolled("revoked", device);
      const { code, afterMs } = await untilRefused(field, url, () =>
        revokeDevice(book, `relief.revoked.${device}`, "coordinator", "stolen"),
      );
      expect(code).toBe("revoked");
      expect(afterMs).toBeLessThan(2_000);
      const { LOCAL, QUEUED } = field.status().levels;
      expect(LOCAL + QUEUED).toBeGreaterThan(0);
    }
    await second.close();
  });

  it("of a site takes its tokens, codes and devices, and adding it again lets it in anew", async () => {
    const field = await enrolled("closed");
    const token = await hub.token("closed");
    const code = await codeFor("closed");
    const { code: why, afterMs } = await untilRefused(
      field,
      natsUrl(),
      () => revokeSite(book, "relief.closed", "coordinator", undefined),
      token,
    );
    expect(why).toBe("revoked");
    expect(afterMs).toBeLessThan(2_000);
    const other = hub.field("closed", "t2");
    await other.append(registration(number(3)));
    await expect(other.sync({ url: natsUrl(), token })).rejects.toMatchObject({ code: "revoked" });
    await expect(other.sync({ url: hub.ingress.http!.url, token })).rejects.toMatchObject({ code: "revoked" });
    await expect(other.enrol({ url: natsUrl(), code })).rejects.toMatchObject({ code: "code-invalid" });
    const issuedAfterS = book.record.revocationOf("relief.closed")!.issuedThroughS;
    const anew = await issueToken(hub.key, { org: ORG, site: "closed", lifetimeS: 60, nowMs: Date.now(), issuedAfterS });
    expect((await field.sync({ url: natsUrl(), token: anew })).pending).toBe(0);
    expect((await other.sync({ url: natsUrl(), token: anew })).pending).toBe(0);
  });

  it("of a token leaves alone who has enrolled under it, and lets nobody else in", async () => {
    const token = await hub.token("one-token");
    const field = hub.field("one-token");
    await field.append(registration(number(1)));
    await field.sync({ url: natsUrl(), token });
    const { jti } = JSON.parse(Buffer.from(token.split(".")[1]!, "base64url").toString()) as { jti: string };
    await revokeToken(book, jti, "coordinator");
    const late = hub.field("one-token", "t2");
    await late.append(registration(number(2)));
    await eventually("the refusal", async () =>
      late.sync({ url: natsUrl(), token, ...quick }).then(
        () => false,
        (error) => error.code === "revoked",
      ),
    );
    await field.append(registration(number(3)));
    expect(await field.sync({ url: natsUrl(), token })).toMatchObject({ confirmed: 1 });
  });
});

describe("who was let in once", () => {
  it("has no way back after a revocation: not by its token, though its key was rotated, and not by a code from before or for anybody", async () => {
    const field = await enrolled("way-back");
    const token = await hub.token("way-back");
    const stranger = hub.field("way-back", "t2");
    await stranger.append(registration(number(2)));
    await stranger.sync({ url: natsUrl(), token });
    await stranger.rotateKey({ url: natsUrl() });
    await book.refresh();
    const { jti } = JSON.parse(Buffer.from(token.split(".")[1]!, "base64url").toString()) as { jti: string };
    expect(book.record.present("relief.way-back.t2")).toMatchObject({ how: "rotation", jti });
    const kept = await codeFor("way-back", "t2");
    expect(await revokeDevice(book, "relief.way-back.t2", "coordinator", undefined)).toMatchObject({ jti });
    expect(book.record.isTokenRevoked(jti)).toBe(true);
    const back = (code: string) => expect(stranger.enrol({ url: natsUrl(), code })).rejects;
    await back(kept).toMatchObject({ code: "code-invalid", message: expect.stringContaining("taken back") });
    await back(await codeFor("way-back")).toMatchObject({
      code: "code-invalid",
      message: expect.stringContaining("was revoked"),
    });
    // The site's other devices are left alone; a code that names the device is the way back.
    expect(await field.sync({ url: natsUrl() })).toMatchObject({ pending: 0 });
    await stranger.enrol({ url: natsUrl(), code: await codeFor("way-back", "t2") });
    await stranger.append(registration(number(3)));
    expect(await stranger.sync({ url: natsUrl() })).toMatchObject({ pending: 0 });
  });

  it("enrols no new device with a token at a hub that asks for keys, but with a code", async () => {
    const strict = await hub.startIngress(true);
    const field = hub.field("strict");
    await field.append(registration(number(1)));
    const url = strict.http!.url;
    await expect(field.sync({ url, token: await hub.token("strict"), ...quick })).rejects.toMatchObject({
      code: "key-unknown",
      message: expect.stringContaining("by codes only"),
    });
    await book.refresh();
    expect(book.record.keysOf("relief.strict.t1")).toEqual([]);
    await field.enrol({ url, code: await codeFor("strict", "t1") });
    expect(await field.sync({ url })).toMatchObject({ confirmed: 1, pending: 0 });
    await strict.close();
  });
});

describe("keys change", () => {
  it("on a device that the hub does not know yet: the next syncs enrol it, and then rotate", async () => {
    for (const url of [natsUrl(), hub.ingress.http!.url]) {
      const field = hub.field("early-turn", url.startsWith("nats") ? "a" : "b");
      const token = await hub.token("early-turn");
      await field.append(registration(number(1)));
      await expect(field.rotateKey({ url, token })).rejects.toMatchObject({ code: "key-unknown" });
      const before = field.status().keys.device;
      expect(await field.sync({ url, token, ...quick })).toMatchObject({ confirmed: 1 });
      expect(field.status().keys).toMatchObject({ device: before, isRotating: true });
      await field.append(registration(number(2)));
      expect(await field.sync({ url, ...quick })).toMatchObject({ confirmed: 1 });
      expect(field.status().keys).toMatchObject({ device: expect.not.stringMatching(before), isRotating: false });
    }
  });

  it("on a device that enrolled the same key twice", async () => {
    const field = hub.field("twice");
    for (let i = 0; i < 2; i++) await field.enrol({ url: natsUrl(), code: await codeFor("twice", "t1") });
    const { kid } = await field.rotateKey({ url: natsUrl() });
    expect(field.status().keys).toMatchObject({ device: kid, isRotating: false });
    await field.append(registration(number(1)));
    expect(await field.sync({ url: natsUrl() })).toMatchObject({ confirmed: 1 });
  });

  it("at the hub in the middle of syncs, and nobody notices but who was away: and they find the new key by the old one's word", async () => {
    const field = await enrolled("turning");
    const away = await enrolled("away");
    const old = publicHalf();
    onTestFinished(() => {
      hub.keys = [hub.key];
    });
    const nowMs = Date.now();
    const keys = await withNextKey(hub.keys, await makeKey("next"), nowMs, nowMs + 1_500);
    hub.keys = keys;
    for (let i = 0; Date.now() < nowMs + 3_000; i++) {
      await field.append(update(number(1), { phone: `+2541${String(i).padStart(8, "0")}` }));
      expect(await field.sync({ url: i % 2 === 0 ? natsUrl() : hub.ingress.http!.url, ...quick })).toMatchObject({ pending: 0 });
    }
    expect(field.status().keys.unproven).toBe(0);
    const next = publicKeySchema.parse(keys[1]);
    expect(hubKeys(field.store)).toEqual([next]);
    hub.keys = withoutKey(hub.keys, hub.key.kid!, Date.now());
    expect(hubKeys(away.store)).toEqual([old]);
    await away.append(registration(number(2)));
    expect(await away.sync({ url: natsUrl() })).toMatchObject({ confirmed: 1 });
    expect(hubKeys(away.store)).toEqual([next]);
    // The old key's tokens are worth nothing any more.
    const late = hub.field("turning", "late");
    await late.append(registration(number(3)));
    const oldToken = await hub.token("turning");
    for (const url of [natsUrl(), hub.ingress.http!.url])
      await expect(late.sync({ url, token: oldToken, ...quick })).rejects.toMatchObject({ code: "token-invalid" });
    // A key that the old one did not name is nobody's.
    hub.keys = [await makeKey("usurper")];
    await away.append(registration(number(4)));
    await expect(away.sync({ url: hub.ingress.http!.url, ...quick })).rejects.toMatchObject({ code: "hub-unproven" });
    expect(away.status().levels.SYNCED).toBe(2);
  });

  it("on a device, between two syncs; batches on their way count, a copy from before does not go on, and a lost answer is made up for", async () => {
    const field = await enrolled("rotating");
    const before = field.status().keys.device;
    const { kty, crv, x, d } = deviceKey(field.store);
    const { kid } = await field.rotateKey({ url: natsUrl() });
    expect(kid).not.toBe(before);
    expect(field.status().keys).toMatchObject({ device: kid, isRotating: false });
    await field.append(registration(number(2)));
    expect(await field.sync({ url: natsUrl() })).toMatchObject({ confirmed: 1 });
    // Signed with the old key and still on its way: taken, for a day.
    const { name, head } = field.store.current();
    const late = batchOf(name, ['{"phone":"+254700000000"}'], { firstSeq: 2, prev: head });
    const text = runText({ origin: name, through: late.firstSeq, head: late.head });
    const signature = Buffer.from(signerOf({ kty, crv, x, d }).sign(text).value, "base64url");
    expect(await post(door(), frameOf({ ...late, signature }))).toMatchObject({ status: 200, body: { through: 2 } });
    // The old key cannot say anything about keys.
    field.store.setMeta("next_device_key", JSON.stringify(makeKeyPair()));
    const present = field.store.meta("device_key")!;
    field.store.setMeta("device_key", JSON.stringify({ kty, crv, x, d }));
    await expect(field.rotateKey({ url: natsUrl() })).rejects.toMatchObject({ code: "key-unknown" });
    // The answer to a rotation was lost: the hub has the new key, the device has not put it in place.
    field.store.setMeta("device_key", present);
    const next = field.store.meta("next_device_key")!;
    await field.rotateKey({ url: hub.ingress.http!.url });
    field.store.setMeta("device_key", present);
    field.store.setMeta("next_device_key", next);
    await field.append(registration(number(5)));
    expect((await field.sync({ url: natsUrl() })).pending).toBe(0);
    expect(field.status().keys).toMatchObject({ isRotating: false, unproven: 0 });
  });
});

describe("a fork", () => {
  it("keeps both signed heads; the first branch holds, and its device goes on", async () => {
    const field = await enrolled("forked");
    await field.append(update(number(1), { phone: "+254700000001" }));
    await field.sync({ url: natsUrl() });
    const { name, head } = field.store.current();
    const [first] = await all(hub.log.readOrigin(name));
    const twin = openIdentity(field.store, { url: natsUrl(), now: Date.now }).stamped(
      batchOf(name, ['{"phone":"+254799999999"}'], { firstSeq: 1, prev: first!.head.hash }),
    );
    for (let i = 0; i < 3; i++)
      expect(await post(door(), frameOf({ ...twin, sentAtMs: Date.now() + i }))).toMatchObject({
        status: 409,
        body: { code: "origin-forked" },
      });
    const forks = await forksOf(hub.log.journal, "relief.forked.t1");
    expect(forks).toHaveLength(1);
    const [fork] = forks as unknown as [{ accepted: { run: Head }; refused: Head; seq: number }];
    interface Head {
      readonly through: never;
      readonly head: Hash;
      readonly signature: { readonly kid: never; readonly value: string };
    }
    expect(fork.seq).toBe(1);
    expect(fork.accepted.run.head).toBe(head);
    expect(fork.refused.head).toBe(twin.head);
    const key = publicKeySchema.parse(deviceKey(field.store));
    for (const { through, head, signature } of [fork.accepted.run, fork.refused])
      expect(isSignedBy(key, runText({ origin: name, through, head }), signature)).toBe(true);
    await field.append(update(number(1), { phone: "+254700000002" }));
    expect(await field.sync({ url: natsUrl() })).toMatchObject({ confirmed: 1, renamedTo: null });

    const cases = async (): Promise<unknown[]> =>
      (await hub.db.query("SELECT id, kind, subject, rule, state, says FROM tributary.case WHERE kind = 'fork'")).rows;
    await eventually("a case for people", async () => (await cases()).length > 0);
    expect(await cases()).toEqual([
      {
        ...{ id: expect.stringMatching(/^[0-9a-f]{12}$/), kind: "fork", subject: "relief.forked.t1", rule: name, state: "open" },
        says: expect.stringContaining("though the device's key has signed it"),
      },
    ]);
    // Made anew from the log, as all that the database shows; what people said of it holds.
    const [{ id }] = (await cases()) as [{ id: string }];
    await hub.projector.close();
    await hub.db.query("DELETE FROM tributary.fork_case");
    hub.projector = await hub.startProjector();
    expect(await cases()).toMatchObject([{ id, state: "open" }]);
  });
});

describe("a note of a fork in a form that is none", () => {
  it("is passed over: a projector starts, and makes cases of the others", async () => {
    const { data } = (await hub.log.journal.read("forks"))[0]!;
    const spoilt: JsonObject[] = [
      { refused: null },
      { refused: [] },
      { refused: "x" },
      { seq: null },
      { seq: "1" },
      { origin: 7 },
    ];
    for (const members of spoilt)
      await hub.log.journal.append("forks", "any", { type: "fork", data: { ...data, ...members }, by: {} });
    const later = `${ORG}.forked-later.t1.abcdefghijkl`;
    await hub.log.journal.append("forks", "any", { type: "fork", data: { ...data, origin: later }, by: {} });
    await hub.projector.close();
    hub.projector = await hub.startProjector();
    const { rows } = await hub.db.query("SELECT subject FROM tributary.case WHERE kind = 'fork'");
    expect(rows.map(({ subject }) => subject).sort()).toEqual(["relief.forked-later.t1", "relief.forked.t1"]);
  });
});

describe("evidence of a fork", () => {
  it("is looked for no further than where a signature covers it, and not at all once it is kept", async () => {
    const field = await enrolled("reads");
    for (let i = 0; i < 6; i++) await field.append(update(number(1), { phone: `+25470000000${i}` }));
    await field.sync({ url: natsUrl(), batchEvents: 2 });
    const { name } = field.store.current();
    const [first] = await all(hub.log.readOrigin(name));
    const twin = batchOf(name, ['{"phone":"+254799999999"}'], { firstSeq: 1, prev: first!.head.hash });
    let reads = 0;
    const counted: Log = {
      ...hub.log,
      async *readOrigin(...asked) {
        for await (const entry of hub.log.readOrigin(...asked)) {
          reads++;
          yield entry;
        }
      },
    };
    const seq = first!.head.seq;
    expect(await keepEvidence(counted, twin, seq, undefined)).toBe(true);
    expect(reads).toBe(1);
    for (let i = 0; i < 3; i++) expect(await keepEvidence(counted, twin, seq, undefined)).toBe(false);
    expect(reads).toBe(1);
    // A device that makes more and more of them: enough are kept.
    for (let i = 0; i < 12; i++) {
      const more = batchOf(name, [`{"phone":"+2547888888${i + 10}"}`], { firstSeq: 1, prev: first!.head.hash });
      await keepEvidence(counted, more, seq, undefined);
    }
    expect(reads).toBe(8);
  });
});

describe("old and new", () => {
  it("a device of version 1 is taken as before, with its token; a hub that asks for keys does not take it", async () => {
    const token = await hub.token("old-app");
    const batch = batchOf("relief.old-app.t1.abc" as OriginId, ['{"phone":null}']);
    const hello = await fetch(door("/hello?origin=relief.old-app.t1.abc&since="), {
      headers: { authorization: `Bearer ${token}` },
    });
    expect(hello.status).toBe(200);
    expect(await post(door(), frameOf(batch, 1), token)).toMatchObject({ status: 200, body: { through: 0 } });
    const strict = await hub.startIngress(true);
    const at = `${strict.http!.url}/v1/ingress`;
    expect(await post(`${at}/hello`, { origin: batch.origin, since: null }, token)).toMatchObject({
      status: 403,
      body: { code: "key-unknown" },
    });
    await strict.close();
  });

  it("sides without a common version say so, and which they speak", async () => {
    const field = await enrolled("future");
    const asked = openIdentity(field.store, { url: natsUrl(), now: Date.now }).asked({
      origin: field.store.current().name,
      since: null,
    });
    const answer = await nc.request("hello.relief.future.t1", JSON.stringify({ ...asked, protocol: { oldest: 7, newest: 9 } }));
    expect(answer.json()).toMatchObject({ code: "protocol-unsupported", message: expect.stringContaining("7 to 9") });
    const identity = openIdentity(field.store, { url: natsUrl(), now: Date.now });
    const receipt = {
      kind: "receipt",
      batch: null,
      origin: asked.origin,
      through: null,
      head: null,
      position: null,
      quarantined: [],
    };
    expect(() => identity.learn({ kind: "hello", nowMs: 0, receipt, avro: {}, protocol: { oldest: 7, newest: 9 } })).toThrow(
      expect.objectContaining({ code: "protocol-unsupported", hint: "Update the app on this device." }),
    );
  });

  it("a tablet whose clock is years off signs in the hub's time all the same", async () => {
    const field = hub.field("wrong-clock", "t1", { now: () => Date.now() - 3 * 365 * 86_400_000 });
    await field.append(registration(number(1)));
    expect(await field.sync({ url: natsUrl(), token: await hub.token("wrong-clock") })).toMatchObject({ confirmed: 1 });
  });
});

/** The log as somebody has it who can write its files: an event altered, and all hashes after it made anew. */
async function rewritten(log: Log, into: Log, origin: OriginId, seq: number): Promise<void> {
  for (const stream of ["keys"])
    for (const { type, data, by } of await log.journal.read(stream)) await into.journal.append(stream, "any", { type, data, by });
  const last = new Map<OriginId, Hash>();
  for await (const entry of log.readAll()) {
    const { head } = entry;
    const isAltered = head.origin === origin && head.seq === seq && entry.content.kind === "accepted";
    const content =
      isAltered && entry.content.kind === "accepted"
        ? { kind: "accepted" as const, data: { ...entry.content.data, phone: "+254766666666" } }
        : entry.content;
    const prev = last.get(head.origin) ?? head.prev;
    const text =
      content.kind === "accepted" ? JSON.stringify(Object.fromEntries(Object.entries(content.data).sort())) : content.text;
    const hash = chainHash(prev, eventText(head, text));
    last.set(head.origin, hash);
    const item = { ...head, prev, hash, id: eventIdOf(wallMsOf(head.hlc), hash) };
    await into.append([
      { head: item, content, clock: entry.clock, ...(entry.signed === undefined ? {} : { signed: entry.signed }) },
    ]);
  }
}

describe("a log that somebody has rewritten", () => {
  it("shows by its signatures, though all of its hashes fit; the true one is found whole (I23)", async () => {
    const field = await enrolled("rewritten");
    for (let i = 0; i < 4; i++) await field.append(update(number(1), { phone: `+25470000000${i}` }));
    await field.sync({ url: natsUrl() });
    const origin = field.store.current().name;
    const hubKeys = [publicHalf()];
    const honest = await verify({ log: hub.log, hubKeys });
    expect(honest.problems).toEqual([]);
    expect(honest.signatures.runs).toBeGreaterThan(10);
    expect(honest.signatures.facts).toBeGreaterThan(10);
    await using node = await startNode();
    await using log = openLog(node.url);
    await rewritten(hub.log, log, origin, 2);
    const report = await verify({ log, hubKeys });
    expect(report.chainsIntact).toBe(true);
    expect(report.problems).toMatchObject([
      { part: "log", where: `${origin}/4`, what: expect.stringContaining("not what the device signed") },
    ]);
  });

  it("is told from a key's second life: one that was revoked, and enrolled anew by a code, signs again", async () => {
    const day = 86_400_000;
    // The node's clock runs behind, and catches up: a client's deadline must not be past by it.
    let nowMs = Date.now() - 5 * day;
    await using node = await startNode({ now: () => nowMs });
    await using log = openLog(node.url);
    const pen = await openKeyBook(log.journal);
    const signer = signerOf(makeKeyPair());
    const device = "relief.again.t1";
    const enrol = () =>
      pen.write("x", () => ({ type: "device.enrolled", data: { device, kid: signer.kid, key: { ...signer.key }, how: "code" } }));
    const append = async (firstSeq: number, prev: Hash): Promise<Hash> => {
      const origin = `${device}.abc` as OriginId;
      const batch = batchOf(origin, ['{"phone":null}'], { firstSeq, prev });
      const head = {
        ...batch.events[0]!.head,
        id: eventIdOf(wallMsOf(batch.events[0]!.head.hlc), batch.head),
        prev,
        hash: batch.head,
      };
      const signed = signer.sign(runText({ origin, through: batch.firstSeq, head: batch.head }));
      await log.append([{ head, content: { kind: "accepted", data: { phone: null } }, clock: null, signed }]);
      return batch.head;
    };
    await enrol();
    nowMs += day;
    const first = await append(0, GENESIS);
    await pen.write("x", () => ({ type: "device.revoked", data: { device } }));
    nowMs += day;
    await enrol();
    nowMs += day;
    const second = await append(1, first);
    expect(await verify({ log })).toMatchObject({ problems: [], signatures: { runs: 2 } });
    await pen.write("x", () => ({ type: "device.revoked", data: { device } }));
    nowMs += day;
    await append(2, second);
    expect((await verify({ log })).problems).toMatchObject([
      { where: "relief.again.t1.abc/2", what: expect.stringContaining("a key that was revoked before") },
    ]);
  });

  it("shows also where its writer has enrolled a key of his own: the hub has not signed that", async () => {
    await using node = await startNode();
    await using log = openLog(node.url);
    const forger = await openKeyBook(log.journal, { signer: () => signerOf(makeKeyPair()) });
    const key = publicKeySchema.parse(makeKeyPair());
    await forger.write("x", () => ({
      type: "device.enrolled",
      data: { device: "relief.a.t1", kid: keyIdOf(key), key: { ...key }, how: "token" },
    }));
    const report = await verify({ log, hubKeys: [publicHalf()] });
    expect(report.problems).toMatchObject([{ where: "keys/0", what: expect.stringContaining("none of the hub's") }]);
  });
});
