import { createHash, randomUUID } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { headers, type NatsConnection } from "nats";
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { revokeDevice } from "../../services/cli/hub-keys.ts";
import {
  inboxPrefix,
  isTributaryError,
  type JsonObject,
  MAX_FRAME_BYTES,
  MAX_PAGE_BYTES,
  MEDIA_TYPE_PAGE,
  messageText,
  publicKeySchema,
  type Signature,
  SUBJECTS,
} from "../../services/core/index.ts";
import { isSignedBy, makeKeyPair, messageAuthorization, signerOf, zstd } from "../../services/core/node.ts";
import { type PullQuestion, type PullRequest, pageText, pullRequestSchema } from "../../services/exchange/protocol/index.ts";
import type { Field } from "../../services/field/index.ts";
import { deviceKey, hubKeys, openIdentity, pinHub, unprovenAnswers } from "../../services/field/keys.ts";
import { openTransport } from "../../services/field/transport.ts";
import type { Transport } from "../../services/field/way.ts";
import { fixedKeyring, makeKey } from "../../services/http/index.ts";
import { withNextKey } from "../../services/http/keyring.ts";
import type { Puller, Pulls } from "../../services/ingress/index.ts";
import { openKeyBook } from "../../services/log/index.ts";
import { connectAs, serveNats } from "../support/broker.ts";
import { type Door, openDoor } from "../support/door.ts";
import { number, ORG, registration } from "../support/hub.ts";
import { WAIT_MS } from "../support/patience.ts";
import { eventually } from "../support/temp.ts";

const QUESTION: PullQuestion = { holding: null, own: {}, buckets: {}, maxBytes: 256_000, maxEvents: 1_000 };

interface Made {
  readonly asked: JsonObject;
  readonly puller: Puller;
}
type Make = (made: Made) => Uint8Array | Promise<Uint8Array>;

let door: Door;
let nc: NatsConnection;
/** What reached those who make pages. */
const reached: Made[] = [];
let make: Make;
const pulls: Pulls = {
  schema: { type: "object" },
  page: async (asked, puller) => {
    reached.push({ asked, puller });
    return make({ asked, puller });
  },
};

beforeAll(async () => {
  door = await openDoor({ pulls });
  nc = await connectAs(door.natsUrl);
});
afterAll(async () => {
  await nc?.close();
  await door?.close();
});
beforeEach(() => {
  reached.length = 0;
  make = (made) => signedFrame("what the hub knows", made);
});

/** A page's frame as a hub sends it; the doors do not look into its body. */
function frame(body: Uint8Array, signature: Signature | null, isPacked = false): Uint8Array {
  const signed = signature === null ? [] : [signature.kid, signature.value].map((text) => Buffer.from(text, "base64url"));
  const head = Buffer.from([0x54, 0x50, isPacked ? 0x11 : 0x10, signature === null ? 0 : 1]);
  return new Uint8Array(Buffer.concat([head, ...signed, isPacked ? zstd.compress(body) : body]));
}
function signedFrame(
  body: string,
  { asked, puller: { sign } }: Made,
  { nonce = String(asked.nonce), isPacked = false }: { nonce?: string; isPacked?: boolean } = {},
): Uint8Array {
  const bytes = Buffer.from(body);
  const digest = createHash("sha256").update(bytes).digest("hex");
  return frame(bytes, sign === null ? null : sign(pageText(nonce, digest)), isPacked);
}
/** How a pull failed; `null`: no answer came in time. */
const failureOf = (pulled: Promise<Uint8Array>): Promise<unknown> =>
  pulled.then(
    () => new Error("a page was believed"),
    (error: unknown) => (isTributaryError(error) && error.code === "backend-unreachable" ? null : error),
  );
const bodyOf = (page: Uint8Array): string => Buffer.from(page.subarray(100)).toString();

const urlOf = (way: string): string => (way === "NATS" ? door.natsUrl : door.ingress.http!.url);

async function transport(
  field: Field,
  url: string,
  { token, now = Date.now }: { token?: string; now?: () => number } = {},
): Promise<Transport> {
  const about = { url, ...(token === undefined ? {} : { token }) };
  const opened = await openTransport({
    ...about,
    identity: openIdentity(field.store, { ...about, now }),
    name: field.store.name,
    replyTimeoutMs: WAIT_MS,
  });
  onTestFinished(() => opened.close());
  return opened;
}

/** A device whose key is enrolled, and that knows the hub's. */
async function device(site: string, name = "t1"): Promise<Field> {
  const field = door.field(site, name);
  pinHub(field.store, [publicKeySchema.parse(door.key)]);
  await field.append(registration(number(1)));
  await field.sync({ url: door.ingress.http!.url, token: await door.token(site) });
  return field;
}

/** A question as a device signs it. */
const signed = (field: Field): PullRequest => openIdentity(field.store, { url: "http://hub", now: Date.now }).pulls(QUESTION);

interface Refused {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  readonly nonce?: string;
}
interface How {
  readonly token?: string;
  readonly subject?: string;
}
/** Asks as anybody may, and returns the hub's signed refusal. */
const WAYS: readonly (readonly [string, (body: Uint8Array, of: string, how?: How) => Promise<Refused>])[] = [
  [
    "HTTP",
    async (body, _, { token } = {}) => {
      const response = await fetch(`${door.ingress.http!.url}/v1/exchange/pull`, {
        method: "POST",
        body: body as Uint8Array<ArrayBuffer>,
        ...(token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } }),
      });
      expect(response.headers.get("content-type")).toBe("application/problem+json");
      const { refusal, ...problem } = (await response.json()) as { refusal: Refused; code: string };
      expect(problem.code).toBe(refusal.code);
      return refusal;
    },
  ],
  [
    "NATS",
    async (body, of, { token, subject = of } = {}) => {
      const about = headers();
      if (token !== undefined) about.set("Authorization", messageAuthorization(token, body));
      const [org = "", site = ""] = subject.split(".");
      const answer = await nc.request(`${SUBJECTS.pull}.${subject}`, body, {
        ...{ noMux: true, reply: `${inboxPrefix(org, site)}.${randomUUID().replaceAll("-", "")}`, headers: about },
        timeout: WAIT_MS,
      });
      return answer.json<Refused>();
    },
  ],
];
const json = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
const isHubs = (refusal: Refused): boolean => {
  const { signature, ...rest } = refusal as Refused & { signature: Signature };
  return isSignedBy(publicKeySchema.parse(door.key), messageText("refusal", rest), signature);
};

describe.each(["HTTP", "NATS"])("a device that pulls over %s", (way) => {
  const site = `pulls-${way.toLowerCase()}`;

  it("gets a page that the hub has signed for its question, and the hub knows who asked, by key or by token", async () => {
    const field = await device(site);
    const link = await transport(field, urlOf(way));
    const asked = { ...QUESTION, holding: "h".repeat(64), maxBytes: 5_000 };
    expect(bodyOf(await link.pull(asked))).toBe("what the hub knows");
    const [{ asked: came, puller }] = reached as [Made];
    expect(pullRequestSchema.parse(came)).toMatchObject({ ...asked, kind: "pull", device: `${ORG}.${site}.t1` });
    expect(puller).toMatchObject({ org: ORG, site, device: `${ORG}.${site}.t1`, maxBytes: MAX_PAGE_BYTES });
    expect([puller.hub, puller.incarnation]).toEqual([expect.stringMatching(/^[a-z2-7]{12}$/), puller.hub]);
    expect(link.receivedBytes).toBeGreaterThan("what the hub knows".length);
    expect(link.sentBytes).toBeGreaterThanOrEqual(JSON.stringify(came).length);
    // A device that has no key at the hub yet is let in by its site's token, which enrols it.
    const young = door.field(site, "t2");
    const token = await door.token(site);
    const page = await (await transport(young, urlOf(way), { token })).pull(QUESTION);
    expect(bodyOf(page)).toBe("what the hub knows");
    expect(bodyOf(await (await transport(young, urlOf(way))).pull(QUESTION))).toBe("what the hub knows");
  });

  it("gets the largest page whole, also one that is packed, and is told of one that is larger than the way", async () => {
    const field = await device(site, "large");
    const link = await transport(field, urlOf(way));
    const before = link.receivedBytes;
    const large = "x".repeat(MAX_PAGE_BYTES - 100);
    make = (made) => signedFrame(large, made);
    expect(bodyOf(await link.pull(QUESTION))).toBe(large);
    expect(link.receivedBytes - before).toBeGreaterThanOrEqual(MAX_PAGE_BYTES);
    make = (made) => signedFrame("what the hub knows", made, { isPacked: true });
    expect(Buffer.from(zstd.decompress((await link.pull(QUESTION)).subarray(100), 100)).toString()).toBe("what the hub knows");
    make = (made) => signedFrame(`${large}.`, made);
    await expect(link.pull(QUESTION)).rejects.toMatchObject({
      code: "event-too-large",
      message: `the next page has ${MAX_PAGE_BYTES + 1} bytes, and this way carries ${MAX_PAGE_BYTES}`,
    });
  });

  it("need not have the right time, nor know the hub's newest key", async () => {
    const field = await device(site, "late");
    const link = await transport(field, urlOf(way), { now: () => Date.now() - 3 * 3_600_000 });
    expect(bodyOf(await link.pull(QUESTION))).toBe("what the hub knows");
    // The hub turns its key while the device is away, and the device never hears of it by a hello.
    const next = await makeKey("next");
    const keys = await withNextKey([door.key], next, Date.now(), Date.now() - 1);
    await door.ingress.close();
    door.ingress = await door.startIngress({ keys: { keys } });
    onTestFinished(async () => {
      await door.ingress.close();
      door.ingress = await door.startIngress();
    });
    const [before] = hubKeys(field.store);
    expect(before).toMatchObject({ x: door.key.x });
    expect(bodyOf(await (await transport(field, urlOf(way))).pull(QUESTION))).toBe("what the hub knows");
    expect(hubKeys(field.store)).toEqual([expect.objectContaining({ x: next.x })]);
  });

  it("believes no page that was changed, that another key has signed, or that answers another question", async () => {
    const field = await device(site, "wary");
    const stranger = signerOf(makeKeyPair());
    const lies: readonly (readonly [string, Make])[] = [
      [
        "one byte of the body",
        (made) => {
          const page = signedFrame("what the hub knows", made);
          page[page.length - 1]! ^= 1;
          return page;
        },
      ],
      [
        "one byte of the signature",
        (made) => {
          const page = signedFrame("what the hub knows", made);
          page[50]! ^= 1;
          return page;
        },
      ],
      ["another key", (made) => signedFrame("lies", { ...made, puller: { ...made.puller, sign: stranger.sign } })],
      ["another nonce", (made) => signedFrame("what the hub knew", made, { nonce: randomUUID() })],
      ["no signature", () => frame(Buffer.from("anybody's word"), null)],
      ["cut short", (made) => signedFrame("what the hub knows", made).subarray(0, 60)],
      ["nothing that can be unpacked", () => new Uint8Array([0x54, 0x50, 0x11, 0, 1, 2, 3])],
      ["a page of a sign-in", () => Buffer.from("<html>")],
    ];
    for (const [what, lie] of lies) {
      make = lie;
      const before = unprovenAnswers(field.store);
      const link = await transport(field, urlOf(way));
      // Over NATS a device waits on for a better answer. Where the lie did not come by then, it asks again.
      const why = await eventually(what, () => failureOf(link.pull(QUESTION, way === "NATS" ? 200 : WAIT_MS)));
      expect(why, what).toMatchObject({
        code: "hub-unproven",
        message: expect.stringContaining("does not answer as this device's hub would"),
        hint: expect.stringContaining("Nothing was believed"),
      });
      expect(unprovenAnswers(field.store), what).toBeGreaterThan(before);
    }
  });

  it("is told by the hello whether the hub answers pulls, and does not ask one that does not", async () => {
    const field = await device(site, "early");
    const hello = async (): Promise<Transport> => {
      const link = await transport(field, urlOf(way));
      expect(await link.hello({ origin: field.store.current().name, since: null })).toMatchObject({ kind: "hello" });
      return link;
    };
    expect((await hello()).identity.servesPulls).toBe(true);
    await door.ingress.close();
    door.ingress = await door.startIngress({ pulls: null });
    onTestFinished(async () => {
      await door.ingress.close();
      door.ingress = await door.startIngress();
    });
    const told = await hello();
    const sent = told.sentBytes;
    await expect(told.pull(QUESTION)).rejects.toMatchObject({ code: "backend-missing" });
    expect(told.sentBytes).toBe(sent);
    // Without a hello the hub says so itself.
    await expect((await transport(field, urlOf(way))).pull(QUESTION)).rejects.toMatchObject({
      code: "backend-missing",
      message: "this hub answers no pulls, because it runs without views",
      hint: expect.stringContaining("PostgreSQL"),
    });
    expect(reached).toEqual([]);
  });
});

describe.each(WAYS)("a pull over %s is refused with the hub's signature, and reaches nobody behind the door,", (way, ask) => {
  const site = `refused-${way.toLowerCase()}`;
  const name = (of = "t1"): string => `${ORG}.${site}.${of}`;
  const refused = async (
    refusal: Promise<Refused>,
    expected: { code: string; message: unknown },
    nonce?: unknown,
  ): Promise<void> => {
    const said = await refusal;
    expect(said).toMatchObject({ kind: "refusal", ...expected, ...(nonce === undefined ? {} : { nonce }) });
    expect(isHubs(said)).toBe(true);
    expect(said.hint).not.toBe("");
    expect(reached).toEqual([]);
  };
  const unsigned = (of: string) => ({ ...signed(door.field(site, of)), key: undefined, signature: undefined });

  it("with another site's token, or a token that is none", async () => {
    const body = unsigned("t1");
    await refused(
      ask(json(body), name(), { token: await door.token("elsewhere") }),
      { code: "token-site", message: `a token for ${ORG}.elsewhere cannot ask in the name of ${name()}` },
      body.nonce,
    );
    await refused(ask(json(unsigned("t1")), name(), { token: "no.token.atall" }), {
      code: "token-invalid",
      message: expect.stringContaining("token"),
    });
    await refused(ask(json(unsigned("t1")), name()), { code: "token-missing", message: expect.stringContaining("no token") });
  });

  it("of a device whose key the hub does not know, or that signs with another key than its own", async () => {
    await refused(ask(json(signed(door.field(site, "unknown"))), name("unknown")), {
      code: "token-missing",
      message: `no token came, and no key is enrolled for ${name("unknown")} at this hub`,
    });
    const field = await device(site, "own");
    const twin = door.field(site, "twin");
    const { kty, crv, x } = deviceKey(twin.store);
    const { signature: _, ...question } = signed(field);
    const forged = { ...question, key: { kty, crv, x } };
    const signature = signerOf(deviceKey(twin.store)).sign(messageText("pull", forged));
    await refused(ask(json({ ...forged, signature }), name("own")), {
      code: "key-unknown",
      message: `another key is enrolled for ${name("own")}`,
    });
    // Its own signature of another kind of question, or of other words.
    const { signature: __, ...whole } = signed(field);
    const hello = signerOf(deviceKey(field.store)).sign(messageText("hello-request", whole));
    for (const body of [
      { ...whole, signature: hello },
      { ...signed(field), maxBytes: 999_999 },
    ])
      await refused(ask(json(body), name("own")), { code: "signature-invalid", message: "the pull's signature does not fit it" });
    // Unsigned in the name of a device that has a key, under its site's own token.
    await refused(ask(json({ ...question, key: undefined }), name("own"), { token: await door.token(site) }), {
      code: "key-unknown",
      message: expect.stringContaining("the pull is not signed by the key of"),
    });
  });

  it("of a device that was revoked", async () => {
    const field = await device(site, "lost");
    const ring = fixedKeyring({ keys: [door.key] });
    const book = await openKeyBook(door.log.journal, { signer: () => ring.state().signer });
    onTestFinished(() => book.close());
    await revokeDevice(book, name("lost"), "coordinator", "left in a taxi");
    const said = await eventually("the door's news of it", async () => {
      reached.length = 0;
      const refusal = await ask(json(signed(field)), name("lost")).catch(() => null);
      return refusal?.code === "revoked" ? refusal : null;
    });
    await refused(Promise.resolve(said), {
      code: "revoked",
      message: `${name("lost")} was revoked; its events stay on the device`,
    });
    await expect((await transport(field, urlOf(way))).pull(QUESTION)).rejects.toMatchObject({ code: "revoked" });
  });

  it("that was asked before, signed or under a token, or at another time", async () => {
    const field = await device(site, "again");
    const link = await transport(field, urlOf(way));
    await link.pull(QUESTION);
    const [{ asked }] = reached as [Made];
    reached.length = 0;
    const before = { code: "request-stale", message: "the hub has had this signed request before" };
    await refused(ask(json(asked), name("again")), before, asked.nonce);
    // It has its own nonce, so the first answer is a page and no refusal.
    const token = await door.token(site);
    const once = json(unsigned("tokened"));
    await ask(once, name("tokened"), { token }).catch(() => {});
    reached.length = 0;
    await refused(ask(once, name("tokened"), { token }), before);
    const old = openIdentity(field.store, { url: "http://hub", now: () => Date.now() - 600_000 }).pulls(QUESTION);
    await refused(ask(json(old), name("again")), {
      code: "request-stale",
      message: expect.stringContaining("the hub's clock says"),
    });
  });

  it("that speaks no version of the protocol that the hub speaks", async () => {
    const field = await device(site, "future");
    await refused(ask(json({ ...signed(field), protocol: { oldest: 900, newest: 999 } }), name("future")), {
      code: "protocol-unsupported",
      message: expect.stringContaining("900 to 999"),
    });
  });

  it.each([
    ["that is not JSON", Buffer.from("TB\0\0")],
    ["that is no object", json([])],
    ["that names no device", json({ kind: "pull", nonce: "n".repeat(20), sentAtMs: 1, protocol: { oldest: 1, newest: 2 } })],
    ["that is a hello", json({ origin: `${ORG}.x.t1.abc`, since: null })],
  ])("%s", async (_, body) => {
    await refused(ask(body, name()), { code: "input-malformed", message: "the request cannot be read" });
  });

  it("that is larger than a pull may be", async () => {
    const body = { ...signed(await device(site, "wide")), more: "x".repeat(MAX_FRAME_BYTES) };
    await refused(ask(json(body), name("wide")), {
      code: "batch-too-large",
      message: `a pull has at most ${MAX_FRAME_BYTES} bytes`,
    });
  });

  it("with nothing of what is behind the door in its words, when the pages fail", async () => {
    const field = await device(site, "failing");
    make = () => {
      throw new Error("connect ECONNREFUSED 10.0.0.5:5432 as tributary");
    };
    const said = await ask(json(signed(field)), name("failing"));
    expect(said).toMatchObject({ code: "internal", message: "the hub failed" });
    expect(JSON.stringify(said)).not.toMatch(/10\.0\.0\.5|5432|ECONNREFUSED/);
    expect(isHubs(said)).toBe(true);
  });
});

it("a pull on another device's subject is refused: its page would go to the inboxes of another site", async () => {
  const field = await device("subject");
  const [, ask] = WAYS[1]!;
  expect(await ask(json(signed(field)), `${ORG}.subject.t1`, { subject: `${ORG}.elsewhere.t1` })).toMatchObject({
    code: "token-site",
    message: `a pull of ${ORG}.subject.t1 cannot come on pull.${ORG}.elsewhere.t1`,
  });
  expect(reached).toEqual([]);
});

it("a login at the broker that may not pull is told so, and may send and ask all the same", async () => {
  const rights = `publish: { allow: ["ingress.>", "hello.>"] }, subscribe: { allow: ["receipt.>", "_INBOX_>", "_INBOX_${ORG}_rights.>"] }`;
  const server = await serveNats(
    door.dir,
    (port) =>
      `port: ${port}\nauthorization { users: [ { user: u, password: p, permissions: { ${rights} } }, { user: hub, password: h } ] }`,
  );
  onTestFinished(() => server.end());
  const hub = await connectAs(`nats://hub:h@127.0.0.1:${server.port}`);
  onTestFinished(() => hub.close());
  hub.subscribe("hello.>", { callback: (_, message) => message.respond(JSON.stringify({ said: "hello" })) });
  await hub.flush();
  const field = door.field("rights");
  const link = await transport(field, `nats://u:p@127.0.0.1:${server.port}`);
  await expect(link.pull(QUESTION)).rejects.toMatchObject({
    code: "login-refused",
    message: `the hub's broker does not allow this login to publish on pull.${ORG}.rights.t1`,
  });
  expect(await link.ask({ any: "question" }, () => true)).toEqual({ said: "hello" });
});

it.each([
  [413, "too large", { code: "batch-too-large", hint: "Ask for fewer buckets at a time." }],
  [502, "<html>no gateway</html>", { code: "backend-unreachable", message: expect.stringContaining("the pull was not taken") }],
  [302, "", { code: "hub-unproven", message: expect.stringContaining("does not answer as this device's hub would") }],
  [
    403,
    '{"code":"revoked","detail":"somebody says so"}',
    { code: "hub-unproven", message: expect.stringContaining("somebody says so") },
  ],
  [200, '{"kind":"refusal","code":"revoked"}', { code: "hub-unproven" }],
])(
  "what something on the way answers a pull with, status %i and %j, is not taken for the hub's word",
  async (status, body, expected) => {
    const server = createServer((request, response) => {
      request.resume();
      request.on("end", () => response.writeHead(status).end(body));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void server.close());
    const field = door.field("on-the-way", `s${status}`);
    pinHub(field.store, [publicKeySchema.parse(door.key)]);
    const link = await transport(field, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    await expect(link.pull(QUESTION)).rejects.toMatchObject(expected);
  },
);

it("a page over HTTP says what it is", async () => {
  const field = await device("typed");
  const response = await fetch(`${door.ingress.http!.url}/v1/exchange/pull`, {
    method: "POST",
    body: JSON.stringify(signed(field)),
  });
  expect([response.status, response.headers.get("content-type")]).toEqual([200, MEDIA_TYPE_PAGE]);
  expect(bodyOf(new Uint8Array(await response.arrayBuffer()))).toBe("what the hub knows");
});
