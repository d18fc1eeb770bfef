import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { registrySurface } from "../../services/api/index.ts";
import type { Registry } from "../../services/gate/index.ts";
import { openRegistry } from "../../services/gate/node.ts";
import { type Listening, listen } from "../../services/http/index.ts";
import { memoryJournal } from "../support/journal.ts";

/**
 * What clients ask of Confluent's registry, and what it answers them, as read from its resources and error codes (release of August 2026).
 * Source: https://github.com/confluentinc/schema-registry
 */
let registry: Registry;
let server: Listening;
beforeAll(async () => {
  registry = await openRegistry(memoryJournal());
  const surfaces = [registrySurface(registry, async () => ({ actor: "tester" }))];
  server = await listen({
    host: "127.0.0.1",
    port: 0,
    surfaces,
    info: { title: "t", version: "1" },
    say: () => {},
  });
});
afterAll(async () => {
  await server.close();
  registry.close();
});

type Json = Record<string, unknown> & unknown[];
const call = async (
  method: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; json: Json; allow: string | null }> => {
  const response = await fetch(`${server.url}${path}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return { status: response.status, json: (await response.json()) as Json, allow: response.headers.get("allow") };
};
const get = async (path: string): Promise<Json> => (await call("GET", path)).json;
const refusal = async (method: string, path: string, body?: unknown): Promise<unknown[]> => {
  const { status, json } = await call(method, path, body);
  expect(json.message).toEqual(expect.any(String));
  return [status, json.error_code];
};
const record = (...fields: string[]) => ({
  schema: JSON.stringify({
    type: "record",
    name: "relief.Order",
    fields: fields.map((name) => ({ name, type: "string", default: "" })),
  }),
});
const register = async (subject: string, body: unknown, query = ""): Promise<Json> =>
  (await call("POST", `/subjects/${subject}/versions${query}`, body)).json;

describe("lists", () => {
  beforeAll(async () => {
    for (const subject of ["list-a", "list-b", "list-c", "other"]) await register(subject, record("a"));
    for (const field of ["b", "c", "d"]) await register("list-a", record("a", field));
    await call("DELETE", "/subjects/list-a/versions/2");
    await call("DELETE", "/subjects/list-c");
  });

  it.each<[string, unknown]>([
    ["/subjects?subjectPrefix=list", ["list-a", "list-b"]],
    ["/subjects?subjectPrefix=:*:list", ["list-a", "list-b"]],
    ["/subjects?subjectPrefix=list&offset=1", ["list-b"]],
    ["/subjects?subjectPrefix=list&limit=1", ["list-a"]],
    ["/subjects?subjectPrefix=list&limit=-1", ["list-a", "list-b"]],
    ["/subjects?subjectPrefix=list&offset=9", []],
    ["/subjects?subjectPrefix=list&deleted=true", ["list-a", "list-b", "list-c"]],
    ["/subjects?subjectPrefix=list&deletedOnly=true", ["list-c"]],
    ["/subjects?subjectPrefix=list&deleted=true&deletedOnly=true", ["list-c"]],
    ["/subjects/list-a/versions", [1, 3, 4]],
    ["/subjects/list-a/versions?offset=1&limit=1", [3]],
    ["/subjects/list-a/versions?deleted=true", [1, 2, 3, 4]],
    ["/subjects/list-a/versions?deletedOnly=true", [2]],
    ["/subjects/list-b/versions?deletedOnly=true", []],
    ["/subjects/list-a/versions?deletedAsNegative=true", [1, -2, 3, 4]],
  ])("%s", async (path, expected) => {
    expect(await get(path)).toEqual(expected);
  });

  it.each<[string, unknown]>([
    ["", ["list-a@1", "list-a@3", "list-a@4", "list-b@1"]],
    ["&latestOnly=true", ["list-a@4", "list-b@1"]],
    ["&latestOnly=true&deleted=true", ["list-a@4", "list-b@1", "list-c@1"]],
    ["&deletedOnly=true", ["list-a@2", "list-c@1"]],
    ["&offset=1&limit=2", ["list-a@3", "list-a@4"]],
  ])("/schemas?subjectPrefix=list%s", async (query, expected) => {
    const found = await get(`/schemas?subjectPrefix=list${query}`);
    expect(found.map((each) => `${(each as Json).subject}@${(each as Json).version}`)).toEqual(expected);
  });

  it.each(["offset=some", "offset=-1", "limit=1.5"])("are refused for %s", async (query) => {
    expect(await refusal("GET", `/subjects?${query}`)).toEqual([400, 400]);
  });
});

describe("a schema by its id", () => {
  it("has each of its subjects once, and no hidden ones unless they are asked for", async () => {
    const { id } = await register("twice", record("t"));
    await register("also", record("t"));
    await call("DELETE", "/subjects/twice/versions/1");
    expect(await register("twice", record("t"))).toMatchObject({ id, version: 2 });
    await register("hidden", record("t"));
    await call("DELETE", "/subjects/hidden");
    const versions = (...list: [string, number][]) => list.map(([subject, version]) => ({ subject, version }));
    expect(await get(`/schemas/ids/${id}/subjects`)).toEqual(["also", "twice"]);
    expect(await get(`/schemas/ids/${id}/subjects?deleted=true`)).toEqual(["also", "hidden", "twice"]);
    expect(await get(`/schemas/ids/${id}/subjects?subject=twice`)).toEqual(["twice"]);
    expect(await get(`/schemas/ids/${id}/subjects?limit=1&offset=1`)).toEqual(["twice"]);
    expect(await get(`/schemas/ids/${id}/versions`)).toEqual(versions(["also", 1], ["twice", 2]));
    expect(await get(`/schemas/ids/${id}/versions?deleted=true`)).toEqual(
      versions(["also", 1], ["hidden", 1], ["twice", 1], ["twice", 2]),
    );
  });

  it("keeps its id when all its versions are hidden: what was written with it is read as before", async () => {
    const { id } = await register("unseen", record("u"));
    await call("DELETE", "/subjects/unseen");
    expect((await call("GET", `/schemas/ids/${id}`)).status).toBe(200);
    expect(await get(`/schemas/ids/${id}/subjects`)).toEqual([]);
    expect(await refusal("GET", "/schemas/ids/999999/subjects")).toEqual([404, 40403]);
  });

  it("takes no id that a client chooses, and says so; the id that it already has is accepted", async () => {
    const answer = await call("POST", "/subjects/mine/versions", { ...record("m"), id: 4_711 });
    expect([answer.status, answer.json.error_code]).toEqual([422, 42205]);
    expect(answer.json.message).toMatch(/takes no id of a client's own \(4711\).*Leave the member id out/);
    expect(await refusal("GET", "/subjects/mine/versions")).toEqual([404, 40401]);
    const { id } = await register("mine", { ...record("m"), id: -1, version: 0 });
    expect(await register("mine", { ...record("m"), id })).toMatchObject({ id, version: 1 });
    expect(await refusal("POST", "/subjects/mine/versions", { ...record("m", "n"), version: 7 })).toEqual([409, 40901]);
  });

  it("has a UUID as well, which finds it", async () => {
    const { guid, id } = await register("guided", record("g"));
    expect(guid).toMatch(/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
    expect(await get("/subjects/guided/versions/1")).toMatchObject({ guid, id });
    expect(await get(`/schemas/guids/${String(guid)}`)).toEqual({ guid, ...record("g") });
    expect(await get(`/schemas/guids/${String(guid)}/ids`)).toEqual([{ context: ".", id }]);
    expect(await refusal("GET", "/schemas/guids/00000000-0000-0000-0000-000000000000")).toEqual([404, 40403]);
  });
});

describe("normalize", () => {
  const written = {
    schema: '{"type":"record","name":"Ration","namespace":"relief","fields":[{"name":"n","type":{"type":"int"}}]}',
  };
  const otherwise = { schema: '{"type":"record","name":"relief.Ration","fields":[{"type":"int","name":"n"}]}' };
  it("takes a text that differs only in its layout for the same schema, and keeps a new one in its normal form", async () => {
    const first = await register("layout", written);
    expect(await register("layout", otherwise)).toMatchObject({ version: 2 });
    expect(await register("layout-n", written)).toMatchObject({ id: first.id });
    expect(await register("layout-n", otherwise, "?normalize=true")).toMatchObject({ id: first.id, version: 1 });
    expect(await refusal("POST", "/subjects/layout-n", otherwise)).toEqual([404, 40403]);
    expect((await call("POST", "/subjects/layout-n?normalize=true", otherwise)).json).toMatchObject({ id: first.id });
    await register("layout-m", written, "?normalize=true");
    expect(await get("/subjects/layout-m/versions/1/schema")).toEqual(JSON.parse(otherwise.schema));
  });
});

describe("normalize as a setting", () => {
  const [written, otherwise] = [
    { schema: '{"type":"record","name":"Water","namespace":"relief","fields":[{"name":"n","type":{"type":"int"}}]}' },
    { schema: '{"type":"record","name":"relief.Water","fields":[{"type":"int","name":"n"}]}' },
  ];
  const put = (path: string, body: unknown) => call("PUT", path, body);

  it("holds for a subject's schemas as if each client asked for it, and is told", async () => {
    const first = await register("set-n", written);
    expect(await refusal("GET", "/config/set-n")).toEqual([404, 40408]);
    expect((await put("/config/set-n", { normalize: true })).json).toEqual({ normalize: true });
    expect(await get("/config/set-n")).toEqual({ normalize: true });
    expect(await get("/config/set-n?defaultToGlobal=true")).toEqual({ compatibilityLevel: "FULL_TRANSITIVE", normalize: true });
    expect(await register("set-n", otherwise)).toMatchObject({ id: first.id, version: 1 });
    expect((await call("POST", "/subjects/set-n", otherwise)).json).toMatchObject({ id: first.id });
    expect(await register("set-n-other", written)).toMatchObject({ id: first.id });
    expect(await register("set-n-other", otherwise)).toMatchObject({ version: 2 });
    // The level is set besides, and each stays when the other is set.
    expect((await put("/config/set-n", { compatibility: "backward" })).json).toEqual({
      compatibility: "BACKWARD",
      normalize: true,
    });
    expect((await put("/config/set-n", { normalize: "false" })).json).toEqual({ compatibility: "BACKWARD", normalize: false });
    expect((await call("POST", "/subjects/set-n", otherwise)).json).toMatchObject({ error_code: 40403 });
    expect((await put("/config/set-n", { compatibility: null })).json).toEqual({ normalize: false });
    expect((await call("DELETE", "/config/set-n")).json).toEqual({ normalize: false });
    expect(await refusal("GET", "/config/set-n")).toEqual([404, 40408]);
  });

  it("for all subjects holds where a subject says nothing else", async () => {
    await register("all-n", written);
    await put("/config", { normalize: true });
    expect(await get("/config")).toEqual({ compatibilityLevel: "FULL_TRANSITIVE", normalize: true });
    expect(await register("all-n", otherwise)).toMatchObject({ version: 1 });
    await put("/config/all-n", { normalize: false });
    expect(await get("/config/all-n?defaultToGlobal=true")).toMatchObject({ normalize: false });
    expect(await register("all-n", otherwise)).toMatchObject({ version: 2 });
    expect((await call("DELETE", "/config")).json).toEqual({ compatibilityLevel: "FULL_TRANSITIVE", normalize: true });
    expect(await get("/config")).toEqual({ compatibilityLevel: "FULL_TRANSITIVE" });
    expect((await put("/mode/all-n", { mode: "READONLY" })).status).toBe(200);
    expect(await refusal("PUT", "/config/all-n", { normalize: true })).toEqual([422, 42205]);
  });

  it.each<[string, unknown, number, RegExp]>([
    [
      "a group of versions",
      { compatibility: "FULL", compatibilityGroup: "application.major" },
      42205,
      /compatibilityGroup is not taken: a version is compared/,
    ],
    ["metadata", { defaultMetadata: { properties: { owner: "relief" } } }, 42205, /schemas have no metadata here/],
    ["an alias", { alias: "other" }, 42205, /a subject has one name here/],
    [
      "a misspelt member",
      { normalise: true },
      42205,
      /normalise is not taken: there is no such setting. Settings here are compatibility and normalize/,
    ],
    ["the name that answers use", { compatibilityLevel: "FULL" }, 42205, /write compatibility/],
    ["nothing", {}, 42203, /Neither compatibility nor normalize is named/],
    ["a word", { normalize: "perhaps" }, 422, /normalize is true or false/],
  ])("is refused beside, or as, %s: nothing is set", async (_, body, code, words) => {
    const { json } = await put("/config/refused", body);
    expect([json.error_code, json.message]).toEqual([code, expect.stringMatching(words)]);
    expect(await refusal("GET", "/config/refused")).toEqual([404, 40408]);
  });
  it("is taken beside members that ask for nothing, as some clients send them", async () => {
    const body = { compatibility: "FULL", alias: null, compatibilityGroup: "", validateFields: false };
    expect((await put("/config/sparse", body)).json).toEqual({ compatibility: "FULL" });
  });
});

describe("a schema that is read", () => {
  const referred = { schema: '{"type":"record","name":"Place","namespace":"relief","fields":[{"name":"p","type":"string"}]}' };
  const whole = {
    schema:
      '{"type":"record","name":"Trip","namespace":"relief","doc":"A trip","fields":[{"name":"from","type":"Place"},{"name":"to","type":["null","relief.Place"]}]}',
    references: [{ name: "relief.Place", subject: "fmt-place", version: 1 }],
  };
  it("comes with the highest id there is, for those who ask", async () => {
    const { id } = await register("fmt-max", record("fmt", "max"));
    expect(await get(`/schemas/ids/${id}?fetchMaxId=true`)).toEqual({ ...record("fmt", "max"), maxId: id });
    const next = await register("fmt-max", record("fmt", "max", "more"));
    expect(await get(`/schemas/ids/${id}?fetchMaxId=true`)).toMatchObject({ maxId: next.id });
    expect(await get(`/schemas/ids/${id}?fetchMaxId=false`)).not.toHaveProperty("maxId");
  });

  it("comes with what it refers to written out in the format resolved, and as it was registered in any other", async () => {
    await register("fmt-place", referred);
    const { id, guid } = await register("fmt-trip", whole);
    const alone = {
      ...{ type: "record", name: "relief.Trip", doc: "A trip" },
      fields: [
        { name: "from", type: { type: "record", name: "relief.Place", fields: [{ name: "p", type: "string" }] } },
        { name: "to", type: ["null", "relief.Place"] },
      ],
    };
    for (const path of [`/schemas/ids/${id}`, `/schemas/guids/${guid}`, "/subjects/fmt-trip/versions/latest"]) {
      const text = async (format: string): Promise<unknown> => JSON.parse(String((await get(`${path}?format=${format}`)).schema));
      expect(await text("resolved")).toEqual(alone);
      for (const format of ["", "default", "pretty"]) expect(await text(format)).toEqual(JSON.parse(whole.schema));
    }
    for (const path of [`/schemas/ids/${id}/schema`, "/subjects/fmt-trip/versions/1/schema"])
      expect(await get(`${path}?format=RESOLVED`)).toEqual(alone);
    expect(JSON.parse(String((await call("POST", "/subjects/fmt-trip?format=resolved", whole)).json.schema))).toEqual(alone);
    // What is written out stands alone.
    expect((await call("POST", "/subjects/fmt-alone/versions", { schema: JSON.stringify(alone) })).status).toBe(200);
    const json = { schemaType: "JSON", schema: '{"type":"object","title":"Formats"}' };
    const { id: other } = await register("fmt-json", json);
    expect(await get(`/schemas/ids/${other}?format=resolved`)).toEqual(json);
  });
});

describe("what is hidden", () => {
  beforeAll(async () => {
    for (const fields of [["h"], ["h", "i"]]) await register("hid", record(...fields));
    await register("half", record("h"));
    await register("half", record("h", "i"));
    await call("DELETE", "/subjects/half/versions/1");
    await call("DELETE", "/subjects/hid");
  });
  it.each<[string, string, unknown, number, number]>([
    ["GET", "/subjects/hid/versions", undefined, 404, 40401],
    ["GET", "/subjects/hid/versions/1", undefined, 404, 40401],
    ["GET", "/subjects/hid/versions/latest", undefined, 404, 40401],
    ["GET", "/subjects/hid/metadata", undefined, 404, 40401],
    ["POST", "/subjects/hid", record("h"), 404, 40401],
    ["GET", "/subjects/half/versions/1", undefined, 404, 40402],
    ["DELETE", "/subjects/hid", undefined, 404, 40404],
    ["DELETE", "/subjects/hid/versions/1", undefined, 404, 40406],
    ["DELETE", "/subjects/half/versions/1", undefined, 404, 40406],
    ["DELETE", "/subjects/half/versions/9", undefined, 404, 40402],
    ["DELETE", "/subjects/never", undefined, 404, 40401],
    ["DELETE", "/subjects/never/versions/1", undefined, 404, 40401],
  ])("%s %s is refused with the code that Confluent's clients expect", async (method, path, body, status, code) => {
    expect(await refusal(method, path, body)).toEqual([status, code]);
  });
  it("is shown to those who ask for it", async () => {
    expect(await get("/subjects/hid/versions/latest?deleted=true")).toMatchObject({ version: 2 });
    expect((await call("POST", "/subjects/hid?deleted=true", record("h"))).json).toMatchObject({ version: 1 });
    expect(await get("/subjects/hid/metadata?deleted=true")).toMatchObject({ version: 2 });
  });
});

describe("settings", () => {
  it("take levels and modes in any case, and show them in capitals", async () => {
    await register("cased", record("c"));
    expect((await call("PUT", "/config/cased", { compatibility: "backward_Transitive" })).json).toEqual({
      compatibility: "BACKWARD_TRANSITIVE",
    });
    expect((await call("PUT", "/mode/cased", { mode: "readonly" })).json).toEqual({ mode: "READONLY" });
    expect(await get("/mode/cased")).toEqual({ mode: "READONLY" });
    expect((await call("DELETE", "/mode/cased")).json).toEqual({ mode: "READONLY" });
    expect((await call("DELETE", "/config/cased")).json).toEqual({ compatibilityLevel: "BACKWARD_TRANSITIVE" });
    expect(await refusal("DELETE", "/config/cased")).toEqual([404, 40401]);
    expect(await refusal("GET", "/config/cased")).toEqual([404, 40408]);
    expect(await refusal("PUT", "/config/a%20b", { compatibility: "FULL" })).toEqual([422, 42208]);
    expect(await refusal("POST", "/subjects/a%20b/versions", record("a"))).toEqual([422, 42208]);
  });

  it("that are READONLY hold for versions, for hiding and for levels, until they are READWRITE again", async () => {
    await register("shut", record("s"));
    await call("PUT", "/mode/shut", { mode: "READONLY" });
    const closed: [string, string, unknown?][] = [
      ["POST", "/subjects/shut/versions", record("s", "t")],
      ["DELETE", "/subjects/shut"],
      ["DELETE", "/subjects/shut/versions/1"],
      ["PUT", "/config/shut", { compatibility: "NONE" }],
    ];
    for (const [method, path, body] of closed) expect(await refusal(method, path, body)).toEqual([422, 42205]);
    expect(await register("shut", record("s"))).toMatchObject({ version: 1 });
    await call("PUT", "/mode", { mode: "READONLY" });
    expect(await refusal("PUT", "/config", { compatibility: "NONE" })).toEqual([422, 42205]);
    expect(await refusal("DELETE", "/subjects/cased")).toEqual([422, 42205]);
    await call("PUT", "/mode", { mode: "READWRITE" });
    await call("PUT", "/mode/shut", { mode: "READWRITE" });
    expect(await register("shut", record("s", "t"))).toMatchObject({ version: 2 });
  });
});

describe("compatibility", () => {
  const ask = (path: string, body: unknown) => call("POST", `/compatibility/subjects/${path}`, body);
  it("of what would be a subject's first version is true", async () => {
    for (const path of ["unknown/versions", "unknown/versions/latest", "unknown/versions/latest?normalize=true"])
      expect((await ask(path, record("a"))).json).toEqual({ is_compatible: true });
    expect(await refusal("POST", "/compatibility/subjects/unknown/versions/1", record("a"))).toEqual([404, 40402]);
    expect(await refusal("POST", "/compatibility/subjects/unknown/versions/first", record("a"))).toEqual([422, 42202]);
  });
  it("of what is not a schema is refused, with the reason for those who ask", async () => {
    expect(await refusal("POST", "/compatibility/subjects/unknown/versions", { schema: "{" })).toEqual([422, 42201]);
    expect((await ask("unknown/versions?verbose=true", { schema: "{" })).json).toMatchObject({
      is_compatible: false,
      messages: [expect.stringMatching(/not JSON/)],
    });
  });
  it("that a version lacks is reported with 40901, the level and the findings", async () => {
    await register("narrow", record("a"));
    const bad = { schema: JSON.stringify({ type: "record", name: "relief.Order", fields: [{ name: "b", type: "int" }] }) };
    const { status, json } = await call("POST", "/subjects/narrow/versions", bad);
    expect([status, json.error_code]).toEqual([409, 40901]);
    expect(json).toMatchObject({ compatibility: "FULL_TRANSITIVE", findings: expect.any(Array) });
  });
});

describe("other questions", () => {
  it("the latest version by its metadata: versions have none, so only a question without metadata has an answer", async () => {
    await register("meta", record("m"));
    expect(await get("/subjects/meta/metadata")).toMatchObject({ subject: "meta", version: 1 });
    expect(await refusal("GET", "/subjects/meta/metadata?key=owner&value=me")).toEqual([404, 40403]);
  });
  it.each([
    ["PUT", "/subjects"],
    ["DELETE", "/schemas/ids/1"],
    ["PUT", "/subjects/meta/versions/1"],
    ["POST", "/config"],
    ["PATCH", "/mode/meta"],
    ["GET", "/compatibility/subjects/meta/versions"],
  ])("%s %s is refused with 405 and the methods that are taken", async (method, path) => {
    const { status, json, allow } = await call(method, path);
    expect([status, json.error_code]).toEqual([405, 405]);
    expect(allow).toMatch(/GET|POST/);
    expect(json.message).toContain(`does not take ${method}`);
  });
  it("JSON Schema of draft 7 is registered, and shown as it was written", async () => {
    const schema = JSON.stringify({
      $schema: "http://json-schema.org/draft-07/schema#",
      $ref: "#/definitions/Order",
      definitions: { Order: { type: "object", properties: { place: { items: [{ type: "number" }, { type: "number" }] } } } },
    });
    const { id } = await register("draft", { schema, schemaType: "JSON" });
    expect(await get(`/schemas/ids/${id}`)).toEqual({ schema, schemaType: "JSON" });
  });
  it("a schema that refers to a version keeps it from being hidden, and is listed", async () => {
    const point = { schema: '{"type":"record","name":"relief.Point","fields":[]}' };
    await register("point", point);
    const { id } = await register("line", {
      schema: '{"type":"record","name":"relief.Line","fields":[{"name":"from","type":"relief.Point"}]}',
      references: [{ name: "relief.Point", subject: "point", version: 1 }],
    });
    expect(await get("/subjects/point/versions/1/referencedby")).toEqual([id]);
    expect(await refusal("DELETE", "/subjects/point")).toEqual([422, 42206]);
    await call("DELETE", "/subjects/line");
    expect(await get("/subjects/point/versions/1/referencedby")).toEqual([]);
    expect(await get("/subjects/point/versions/1/referencedby?deleted=true")).toEqual([id]);
    expect((await call("DELETE", "/subjects/point")).json).toEqual([1]);
  });
});
