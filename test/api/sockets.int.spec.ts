import { connect } from "node:net";
import { createClient } from "graphql-ws";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import WebSocket from "ws";
import { FOLLOWED } from "../../services/api/graphql/answers-live.ts";
import { rightOf } from "../../services/api/graphql/rights.ts";
import { DEFAULT_MATRIX, ROLES, rightsOf } from "../../services/core/index.ts";
import { AMBER, type ApiTestHub, BRICK, OTHER, openApiTestHub } from "../support/api-hub.ts";
import { number, ORG, registration, update } from "../support/hub.ts";
import { eventually } from "../support/temp.ts";

let hub: ApiTestHub;
let coordinator: string;
let other: string;
beforeAll(async () => {
  hub = await openApiTestHub();
  await hub.send(ORG, [registration(number(1), { given_name: AMBER, phone: "+254700000001" })]);
  await hub.send(OTHER, [registration(number(11), { given_name: BRICK, phone: "+254700000011" })]);
  coordinator = await hub.person(ORG, "coordinator");
  other = await hub.person(OTHER, "coordinator");
});
afterAll(() => hub?.close());

const socketUrl = (): string => `${hub.url.replace(/^http/, "ws")}/graphql`;

/** The official client, as whoever has the token. */
const clientOf = (token: string) =>
  createClient({
    url: socketUrl(),
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${token}` },
    retryAttempts: 0,
  });

interface Told {
  readonly kind: string;
  readonly resume: string;
  readonly rows: readonly Record<string, unknown>[];
  readonly gone: readonly string[];
}
const FOLLOW = (from: string | null = null): string =>
  `subscription { phones${from === null ? "" : `(from: ${JSON.stringify(from)})`} { kind resume rows { id given_name phone } gone } }`;

/** Follows until something is told that `isIt`; returns all that was told. */
async function until(token: string, query: string, isIt: (told: Told) => boolean): Promise<readonly Told[]> {
  const client = clientOf(token);
  const seen: Told[] = [];
  try {
    for await (const { data, errors } of client.iterate<Record<string, Told>>({ query })) {
      if (errors !== undefined) throw new Error(errors[0]?.message);
      const told = Object.values(data ?? {})[0];
      if (told === undefined || told === null) continue;
      seen.push(told);
      if (isIt(told)) return seen;
    }
    return seen;
  } finally {
    await client.dispose();
  }
}

describe("whoever follows a view over a socket", () => {
  it("is told what changes in the rows of their own organisation, and goes on from where they were without missing or repeating anything", async () => {
    const [standing] = await until(coordinator, FOLLOW(), ({ kind }) => kind === "standing");
    if (standing === undefined) throw new Error("nothing came");
    await hub.send(OTHER, [update(number(11), { phone: "+254700000012" })]);
    await hub.send(ORG, [update(number(1), { phone: "+254700000002" })]);
    const first = await until(coordinator, FOLLOW(standing.resume), ({ rows }) => rows.length > 0);
    expect(first.flatMap(({ rows }) => rows)).toEqual([{ id: number(1), given_name: AMBER, phone: "+254700000002" }]);
    expect(JSON.stringify(first)).not.toContain(number(11));
    await hub.send(ORG, [update(number(1), { phone: "+254700000003" })]);
    const resume = first.at(-1)?.resume ?? "";
    const second = await until(coordinator, FOLLOW(resume), ({ rows }) => rows.length > 0);
    expect(second.flatMap(({ rows }) => rows.map(({ phone }) => phone))).toEqual(["+254700000003"]);
  });

  it("is told of cases that are opened, of their own organisation's only", async () => {
    const query = "subscription { conflictsOpened { kind resume cases { rule subject } } }";
    const mine = until(coordinator, query, (told) => told.kind === "cases");
    const theirs = clientOf(other);
    const seen: unknown[] = [];
    const following = (async () => {
      for await (const { data } of theirs.iterate({ query })) seen.push(data);
    })();
    await eventually("both follow", async () => seen.length > 0);
    await hub.send(ORG, [registration(number(3), { given_name: AMBER, phone: "+254700000000" })]);
    expect((await mine).at(-1)).toMatchObject({ cases: [{ rule: "not_zero", subject: number(3) }] });
    await theirs.dispose();
    await following.catch(() => {});
    expect(JSON.stringify(seen)).not.toContain(number(3));
  });

  it("may ask and write over the same socket; what they may not follow is refused with the right's name", async () => {
    const client = clientOf(coordinator);
    const answers: unknown[] = [];
    for await (const answer of client.iterate({ query: "{ me { org } }" })) answers.push(answer);
    expect(answers).toMatchObject([{ data: { me: { org: ORG } } }]);
    await client.dispose();
    const field = clientOf(await hub.person(ORG, "field"));
    const refusals: { errors?: readonly { extensions?: { code?: string } }[] }[] = [];
    try {
      for await (const answer of field.iterate({ query: "subscription { casesChanged { kind } }" }))
        refusals.push(answer as never);
    } catch (error) {
      refusals.push({ errors: error as never });
    }
    expect(JSON.stringify(refusals)).toContain("right-missing");
    await field.dispose();
  });
});

it("every field that is followed takes its right, of every role and organisation, and shows nothing of the other one", async () => {
  const { data } = await hub.ask(coordinator, "{ __schema { subscriptionType { fields { name } } } }");
  const names = (data as { __schema: { subscriptionType: { fields: { name: string }[] } } }).__schema.subscriptionType.fields.map(
    ({ name }) => name,
  );
  expect(names.length).toBeGreaterThan(10);
  // Rows of several organisations in one.
  const forAll = new Set(hub.projections.filter(({ kind }) => kind !== "entity").map(({ name }) => name));
  for (const org of [ORG, OTHER])
    for (const role of ROLES) {
      const client = clientOf(await hub.person(org, role));
      for (const name of names) {
        const right = rightOf(FOLLOWED, name);
        const may = right === null || rightsOf([role], DEFAULT_MATRIX).some((each) => each === right);
        const outcome = await first(client, `subscription { ${name} { kind } }`);
        const sees = org === ORG && (role === "auditor" || role === "admin");
        const expected = !may ? "right-missing" : forAll.has(name) && !sees ? "not-permitted" : "standing";
        expect([org, role, name, outcome]).toEqual([org, role, name, expected]);
      }
      await client.dispose();
    }
});

/** What comes first of a question: the kind of what is told, or the code of the refusal. */
async function first(client: ReturnType<typeof clientOf>, query: string): Promise<string> {
  const codeIn = (errors: unknown): string => /"code":"([a-z-]+)"/.exec(JSON.stringify(errors))?.[1] ?? "none";
  try {
    for await (const { data, errors } of client.iterate<Record<string, { kind: string }>>({ query }))
      return errors === undefined ? (Object.values(data ?? {})[0]?.kind ?? "none") : codeIn(errors);
  } catch (error) {
    return codeIn(error);
  }
  return "none";
}
/** In a list of frames: what follows is sent once the hub has said that it knows who asks. */
const ACK = "";

/** Speaks with the hub frame by frame. Returns what came, and how the socket was closed. */
async function frames(
  send: readonly (string | Buffer)[],
  {
    protocol = "graphql-transport-ws",
    origin,
    until: stop = () => false,
  }: { protocol?: string; origin?: string; until?: (message: string) => boolean } = {},
): Promise<{ readonly came: readonly string[]; readonly code: number; readonly reason: string }> {
  const socket = new WebSocket(socketUrl(), protocol === "" ? [] : [protocol], origin === undefined ? {} : { origin });
  const came: string[] = [];
  return new Promise((resolve, reject) => {
    const at = send.indexOf(ACK);
    socket.on("open", () => {
      for (const each of at < 0 ? send : send.slice(0, at)) socket.send(each);
    });
    socket.on("message", (data) => {
      came.push(String(data));
      if (at >= 0 && String(data).includes('"connection_ack"')) for (const each of send.slice(at + 1)) socket.send(each);
      if (stop(String(data))) socket.close(1000);
    });
    socket.on("close", (code, reason) => resolve({ came, code, reason: String(reason) }));
    socket.on("error", reject);
  });
}
const text = JSON.stringify;
const init = (): string => text({ type: "connection_init", payload: { authorization: `Bearer ${coordinator}` } });
const subscribe = (id: string, query = FOLLOW()): string => text({ type: "subscribe", id, payload: { query } });

describe("a socket", () => {
  it.each<[string, () => readonly (string | Buffer)[], number]>([
    ["text that is not JSON", () => ["{"], 4400],
    ["JSON that is no message", () => ["[]"], 4400],
    ["a message of an unknown type", () => [text({ type: "start", id: "1" })], 4400],
    ["a message without an id", () => [init(), text({ type: "subscribe", payload: { query: "{ me { org } }" } })], 4400],
    ["a binary frame", () => [Buffer.from([1, 2, 3])], 4400],
    ["a question before it is known who asks", () => [subscribe("1")], 4401],
    ["somebody without a token", () => [text({ type: "connection_init" })], 4403],
    [
      "somebody with a forged token",
      () => [text({ type: "connection_init", payload: { authorization: `Bearer ${coordinator}x` } })],
      4403,
    ],
    ["somebody who says twice who they are", () => [init(), init()], 4429],
    ["a frame that is too large", () => [init(), text({ type: "ping", payload: { of: "x".repeat(1_100_000) } })], 1009],
  ])("is closed for %s", async (_, send, code) => {
    expect((await frames(send())).code).toBe(code);
  });

  it("is closed where two questions have the same name, and not where one was completed before", async () => {
    const twice = await frames([init(), ACK, subscribe("a"), subscribe("a")]);
    expect(twice.code).toBe(4409);
    // Completing what there is not, or what is over, harms nobody.
    const late = await frames(
      [
        text({ type: "ping" }),
        init(),
        ACK,
        text({ type: "complete", id: "a" }),
        text({ type: "subscribe", id: "a", payload: { query: "{ me { org } }" } }),
        text({ type: "complete", id: "b" }),
      ],
      {
        until: (message) => message.includes('"complete"'),
      },
    );
    expect(late.came.map((each) => (JSON.parse(each) as { type: string }).type)).toEqual([
      "pong",
      "connection_ack",
      "next",
      "complete",
    ]);
  });

  it("is not opened for a page of another origin, on another path, or in another protocol", async () => {
    await expect(frames([], { origin: "https://evil.example.org" })).rejects.toThrow("403");
    await expect(
      new Promise((_, reject) => new WebSocket(`${hub.url.replace(/^http/, "ws")}/v1/views`).on("error", reject)),
    ).rejects.toThrow("404");
    expect((await frames([init()], { protocol: "" })).code).toBe(4406);
  });

  it("that says nothing after the upgrade, or breaks off, leaves nothing behind", async () => {
    const { port } = new URL(hub.url);
    for (let n = 0; n < 20; n++) {
      const socket = connect(Number(port), "127.0.0.1");
      socket.write(
        `GET /graphql HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n`,
      );
      await new Promise((resolve) => socket.once("data", resolve));
      socket.destroy();
    }
    // Others go on as before.
    expect((await until(coordinator, FOLLOW(), ({ kind }) => kind === "standing")).length).toBe(1);
  });

  it("has a question that the schema or a limit refuses answered, and stays open", async () => {
    const { came } = await frames(
      [
        init(),
        ACK,
        text({ type: "subscribe", id: "1", payload: { query: "subscription { nope }" } }),
        text({ type: "subscribe", id: "2", payload: { query: "{ me { org }" } }),
        text({ type: "subscribe", id: "3", payload: { query: "{ me { org } }" } }),
      ],
      { until: (message) => message.includes('"complete"') },
    );
    const types = came.map((each) => JSON.parse(each) as { type: string; id?: string });
    expect(types).toMatchObject([
      { type: "connection_ack" },
      { type: "error", id: "1" },
      { type: "error", id: "2" },
      { type: "next", id: "3" },
      { type: "complete", id: "3" },
    ]);
  });
});
