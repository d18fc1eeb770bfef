import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { SchemaRegistry, SchemaType } from "@kafkajs/confluent-schema-registry";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { registrySurface } from "../../services/api/index.ts";
import { gateOver, registerFolder } from "../../services/cli/registry.ts";
import { type JsonObject, TributaryError } from "../../services/core/index.ts";
import { type Finding, NO_CASTERS, type Registry } from "../../services/gate/index.ts";
import { loadSchemas, openRegistry } from "../../services/gate/node.ts";
import { startIngress } from "../../services/ingress/index.ts";
import { openTestHub, SCHEMAS, type TestHub } from "../support/hub.ts";
import { eventually } from "../support/temp.ts";

let hub: TestHub;
const opened: Registry[] = [];
const open = async (): Promise<Registry> => {
  const registry = await openRegistry(hub.log.journal);
  opened.push(registry);
  return registry;
};
beforeAll(async () => {
  hub = await openTestHub();
});
afterAll(async () => {
  for (const registry of opened) registry.close();
  await hub.close();
});

const record = (fields: unknown[], name = "relief.Visit"): { kind: "avro"; text: string; references: [] } => ({
  kind: "avro",
  text: JSON.stringify({ type: "record", name, fields }),
  references: [],
});
const document = (schema: JsonObject): { kind: "json"; text: string; references: [] } => ({
  kind: "json",
  text: JSON.stringify(schema),
  references: [],
});
const by = { actor: "tester" };

describe("the registry in the log", () => {
  it("keeps a version for each text, in the order of the stream, and recognises a text that it has", async () => {
    const registry = await open();
    const first = await registry.register("visit", record([{ name: "place", type: "string" }]), by);
    const again = await registry.register("visit", record([{ type: "string", name: "place" }]), by);
    const second = await registry.register(
      "visit",
      record([
        { name: "place", type: "string" },
        { name: "note", type: "string", default: "" },
      ]),
      by,
    );
    expect(
      [first, again, second].map((outcome) => outcome.kind === "registered" && [outcome.version.schema.version, outcome.isNew]),
    ).toEqual([
      [1, true],
      [1, false],
      [2, true],
    ]);
    const other = await open();
    expect(other.versions("visit").map(({ fingerprint }) => fingerprint)).toEqual(
      registry.versions("visit").map(({ fingerprint }) => fingerprint),
    );
    expect(other.registered("visit").map(({ id }) => id)).toEqual(registry.registered("visit").map(({ id }) => id));
  });

  it("gives two hubs that register at once two versions, or one refusal, and never one version twice", async () => {
    const hubs = await Promise.all([open(), open(), open()]);
    const field = (n: number) => ({ name: `extra${n}`, type: "int", default: n });
    await hubs[0]!.register("race", record([{ name: "a", type: "int" }]), by);
    const outcomes = await Promise.all(
      hubs.map((each, n) => each.register("race", record([{ name: "a", type: "int" }, field(n)]), by)),
    );
    expect(outcomes.map(({ kind }) => kind)).toEqual(["registered", "registered", "registered"]);
    const versions = outcomes.map((outcome) => (outcome.kind === "registered" ? outcome.version.schema.version : 0));
    expect(versions.toSorted()).toEqual([2, 3, 4]);
    await eventually(
      "all hubs to know the same",
      async () =>
        new Set(
          hubs.map((each) =>
            each
              .versions("race")
              .map(({ text }) => text)
              .join(),
          ),
        ).size === 1 && hubs.every((each) => each.versions("race").length === 4),
    );
  });

  it("tells a following hub what another hub has registered", async () => {
    const [one, two] = [await open(), await open()];
    const told: string[] = [];
    two.onChange((subject) => told.push(subject));
    await one.register("news", record([{ name: "a", type: "int" }]), by);
    await one.setLevel("news", "NONE", "tester");
    await eventually("the news", async () => two.versions("news").length === 1 && two.level("news") === "NONE");
    expect(told).toContain("news");
  });

  const refused = async (
    subject: string,
    first: Parameters<Registry["register"]>[1],
    second: Parameters<Registry["register"]>[1],
  ): Promise<readonly Finding[]> => {
    const registry = await open();
    await registry.register(subject, first, by);
    const outcome = await registry.register(subject, second, by);
    expect(outcome.kind).toBe("incompatible");
    expect(registry.versions(subject)).toHaveLength(1);
    return outcome.kind === "incompatible" ? outcome.findings : [];
  };

  it("refuses a change that old data would not survive, with a document that shows it", async () => {
    const findings = await refused(
      "person",
      document({ type: "object", properties: { name: { type: "string" } }, required: ["name"], additionalProperties: false }),
      document({
        type: "object",
        properties: { name: { type: "string" }, phone: { type: "string" } },
        required: ["name", "phone"],
        additionalProperties: false,
      }),
    );
    expect(findings).toMatchObject([
      {
        direction: "backward",
        against: 1,
        rule: "required",
        path: "/required/1",
        counterexample: { document: { name: expect.any(String) }, problem: "phone is missing" },
      },
    ]);
  });

  it("refuses a change that an old reader would not survive, and says which value it does not know", async () => {
    const findings = await refused(
      "colour",
      document({ type: "object", properties: { c: { enum: ["red"] } } }),
      document({ type: "object", properties: { c: { enum: ["red", "blue"] } } }),
    );
    expect(findings).toMatchObject([
      { direction: "forward", rule: "enum", counterexample: { document: { c: "blue" }, problem: "c 'blue' is not one of red" } },
    ]);
    const avro = await refused(
      "grade",
      record([{ name: "g", type: { type: "enum", name: "G", symbols: ["A"] } }]),
      record([{ name: "g", type: { type: "enum", name: "G", symbols: ["A", "B"] } }]),
    );
    expect(avro).toMatchObject([
      { direction: "forward", rule: "missing_enum_symbols", counterexample: { document: { g: "B" } } },
    ]);
  });

  it("compares with every earlier version, not only the last: a field that went may not come back as something else", async () => {
    const registry = await open();
    const closed = (properties: JsonObject) => document({ type: "object", properties, additionalProperties: false });
    await registry.register("back", closed({ a: { type: "string" }, b: { type: "string" } }), by);
    await registry.setLevel("back", "NONE", "tester");
    await registry.register("back", closed({ a: { type: "string" } }), by);
    await registry.setLevel("back", "FULL", "tester");
    const third = closed({ a: { type: "string" }, b: { type: "integer" } });
    expect(await registry.check("back", third)).toEqual([]);
    expect(
      (await registry.check("back", third, { level: "FULL_TRANSITIVE" })).map(({ against, direction }) => [against, direction]),
    ).toEqual([
      [1, "backward"],
      [1, "forward"],
    ]);
  });

  it("takes a new optional field: old readers leave it out, old data lack it", async () => {
    const registry = await open();
    const first = document({
      type: "object",
      properties: { a: { type: "string" } },
      required: ["a"],
      additionalProperties: false,
    });
    const second = document({
      type: "object",
      properties: { a: { type: "string" }, b: { type: "string", default: "none" } },
      required: ["a"],
      additionalProperties: false,
    });
    await registry.register("grows", first, by);
    expect((await registry.register("grows", second, by)).kind).toBe("registered");
    const gate = gateOver(registry, NO_CASTERS);
    expect(gate.read({ subject: "grows", version: 1 }, { a: "x" }).data).toEqual({ a: "x", b: "none" });
    expect(gate.read({ subject: "grows", version: 2 }, { a: "x", b: "y" }, { grows: 1 }).data).toEqual({ a: "x" });
  });

  it("holds what the project's folder has, all compatible with one another", async () => {
    const registry = await open();
    const folder = loadSchemas(SCHEMAS);
    const added = await registerFolder(registry, folder, "tester");
    expect(added).toHaveLength(folder.subjects().flatMap((subject) => folder.versions(subject)).length);
    expect(await registerFolder(registry, folder, "tester")).toEqual([]);
  });

  it("refuses a number that is taken, a subject that is closed, and an event type of another subject", async () => {
    const registry = await open();
    await expect(registry.register("site", document({ type: "object" }), { ...by, version: 1 })).rejects.toThrow(
      expect.objectContaining({ code: "schema-conflict" }),
    );
    await registry.register("closed", document({ type: "object" }), by);
    await registry.setMode("closed", "READONLY", "tester");
    await expect(registry.register("closed", document({ type: "object", properties: {} }), by)).rejects.toThrow(
      expect.objectContaining({ code: "schema-readonly" }),
    );
    const thief = document({ tributary: { entity: "site", events: ["site.registered"] }, type: "object" });
    await expect(registry.register("thief", thief, by)).rejects.toThrow(/site.registered belong to site already/);
  });
});

describe("the registry over HTTP, for tools that speak Confluent's routes", () => {
  let url: string;
  let close: () => Promise<void>;
  let registry: Registry;
  beforeAll(async () => {
    registry = await open();
    mkdirSync(join(hub.dir, "api"), { recursive: true });
    const ingress = await startIngress({
      org: "relief",
      natsUrl: hub.backends.nats.url,
      log: hub.log,
      gate: gateOver(registry, NO_CASTERS),
      keys: { keys: [hub.key] },
      listen: { host: "127.0.0.1", port: 0 },
      also: () => [
        registrySurface(registry, async (authorization) => {
          if (authorization === undefined) throw new TributaryError("token-missing", "no token", "Send one.");
          return { actor: "tester" };
        }),
      ],
    });
    url = ingress.http!.url;
    close = () => ingress.close();
  });
  afterAll(() => close());
  const call = async (
    method: string,
    path: string,
    body?: unknown,
  ): Promise<{ status: number; json: Record<string, unknown> & unknown[] }> => {
    const response = await fetch(url + path, {
      method,
      headers: { authorization: "Bearer x" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, json: (await response.json()) as Record<string, unknown> & unknown[] };
  };

  it("serves @kafkajs/confluent-schema-registry: it registers, encodes, decodes, and evolves Avro", async () => {
    const client = new SchemaRegistry({ host: url, auth: { username: "any", password: "token" } });
    const schema = (fields: unknown[]) => JSON.stringify({ type: "record", name: "Ration", namespace: "relief", fields });
    const options = { subject: "orders-value", compatibility: "BACKWARD" as never };
    const { id } = await client.register({ type: SchemaType.AVRO, schema: schema([{ name: "item", type: "string" }]) }, options);
    const bytes = await client.encode(id, { item: "RICE" });
    expect(await client.decode(bytes)).toEqual({ item: "RICE" });
    expect(await client.getLatestSchemaId("orders-value")).toBe(id);
    expect(registry.level("orders-value")).toBe("BACKWARD");
    const next = await client.register(
      {
        type: SchemaType.AVRO,
        schema: schema([
          { name: "item", type: "string" },
          { name: "kg", type: "double", default: 0 },
        ]),
      },
      options,
    );
    expect(next.id).not.toBe(id);
    expect(await client.getRegistryId("orders-value", 1)).toBe(id);
    await expect(
      client.register({ type: SchemaType.AVRO, schema: schema([{ name: "item", type: "int" }]) }, options),
    ).rejects.toThrow(/incompatible.*cannot read what version 2 writes/s);
  });

  it("serves the same client with JSON Schema", async () => {
    const client = new SchemaRegistry({ host: url, auth: { username: "any", password: "token" } });
    const { id } = await client.register(
      {
        type: SchemaType.JSON,
        schema: JSON.stringify({ type: "object", properties: { n: { type: "integer" } }, required: ["n"] }),
      },
      { subject: "counts-value", compatibility: "FULL_TRANSITIVE" as never },
    );
    expect(await client.decode(await client.encode(id, { n: 3 }))).toEqual({ n: 3 });
    await expect(client.encode(id, { n: "three" })).rejects.toThrow();
  });

  it("answers the routes as Confluent's does", async () => {
    expect((await call("GET", "/subjects")).json).toEqual(
      expect.arrayContaining(["orders-value", "counts-value", "beneficiary"]),
    );
    expect((await call("GET", "/subjects?subjectPrefix=orders")).json).toEqual(["orders-value"]);
    expect((await call("GET", "/subjects/orders-value/versions")).json).toEqual([1, 2]);
    const latest = await call("GET", "/subjects/orders-value/versions/latest");
    expect(latest.json).toMatchObject({
      subject: "orders-value",
      version: 2,
      id: expect.any(Number),
      schema: expect.stringContaining("Ration"),
    });
    expect((await call("GET", `/schemas/ids/${String(latest.json.id)}`)).json).toEqual({ schema: latest.json.schema });
    expect((await call("GET", `/schemas/ids/${String(latest.json.id)}/versions`)).json).toEqual([
      { subject: "orders-value", version: 2 },
    ]);
    expect((await call("GET", "/subjects/counts-value/versions/1")).json).toMatchObject({ schemaType: "JSON" });
    expect((await call("GET", "/subjects/orders-value/versions/1/schema")).json).toMatchObject({ name: "Ration" });
    expect((await call("GET", "/schemas/types")).json).toEqual(["AVRO", "JSON"]);
    expect((await call("POST", "/subjects/orders-value", { schema: latest.json.schema })).json).toMatchObject({
      version: 2,
      id: latest.json.id,
    });
    expect((await call("GET", "/config")).json).toEqual({ compatibilityLevel: "FULL_TRANSITIVE" });
    expect((await call("GET", "/mode")).json).toEqual({ mode: "READWRITE" });
    expect((await call("PUT", "/config/orders-value", { compatibility: "NONE" })).json).toEqual({ compatibility: "NONE" });
    expect((await call("DELETE", "/config/orders-value")).status).toBe(200);
    expect((await call("GET", "/contexts")).json).toEqual(["."]);
    expect((await call("GET", "/")).json).toEqual({});
    expect((await call("GET", "/v1/metadata/version")).json).toMatchObject({ version: expect.any(String) });
  });

  it.each([
    ["GET", "/subjects/none/versions", undefined, 404, 40401],
    ["GET", "/subjects/orders-value/versions/9", undefined, 404, 40402],
    ["GET", "/subjects/orders-value/versions/zero", undefined, 422, 42202],
    ["GET", "/schemas/ids/999999", undefined, 404, 40403],
    ["POST", "/subjects/orders-value", { schema: '"int"' }, 404, 40403],
    ["POST", "/subjects/bad/versions", { schema: "{" }, 422, 42201],
    ["POST", "/subjects/bad/versions", { schema: '{"type":"recrod"}' }, 422, 42201],
    ["POST", "/subjects/bad/versions", { schema: '"int"', schemaType: "PROTOBUF" }, 422, 42201],
    ["GET", "/config/orders-value", undefined, 404, 40408],
    ["GET", "/mode/orders-value", undefined, 404, 40409],
    ["PUT", "/config", { compatibility: "SOME" }, 422, 42203],
    ["PUT", "/mode", { mode: "SOME" }, 422, 42204],
    ["DELETE", "/subjects/orders-value?permanent=true", undefined, 422, 42206],
    ["PATCH", "/subjects", undefined, 405, 405],
    ["GET", "/subjects/orders-value/nothing", undefined, 404, 404],
  ])("%s %s %j is refused with its code", async (method, path, body, status, code) => {
    const answer = await call(method, path, body);
    expect([answer.status, answer.json.error_code]).toEqual([status, code]);
    expect(answer.json.message).toEqual(expect.any(String));
  });

  it("says whether a schema would do, and why not with an example", async () => {
    const bad = { schema: JSON.stringify({ type: "record", name: "relief.Ration", fields: [{ name: "item", type: "int" }] }) };
    await call("PUT", "/config/orders-value", { compatibility: "BACKWARD" });
    expect((await call("POST", "/compatibility/subjects/orders-value/versions/latest", bad)).json).toEqual({
      is_compatible: false,
    });
    const verbose = await call("POST", "/compatibility/subjects/orders-value/versions?verbose=true", bad);
    expect(verbose.json).toMatchObject({ is_compatible: false, messages: [expect.stringContaining("for example")] });
    const good = {
      schema: JSON.stringify({ type: "record", name: "relief.Ration", fields: [{ name: "item", type: "string" }] }),
    };
    expect((await call("POST", "/compatibility/subjects/orders-value/versions/1", good)).json).toEqual({ is_compatible: true });
  });

  it("hides a deleted version, and reads its data as ever", async () => {
    expect((await call("POST", "/subjects/gone/versions", { schema: '{"type":"record","name":"G","fields":[]}' })).status).toBe(
      200,
    );
    expect((await call("DELETE", "/subjects/gone/versions/1")).json).toBe(1);
    expect((await call("GET", "/subjects/gone/versions")).json).toMatchObject({ error_code: 40401 });
    expect((await call("GET", "/subjects/gone/versions?deleted=true")).json).toEqual([1]);
    expect(gateOver(registry, NO_CASTERS).knows({ subject: "gone", version: 1 })).toBe(true);
  });

  it("turns away clients without a token", async () => {
    const response = await fetch(`${url}/subjects`);
    expect(response.status).toBe(401);
    expect(await response.json()).toMatchObject({ error_code: 40101 });
  });
});
