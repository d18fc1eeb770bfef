import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { revokeToken } from "../../services/cli/hub-keys.ts";
import { type HelloRequest, messageText, type OriginId, publicKeySchema, runText } from "../../services/core/index.ts";
import { batchKey, keyIdOf, makeKeyPair, signerOf } from "../../services/core/node.ts";
import type { Field, SyncProgress } from "../../services/field/index.ts";
import { deviceKey, hubKeys, openIdentity, pinHub } from "../../services/field/keys.ts";
import { makeKey, withNextKey, withoutKey } from "../../services/http/index.ts";
import { DEAD_STREAM } from "../../services/ingress/index.ts";
import { batchOf, frameOf, post } from "../support/attack.ts";
import { number, registration, update } from "../support/hub.ts";
import { all, eventually } from "../support/temp.ts";
import { book, carrier, codeFor, door, enrolled, hub, inLog, natsUrl, nc, publicHalf, quick, useKeyedHub } from "./keyed-hub.ts";

useKeyedHub();

describe("who can reach the broker", () => {
  it("cannot make a device believe that the hub has its events: a forged receipt counts for nothing (I2)", async () => {
    const field = await enrolled("forged-receipt");
    for (let i = 2; i <= 8; i++) await field.append(registration(number(i)));
    const origin = field.store.current().name;
    const sender = origin.slice(0, origin.lastIndexOf("."));
    const strange = signerOf(makeKeyPair());
    const spy = nc.subscribe(`ingress.${sender}`, {
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
        nc.publish(`receipt.${sender}`, JSON.stringify(forged));
        nc.publish(`receipt.${sender}`, JSON.stringify({ ...forged, signature: strange.sign(messageText("receipt", forged)) }));
        // It names the right key, but its signature is of something else.
        const stolen = { kid: keyIdOf(publicHalf()), value: strange.sign("else").value };
        nc.publish(`receipt.${sender}`, JSON.stringify({ ...forged, signature: stolen }));
        nc.publish(`receipt.${sender}`, "no JSON at all");
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
      // With the device's own receipt: the log has grown since, and what the device wrote moves to another epoch; the receipt is for neither batch.
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

  it("is told which batch a refusal is for, even if the door refuses it", async () => {
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

  it("at the hub in the middle of syncs, and only devices that were away notice: they find the new key by the old one's word", async () => {
    const field = await enrolled("turning");
    const away = await enrolled("away");
    const old = publicHalf();
    onTestFinished(() => {
      hub.keys = [hub.key];
    });
    const nowMs = Date.now();
    const keys = await withNextKey(hub.keys, await makeKey("next"), nowMs, nowMs + 1_500);
    hub.keys = keys;
    for (let i = 0; i < 4 || Date.now() < nowMs + 3_000; i++) {
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
    // A key that the old one did not name is not believed.
    hub.keys = [await makeKey("usurper")];
    await away.append(registration(number(4)));
    await expect(away.sync({ url: hub.ingress.http!.url, ...quick })).rejects.toMatchObject({ code: "hub-unproven" });
    expect(away.status().levels.SYNCED).toBe(2);
  });

  it("at the hub between a hello and its batch, without a warning: the device asks once more, and believes the new key by the old one's word", async () => {
    const field = await enrolled("turned-meanwhile");
    await field.append(registration(number(2)));
    onTestFinished(() => {
      hub.keys = [hub.key];
    });
    const nowMs = Date.now();
    const turned = await withNextKey(hub.keys, await makeKey("at-once"), nowMs, nowMs);
    const asked: string[] = [];
    const url = await carrier((path) => {
      asked.push(path.includes("hello") ? "hello" : "batch");
      if (asked.at(-1) === "batch") hub.keys = turned;
      return null;
    });
    expect(await field.sync({ url, ...quick })).toMatchObject({ confirmed: 1, pending: 0 });
    expect(asked).toEqual(["hello", "batch", "hello"]);
    expect(hubKeys(field.store)).toEqual([publicKeySchema.parse(turned[1])]);
    // A key that the old one did not name is asked about once more as well, and is not believed.
    const usurper = await makeKey("usurper");
    await field.append(registration(number(3)));
    const falseUrl = await carrier((path) => {
      asked.push(path.includes("hello") ? "hello" : "batch");
      if (asked.at(-1) === "batch") hub.keys = [usurper];
      return null;
    });
    asked.length = 0;
    await expect(field.sync({ url: falseUrl, ...quick })).rejects.toMatchObject({ code: "hub-unproven" });
    expect(asked).toEqual(["hello", "batch", "hello"]);
    expect(field.status().levels.SYNCED).toBe(2);
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
    // The answer to a rotation was lost: the hub has the new key, but the device does not use it yet.
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

  it("a tablet whose clock is years wrong signs in the hub's time nevertheless", async () => {
    const field = hub.field("wrong-clock", "t1", { now: () => Date.now() - 3 * 365 * 86_400_000 });
    await field.append(registration(number(1)));
    expect(await field.sync({ url: natsUrl(), token: await hub.token("wrong-clock") })).toMatchObject({ confirmed: 1 });
  });
});
