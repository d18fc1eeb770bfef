import { join } from "node:path";
import { nkeys } from "nats";
import { describe, expect, it } from "vitest";
import { messageText, type PublicKey, publicKeySchema } from "../../services/core/index.ts";
import { keyIdOf, makeKeyPair, nkeyLogin, nkeyOf, signerOf } from "../../services/core/node.ts";
import { type Field, openField } from "../../services/field/index.ts";
import { deviceKey, hubKeys, openIdentity, pinHub, withSuccessors } from "../../services/field/keys.ts";
import { gate } from "../support/hub.ts";
import { tempDir } from "../support/temp.ts";

const name = { org: "relief", site: "juba", device: "t1" };
const open = (): Field => openField({ path: join(tempDir(), "field.db"), name, schemas: gate });
const tokenNaming = (...keys: PublicKey[]): string =>
  `x.${Buffer.from(JSON.stringify({ hub: keys.map(({ x }) => x) })).toString("base64url")}.y`;
const newHub = () => {
  const signer = signerOf(makeKeyPair());
  return { signer, key: publicKeySchema.parse(signer.key) };
};
const receipt = {
  kind: "receipt",
  batch: null,
  origin: "relief.juba.t1.abc",
  through: null,
  head: null,
  position: null,
  quarantined: [],
};

describe("a device's key", () => {
  it("is the nkey of a user at a broker, whose own library takes it and its signature of a nonce", () => {
    for (let i = 0; i < 50; i++) {
      const signer = signerOf(makeKeyPair());
      const { nkey, sig } = nkeyLogin(signer)("c29tZSBub25jZQ");
      expect(nkey).toBe(nkeyOf(signer.key));
      const known = nkeys.fromPublic(nkey);
      expect(known.getPublicKey()).toBe(nkey);
      expect(known.verify(Buffer.from("c29tZSBub25jZQ"), Buffer.from(sig, "base64url"))).toBe(true);
    }
  });

  it("is made with the database, stays the same, and is shown nowhere", () => {
    using field = open();
    const { d } = deviceKey(field.store);
    using again = openField({ path: field.store.path, schemas: gate });
    expect(deviceKey(again.store).d).toBe(d);
    expect(JSON.stringify([field.status(), [...field.events()]])).not.toContain(d);
    const asked = openIdentity(field.store, { url: "nats://x", now: Date.now }).asked({
      origin: field.store.current().name,
      since: null,
    });
    expect(JSON.stringify(asked)).not.toContain(d);
  });
});

describe("the hub's keys", () => {
  it("come with the token that names them, and another token does not replace them", () => {
    using field = open();
    const [hub, other] = [newHub(), newHub()];
    openIdentity(field.store, { url: "nats://x", token: tokenNaming(hub.key), now: Date.now });
    openIdentity(field.store, { url: "nats://x", token: tokenNaming(other.key), now: Date.now });
    expect(hubKeys(field.store)).toEqual([hub.key]);
    openIdentity(field.store, { url: "nats://x", token: "no token at all", now: Date.now });
    expect(hubKeys(field.store)).toEqual([hub.key]);
  });

  it("are taken from the first hello if TLS says whose it is and those keys have signed it, and from nowhere else", () => {
    const hub = newHub();
    const hello = { kind: "hello", nowMs: 0, receipt, avro: {}, keys: [hub.key], protocol: { oldest: 1, newest: 2 } };
    const signed = { ...hello, signature: hub.signer.sign(messageText("hello", hello)) };
    for (const [url, answer, isTaken] of [
      ["nats://hub:4222", signed, false],
      ["http://hub:8080", signed, false],
      ["https://hub:8080", hello, false],
      ["https://hub:8080", { ...signed, nowMs: 1 }, false],
      ["https://hub:8080", signed, true],
      ["tls://hub:4222", signed, true],
    ] as const) {
      using field = open();
      openIdentity(field.store, { url, now: Date.now }).learn(answer);
      expect(hubKeys(field.store), url).toEqual(isTaken ? [hub.key] : []);
    }
  });

  it("decide what is believed: everything if no key is known; otherwise only answers to this question that they have signed as they are", () => {
    using field = open();
    const hub = newHub();
    const identity = openIdentity(field.store, { url: "nats://x", now: Date.now });
    expect(identity.believes(receipt)).toBe(true);
    pinHub(field.store, [hub.key]);
    const signed = { ...receipt, nonce: "n1", novelty: { of: "a later version" }, kind: "receipt" as const };
    const whole = { ...signed, signature: hub.signer.sign(messageText("receipt", signed)) };
    expect(identity.believes(whole, "n1")).toBe(true);
    for (const [answer, nonce] of [
      [receipt, undefined],
      [{ ...whole, through: 7 }, undefined],
      [{ ...whole, novelty: 1 }, undefined],
      [{ ...whole, kind: "hello" }, undefined],
      [whole, "n2"],
      [null, undefined],
      ["text", undefined],
    ] as const)
      expect(identity.believes(answer, nonce)).toBe(false);
    expect(identity.unproven).toBe(7);
    expect(field.status().keys.unproven).toBe(7);
  });

  it("lead to later ones as long as each is named by one before it", () => {
    const [first, second, third, stranger] = [newHub(), newHub(), newHub(), newHub()];
    const nextOf = (by: ReturnType<typeof newHub>, key: PublicKey) => {
      const statement = { key, by: keyIdOf(by.key) };
      return { ...statement, signature: by.signer.sign(messageText("succession", statement)) };
    };
    const chain = [nextOf(second, third.key), nextOf(first, second.key)];
    expect(withSuccessors([first.key], chain)).toEqual([first.key, second.key, third.key]);
    expect(withSuccessors([second.key], chain)).toEqual([second.key, third.key]);
    const forged = { ...nextOf(stranger, stranger.key), by: keyIdOf(first.key) };
    expect(withSuccessors([first.key], [forged, nextOf(stranger, third.key)])).toEqual([first.key]);
  });
});
