import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { headers, type NatsConnection } from "nats";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { inboxPrefix, mayAnswerAt, SUBJECTS, TributaryError, withoutLogin } from "../../services/core/index.ts";
import { messageAuthorization, siteLogin } from "../../services/core/node.ts";
import type { Field } from "../../services/field/index.ts";
import { DEAD_STREAM, STREAM, startIngress } from "../../services/ingress/index.ts";
import { wordsForSenders } from "../../services/ingress/words.ts";
import { admitSite, freePort, startNats, withdrawSites } from "../../services/local/index.ts";
import { openLog } from "../../services/log/index.ts";
import { connectAs, overheard } from "../support/broker.ts";
import { number, ORG, openTestHub, registration, type TestHub } from "../support/hub.ts";
import { WAIT_MS } from "../support/patience.ts";
import { eventually, tempDir } from "../support/temp.ts";

/** Long enough for a local server to answer, short enough for many questions that get no answer. */
const ANSWER_MS = 700;

let hub: TestHub;
let url: string;
let operator: NatsConnection;
beforeAll(async () => {
  hub = await openTestHub();
  url = withoutLogin(hub.backends.nats.url);
  operator = await connectAs(hub.backends.nats.url);
});
afterAll(async () => {
  await operator?.close();
  await hub?.close();
});

/** A token, and its login known to the broker, as `site add` leaves them. */
async function admitted(site: string, more: { device?: string; lifetimeS?: number } = {}): Promise<string> {
  const token = await hub.token(site, more);
  const { lifetimeS = 3_600 } = more;
  await admitSite(hub.dir, {
    kind: "password",
    ...{ org: ORG, site, device: more.device ?? null, expiresAtMs: Date.now() + lifetimeS * 1000 },
    ...siteLogin(token, ORG, site),
  });
  return token;
}

/** Somebody with a site's valid login and whatever client they like. */
async function asSite(site: string, token: string): Promise<NatsConnection> {
  const { user, pass } = siteLogin(token, ORG, site);
  const nc = await connectAs(url, { user, password: pass }, { inboxPrefix: inboxPrefix(ORG, site) });
  onTestFinished(() => nc.close());
  return nc;
}

const written = async (site: string, n: number): Promise<Field> => {
  const field = hub.field(site);
  await field.append(registration(number(n)));
  return field;
};

const asks = (nc: NatsConnection, subject: string, body = ""): Promise<unknown> =>
  nc.request(subject, body, { timeout: ANSWER_MS });
const stateOf = async (stream: string): Promise<{ messages: number }> =>
  (await (await operator.jetstreamManager()).streams.info(stream)).state;

/** Puts something into DEAD that an attacker would like to see gone. */
async function bury(): Promise<number> {
  await operator.jetstream().publish(`${SUBJECTS.dead}.relief.somewhere.t1`, "evidence");
  return (await stateOf(DEAD_STREAM)).messages;
}

describe("nobody without a login", () => {
  it("gets into the hub's broker at all", async () => {
    await expect(connectAs(url)).rejects.toMatchObject({ code: "AUTHORIZATION_VIOLATION" });
    await expect(connectAs(url, { user: "hub", password: "hub" })).rejects.toMatchObject({ code: "AUTHORIZATION_VIOLATION" });
    await expect(connectAs(url, { token: await hub.token("alpha") })).rejects.toMatchObject({ code: "AUTHORIZATION_VIOLATION" });
  });

  it("makes a device try forever: it is told once, by name, and keeps its events", async () => {
    const field = await written("unknown", 1);
    const token = await hub.token("unknown");
    let pauses = 0;
    const sleep = async (): Promise<void> => void pauses++;
    await expect(field.sync({ url, token, maxTries: 10, sleep })).rejects.toMatchObject({
      code: "login-refused",
      message: "the hub's broker refuses the login",
      hint: expect.stringContaining("site add"),
    });
    expect(pauses).toBe(0);
    expect(field.status().levels.LOCAL).toBe(1);
  });
});

describe("a site with a valid login", () => {
  it("syncs: batches, hellos and receipts pass, and its token does not", async () => {
    const token = await admitted("alpha");
    const field = await written("alpha", 10);
    const seen: string[] = [];
    for (const subject of [`${SUBJECTS.ingress}.>`, `${SUBJECTS.hello}.>`])
      operator.subscribe(subject, { callback: (_, message) => seen.push(message.headers?.get("Authorization") ?? "") });
    await operator.flush();
    expect(await field.sync({ url, token })).toMatchObject({ confirmed: 1, pending: 0 });
    expect(await field.sync({ url: hub.ingress.http!.url, token, again: true })).toMatchObject({ pending: 0, batches: 1 });
    expect(seen.length).toBeGreaterThanOrEqual(3);
    for (const header of seen) {
      expect(header).toMatch(/^Proof /);
      expect(header).not.toContain(token.split(".")[2]);
    }
  });

  it("reads no other site's batches, receipts, hellos or dead letters, alone or as one of a group", async () => {
    const mine = await asSite("beta", await admitted("beta"));
    const other = await admitted("gamma");
    let n = 20;
    const work = async (): Promise<unknown> => (await written("gamma", n++)).sync({ url, token: other });
    const subjects = [
      ">",
      "ingress.>",
      `ingress.${ORG}.gamma.>`,
      `receipt.${ORG}.gamma.>`,
      "receipt.>",
      "hello.>",
      "dead.>",
      "$JS.>",
      "_INBOX.>",
      "_INBOX_HUB.>",
      `${inboxPrefix(ORG, "gamma")}.>`,
      "_R_.>",
      "$SYS.>",
    ];
    const heard = await Promise.all(subjects.map((subject) => overheard(mine, [subject], async () => {})));
    expect(heard.flat()).toEqual([]);
    expect(await overheard(mine, ["ingress.>"], work, ["ingress"])).toEqual([]);
    expect(await overheard(mine, ["hello.>"], work, ["ingress"])).toEqual([]);
    expect(await overheard(mine, [`receipt.${ORG}.gamma.>`], work)).toEqual([]);
    // The same subscription receives the site's own messages.
    expect(
      await overheard(mine, [`receipt.${ORG}.beta.>`], async () => operator.publish(`receipt.${ORG}.beta.t1`, "{}")),
    ).toHaveLength(1);
  });

  it("takes no batch from the stream, and makes or deletes no stream or consumer", async () => {
    const nc = await asSite("delta", await admitted("delta"));
    const dead = await bury();
    const questions = [
      "$JS.API.INFO",
      "$JS.API.STREAM.NAMES",
      `$JS.API.STREAM.INFO.${STREAM}`,
      `$JS.API.STREAM.DELETE.${STREAM}`,
      `$JS.API.STREAM.PURGE.${DEAD_STREAM}`,
      `$JS.API.STREAM.MSG.GET.${DEAD_STREAM}`,
      `$JS.API.DIRECT.GET.${DEAD_STREAM}`,
      `$JS.API.CONSUMER.MSG.NEXT.${STREAM}.ingress`,
      `$JS.API.CONSUMER.DELETE.${STREAM}.ingress`,
      `$JS.API.CONSUMER.CREATE.${STREAM}`,
    ];
    for (const question of questions) await expect(asks(nc, question), question).rejects.toThrow();
    await expect(asks(nc, `$JS.API.STREAM.CREATE.MINE`, '{"name":"MINE","subjects":["mine.>"]}')).rejects.toThrow();
    await expect(asks(nc, "$JS.ACK.INGRESS.ingress.1.1.1.1.0", "+ACK")).rejects.toThrow();
    const manager = await operator.jetstreamManager();
    expect((await manager.streams.names().next()).sort()).toEqual([DEAD_STREAM, STREAM]);
    expect((await manager.consumers.info(STREAM, "ingress")).name).toBe("ingress");
    expect((await stateOf(DEAD_STREAM)).messages).toBe(dead);
  });

  it("publishes neither as another site, nor receipts, nor dead letters", async () => {
    const nc = await asSite("epsilon", await admitted("epsilon"));
    const subjects = [
      `ingress.${ORG}.zeta.t1`,
      "ingress.other.epsilon.t1",
      `hello.${ORG}.zeta.t1`,
      `receipt.${ORG}.epsilon.t1`,
      `receipt.${ORG}.zeta.t1`,
      `dead.${ORG}.epsilon.t1`,
      `${inboxPrefix(ORG, "zeta")}.x`,
      "_INBOX_HUB.x",
    ];
    for (const subject of subjects) {
      const heard = await overheard(operator, [subject], async () => {
        nc.publish(subject, "{}");
        await nc.flush().catch(() => {});
      });
      expect(heard, subject).toEqual([]);
    }
  });

  it("cannot have the server or the hub publish where it may not, by the reply subject of a batch or a hello", async () => {
    const token = await admitted("eta");
    const nc = await asSite("eta", token);
    const dead = await bury();
    for (const reply of [`$JS.API.STREAM.PURGE.${DEAD_STREAM}`, `ingress.${ORG}.zeta.t1`, "_INBOX_HUB.x"]) {
      for (const subject of [`hello.${ORG}.eta.t1`, `ingress.${ORG}.eta.t1`]) {
        const message = new TextEncoder().encode("{}");
        const about = headers();
        about.set("Authorization", messageAuthorization(token, message));
        expect(
          await overheard(operator, [reply.startsWith("$") ? "$JS.API.STREAM.PURGE.>" : reply], async () =>
            nc.publish(subject, message, { reply, headers: about }),
          ),
        ).toEqual([]);
      }
    }
    expect((await stateOf(DEAD_STREAM)).messages).toBeGreaterThanOrEqual(dead);
  });

  it("for one device only, does nothing in another device's name", async () => {
    const token = await admitted("theta", { device: "t7" });
    const nc = await asSite("theta", token);
    const heard = (subject: string): Promise<string[]> =>
      overheard(operator, [subject], async () => {
        nc.publish(subject, "{}");
        await nc.flush().catch(() => {});
      });
    expect(await heard(`ingress.${ORG}.theta.t1`)).toEqual([]);
    expect(await heard(`ingress.${ORG}.theta.t7`)).toHaveLength(1);
  });
});

describe("where a broker has no accounts, so that anybody may publish and listen,", () => {
  it("the hub does not answer a hello at a reply subject that is nobody's inbox: DEAD keeps what it has", async () => {
    const dead = await bury();
    const token = await hub.token("iota");
    const question = new TextEncoder().encode(JSON.stringify({ origin: "relief.iota.t1.abc", since: null }));
    const about = headers();
    about.set("Authorization", messageAuthorization(token, question));
    // The operator's login plays anybody at such a broker: it may do everything.
    operator.publish(`hello.${ORG}.iota.t1`, question, { reply: `$JS.API.STREAM.PURGE.${DEAD_STREAM}`, headers: about });
    await eventually("the hub's note", async () => hub.said.some(({ event }) => event === "hello-unanswerable"));
    expect((await stateOf(DEAD_STREAM)).messages).toBe(dead);
    const answer = await operator.request(`hello.${ORG}.iota.t1`, question, {
      reply: `${inboxPrefix(ORG, "iota")}.x1`,
      noMux: true,
      headers: about,
      timeout: WAIT_MS,
    });
    expect(answer.json()).toMatchObject({ kind: "hello" });
  });

  it("what was read off a site's message is good for that message only", async () => {
    const token = await hub.token("kappa");
    const own = new TextEncoder().encode(JSON.stringify({ origin: "relief.kappa.t1.abc", since: null }));
    const forged = new TextEncoder().encode(JSON.stringify({ origin: "relief.kappa.t1.abc", since: 7 }));
    const about = headers();
    about.set("Authorization", messageAuthorization(token, own));
    const ask = async (bytes: Uint8Array): Promise<unknown> =>
      (
        await operator.request(`hello.${ORG}.kappa.t1`, bytes, {
          reply: `${inboxPrefix(ORG, "kappa")}.x2`,
          noMux: true,
          headers: about,
          timeout: WAIT_MS,
        })
      ).json();
    expect(await ask(own)).toMatchObject({ kind: "hello" });
    expect(await ask(forged)).toMatchObject({ kind: "refusal", code: "token-invalid" });
  });

  it.each([
    [`${inboxPrefix("relief", "juba")}.AbC123.x1`, true],
    ["_INBOX.3D74MJSC7DGRK7U5YWMJWE.3D74MJSC7DGRK7U5YWMK2T", true],
    ["_R_.er7lpL.8LDVzx", true],
    [`${inboxPrefix("relief", "kampala")}.AbC123`, false],
    [`${inboxPrefix("relief", "juba")}.>`, false],
    [`${inboxPrefix("relief", "juba")}.`, false],
    ["_INBOX_HUB.AbC123", false],
    ["_INBOX.>", false],
    ["$JS.API.STREAM.PURGE.DEAD", false],
    ["$JS.ACK.INGRESS.ingress.1.1.1.1.0", false],
    ["$SYS.REQ.SERVER.PING", false],
    ["ingress.relief.juba.t1", false],
    ["receipt.relief.juba.t1", false],
    ["", false],
  ])("a hello of relief.juba.t1 with the reply subject %j is answered: %j", (reply, expected) => {
    expect(mayAnswerAt(reply, "relief.juba.t1")).toBe(expected);
  });
});

describe("logins of the hub's own broker", () => {
  it("are for their owner's eyes: nothing in the data folder that has one can be read by others", async () => {
    await admitted("lambda");
    for (const file of [
      "nats.conf",
      "nats/accounts.conf",
      "nats.password",
      ...readdirSync(join(hub.dir, "nats-logins")).map((name) => `nats-logins/${name}`),
    ])
      expect(statSync(join(hub.dir, file)).mode & 0o077, file).toBe(0);
    const token = await hub.token("lambda");
    expect(readFileSync(join(hub.dir, "nats/accounts.conf"), "utf8")).not.toContain(token.split(".")[2]);
  });

  it("are several for a site, each with its own end, and one that is withdrawn is out while the others stay", async () => {
    const [first, second] = [await admitted("mu"), await admitted("mu")];
    const [one, two] = [await asSite("mu", first), await asSite("mu", second)];
    expect(
      await withdrawSites(hub.dir, (login) => login.kind === "password" && login.user === siteLogin(first, ORG, "mu").user),
    ).toBe(1);
    await one.closed();
    expect(two.isClosed()).toBe(false);
    const field = await written("mu", 30);
    await expect(field.sync({ url, token: first })).rejects.toMatchObject({ code: "login-refused" });
    expect(await field.sync({ url, token: second })).toMatchObject({ confirmed: 1 });
  });

  it("come while sites sync, and disturb none", async () => {
    const token = await admitted("nu");
    const field = hub.field("nu");
    const waited: string[] = [];
    const mayListen = await asSite("nu", token);
    // Connected all the time, however fast either side is: a link that is lost, or a batch that is not taken, is a pause.
    const follower = field.follow({
      url,
      token,
      batchEvents: 5,
      onProgress: (progress) => progress.kind === "waiting" && waited.push(progress.because),
    });
    onTestFinished(() => follower.close());
    const [sites, each] = [5, 20];
    for (let added = 0; added < sites; added++) {
      await field.appendMany(Array.from({ length: each }, (_, i) => registration(number(2_000 + added * each + i))));
      await admitted(`new-${added}`);
    }
    await eventually("the receipts of what was written meanwhile", async () => field.status().levels.SYNCED === sites * each);
    expect(waited).toEqual([]);
    // Whoever was connected before stays connected.
    expect(mayListen.isClosed()).toBe(false);
    expect(
      await overheard(mayListen, [`receipt.${ORG}.nu.>`], async () => operator.publish(`receipt.${ORG}.nu.t1`, "{}")),
    ).toHaveLength(1);
  });

  it("outlive a restart of the server; one that ran out does not, and an old server's streams become the hub's", async () => {
    const dataDir = tempDir();
    const login = { org: ORG, site: "xi", device: null, kind: "password" as const };
    const [good, late] = [siteLogin("one", ORG, "xi"), siteLogin("two", ORG, "xi")];
    await admitSite(dataDir, { ...login, ...good, expiresAtMs: Date.now() + 60_000 });
    await admitSite(dataDir, { ...login, ...late, expiresAtMs: Date.now() - 1_000 });
    const first = await startNats({ dataDir });
    const js = await connectAs(first.url);
    await (await js.jetstreamManager()).streams.add({ name: DEAD_STREAM, subjects: ["dead.>"] });
    await js.jetstream().publish("dead.a", "kept");
    await js.close();
    await first.close();
    const jetstream = join(dataDir, "nats/jetstream");
    // As a hub from before there were accounts left it.
    expect(existsSync(join(jetstream, "HUB"))).toBe(true);
    renameSync(join(jetstream, "HUB"), join(jetstream, "$G"));
    const again = await startNats({ dataDir });
    onTestFinished(() => again.close());
    const nc = await connectAs(again.url);
    expect((await (await nc.jetstreamManager()).streams.info(DEAD_STREAM)).state.messages).toBe(1);
    await nc.close();
    const site = withoutLogin(again.url);
    await (await connectAs(site, { user: good.user, password: good.pass })).close();
    await expect(connectAs(site, { user: late.user, password: late.pass })).rejects.toMatchObject({
      code: "AUTHORIZATION_VIOLATION",
    });
    expect(readdirSync(join(dataDir, "nats-logins"))).toEqual([`${good.user}.json`]);
  });

  it("that say what would break out of the configuration are refused, in the command and in the file", async () => {
    const dataDir = tempDir();
    const well = {
      org: ORG,
      site: "pi",
      device: null,
      kind: "password" as const,
      expiresAtMs: Date.now() + 60_000,
      ...siteLogin("t", ORG, "pi"),
    };
    for (const evil of [{ site: 'pi", x: "' }, { user: 'u" }' }, { pass: "short" }, { org: "a.b" }, { device: ">" }])
      await expect(admitSite(dataDir, { ...well, ...evil })).rejects.toMatchObject({ code: "input-malformed" });
    mkdirSync(join(dataDir, "nats-logins"), { recursive: true });
    writeFileSync(join(dataDir, "nats-logins/x.json"), JSON.stringify({ ...well, user: 'u"' }));
    await expect(startNats({ dataDir })).rejects.toMatchObject({
      code: "data-corrupt",
      message: expect.stringContaining("x.json"),
    });
  });
});

describe("what a device is told when the hub's own servers fail", () => {
  it.each(["NATS", "HTTP"])("over %s names no address, user or file of theirs", async (way) => {
    // An event store that is away, at an address that nobody outside should hear.
    const port = await freePort();
    const log = openLog(`esdb://127.0.0.1:${port}?tls=false`);
    onTestFinished(() => log.close());
    const own = await startNats({ dataDir: tempDir() });
    onTestFinished(() => own.close());
    const ingress = await startIngress({
      org: "relief",
      natsUrl: own.url,
      log,
      gate: hub.gate,
      keys: { keys: [hub.key] },
      listen: { host: "127.0.0.1", port: 0 },
    });
    onTestFinished(() => ingress.close());
    const field = await written(`words-${way.toLowerCase()}`, 40);
    const because: string[] = [];
    const failure: unknown = await field
      .sync({
        url: way === "NATS" ? own.url : ingress.http!.url,
        token: await hub.token(`words-${way.toLowerCase()}`),
        maxTries: 2,
        replyTimeoutMs: 1_000,
        sleep: async () => {},
        onProgress: (progress) => progress.kind === "waiting" && because.push(progress.because),
      })
      .catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "sync-gave-up", message: expect.stringContaining("event store does not answer") });
    const words = [String(failure), ...because].join(" ");
    expect(words).not.toMatch(new RegExp(`${port}|127\\.0\\.0\\.1|esdb|TRIBUTARY_|ECONNREFUSED`));
  });

  it.each([
    [
      new TributaryError(
        "backend-unreachable",
        "the event store does not answer (append): 14 UNAVAILABLE: No connection to 10.0.0.5:2113",
        "Check it.",
        { cause: new Error("x") },
      ),
      "the event store does not answer (append)",
    ],
    [
      new TributaryError("backend-failed", "the node at db-1.internal:5432 is full", "Look at postgres://u:p@db/x"),
      "the node at … is full",
    ],
    [new Error("connect ECONNREFUSED /var/run/secret.sock"), "the hub failed"],
    [new TributaryError("batch-gap", "events 3 to 7 are missing", "Send them."), "events 3 to 7 are missing"],
  ])("keeps what helps a sender and leaves out what does not: %s", (error, message) => {
    const words = wordsForSenders(error);
    expect(words.message).toBe(message);
    expect(words.hint).not.toMatch(/u:p|postgres:/);
  });
});
