import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { registrySurface } from "../../services/api/index.ts";
import { authorizeBy, gateOver } from "../../services/cli/registry.ts";
import type { JsonObject } from "../../services/core/index.ts";
import { NO_CASTERS, type Registry } from "../../services/gate/index.ts";
import { openRegistry } from "../../services/gate/node.ts";
import { issueToken, SCOPE_APPEND, SCOPE_SCHEMAS, SCOPE_SCHEMAS_READ } from "../../services/http/index.ts";
import { type Ingress, startIngress } from "../../services/ingress/index.ts";
import { openTestHub, type TestHub } from "../support/hub.ts";
import { WAIT_MS } from "../support/patience.ts";
import { chooser, SEED } from "../support/random.ts";
import { isDue } from "../support/runs.ts";

/** The registry's door, with strangers in front of it. */

let hub: TestHub;
let registry: Registry;
let ingress: Ingress;
let url: string;
beforeAll(async () => {
  hub = await openTestHub();
  registry = await openRegistry(hub.log.journal);
  ingress = await startIngress({
    org: "relief",
    natsUrl: hub.backends.nats.url,
    log: hub.log,
    gate: gateOver(registry, NO_CASTERS),
    keys: { keys: [hub.key] },
    listen: { host: "127.0.0.1", port: 0 },
    also: (keeper) => [registrySurface(registry, authorizeBy(keeper))],
  });
  url = ingress.http!.url;
});
afterAll(async () => {
  registry.close();
  await ingress.close();
  await hub.close();
});

const tokenFor = (...scopes: string[]): Promise<string> =>
  issueToken(hub.key, { org: "relief", site: "juba", lifetimeS: 3_600, nowMs: Date.now(), scopes });
async function call(method: string, path: string, token: string, body?: unknown) {
  const response = await fetch(url + path, {
    method,
    headers: { authorization: `Bearer ${token}` },
    ...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
  });
  return { status: response.status, json: (await response.json()) as Record<string, unknown> };
}
const posted = (schema: JsonObject) => ({ schemaType: "JSON", schema: JSON.stringify(schema) });
const text = (schema: JsonObject) => ({ kind: "json", text: JSON.stringify(schema), references: [] }) as const;

/** Nodes of two kinds, each with others inside in three ways. To compare these once took a minute and a gigabyte. */
const tangled = (extra: JsonObject): JsonObject => {
  const node = { $ref: "#/$defs/n" };
  const kind = (name: string) => ({ required: [name], properties: { [name]: node, a: node, b: node, ...extra } });
  return {
    $ref: "#/$defs/n",
    $defs: { n: { oneOf: [kind("x"), kind("y"), { not: kind("z") }], anyOf: [kind("p"), kind("q")] } },
  };
};

describe("the registry's door", () => {
  it("lets sites read, tools that may write compare, and nobody else in", async () => {
    await registry.register("open", text({ type: "object" }), { actor: "tester" });
    const [site, reader, writer, other] = await Promise.all([
      tokenFor(SCOPE_APPEND),
      tokenFor(SCOPE_SCHEMAS_READ),
      tokenFor(SCOPE_SCHEMAS),
      tokenFor("something:else"),
    ]);
    const statuses = async (token: string): Promise<number[]> => [
      (await call("GET", "/subjects", token)).status,
      (await call("POST", "/subjects/open", token, posted({ type: "object" }))).status,
      (await call("POST", "/compatibility/subjects/open/versions", token, posted({ type: "object" }))).status,
      (await call("PUT", "/config/open", token, { compatibility: "FULL" })).status,
    ];
    expect(await statuses(site)).toEqual([200, 200, 403, 403]);
    expect(await statuses(reader)).toEqual([200, 200, 403, 403]);
    expect(await statuses(writer)).toEqual([200, 200, 200, 200]);
    expect(await statuses(other)).toEqual([403, 403, 403, 403]);
  });

  it("goes on answering while it compares, and takes a tangled schema's comparison to its end or refuses it", async () => {
    await registry.register("tangled", text(tangled({})), { actor: "tester" });
    const token = await tokenFor(SCOPE_SCHEMAS);
    let isDone = false;
    const asked = call(
      "POST",
      "/compatibility/subjects/tangled/versions?verbose=true",
      token,
      posted(tangled({ c: true })),
    ).finally(() => {
      isDone = true;
    });
    let answered = 0;
    do {
      expect((await call("GET", "/v1/health", token)).status).toBe(200);
      expect((await call("GET", "/subjects", token)).status).toBe(200);
      answered++;
    } while (!isDone);
    const { status, json } = await asked;
    expect(status).toBe(200);
    expect(typeof json.is_compatible).toBe("boolean");
    expect(answered).toBeGreaterThan(0);
  });

  it("refuses, in words, what takes more time or memory than it has, and goes on", async () => {
    for (const [limits, words] of [
      [{ timeMs: 20, memoryMb: 256 }, /takes more than 0.02 s/],
      [{ timeMs: WAIT_MS, memoryMb: 12 }, /takes more than 12 MB/],
    ] as const) {
      const bounded = await openRegistry(hub.log.journal, { examinerLimits: limits });
      try {
        await expect(bounded.register("late", text({ type: "object" }), { actor: "a" })).rejects.toThrow(
          expect.objectContaining({ code: "schema-malformed", message: expect.stringMatching(words) }),
        );
      } finally {
        bounded.close();
      }
    }
    expect(await registry.register("late", text({ type: "object" }), { actor: "a" })).toMatchObject({ isNew: true });
  });

  it("answers one question of each client at a time, and says so when too many wait", async () => {
    const busy = await openRegistry(hub.log.journal);
    const ask = (actor: string, i: number) =>
      busy.check("open", text({ type: "object", title: String(i) }), { actor }).then(
        () => "answered",
        (error: { code: string }) => error.code,
      );
    const [many, one] = await Promise.all([Promise.all(Array.from({ length: 20 }, (_, i) => ask("flood", i))), ask("other", 0)]);
    busy.close();
    expect(one).toBe("answered");
    expect(many.filter((each) => each === "answered")).toHaveLength(9);
    expect(many.filter((each) => each === "backend-failed")).toHaveLength(11);
  });

  it(`gives an answer or a refusal to whatever is asked (seed ${SEED})`, async () => {
    const { int, pick, chance } = chooser(SEED);
    const token = await tokenFor(SCOPE_SCHEMAS);
    const PARTS = [
      "subjects",
      "schemas",
      "ids",
      "config",
      "mode",
      "compatibility",
      "versions",
      "open",
      "fuzzed",
      "-1",
      "0",
      "1",
      "1e9",
      "99999999999999999999",
      "%00",
      "%",
      "__proto__",
      "latest",
      "é",
      "contexts",
      "types",
      "schema",
    ];
    const ODD: unknown[] = [
      null,
      5,
      "",
      "null",
      "{",
      "[]",
      { schema: 5 },
      { schema: "null", schemaType: "JSON" },
      { schema: "5", schemaType: "JSON" },
      { schema: '{"$id":5}', schemaType: "JSON" },
      { schema: '{"oneOf":[-1]}', schemaType: "JSON" },
      { schema: '{"maxLength":1e400}', schemaType: "JSON" },
      { schema: '{"minItems":-1}', schemaType: "JSON" },
      { schema: '{"pattern":"(a+)+$"}', schemaType: "JSON" },
      { schema: '"int"' },
      { schema: "{}" },
      { schema: "[]" },
      { schema: "{}", schemaType: "JSON", references: [{ name: "x", subject: "open", version: 1e308 }] },
      { compatibility: 5 },
      { mode: [] },
    ];
    const seen = new Set<number>();
    const usual = [200, 404, 422];
    for (let i = 0; isDue(i, 400, () => usual.every((status) => seen.has(status))); i++) {
      const path = `/${pick(["subjects", "schemas", "config", "mode", "compatibility/subjects", "subjects/fuzzed/versions"])}${Array.from({ length: int(0, 4) }, () => `/${pick(PARTS)}`).join("")}${chance(0.2) ? "?deleted=true&verbose=true&defaultToGlobal=true" : ""}`;
      const method = pick(["GET", "POST", "PUT", "DELETE", "PATCH"]);
      const { status, json } = await call(method, path, token, method === "GET" ? undefined : pick(ODD));
      seen.add(status);
      if (status >= 500) expect.fail(`${method} ${path}: ${status} ${JSON.stringify(json)}`);
    }
    expect([...seen]).toEqual(expect.arrayContaining(usual));
  });
});
