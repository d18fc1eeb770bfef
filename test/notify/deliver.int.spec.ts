import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { deliverOnce, parseSettings } from "../../services/notify/index.ts";
import { retryFailed } from "../../services/views/index.ts";
import { WAIT_MS } from "../support/patience.ts";
import { eventually, sleep, tempDir } from "../support/temp.ts";
import {
  caseOf,
  hurriedNotifier,
  type Outbox,
  openMailServer,
  openOutbox,
  openReceiver,
  type Receiver,
  SECRET,
  webhooks,
} from "./support.ts";

const HOUR_MS = 3_600_000;
let outbox: Outbox;
beforeAll(async () => {
  outbox = await openOutbox();
});
afterAll(async () => {
  await outbox?.close();
});
beforeEach(() => outbox.clear());

const keysOf = ({ posts }: Receiver): unknown[] => posts.map(({ headers }) => headers["idempotency-key"]);
const allAre = (state: string) => async (): Promise<boolean> =>
  (await outbox.rows()).every((row) => row.state === state) && (await outbox.rows()).length > 0;

describe("a notification to a webhook", () => {
  it("arrives once, says what happened and how to look at it, and proves who sent it", async () => {
    const desk = await openReceiver();
    const beganS = Math.floor(Date.now() / 1_000);
    hurriedNotifier(outbox, webhooks({ desk: desk.url }));
    await outbox.put("opened/beneficiaries/NBO-000001/phone/1234", {
      subject: "Two phones for NBO-000001",
      body: caseOf("beneficiaries/NBO-000001/phone"),
    });
    await eventually("the delivery", allAre("sent"));
    await sleep(200);
    expect(keysOf(desk)).toEqual(["opened/beneficiaries/NBO-000001/phone/1234"]);
    const [post] = desk.posts;
    const [, t, v1] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(String(post!.headers["x-tributary-signature"])) ?? [];
    expect(createHmac("sha256", SECRET).update(`${t}.${post!.body}`).digest("hex")).toBe(v1);
    expect(Number(t)).toBeGreaterThanOrEqual(beganS);
    expect(Number(t)).toBeLessThanOrEqual(Date.now() / 1_000);
    const document = JSON.parse(post!.body);
    expect(document).toMatchObject({ subject: "Two phones for NBO-000001", body: { kind: "opened", register: "phone" } });
    expect(document.text).toContain("Two people changed the phone");
    expect(document.text).toContain("tributary case show beneficiaries/NBO-000001/phone");
    expect(await outbox.rows()).toMatchObject([{ tries: 1, last_error: null, sent_at: expect.any(Date) }]);
  });

  it("passes the check of its sender that the docs show, and no other body does", async () => {
    const docs = readFileSync(join(import.meta.dirname, "../../docs/notifications.md"), "utf8");
    const [, code] = /```js\n([\s\S]*?)```/.exec(docs) ?? [];
    const file = join(tempDir(), "check.mjs");
    writeFileSync(file, `${code}\nexport { isOurs };`);
    const { isOurs } = (await import(file)) as { isOurs(header: string, body: Buffer, secret: string): boolean };
    const desk = await openReceiver();
    await outbox.put("a", { subject: "Awɛŋ" });
    await deliverOnce({ connect: outbox.connect, settings: webhooks({ desk: desk.url }) });
    const header = String(desk.posts[0]!.headers["x-tributary-signature"]);
    const body = Buffer.from(desk.posts[0]!.body);
    expect(isOurs(header, body, SECRET)).toBe(true);
    expect(isOurs(header, Buffer.concat([body, Buffer.from(" ")]), SECRET)).toBe(false);
    expect(isOurs(header, body, "another secret")).toBe(false);
    expect(isOurs(header.replace(/t=\d+/, "t=1"), body, SECRET)).toBe(false);
  });

  it("carries no field values unless the target's settings say so", async () => {
    const [desk, trusted] = [await openReceiver(), await openReceiver()];
    const settings = new Map([...webhooks({ desk: desk.url }), ...webhooks({ trusted: trusted.url }, { includeValues: true })]);
    await outbox.put("a", { body: caseOf("a", { more: [{ values: ["+211912345678"] }] }) });
    await outbox.put("b", { target: "trusted" });
    await deliverOnce({ connect: outbox.connect, settings });
    expect(desk.posts[0]!.body).not.toContain("+2119");
    expect(desk.posts[0]!.body).toContain('"rule":"person decides"');
    expect(trusted.posts[0]!.body).toContain("+211912345678");
  });

  it("is tried again while the server is down, and arrives when it is back", async () => {
    const gone = await openReceiver();
    await gone.stop();
    hurriedNotifier(outbox, webhooks({ desk: gone.url }));
    await outbox.put("a");
    await eventually("two tries", async () => ((await outbox.rows())[0]!.tries >= 2 ? true : null));
    expect((await outbox.rows())[0]).toMatchObject({ state: "waiting", last_error: expect.stringContaining("ECONNREFUSED") });
    const back = await openReceiver(undefined, gone.port);
    await eventually("the delivery", allAre("sent"));
    expect(keysOf(back)).toEqual(["a"]);
  });

  it("fails at once, with the server's words, when the server refuses it, and is sent when it is retried by hand", async () => {
    let isMended = false;
    const desk = await openReceiver((_, response) => response.writeHead(isMended ? 200 : 400).end("unknown member\r\nbody"));
    hurriedNotifier(outbox, webhooks({ desk: desk.url }));
    await outbox.put("a");
    await eventually("the failure", allAre("failed"));
    expect(await outbox.rows()).toMatchObject([{ tries: 1, last_error: "400 Bad Request: unknown member body" }]);
    isMended = true;
    expect(await retryFailed(outbox.db, { target: "desk" })).toBe(1);
    await eventually("the delivery", allAre("sent"));
    expect(keysOf(desk)).toEqual(["a", "a"]);
  });

  it("waits as long as the server asks before it is tried again", async () => {
    const desk = await openReceiver((_, response, count) =>
      count === 1 ? response.writeHead(429, { "Retry-After": "1" }).end() : response.end(),
    );
    hurriedNotifier(outbox, webhooks({ desk: desk.url }));
    await outbox.put("a");
    await eventually("the delivery", allAre("sent"));
    expect(desk.posts[1]!.atMs - desk.posts[0]!.atMs).toBeGreaterThan(950);
  });

  it("is given up after a number of tries, and is then shown as failed", async () => {
    const desk = await openReceiver((_, response) => response.writeHead(503).end());
    hurriedNotifier(outbox, webhooks({ desk: desk.url }), { maxTries: 3 });
    await outbox.put("a");
    await eventually("the failure", allAre("failed"));
    expect(await outbox.rows()).toMatchObject([{ tries: 3, last_error: "given up after 3 tries: 503 Service Unavailable" }]);
    expect(desk.posts.length).toBe(3);
  });

  it("is tried at growing intervals: from 10 s, doubled each time, to an hour, a fifth more or less", async () => {
    const desk = await openReceiver((_, response) => response.writeHead(500).end());
    const startMs = Date.now();
    let nowMs = startMs;
    await outbox.put("a", { createdAt: new Date(startMs) });
    await outbox.db.query("UPDATE tributary.notification SET next_try_at = created_at");
    const pauses: number[] = [];
    for (let tries = 1; tries < 12; tries++) {
      await deliverOnce({ connect: outbox.connect, settings: webhooks({ desk: desk.url }), now: () => nowMs, random: () => 0.5 });
      const next = (await outbox.rows())[0]!.next_try_at.getTime();
      pauses.push((next - nowMs) / 1_000);
      nowMs = next;
    }
    expect(pauses).toEqual([10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]);
    await deliverOnce({ connect: outbox.connect, settings: webhooks({ desk: desk.url }), now: () => nowMs });
    expect((await outbox.rows())[0]).toMatchObject({ state: "failed", tries: 12 });
  });

  it("does not wait for ever on a server that never answers", async () => {
    const desk = await openReceiver(() => {});
    await outbox.put("a");
    await deliverOnce({ connect: outbox.connect, settings: webhooks({ desk: desk.url }), sendTimeoutMs: 200 });
    expect(await outbox.rows()).toMatchObject([{ state: "waiting", last_error: "no answer in 0.2 s" }]);
  });

  it("counts as delivered with a 2xx, even if the answer's text never ends", async () => {
    const desk = await openReceiver((_, response) => {
      response.writeHead(200).write("x".repeat(10));
    });
    await outbox.put("a");
    await deliverOnce({ connect: outbox.connect, settings: webhooks({ desk: desk.url }), sendTimeoutMs: WAIT_MS });
    expect(await outbox.rows()).toMatchObject([{ state: "sent" }]);
  });

  it("follows a redirect to the same server, and none to another", async () => {
    const other = await openReceiver();
    const desk = await openReceiver((post, response) => {
      if (post.path === "/hook") response.writeHead(307, { Location: "/moved" }).end();
      else response.end();
    });
    const away = await openReceiver((_, response) => response.writeHead(307, { Location: other.url }).end());
    await outbox.put("a");
    await outbox.put("b", { target: "away" });
    await deliverOnce({ connect: outbox.connect, settings: webhooks({ desk: desk.url, away: away.url }) });
    expect(desk.posts.map(({ path }) => path)).toEqual(["/hook", "/moved"]);
    expect(other.posts).toEqual([]);
    const [a, b] = await outbox.rows();
    expect(a).toMatchObject({ state: "sent" });
    expect(b).toMatchObject({ state: "failed", last_error: expect.stringContaining("name it in the settings") });
  });

  it("has a key that fits into a header, whatever letters the case's name has", async () => {
    const desk = await openReceiver();
    await outbox.put("opened/beneficiaries/Awɛŋ\r\nX-Evil: 1");
    await deliverOnce({ connect: outbox.connect, settings: webhooks({ desk: desk.url }) });
    expect(desk.posts[0]!.headers["idempotency-key"]).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(desk.posts[0]!.headers["x-evil"]).toBeUndefined();
    expect(JSON.parse(desk.posts[0]!.body).key).toBe("opened/beneficiaries/Awɛŋ\r\nX-Evil: 1");
  });
});

describe("several notifiers and crashes", () => {
  it("two notifiers at once send each notification once", async () => {
    const desk = await openReceiver((_, response) => setTimeout(() => response.end(), 5));
    for (let n = 0; n < 100; n++) await outbox.put(`n${n}`);
    hurriedNotifier(outbox, webhooks({ desk: desk.url }));
    hurriedNotifier(outbox, webhooks({ desk: desk.url }));
    await eventually("the delivery of all", allAre("sent"));
    await sleep(200);
    expect(desk.posts.length).toBe(100);
    expect(new Set(keysOf(desk)).size).toBe(100);
  });

  it("one that is killed between sending and marking leaves the notification to the next, which sends it again under the same key", async () => {
    const desk = await openReceiver((_, response, count) => {
      if (count > 1) response.end();
    });
    await outbox.put("a");
    const child = spawn(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", join(import.meta.dirname, "child.ts"), outbox.url, desk.url],
      { stdio: "ignore" },
    );
    onTestFinished(() => {
      child.kill("SIGKILL");
    });
    await eventually("the first sending", async () => desk.posts.length === 1);
    child.kill("SIGKILL");
    hurriedNotifier(outbox, webhooks({ desk: desk.url }));
    await eventually("the second sending", allAre("sent"));
    expect(keysOf(desk)).toEqual(["a", "a"]);
    expect(desk.posts[1]!.body).toBe(desk.posts[0]!.body);
  });

  it("one whose database connections are lost goes on by itself, and sends again what it could not mark", async () => {
    const lost = Promise.withResolvers<void>();
    const desk = await openReceiver(async (_, response, count) => {
      if (count === 1) await lost.promise;
      response.end();
    });
    const { said } = hurriedNotifier(outbox, webhooks({ desk: desk.url }));
    await outbox.put("a");
    await eventually("the first sending", async () => desk.posts.length === 1);
    await outbox.db.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'tributary-test-notifier'",
    );
    lost.resolve();
    await eventually("the second sending", allAre("sent"));
    await outbox.put("b");
    await eventually("the next notification", allAre("sent"));
    expect(keysOf(desk)).toEqual(["a", "a", "b"]);
    const events = said.map(({ event }) => event);
    expect(events).toContain("notifier-interrupted");
    expect(events).toContain("delivery-interrupted");
  });

  it("one that finds all notifications taken by another does not ask the database without a pause", async () => {
    await outbox.put("a");
    const other = await outbox.connect();
    onTestFinished(() => other.end());
    await other.query("BEGIN; SELECT * FROM tributary.notification FOR UPDATE");
    let connections = 0;
    const connect = () => {
      connections++;
      return outbox.connect();
    };
    hurriedNotifier(outbox, webhooks({ desk: "http://127.0.0.1:9/" }), { connect, pollMs: 200 });
    const beganMs = performance.now();
    const before = connections;
    await eventually("some looks", async () => connections >= before + 12);
    // Two connections a look, and a pause between looks.
    expect(performance.now() - beganMs).toBeGreaterThan(4 * 200);
  });

  it("one is woken by the projector, without waiting for its next look", async () => {
    const desk = await openReceiver();
    const { notifier } = hurriedNotifier(outbox, webhooks({ desk: desk.url }), { pollMs: HOUR_MS });
    await outbox.put("a");
    await eventually("the delivery", allAre("sent"));
    await sleep(100);
    await outbox.db.query(
      "INSERT INTO tributary.notification (key, target, subject, body) VALUES ('b', 'desk', 'b', '{}'); NOTIFY tributary_notification",
    );
    await eventually("the delivery", allAre("sent"));
    await notifier.close();
    await notifier.done;
  });

  it("one that is closed marks what it is sending before it ends", async () => {
    const desk = await openReceiver((_, response) => setTimeout(() => response.end(), 300));
    const { notifier } = hurriedNotifier(outbox, webhooks({ desk: desk.url }));
    await outbox.put("a");
    await eventually("the sending", async () => desk.posts.length === 1);
    await notifier.close();
    expect(await outbox.rows()).toMatchObject([{ state: "sent" }]);
  });
});

describe("several targets", () => {
  it("a dead one delays no other, and is not tried again for each notification", async () => {
    const dead = await openReceiver(() => {});
    const desk = await openReceiver();
    const pauses = { firstBackoffMs: HOUR_MS, maxBackoffMs: HOUR_MS };
    const settings = webhooks({ dead: dead.url, desk: desk.url });
    const { notifier } = hurriedNotifier(outbox, settings, pauses);
    for (let n = 0; n < 40; n++) await outbox.put(`dead${n}`, { target: "dead" });
    for (let n = 0; n < 40; n++) await outbox.put(`desk${n}`);
    await eventually("the living target's notifications", async () => desk.posts.length === 40);
    // No call to the dead one has been given up so far.
    const isTried = async (): Promise<boolean> =>
      (await outbox.rows()).some(({ key, tries }) => key.startsWith("dead") && tries > 0);
    expect(await isTried()).toBe(false);
    dead.hangUp();
    await eventually("the end of the calls", isTried);
    await sleep(500);
    expect(dead.posts.length).toBeLessThanOrEqual(4);
    await notifier.close();
  });

  it("one notification that is never taken does not hold up the others to the same target", async () => {
    const desk = await openReceiver((post, response) => response.writeHead(JSON.parse(post.body).key === "n0" ? 500 : 200).end());
    for (let n = 0; n < 20; n++) await outbox.put(`n${n}`);
    hurriedNotifier(outbox, webhooks({ desk: desk.url }), { firstBackoffMs: 5_000 });
    await eventually("all but one", async () => (await outbox.rows()).filter(({ state }) => state === "sent").length === 19);
  });

  it("a notification for an unknown target fails with that reason, and is sent when the settings name the target", async () => {
    await outbox.put("a", { target: "hq" });
    await deliverOnce({ connect: outbox.connect, settings: webhooks({ desk: "http://127.0.0.1:9/" }) });
    expect(await outbox.rows()).toMatchObject([
      { state: "failed", tries: 0, last_error: expect.stringMatching(/^the notification settings name no target hq;/) },
    ]);
    const hq = await openReceiver();
    await deliverOnce({ connect: outbox.connect, settings: webhooks({ hq: hq.url }) });
    expect(keysOf(hq)).toEqual(["a"]);
    expect(await outbox.rows()).toMatchObject([{ state: "sent" }]);
  });
});

describe("a digest", () => {
  const bodyFor = (n: number) => caseOf(`c${n}`, n < 60 ? {} : { view: "distributions", rule: "no double ration" });

  it("waits until its oldest notice is a period old, then tells of all in one message, by view and rule, with at most 50 listed", async () => {
    const desk = await openReceiver();
    const startMs = Date.now() - 2 * HOUR_MS;
    for (let n = 0; n < 63; n++) await outbox.put(`n${n}`, { body: bodyFor(n), createdAt: new Date(startMs + n) });
    await outbox.db.query("UPDATE tributary.notification SET next_try_at = created_at");
    const settings = webhooks({ desk: desk.url }, { digest: "1h" });
    const at = (ms: number) => deliverOnce({ connect: outbox.connect, settings, now: () => startMs + ms });
    await at(HOUR_MS - 1_000);
    expect(desk.posts).toEqual([]);
    expect(await at(HOUR_MS + 1_000)).toMatchObject({ sent: 63 });
    expect(desk.posts.length).toBe(1);
    const { digest } = JSON.parse(desk.posts[0]!.body);
    expect(digest.length).toBe(63);
    expect(desk.posts[0]!.body).not.toContain("+2119");
    expect(keysOf(desk)[0]).toMatch(/^digest:[0-9a-f]{64}$/);
  });

  it("comes by mail as one text, with counts, and a number for those that are not listed", async () => {
    const mail = await openMailServer();
    const startMs = Date.now() - 2 * HOUR_MS;
    for (let n = 0; n < 63; n++) await outbox.put(`n${n}`, { target: "hq", body: bodyFor(n), createdAt: new Date(startMs + n) });
    const email = { smtp: mail.url, from: "Tributary <hub@example.org>", to: ["hq@example.org"] };
    await deliverOnce({ connect: outbox.connect, settings: parseSettings({ targets: { hq: { email, digest: "1h" } } }) });
    expect(mail.mails.length).toBe(1);
    const { raw } = mail.mails[0]!;
    expect(raw).toContain("Subject: 63 notices: beneficiaries 60, distributions 3");
    expect(raw).toContain("beneficiaries, person decides: 60");
    expect(raw).toContain("distributions, no double ration: 3");
    expect(raw).toContain("And 13 more that are counted above but not listed.");
    expect(raw.match(/tributary case show/g)!.length).toBe(50);
  });

  it("is the same set under the same key when it must be sent again, though more notices have come meanwhile", async () => {
    const desk = await openReceiver((_, response, count) => response.writeHead(count === 1 ? 503 : 200).end());
    const startMs = Date.now() - 2 * HOUR_MS;
    const settings = webhooks({ desk: desk.url }, { digest: "1h" });
    const at = (ms: number) => deliverOnce({ connect: outbox.connect, settings, now: () => startMs + ms });
    for (let n = 0; n < 3; n++) await outbox.put(`n${n}`, { createdAt: new Date(startMs + n) });
    await outbox.db.query("UPDATE tributary.notification SET next_try_at = created_at");
    await at(HOUR_MS);
    await outbox.put("late", { createdAt: new Date(startMs + HOUR_MS + 1_000) });
    await outbox.db.query("UPDATE tributary.notification SET next_try_at = created_at WHERE key = 'late'");
    await at(HOUR_MS + 60_000);
    expect(keysOf(desk)[1]).toBe(keysOf(desk)[0]);
    expect((await outbox.rows()).map(({ state }) => state)).toEqual(["sent", "sent", "sent", "waiting"]);
    await at(2 * HOUR_MS + 2_000);
    expect(desk.posts.length).toBe(3);
  });

  it("is one message after a long silence, not one for each missed period", async () => {
    const desk = await openReceiver();
    const startMs = Date.now() - 100 * HOUR_MS;
    for (let n = 0; n < 50; n++) await outbox.put(`n${n}`, { createdAt: new Date(startMs + n * HOUR_MS) });
    await outbox.db.query("UPDATE tributary.notification SET next_try_at = created_at");
    await deliverOnce({ connect: outbox.connect, settings: webhooks({ desk: desk.url }, { digest: "1h" }) });
    expect(desk.posts.length).toBe(1);
  });

  it("is not divided between two notifiers: notices that come while one is being sent wait for the next", async () => {
    const looked = Promise.withResolvers<void>();
    const desk = await openReceiver((_, response) => void looked.promise.then(() => response.end()));
    const createdAt = new Date(Date.now() - 2 * HOUR_MS);
    for (let n = 0; n < 30; n++) await outbox.put(`n${n}`, { createdAt });
    const settings = webhooks({ desk: desk.url }, { digest: "1h" });
    const first = deliverOnce({ connect: outbox.connect, settings });
    await eventually("the digest under way", async () => desk.posts.length === 1);
    await outbox.put("late", { createdAt });
    expect(await deliverOnce({ connect: outbox.connect, settings })).toMatchObject({ sent: 0 });
    looked.resolve();
    await first;
    expect(desk.posts.map(({ body }) => JSON.parse(body).digest.length)).toEqual([30, 1]);
  });
});
