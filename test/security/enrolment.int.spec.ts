import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { verify } from "../../services/audit/index.ts";
import { revokeDevice, revokeSite, revokeToken } from "../../services/cli/hub-keys.ts";
import {
  eventIdOf,
  eventText,
  GENESIS,
  type Hash,
  type JsonObject,
  messageText,
  type OriginId,
  publicKeySchema,
  runText,
  wallMsOf,
} from "../../services/core/index.ts";
import { chainHash, isSignedBy, keyIdOf, makeKeyPair, signerOf } from "../../services/core/node.ts";
import type { Field } from "../../services/field/index.ts";
import { deviceKey, hubKeys, openIdentity } from "../../services/field/keys.ts";
import { issueToken } from "../../services/http/index.ts";
import { keepEvidence } from "../../services/ingress/evidence.ts";
import { forksOf, type Log, openKeyBook, openLog } from "../../services/log/index.ts";
import { startNode } from "../../services/log/node/index.ts";
import { batchOf, frameOf, post } from "../support/attack.ts";
import { number, ORG, registration, update } from "../support/hub.ts";
import { all, eventually, sleep } from "../support/temp.ts";
import { book, codeFor, door, enrolled, hub, natsUrl, publicHalf, quick, useKeyedHub } from "./keyed-hub.ts";

useKeyedHub();

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

  it("is what a device must ask for if it has no token and the hub does not know its key (any more)", async () => {
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
    // A code for any device of the site takes over no device that has a key; a code that names the device does.
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
  /** Two seconds' worth of syncs on an idle machine. The hub's processes and the device share this one, and are slow together. */
  const MAX_LATE = 60;
  /** Writes and syncs until the hub refuses; returns by which code, and how many syncs it took after the revocation. */
  const untilRefused = async (field: Field, url: string, revoke: () => Promise<unknown>, token?: string) => {
    let isRevoked = false;
    let late = 0;
    const timer = setTimeout(() => void revoke().then(() => (isRevoked = true)), 500);
    try {
      for (let i = 0; late <= MAX_LATE; i++) {
        await field.append(update(number(1), { phone: `+2547${String(i).padStart(8, "0")}` }));
        if (isRevoked) late++;
        await field.sync({ url, maxTries: 1, ...(token === undefined ? {} : { token }) });
        await sleep(10);
      }
      throw new Error(`it was not refused ${late} syncs after the revocation`);
    } catch (error) {
      if ((error as { code?: string }).code === undefined) throw error;
      return (error as { code?: string }).code;
    } finally {
      clearTimeout(timer);
    }
  };

  it("of a device is felt soon while it syncs, at each process of the hub, and its events stay on it (I32)", async () => {
    const second = await hub.startIngress();
    for (const url of [natsUrl(), second.http!.url]) {
      const device = url.startsWith("nats") ? "a" : "b";
      const field = await enrolled("revoked", device);
      const code = await untilRefused(field, url, () => revokeDevice(book, `relief.revoked.${device}`, "coordinator", "stolen"));
      expect(code).toBe("revoked");
      const { LOCAL, QUEUED } = field.status().levels;
      expect(LOCAL + QUEUED).toBeGreaterThan(0);
    }
    await second.close();
  });

  it("of a site takes its tokens, codes and devices, and adding it again lets it in again", async () => {
    const field = await enrolled("closed");
    const token = await hub.token("closed");
    const code = await codeFor("closed");
    const why = await untilRefused(field, natsUrl(), () => revokeSite(book, "relief.closed", "coordinator", undefined), token);
    expect(why).toBe("revoked");
    const other = hub.field("closed", "t2");
    await other.append(registration(number(3)));
    await expect(other.sync({ url: natsUrl(), token })).rejects.toMatchObject({ code: "revoked" });
    await expect(other.sync({ url: hub.ingress.http!.url, token })).rejects.toMatchObject({ code: "revoked" });
    await expect(other.enrol({ url: natsUrl(), code })).rejects.toMatchObject({ code: "code-invalid" });
    const issuedAfterS = book.record.revocationOf("relief.closed")!.issuedThroughS;
    const renewed = await issueToken(hub.key, { org: ORG, site: "closed", lifetimeS: 60, nowMs: Date.now(), issuedAfterS });
    expect((await field.sync({ url: natsUrl(), token: renewed })).pending).toBe(0);
    expect((await other.sync({ url: natsUrl(), token: renewed })).pending).toBe(0);
  });

  it("of a token leaves devices alone that enrolled under it, and lets nobody else in", async () => {
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

describe("somebody who was let in once", () => {
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
    // Made again from the log, like all that the database shows; what people said of it holds.
    const [{ id }] = (await cases()) as [{ id: string }];
    await hub.projector.close();
    await hub.db.query("DELETE FROM tributary.fork_case");
    hub.projector = await hub.startProjector();
    expect(await cases()).toMatchObject([{ id, state: "open" }]);
  });
});

describe("a note of a fork in a wrong form", () => {
  it("is ignored: a projector starts, and makes cases of the others", async () => {
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
  it("is searched only as far as a signature that covers it, and not at all once it is kept", async () => {
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
    // A device that makes more and more forks: only so many are kept.
    for (let i = 0; i < 12; i++) {
      const more = batchOf(name, [`{"phone":"+2547888888${i + 10}"}`], { firstSeq: 1, prev: first!.head.hash });
      await keepEvidence(counted, more, seq, undefined);
    }
    expect(reads).toBe(8);
  });
});

/** The log after somebody who can write its files has altered an event and recomputed all hashes after it. */
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
  it("is found out by its signatures, though all of its hashes fit; nothing is found wrong with the true one (I23)", async () => {
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

  it("is told apart from a key's second life: one that was revoked, and enrolled again by a code, signs again", async () => {
    const day = 86_400_000;
    // The node's clock runs behind, and catches up: by that clock, a client's deadline must not have passed.
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

  it("is found out even if its writer has enrolled a key of his own: the hub has not signed that", async () => {
    await using node = await startNode();
    await using log = openLog(node.url);
    const forger = await openKeyBook(log.journal, { signer: () => signerOf(makeKeyPair()) });
    const key = publicKeySchema.parse(makeKeyPair());
    await forger.write("x", () => ({
      type: "device.enrolled",
      data: { device: "relief.a.t1", kid: keyIdOf(key), key: { ...key }, how: "token" },
    }));
    const report = await verify({ log, hubKeys: [publicHalf()] });
    expect(report.problems).toMatchObject([{ where: "keys/0", what: expect.stringContaining("not one of the hub's") }]);
  });
});
