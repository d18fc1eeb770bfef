import { afterAll, beforeAll, expect, it } from "vitest";
import { type ApiHub, graphqlSurface, meSurface, registrySurface, viewsSurface } from "../../services/api/index.ts";
import { isJsonObject, type JsonObject, type JsonValue, PROTOCOL } from "../../services/core/index.ts";
import type { Registry } from "../../services/gate/index.ts";
import { type Listening, listen, type Surface } from "../../services/http/index.ts";
import { type DoorDeps, doorRoutes } from "../../services/ingress/http-routes.ts";
import { gate } from "../support/hub.ts";

/** The routes of a hub as it is wired, with nothing behind them: what they do is not tested here. */
function hubSurfaces(): Surface[] {
  // Nobody is let in, so that nothing behind the door is ever reached.
  const stranger = async (): Promise<never> => {
    throw new Error("nobody is let in");
  };
  const health = { alive: () => ({ status: 200, body: {} }), ready: async () => ({ status: 200, body: {} }) };
  const pulls = { schema: { type: "object" }, answer: stranger };
  const people = { admit: stranger, again: stranger };
  const nothing = { read: stranger, close: async () => {} };
  const deps = { keeper: { admit: stranger }, vouch: { refusing: () => ({}) }, health, pulls };
  return [
    doorRoutes({ ...deps, hello: stranger, say: () => {} } as unknown as DoorDeps).surface,
    registrySurface({} as Registry, stranger),
    meSurface(people),
    viewsSurface({ gate: people, reading: nothing, files: nothing, views: () => null }),
    graphqlSurface(
      { views: () => null, gate, registry: { onChange: () => () => {} }, say: () => {} } as unknown as ApiHub,
      people,
    ),
  ];
}

const surfaces = hubSurfaces();
let server: Listening;
let description: JsonObject;
beforeAll(async () => {
  const info = { title: "A Tributary hub", version: String(PROTOCOL.newest) };
  server = await listen({ host: "127.0.0.1", port: 0, surfaces, info, say: () => {} });
  description = (await (await fetch(`${server.url}/v1/openapi.json`)).json()) as JsonObject;
});
afterAll(() => server.close());

const objectOf = (value: JsonValue | undefined): JsonObject => {
  expect(isJsonObject(value)).toBe(true);
  return value as JsonObject;
};
const operations = (): { readonly key: string; readonly path: string; readonly method: string; readonly of: JsonObject }[] =>
  Object.entries(objectOf(description.paths)).flatMap(([path, methods]) =>
    Object.entries(objectOf(methods)).map(([name, of]) => {
      const method = name.toUpperCase();
      return { key: `${method} ${path}`, path, method, of: objectOf(of) };
    }),
  );

it("every route of a hub is in its description, and nothing else is", () => {
  const routes = surfaces.flatMap(({ routes }) => routes).map(({ method, path }) => `${method} ${path}`);
  expect(routes.length).toBeGreaterThan(30);
  expect(
    operations()
      .map(({ key }) => key)
      .toSorted(),
  ).toEqual([...routes, "GET /v1/openapi.json"].toSorted());
});

it("every described route is there, and no path takes a method that is not described", async () => {
  for (const { path, method, key } of operations()) {
    const url = server.url + path.replaceAll(/\{\w+\}/g, "x");
    const answer = await fetch(url, { method, ...(method === "POST" || method === "PUT" ? { body: "{}" } : {}) });
    expect(await answer.json(), key).not.toMatchObject({ code: expect.stringMatching(/not-found|method-not-allowed/) });
    const { headers } = await fetch(url, { method: "OPTIONS" });
    const described = operations().filter((each) => each.path === path);
    const taken = (headers.get("allow") ?? "").split(", ").filter((each) => each !== "HEAD" && each !== "OPTIONS");
    expect(taken.toSorted(), path).toEqual(described.map((each) => each.method).toSorted());
  }
});

it("the description is OpenAPI 3.1: each operation has a name of its own, its path's parameters and its answers, and says who may ask", () => {
  expect(description.openapi).toMatch(/^3\.1\./);
  const names = operations().map(({ of }) => of.operationId);
  expect(new Set(names).size).toBe(names.length);
  for (const { path, of, key } of operations()) {
    const parameters = Array.isArray(of.parameters) ? of.parameters.map(objectOf) : [];
    const inPath = parameters.filter((each) => each.in === "path");
    expect(
      inPath.map(({ name }) => `{${String(name)}}`),
      key,
    ).toEqual(path.match(/\{\w+\}/g) ?? []);
    expect(inPath.every(({ required }) => required === true)).toBe(true);
    expect(Object.keys(objectOf(of.responses)), key).toEqual(expect.arrayContaining(["200", "default"]));
    expect(Array.isArray(of.security), key).toBe(true);
  }
  const security = (name: string) => operations().find(({ of }) => of.operationId === name)?.of.security;
  expect(security("alive")).toEqual([]);
  expect(security("registerSchema")).toEqual([{ bearer: ["schemas:write"] }, { basic: ["schemas:write"] }]);
  // A batch may be signed in place of a token.
  expect(security("sendBatch")).toContainEqual({});
});
