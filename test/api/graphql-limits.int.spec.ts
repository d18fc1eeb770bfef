import { buildClientSchema, getIntrospectionQuery } from "graphql";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type ApiTestHub, asked, fill, openApiTestHub } from "../support/api-hub.ts";
import { ORG } from "../support/hub.ts";
import { random as seeded } from "../support/random.ts";

let hub: ApiTestHub;
let token: string;
beforeAll(async () => {
  hub = await openApiTestHub({ limits: { maxBodyBytes: 60_000, maxPageRows: 10, maxAliases: 5 } });
  await fill(hub);
  token = await hub.person(ORG, "coordinator");
});
afterAll(() => hub?.close());

const post = (body: string, type = "application/json") =>
  asked(`${hub.url}/graphql`, { method: "POST", body, headers: { authorization: `Bearer ${token}`, "content-type": type } });

it("each limit refuses before anything is read, with its name in the message", async () => {
  const deep = `{ ${"views { beneficiaries { rows { id } } } ".repeat(3)} }`;
  const cases: [string, string][] = [
    ["maxTokens", `{ ${"me { org } ".repeat(700)} }`],
    ["maxAliases", `{ ${[1, 2, 3, 4, 5, 6].map((n) => `a${n}: me { org }`).join(" ")} }`],
    ["maxCost", `{ views { beneficiaries(first: 100000) { rows { id phone } } } }`],
    ["maxPageRows", "{ views { beneficiaries(first: 11) { rows { id } } } }"],
    ["maxPageRows", "{ parked(first: 11) { view } }"],
  ];
  expect((await hub.ask(token, deep)).errors).toEqual([]);
  for (const [setting, query] of cases) {
    const before = hub.asks();
    const told = await hub.ask(token, query);
    expect([setting, told.errors[0]?.extensions?.code]).toEqual([setting, "input-malformed"]);
    expect(told.errors[0]?.message).toContain(setting);
    expect(hub.asks()).toBe(before);
  }
  const large = await post(JSON.stringify({ query: "{ me { org } }", extensions: { x: "y".repeat(60_000) } }));
  expect(large.status).toBe(413);
  expect(large.text).toContain("maxBodyBytes");
  expect((await hub.ask(token, "{ limits { setting value } }")).data?.limits).toContainEqual({
    setting: "maxPageRows",
    value: 10,
  });
});

it("tools get the schema, and one that asks for it in itself is refused", async () => {
  const told = await hub.ask(token, getIntrospectionQuery());
  expect(told.errors).toEqual([]);
  const schema = buildClientSchema(told.data as unknown as Parameters<typeof buildClientSchema>[0]);
  expect(schema.getType("BeneficiariesRow")).toBeDefined();
  const nested = (depth: number): string => (depth === 0 ? "name" : `fields { type { ${nested(depth - 1)} } }`);
  expect((await hub.ask(token, `{ __schema { types { ${nested(10)} } } }`)).errors[0]?.message).toContain("introspection");
});

it("questions that are long in every way that a token allows are answered within a second", async () => {
  const names = Array.from({ length: 990 }, () => "subject").join(" ");
  const fragments = Array.from({ length: 150 }, (_, i) => `fragment f${i} on Query { ...f${i + 1} ...f${(i + 2) % 150} }`).join(
    " ",
  );
  const lists = `{ views { beneficiaries(where: {id: {in: [${'"x" '.repeat(900)}]}}) { rows { id } } } }`;
  for (const query of [
    `{ me { ${names} } }`,
    `{ ...f0 } ${fragments}`,
    lists,
    `${"{ a ".repeat(500)}${"}".repeat(500)}`,
    `{ me(${"a: 1 ".repeat(300)}) { org } }`,
  ]) {
    const began = performance.now();
    const told = await hub.ask(token, query);
    expect([query.slice(0, 40), told.status < 500]).toEqual([query.slice(0, 40), true]);
    expect([query.slice(0, 40), performance.now() - began < 5_000]).toEqual([query.slice(0, 40), true]);
  }
});

it("whatever comes, the door answers in its own words and goes on (seeded)", async () => {
  const random = seeded(20_261_128);
  const pieces = [
    "{",
    "}",
    "(",
    ")",
    "views",
    "beneficiaries",
    "rows",
    "id",
    "me",
    "org",
    "$x",
    ":",
    "!",
    "[",
    "]",
    "...",
    "on",
    "fragment",
    "f",
    "query",
    "mutation",
    "append",
    '"',
    '"""',
    "\\u0000",
    "1e999",
    "null",
    "@skip",
    "#",
    "🦆",
    "\u0000",
    "first: 1",
    'asOf: {position: "1", time: "2026-01-01T00:00:00Z"}',
  ];
  const pick = <T>(from: readonly T[]): T | undefined => from[Math.floor(random() * from.length)];
  for (let i = 0; i < 400; i++) {
    const query = Array.from({ length: 1 + Math.floor(random() * 30) }, () => pick(pieces)).join(" ");
    const bodies = [
      JSON.stringify({ query }),
      JSON.stringify({ query: "query ($x: JSON) { me { org } }", variables: { x: query } }),
      JSON.stringify([{ query }]),
      query,
      JSON.stringify({ query, operationName: query, variables: query }),
    ];
    const told = await post(
      pick(bodies) ?? "",
      pick(["application/json", "application/json", "text/plain", "application/graphql"]),
    );
    expect(told.status).toBeLessThan(500);
    expect(told.text).not.toMatch(/node_modules|\.ts:|internal/);
  }
  expect((await hub.ask(token, "{ me { org } }")).data).toEqual({ me: { org: ORG } });
});
