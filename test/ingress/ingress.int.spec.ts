import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Hash, OriginId } from "../../services/core/index.ts";
import { openTransport } from "../../services/field/transport.ts";
import { DEAD_STREAM } from "../../services/ingress/index.ts";
import { batchOf, frameOf } from "../support/batches.ts";
import { connectAs } from "../support/broker.ts";
import { number, openTestHub, registration, type TestHub, update } from "../support/hub.ts";
import { WAIT_MS } from "../support/patience.ts";
import { all, eventually } from "../support/temp.ts";
import { versionOne } from "../support/version1.ts";

let hub: TestHub;
beforeAll(async () => {
  hub = await openTestHub();
});
afterAll(() => hub?.close());

const origin = (site: string, epoch = "abc"): OriginId => `relief.${site}.t1.${epoch}` as OriginId;

const post = async (
  body: Uint8Array | string,
  token: string | null,
  more: Record<string, string> = {},
): Promise<{ status: number; body: Record<string, unknown>; type: string }> => {
  const response = await fetch(`${hub.ingress.http!.url}/v1/ingress`, {
    method: "POST",
    body: body as Uint8Array<ArrayBuffer>,
    headers: { ...(token === null ? {} : { authorization: `Bearer ${token}` }), ...more },
  });
  return {
    status: response.status,
    body: (await response.json()) as Record<string, unknown>,
    type: response.headers.get("content-type")!,
  };
};
const frame = frameOf;

describe("a site's events", () => {
  it("are in the log when the receipt comes, and sending them again writes nothing", async () => {
    const field = hub.field("alpha");
    await field.appendMany([registration(number(1)), update(number(1), { phone: "+254700000001" })]);
    const token = await hub.token("alpha");
    expect(await field.sync({ url: hub.backends.nats.url, token })).toMatchObject({ confirmed: 2, pending: 0 });
    expect(await field.sync({ url: hub.ingress.http!.url, token, again: true })).toMatchObject({ confirmed: 0, batches: 1 });
    const status = field.status();
    expect(status.levels).toEqual({ LOCAL: 0, QUEUED: 0, SYNCED: 2 });
    const stored = await all(hub.log.readOrigin(status.origin as OriginId));
    expect(stored.map(({ head }) => head.hash)).toEqual([...field.events()].map(({ hash }) => hash));
  });

  it("are quarantined when they do not fit, with their raw data, and those after them go on (I15)", async () => {
    const field = hub.field("beta");
    await field.appendMany([registration(number(2), { birth_date: "2019-02-30" }), registration(number(3))], {
      onInvalid: "keep",
    });
    const result = await field.sync({ url: hub.backends.nats.url, token: await hub.token("beta") });
    expect(result).toMatchObject({
      confirmed: 2,
      quarantined: [{ seq: 0, reason: "birth_date '2019-02-30' is not a date; write YYYY-MM-DD" }],
    });
    await hub.projected();
    const { rows } = await hub.db.query("SELECT raw, path FROM tributary.quarantine WHERE site = 'beta'");
    expect(rows).toMatchObject([{ path: "/birth_date", raw: expect.stringContaining('"birth_date":"2019-02-30"') }]);
    expect((await hub.db.query("SELECT id FROM views.beneficiaries WHERE id = ANY($1)", [[number(2), number(3)]])).rows).toEqual([
      { id: number(3) },
    ]);
  });

  it("with an unknown schema are quarantined, not lost", async () => {
    const answer = await post(
      frame(batchOf(origin("gamma"), ["{}"], { schema: { subject: "novelty", version: 3 } })),
      await hub.token("gamma"),
    );
    expect(answer).toMatchObject({
      status: 200,
      body: { through: 0, quarantined: [{ code: "schema-unknown", reason: "the hub does not know novelty version 3" }] },
    });
  });

  it("whose data are not JSON are quarantined with their chain intact", async () => {
    const answer = await post(frame(batchOf(origin("gamma2"), ["{oops", '{"phone":null}'])), await hub.token("gamma2"));
    expect(answer).toMatchObject({ status: 200, body: { through: 1, quarantined: [{ seq: 0, code: "not-json" }] } });
  });

  it("that a clock two years wrong has stamped are marked so", async () => {
    const field = hub.field("delta", "t1", { now: () => Date.now() + 2 * 365 * 86_400_000 });
    await field.append(registration(number(4)));
    const result = await field.sync({ url: hub.backends.nats.url, token: await hub.token("delta") });
    expect(Math.round(result.clockOffsetMs! / 86_400_000)).toBe(730);
    const [entry] = await all(hub.log.readOrigin(field.status().origin as OriginId));
    expect(Math.round(entry!.clock!.offsetMs / 86_400_000)).toBe(730);
  });

  it("come through several doors at once, each once and in order", async () => {
    const second = await hub.startIngress();
    const field = hub.field("epsilon");
    await field.appendMany(Array.from({ length: 1500 }, (_, i) => registration(number(1000 + i))));
    const result = await field.sync({ url: hub.backends.nats.url, token: await hub.token("epsilon"), batchEvents: 50 });
    expect(result.confirmed).toBe(1500);
    const stored = await all(hub.log.readOrigin(field.status().origin as OriginId));
    expect(stored.map(({ head }) => head.seq)).toEqual(Array.from({ length: 1500 }, (_, i) => i));
    await second.close();
  });
});

describe("the door refuses, with what to do, and nothing lost", () => {
  it("a request without a token", async () => {
    expect(await post("x", null)).toMatchObject({
      status: 401,
      type: "application/problem+json",
      body: { code: "token-missing", hint: expect.any(String) },
    });
  });
  it("a token that another hub signed", async () => {
    const { issueToken, makeKey } = await import("../../services/http/index.ts");
    const foreign = await issueToken(await makeKey("test"), { org: "relief", site: "zeta", lifetimeS: 60, nowMs: Date.now() });
    expect(await post("x", foreign)).toMatchObject({ status: 401, body: { code: "token-invalid" } });
  });
  it("an expired token", async () => {
    const old = await hub.token("zeta", { lifetimeS: 60, nowMs: Date.now() - 86_400_000 });
    expect(await post(frame(batchOf(origin("zeta"), ["{}"])), old)).toMatchObject({
      status: 401,
      body: { code: "token-expired" },
    });
  });
  it("a token of another site, over HTTP and over NATS", async () => {
    const other = await hub.token("eta");
    expect(await post(frame(batchOf(origin("zeta"), ["{}"])), other)).toMatchObject({
      status: 403,
      body: { code: "token-site" },
    });
    const field = hub.field("zeta");
    await field.append(registration(number(5)));
    await expect(field.sync({ url: hub.backends.nats.url, token: other })).rejects.toMatchObject({ code: "token-site" });
    expect(field.status().levels.LOCAL).toBe(1);
  });
  it("a token for one device, used by another", async () => {
    const token = await hub.token("zeta", { device: "other" });
    expect(await post(frame(batchOf(origin("zeta"), ["{}"])), token)).toMatchObject({
      status: 403,
      body: { code: "token-site" },
    });
  });
  it("bytes that are not a batch, and keeps them as a dead letter when they come over NATS", async () => {
    const token = await hub.token("theta");
    expect(await post("not a batch", token)).toMatchObject({ status: 400, body: { code: "batch-undecodable" } });
    const nc = await connectAs(hub.backends.nats.url);
    const transport = await openTransport({
      identity: versionOne,
      url: hub.backends.nats.url,
      token,
      name: { org: "relief", site: "theta", device: "t1" },
      replyTimeoutMs: WAIT_MS,
    });
    const { reply } = await transport.send(new Uint8Array([0x54, 0x42, 1, 9, 9, 9]), origin("theta"));
    expect(await reply).toMatchObject({ kind: "refusal", code: "batch-undecodable" });
    await transport.close();
    const dead = await (await nc.jetstreamManager()).streams.getMessage(DEAD_STREAM, { last_by_subj: "dead.relief.theta.t1" });
    expect([...dead.data]).toEqual([0x54, 0x42, 1, 9, 9, 9]);
    expect(dead.header.get("Tributary-Code")).toBe("batch-undecodable");
    await nc.close();
  });
  it("a batch with a gap, saying where the log ends", async () => {
    const answer = await post(
      frame(batchOf(origin("iota"), ["{}"], { firstSeq: 7, prev: "a".repeat(64) as Hash })),
      await hub.token("iota"),
    );
    expect(answer).toMatchObject({ status: 409, body: { code: "batch-gap", through: null } });
  });
  it("a batch whose hashes are not those that the sender computed", async () => {
    const answer = await post(
      frame(batchOf(origin("kappa"), ['{"phone":null}'], { head: "b".repeat(64) as Hash })),
      await hub.token("kappa"),
    );
    expect(answer).toMatchObject({ status: 422, body: { code: "chain-broken" } });
    expect(await hub.log.head(origin("kappa"))).toBeNull();
  });
  it("another event under a seq that is taken: a fork", async () => {
    const token = await hub.token("lambda");
    expect((await post(frame(batchOf(origin("lambda"), ['{"phone":null}'])), token)).status).toBe(200);
    const forked = await post(frame(batchOf(origin("lambda"), ['{"village":null}'])), token);
    expect(forked).toMatchObject({ status: 409, body: { code: "origin-forked" } });
  });
  it("an event over 1 MiB", async () => {
    const text = JSON.stringify({ village: "x".repeat(1_100_000) });
    const answer = await post(frame(batchOf(origin("mu"), [text])), await hub.token("mu"));
    expect(answer).toMatchObject({ status: 413, body: { code: "event-too-large" } });
  });
  it("a body beyond the limit, unread", async () => {
    expect(await post(new Uint8Array(1_000_001), await hub.token("mu"))).toMatchObject({
      status: 413,
      body: { code: "batch-too-large" },
    });
  });
  it("an unknown route", async () => {
    const response = await fetch(`${hub.ingress.http!.url}/v1/nothing`);
    expect(response.status).toBe(404);
    expect(await response.json()).toMatchObject({ code: "not-found" });
  });
});

it("the door says that it is well, and where the log ends", async () => {
  const response = await fetch(`${hub.ingress.http!.url}/v1/health`);
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({ broker: "ok" });
});

it("a cloned tablet and its original both sync, under two names, and no event is lost (I5)", async () => {
  const { copyFileSync } = await import("node:fs");
  const { join } = await import("node:path");
  const token = await hub.token("nu");
  const field = hub.field("nu");
  await field.append(registration(number(50)));
  field.store.db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
  const copy = join(hub.dir, "nu-copy.db");
  copyFileSync(field.store.path, copy);
  const clone = hub.field("nu", "t1", { path: copy });
  expect(clone.status().origin).not.toBe(field.status().origin);
  await field.append(registration(number(51)));
  await clone.append(registration(number(52)));
  await field.sync({ url: hub.backends.nats.url, token });
  await clone.sync({ url: hub.backends.nats.url, token });
  await hub.projected();
  const { rows } = await hub.db.query("SELECT id FROM views.beneficiaries WHERE id = ANY($1) ORDER BY id", [
    [50, 51, 52].map(number),
  ]);
  expect(rows.map(({ id }) => id)).toEqual([50, 51, 52].map(number));
});

it("a database restored from a backup in place notices at sync that the hub knows more, and writes its events again under a new name", async () => {
  const token = await hub.token("xi");
  const field = hub.field("xi");
  await field.append(registration(number(60)));
  const { name } = field.store.current();
  await field.sync({ url: hub.backends.nats.url, token });
  await field.append(registration(number(61)));
  await field.sync({ url: hub.backends.nats.url, token });
  // This is the restore: the second event is gone from the file, and another is written at its seq.
  field.store.db.exec(
    "DELETE FROM event WHERE seq = 1; UPDATE origin SET next_seq = 1, synced_through = 0, queued_through = 0, head = (SELECT hash FROM event WHERE seq = 0)",
  );
  await field.append(registration(number(62)));
  const result = await field.sync({ url: hub.backends.nats.url, token });
  expect(result.renamedTo).not.toBeNull();
  expect(field.store.current().name).not.toBe(name);
  await hub.projected();
  const ids = await eventually("the three rows", async () => {
    const { rows } = await hub.db.query("SELECT id FROM views.beneficiaries WHERE id = ANY($1) ORDER BY id", [
      [60, 61, 62].map(number),
    ]);
    return rows.length === 3 ? rows.map(({ id }) => id) : null;
  });
  expect(ids).toEqual([60, 61, 62].map(number));
});
