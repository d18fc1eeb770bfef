import { readFileSync } from "node:fs";
import { join } from "node:path";
import { headers, type NatsConnection } from "nats";
import { describe, expect, it, onTestFinished } from "vitest";
import { retireHubKey, revokeDevice, revokeSite, revokeToken, rotateHubKey, withKeyBook } from "../../services/cli/hub-keys.ts";
import { readHubKeys } from "../../services/cli/keys.ts";
import { loginStands, withdrawRevoked } from "../../services/cli/logins.ts";
import { inboxPrefix, isJsonObject, KEY_OVERLAP_MS, messageText, type OriginId, runText } from "../../services/core/index.ts";
import {
  codeHash,
  makeKeyPair,
  messageAuthorization,
  nkeyLogin,
  nkeyOf,
  readCode,
  signerOf,
  siteLogin,
} from "../../services/core/node.ts";
import type { RegisteredSite } from "../../services/desk/index.ts";
import type { SyncResult } from "../../services/field/index.ts";
import { deviceKey } from "../../services/field/keys.ts";
import { openTransport } from "../../services/field/transport.ts";
import type { HubKey } from "../../services/http/index.ts";
import { DEAD_STREAM, STREAM } from "../../services/ingress/index.ts";
import { connectAs, overheard } from "../support/broker.ts";
import { number, ORG, registration, update } from "../support/hub.ts";
import { WAIT_MS } from "../support/patience.ts";
import { eventually, sleep } from "../support/temp.ts";
import { versionOne } from "../support/version1.ts";
import {
  add,
  asKey,
  asks,
  asToken,
  enrolled,
  hub,
  inLog,
  loginBy,
  post,
  state,
  streamOf,
  tapped,
  textOf,
  url,
  useAttackedHub,
  WAYS,
  wire,
} from "./attacked-hub.ts";

/*
 * The attacker: with no login, with every login that the hub hands out (a token's, a one-time code's, a device's own key), reading the wire, and over HTTP. The
 * server is a real nats-server with the hub's configuration, and logins come and go as a running hub has them.
 */

useAttackedHub();

describe("an anonymous client", () => {
  it("is let in nowhere: it reads no token off ingress.>, takes no batch, deletes no stream and purges none (I30)", async () => {
    const { token } = await add("anon");
    const refused = { code: "AUTHORIZATION_VIOLATION" };
    await expect(connectAs(url)).rejects.toMatchObject(refused);
    for (const guess of [
      { user: "hub", pass: "hub" },
      { user: "as-of", pass: "" },
      { user: `${ORG}.anon`, pass: token },
      { token },
    ])
      await expect(connectAs(url, {}, guess)).rejects.toMatchObject(refused);
    await expect(connectAs(url, {}, { authenticator: nkeyLogin(signerOf(makeKeyPair())) })).rejects.toMatchObject(refused);
  });

  it("is told over HTTP that it has no token, for batches, hellos and schemas alike", async () => {
    const origin = `${ORG}.anon.t1.abcdefghijkl`;
    expect(await post("", "not a batch")).toMatchObject({ status: 401, body: { code: "token-missing" } });
    expect(await post("/hello", JSON.stringify({ origin, since: null }))).toMatchObject({
      status: 401,
      body: { code: "token-missing" },
    });
    expect((await fetch(`${state.httpUrl}/v1/ingress/hello?origin=${origin}`)).status).toBe(401);
  });
});

describe.each(WAYS)("a site's own login, by its %s,", (way) => {
  const nth = WAYS.indexOf(way);
  let nc: NatsConnection;
  let mine: RegisteredSite;
  let other: RegisteredSite;
  const site = `own-${nth}`;
  const victim = `other-${nth}`;

  it("reads no other site's batches, tokens, hellos, receipts or dead letters, alone or as one of a group", async () => {
    ({ nc, added: mine } = await loginBy(way, site));
    other = await add(victim);
    const subjects = [
      ">",
      "ingress.>",
      `ingress.${ORG}.${victim}.>`,
      "hello.>",
      "receipt.>",
      `receipt.${ORG}.${victim}.>`,
      "dead.>",
    ];
    const inboxes = ["_INBOX.>", "_INBOX_HUB.>", `${inboxPrefix(ORG, victim)}.>`, "_R_.>", "$JS.>", "$SYS.>"];
    const work = async (): Promise<unknown> => (await enrolled(other)).sync({ url, token: other.token, again: true });
    expect(await overheard(nc, [...subjects, ...inboxes], work, [undefined, "ingress"])).toEqual([]);
    // The same subscription receives the site's own messages.
    const receipt = `receipt.${ORG}.${site}.t1`;
    expect(await overheard(nc, [receipt], async () => wire.publish(receipt, "{}"), [undefined, "ingress"])).toContain(receipt);
  });

  it("takes no batch as a competing consumer, deletes neither INGRESS nor its consumer, and purges no DEAD", async () => {
    await wire.jetstream().publish(`dead.${ORG}.somewhere.t1`, "evidence");
    const before = [await streamOf(STREAM), await streamOf(DEAD_STREAM)];
    for (const question of [
      ...["INFO", "STREAM.NAMES", `STREAM.INFO.${STREAM}`, `STREAM.DELETE.${STREAM}`, `STREAM.PURGE.${DEAD_STREAM}`],
      ...[`STREAM.MSG.GET.${DEAD_STREAM}`, `CONSUMER.MSG.NEXT.${STREAM}.ingress`, `CONSUMER.DELETE.${STREAM}.ingress`],
      ...[`CONSUMER.CREATE.${STREAM}`, `STREAM.UPDATE.${STREAM}`],
    ])
      await expect(asks(nc, `$JS.API.${question}`), question).rejects.toThrow();
    await expect(asks(nc, `$JS.ACK.${STREAM}.ingress.1.1.1.1.0`, "+ACK")).rejects.toThrow();
    expect([await streamOf(STREAM), await streamOf(DEAD_STREAM)]).toEqual(before);
    expect((await (await wire.jetstreamManager()).consumers.info(STREAM, "ingress")).name).toBe("ingress");
  });

  it("publishes nothing as another site, no receipt and no dead letter", async () => {
    const subjects = [
      ...[`ingress.${ORG}.${victim}.t1`, `ingress.else.${site}.t1`, `hello.${ORG}.${victim}.t1`],
      ...[`receipt.${ORG}.${site}.t1`, `receipt.${ORG}.${victim}.t1`, `dead.${ORG}.${site}.t1`, "tributary.hubs"],
      ...[`${inboxPrefix(ORG, victim)}.x`, "_INBOX_HUB.x"],
    ];
    const seen = await tapped(async () => {
      for (const subject of [...subjects, `hello.${ORG}.${site}.t1`]) nc.publish(subject, "forged");
      await nc.flush().catch(() => {});
      await sleep(100);
    });
    expect(seen.filter((message) => textOf(message).startsWith("forged")).map(({ subject }) => subject)).toEqual([
      // The one subject that is its own.
      `hello.${ORG}.${site}.t1`,
    ]);
  });

  it("cannot have the hub or the server publish where it may not, by the reply subject of a hello or a batch", async () => {
    const before = await streamOf(DEAD_STREAM);
    const replies = [
      `$JS.API.STREAM.PURGE.${DEAD_STREAM}`,
      `$JS.API.STREAM.DELETE.${STREAM}`,
      `ingress.${ORG}.${victim}.t1`,
      "_INBOX_HUB.x",
    ];
    const message = new TextEncoder().encode(JSON.stringify({ origin: `${ORG}.${site}.t1.abcdefghijkl`, since: null }));
    const about = headers();
    about.set("Authorization", messageAuthorization(mine.token, message));
    const seen = await tapped(async () => {
      for (const reply of replies)
        for (const kind of ["hello", "ingress"]) nc.publish(`${kind}.${ORG}.${site}.t1`, message, { reply, headers: about });
      await nc.flush().catch(() => {});
      await sleep(300);
    });
    expect(seen.filter(({ subject }) => replies.includes(subject))).toEqual([]);
    expect((await streamOf(DEAD_STREAM)).created).toEqual(before.created);
    expect((await streamOf(DEAD_STREAM)).messages).toBeGreaterThanOrEqual(before.messages);
    expect((await streamOf(STREAM)).created).toBeDefined();
  });
});

describe("who reads the wire", () => {
  it("sees no token there, and what he sees lets no other message in", async () => {
    const site = await add("sniffed");
    const field = hub.field("sniffed");
    await field.append(registration(number(1)));
    const seen = await tapped(() => field.sync({ url, token: site.token }));
    const [, , signature = ""] = site.token.split(".");
    expect(seen.some(({ subject }) => subject.startsWith(`ingress.${ORG}.sniffed.`))).toBe(true);
    for (const message of seen) expect(textOf(message)).not.toContain(signature);
    // A device without a key, whose token is all that it has: what its hello proves is good for that hello.
    const asked = (since: number | null): Uint8Array =>
      new TextEncoder().encode(JSON.stringify({ origin: `${ORG}.sniffed.t9.abcdefghijkl`, since }));
    const about = headers();
    about.set("Authorization", messageAuthorization(site.token, asked(null)));
    const nc = await asToken("sniffed", site.token);
    const ask = async (body: Uint8Array): Promise<unknown> =>
      (await nc.request(`hello.${ORG}.sniffed.t9`, body, { headers: about, timeout: WAIT_MS })).json();
    expect(await ask(asked(null))).toMatchObject({ kind: "hello" });
    expect(await ask(asked(7))).toMatchObject({ kind: "refusal", code: "token-invalid" });
  });

  it("never sees a private key, whatever a device does: it is made where it is used, and stays there; the log has the public parts as facts (I31)", async () => {
    const { code } = await add("private", { device: "t1" });
    const field = hub.field("private");
    const secrets: string[] = [deviceKey(field.store).d, String(hub.key.d)];
    const seen = await tapped(async () => {
      await field.enrol({ url, code });
      await field.append(registration(number(1)));
      await field.sync({ url });
      await field.rotateKey({ url });
      secrets.push(deviceKey(field.store).d);
      await field.append(update(number(1), { phone: "+254700000001" }));
      expect(await field.sync({ url })).toMatchObject({ confirmed: 1, pending: 0 });
    });
    expect(new Set(secrets).size).toBe(3);
    const facts = await hub.log.journal.read("keys");
    const all = [...seen.map(textOf), JSON.stringify(facts.map(({ data }) => data))].join("\n");
    for (const secret of secrets) expect(all).not.toContain(secret);
    const mine = facts
      .filter(({ data }) => data.device === `${ORG}.private.t1`)
      .map(({ type, data }) => `${type} ${String(data.how ?? "")}`);
    expect(mine).toEqual(["code.issued ", "device.enrolled code", "device.enrolled rotation"]);
  });

  it("cannot send another site's batch again: not under his own login, not with his own token, and as it was it writes nothing", async () => {
    const victim = await add("replayed");
    const thief = await add("replaying");
    const field = hub.field("replayed");
    await field.append(registration(number(1)));
    const seen = await tapped(() => field.sync({ url, token: victim.token }));
    const stolen = seen.find(({ subject }) => subject === `ingress.${ORG}.replayed.t1`)!;
    const origin = field.store.current().name;
    const before = (await hub.log.head(origin))!;

    const nc = await asToken("replaying", thief.token);
    const replies: Record<string, unknown>[] = [];
    nc.subscribe(`receipt.${ORG}.replaying.>`, { callback: (_, message) => replies.push(message.json()) });
    const own = headers();
    own.set("Authorization", messageAuthorization(thief.token, stolen.data));
    nc.publish(`ingress.${ORG}.replayed.t1`, stolen.data, { headers: own });
    nc.publish(`ingress.${ORG}.replaying.t1`, stolen.data, { headers: own });
    nc.publish(`ingress.${ORG}.replaying.t1`, stolen.data, { headers: stolen.headers! });
    await eventually("the refusals", async () => replies.length >= 2);
    expect(replies.map(({ code }) => code)).toEqual(["token-site", "token-site"]);

    expect(await post("", stolen.data, thief.token)).toMatchObject({ status: 403, body: { code: "token-site" } });
    // Signed by its device, the batch is still valid: the hub has it already, and says so to anyone who asks in the open.
    expect(await post("", stolen.data)).toMatchObject({ status: 200, body: { kind: "receipt" } });
    expect(await hub.log.head(origin)).toEqual(before);
    expect(await inLog(origin)).toBe(1);
  });

  it("cannot lower what a device believes, by an answer of the hub's that he has seen before", async () => {
    const site = await add("lowered");
    const field = await enrolled(site);
    const early = (await tapped(() => field.sync({ url })))
      .map(({ data }) => JSON.parse(new TextDecoder().decode(data) || "null") as unknown)
      .find((said) => isJsonObject(said) && said.kind === "hello" && "signature" in said);
    expect(early).toMatchObject({ receipt: { through: 0 } });
    for (let i = 0; i < 4; i++) await field.append(update(number(1), { phone: `+25470000000${i}` }));
    await field.sync({ url });
    let sent = 0;
    const liar = wire.subscribe(`hello.${ORG}.lowered.*`, {
      callback: (_, message) => {
        // Unchanged the first time; the second time with the nonce that the device has just sent put in.
        const { nonce } = message.json<{ nonce: string }>();
        message.respond(JSON.stringify(sent % 2 === 0 ? early : { ...(early as object), nonce }));
        sent++;
      },
    });
    await wire.flush();
    // The hub's own answer does not come through any more: nothing is believed, and nothing is lost.
    const result = await field.sync({ url });
    liar.unsubscribe();
    expect(sent).toBe(2);
    expect(result).toMatchObject({ restoredBehind: 0, batches: 0, pending: 0 });
    expect(field.status().levels).toEqual({ LOCAL: 0, QUEUED: 0, SYNCED: 5 });
    expect(field.status().origins).toHaveLength(1);
    expect(field.status().keys.unproven).toBe(2);
  });
});

describe("a broker in the hub's place", () => {
  it("gets no signature for anything that means something elsewhere: a device signs nonces, and nothing else there", () => {
    const signer = signerOf(makeKeyPair());
    const login = nkeyLogin(signer);
    const origin = `${ORG}.juba.t1.abcdefghijkl` as OriginId;
    const texts = [
      runText({ origin, through: 7 as never, head: "ab".repeat(32) as never }),
      ...(["hello-request", "rotation", "enrolment"] as const).map((kind) => messageText(kind, { origin })),
      "x".repeat(65),
      "",
    ];
    for (const text of texts) expect(login(text).sig, text).toBe("");
    expect(login("c29tZSBub25jZQ").sig).toBe(signer.sign("c29tZSBub25jZQ").value);
  });
});

/** Ended by the server: the login that it was made with is gone. */
const isEnded = (nc: NatsConnection): Promise<true> => nc.closed().then(() => true as const);
const cannotLogIn = (connecting: () => Promise<NatsConnection>): Promise<true> =>
  eventually("the end of the login", () =>
    connecting().then(
      (nc) => nc.close().then(() => false as const),
      (error: { code?: string }) => error.code === "AUTHORIZATION_VIOLATION",
    ),
  ) as Promise<true>;
const revoke = (work: (book: Parameters<Parameters<typeof withKeyBook>[2]>[0]) => Promise<unknown>): Promise<number> =>
  withKeyBook(hub.dir, state, async (book) => {
    await work(book);
    return withdrawRevoked(hub.dir, book.record);
  });

describe("a revocation takes what it gave, at the broker and over HTTP, within seconds:", () => {
  it("of a device: its connections are closed, neither its key nor its token is let in, and others of its site go on", async () => {
    const site = await add("lost");
    const lost = await enrolled(site, "t1");
    const kept = await enrolled(site, "t2");
    const [byKey, byToken] = [await eventually("the login", () => asKey("lost", lost)), await asToken("lost", site.token)];
    await revoke((book) => revokeDevice(book, `${ORG}.lost.t1`, "coordinator", "left in a taxi"));
    expect(await Promise.all([isEnded(byKey), isEnded(byToken)])).toEqual([true, true]);
    await cannotLogIn(() => asKey("lost", lost));
    await cannotLogIn(() => asToken("lost", site.token));
    await lost.append(update(number(1), { phone: "+254700000009" }));
    await expect(lost.sync({ url, token: site.token })).rejects.toMatchObject({ code: "login-refused" });
    await eventually("the refusal over HTTP", async () => {
      const failure: unknown = await lost.sync({ url: state.httpUrl, maxTries: 1 }).catch((error: unknown) => error);
      return (failure as { code?: string }).code === "revoked";
    });
    expect(lost.status().levels).toMatchObject({ LOCAL: 1, SYNCED: 1 });
    // Though the token under which both enrolled is gone, the other's key speaks for it, at the broker too.
    await kept.append(update(number(1), { phone: "+254700000008" }));
    expect(await kept.sync({ url, token: site.token })).toMatchObject({ confirmed: 1, pending: 0 });
  });

  it("of a token: nobody logs in or sends with it, and whoever has enrolled under it goes on", async () => {
    const site = await add("leaked");
    const field = await enrolled(site);
    const nc = await asToken("leaked", site.token);
    const { jti } = JSON.parse(Buffer.from(site.token.split(".")[1]!, "base64url").toString()) as { jti: string };
    await revoke((book) => revokeToken(book, jti, "coordinator"));
    expect(await isEnded(nc)).toBe(true);
    await cannotLogIn(() => asToken("leaked", site.token));
    const thief = hub.field("leaked", "t2");
    await thief.append(registration(number(2)));
    await expect(thief.sync({ url, token: site.token })).rejects.toMatchObject({ code: "login-refused" });
    await eventually("the refusal over HTTP", async () => {
      const failure: unknown = await thief
        .sync({ url: state.httpUrl, token: site.token, maxTries: 1 })
        .catch((error: unknown) => error);
      return (failure as { code?: string }).code === "revoked";
    });
    await field.append(update(number(1), { phone: "+254700000007" }));
    expect(await field.sync({ url, token: site.token })).toMatchObject({ confirmed: 1, pending: 0 });
  });

  it("of a site: its tokens, codes and keys are no longer let in, until it is added again", async () => {
    const site = await add("closed");
    const field = await enrolled(site);
    const open = await Promise.all([
      eventually("the login", () => asKey("closed", field)),
      asToken("closed", site.token),
      asToken("closed", readCode(site.code)!),
    ]);
    await revoke((book) => revokeSite(book, `${ORG}.closed`, "coordinator", undefined));
    expect(await Promise.all(open.map(isEnded))).toEqual([true, true, true]);
    await cannotLogIn(() => asKey("closed", field));
    await cannotLogIn(() => asToken("closed", site.token));
    await cannotLogIn(() => asToken("closed", readCode(site.code)!));
    await field.append(update(number(1), { phone: "+254700000006" }));
    await expect(field.sync({ url, token: site.token })).rejects.toMatchObject({ code: "login-refused" });
    const again = await add("closed");
    expect(await field.sync({ url, token: again.token })).toMatchObject({ confirmed: 1, pending: 0 });
    await cannotLogIn(() => asToken("closed", site.token));
  });

  it("a code that was used lets nobody in a second time", async () => {
    const { code } = await add("once", { device: "t1" });
    const field = hub.field("once");
    await field.enrol({ url, code });
    const thief = hub.field("once", "t2");
    await expect(thief.enrol({ url: state.httpUrl, code })).rejects.toMatchObject({ code: "code-invalid" });
    await expect(thief.enrol({ url, code })).rejects.toMatchObject({
      code: "login-refused",
      message: expect.stringContaining(`publish on hello.${ORG}.once.t2`),
    });
    // Its login stays for the answer to come through, and goes within a minute.
    const login = { org: ORG, site: "once", device: "t1", kind: "password" as const, ...siteLogin(readCode(code)!, ORG, "once") };
    const right = { right: { code: codeHash(code) }, expiresAtMs: Number.POSITIVE_INFINITY };
    await withKeyBook(hub.dir, state, async ({ record }) => {
      expect(loginStands(record, { ...login, ...right }, Date.now())).toBe(true);
      expect(loginStands(record, { ...login, ...right }, Date.now() + 60_000)).toBe(false);
    });
    // Whoever lost the hub's answer asks again.
    expect(await field.enrol({ url, code })).toMatchObject({ device: `${ORG}.once.t1` });
    await field.append(registration(number(1)));
    expect(await field.sync({ url })).toMatchObject({ confirmed: 1 });
  });
});

describe("keys change without a gap:", () => {
  it("the hub's in the middle of syncs, for devices with keys and for old ones that only prove their token; a retired key's tokens are refused", async () => {
    const site = await add("turning");
    const withKey = await enrolled(site);
    const transport = await openTransport({
      ...{ identity: versionOne, url, token: site.token, replyTimeoutMs: WAIT_MS },
      name: { org: ORG, site: "turning", device: "old" },
    });
    onTestFinished(() => transport.close());
    const origin = `${ORG}.turning.old.abcdefghijkl` as OriginId;
    const asksStill = (): Promise<{ kind: string }> => transport.hello({ origin, since: null });
    const syncs = (n: number): Promise<SyncResult> =>
      withKey.append(update(number(1), { phone: `+2547000000${n}` })).then(() => withKey.sync({ url }));
    const first = readHubKeys(hub.dir);
    const failures: unknown[] = [];
    let isTurning = true;
    const going = (async () => {
      for (let n = 10; isTurning || n < 14; n++) {
        await syncs(n).catch((error: unknown) => failures.push(error));
        if ((await asksStill().catch((error: unknown) => failures.push(error))) === undefined) break;
      }
    })();
    const use = (): void => {
      hub.keys = readHubKeys(hub.dir);
    };
    await withKeyBook(hub.dir, state, (book) => rotateHubKey(hub.dir, book, "coordinator", 0));
    use();
    await sleep(1_500);
    isTurning = false;
    await going;
    expect(failures).toEqual([]);
    const [old, next] = hub.keys as readonly [HubKey, HubKey];
    expect(old.d).toBe(first[0]!.d);
    expect(JSON.parse(Buffer.from((await add("turned")).token.split(".")[0]!, "base64url").toString())).toMatchObject({
      kid: next.kid,
    });
    expect(await asksStill()).toMatchObject({ kind: "hello" });

    await withKeyBook(hub.dir, state, (book) => retireHubKey(hub.dir, book, old.kid!, "coordinator"));
    use();
    expect(hub.keys[0]).not.toHaveProperty("d");
    await expect(asksStill()).rejects.toMatchObject({ code: "token-invalid" });
    expect(await syncs(99)).toMatchObject({ confirmed: 1, pending: 0 });
  });

  it("a device's: the new key is let in at once, and the old one only for as long as batches signed by it count", async () => {
    const site = await add("rotated");
    const field = await enrolled(site);
    await eventually("the login", () => asKey("rotated", field));
    const before = signerOf(deviceKey(field.store));
    await field.rotateKey({ url });
    await field.append(update(number(1), { phone: "+254700000005" }));
    expect(await field.sync({ url })).toMatchObject({ confirmed: 1, pending: 0 });
    expect(await eventually("the login", () => asKey("rotated", field))).toBeDefined();
    expect(signerOf(deviceKey(field.store)).kid).not.toBe(before.kid);
    const file = join(hub.dir, "nats-logins", `${nkeyOf(before.key)}.json`);
    const { expiresAtMs } = await eventually("the end that was set", async () => {
      const login = JSON.parse(readFileSync(file, "utf8")) as { expiresAtMs: number };
      return login.expiresAtMs < Date.now() + 2 * KEY_OVERLAP_MS ? login : null;
    });
    expect(expiresAtMs).toBeGreaterThan(Date.now() + KEY_OVERLAP_MS - 3_600_000);
  });
});
