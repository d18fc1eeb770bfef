import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JsonObject, JsonValue } from "../../services/core/index.ts";
import { compile } from "../../services/gate/compiled.ts";
import { checkCompatibility, lintSchema, type SchemaVersion, schemaVersion } from "../../services/gate/index.ts";
import { compileDocument } from "../../services/gate/json/validator.ts";
import { runs } from "../support/runs.ts";

const version = (number: number, schema: JsonValue): SchemaVersion =>
  schemaVersion("form", number, { kind: "json", text: JSON.stringify(schema), references: [] }, () => undefined);
const check = (schema: JsonValue) => {
  const compiled = compile(version(1, schema));
  return (data: JsonObject): boolean => compiled.check(data) === null;
};
const findings = (before: JsonValue, after: JsonValue) =>
  checkCompatibility(version(2, after), [version(1, before)], "FULL_TRANSITIVE");
const DRAFT_7 = "http://json-schema.org/draft-07/schema#";
const DRAFT_2019 = "https://json-schema.org/draft/2019-09/schema";

describe("a document of an older draft", () => {
  it.each<[string, JsonObject, JsonObject, JsonObject]>([
    [
      "draft 7 with definitions",
      { $schema: DRAFT_7, definitions: { n: { type: "integer" } }, properties: { n: { $ref: "#/definitions/n" } } },
      { n: 1 },
      { n: "one" },
    ],
    [
      "draft 7 whose root is a $ref",
      { $schema: DRAFT_7, $ref: "#/definitions/form", definitions: { form: { type: "object", required: ["a"] } } },
      { a: 1 },
      {},
    ],
    [
      "draft 7 with a list of items",
      { $schema: DRAFT_7, properties: { p: { items: [{ type: "number" }, { type: "string" }], additionalItems: false } } },
      { p: [1, "m"] },
      { p: [1, "m", true] },
    ],
    [
      "a document that names no draft, with a list of items",
      { properties: { p: { items: [{ type: "number" }], additionalItems: { type: "string" } } } },
      { p: [1, "m"] },
      { p: [1, 2] },
    ],
    [
      "draft 7 with additionalItems beside one schema of items, where they count for nothing",
      { $schema: DRAFT_7, properties: { p: { items: { type: "number" }, additionalItems: false } } },
      { p: [1, 2, 3] },
      { p: ["m"] },
    ],
    [
      "draft 7 with dependencies",
      { $schema: DRAFT_7, dependencies: { card: ["name"], phone: { required: ["country"] } } },
      { card: 1, name: "a" },
      { phone: 1 },
    ],
    [
      "draft 7 with an $id that is an anchor",
      { $schema: DRAFT_7, definitions: { n: { $id: "#whole", type: "integer" } }, properties: { n: { $ref: "#whole" } } },
      { n: 1 },
      { n: 1.5 },
    ],
    ["draft 6", { $schema: "http://json-schema.org/draft-06/schema#", properties: { n: { const: 1 } } }, { n: 1 }, { n: 2 }],
    [
      "draft 2019-09 with $recursiveRef",
      {
        $schema: DRAFT_2019,
        $recursiveAnchor: true,
        type: "object",
        properties: { name: { type: "string" }, parts: { type: "array", items: { $recursiveRef: "#" } } },
        unevaluatedProperties: false,
      },
      { name: "a", parts: [{ name: "b", parts: [] }] },
      { parts: [{ parts: [{ nmae: "c" }] }] },
    ],
  ])("%s is taken, and means what it says", (_, schema, good, bad) => {
    expect([check(schema)(good), check(schema)(bad)]).toEqual([true, false]);
  });

  it.each<[string, JsonObject, RegExp, RegExp]>([
    [
      "something beside a $ref",
      { $schema: DRAFT_7, properties: { n: { $ref: "#/definitions/n", minimum: 3 } }, definitions: { n: {} } },
      /at \/properties\/n\/minimum: in draft 7, what stands beside \$ref counts for nothing/,
      /allOf/,
    ],
    [
      "a keyword of later drafts",
      { $schema: DRAFT_7, properties: { p: { prefixItems: [{}] } } },
      /at \/properties\/p\/prefixItems: draft 7 does not know prefixItems/,
      /2020-12/,
    ],
    ["a draft that is named like a method of objects", { $schema: "constructor" }, /dialect is "constructor"/, /2020-12/],
    ["draft 4", { $schema: "http://json-schema.org/draft-04/schema#" }, /dialect/, /drafts 6, 7 and 2019-09/],
    [
      "a $recursiveAnchor inside",
      { $schema: DRAFT_2019, properties: { n: { $recursiveAnchor: true } } },
      /\$recursiveAnchor is not among the keywords/,
      /\$ref/,
    ],
    ["a list of items that are not schemas", { items: [3] }, /at \/items\/0/, /./],
  ])("with %s is refused by name", (_, schema, message, hint) => {
    expect(() => version(1, schema)).toThrow(
      expect.objectContaining({ message: expect.stringMatching(message), hint: expect.stringMatching(hint) }),
    );
  });

  it("keeps its text and its fingerprint, and findings about it name the locations as they were written", () => {
    const schema = { $schema: DRAFT_7, properties: { p: { items: [{ type: "number" }] } } };
    const made = version(1, schema);
    expect(made.text).toBe(JSON.stringify(schema));
    const [first] = findings(schema, { $schema: DRAFT_7, properties: { p: { items: [{ type: "string" }] } } });
    expect(first).toMatchObject({ rule: "type", path: "/properties/p/items/0/type" });
    const named = (type: string) => ({ properties: { constructor: { type }, items: { type } } });
    expect(findings(named("string"), named("integer")).map(({ path }) => path)).toEqual(
      expect.arrayContaining(["/properties/constructor/type", "/properties/items/type"]),
    );
  });
});

describe("a form that is closed with unevaluatedProperties", () => {
  const base = { type: "object", properties: { id: { type: "string" } }, required: ["id"] };
  const composed = (properties: JsonObject) => ({
    $defs: { base },
    allOf: [{ $ref: "#/$defs/base" }],
    properties,
    unevaluatedProperties: false,
  });
  const plain = (properties: JsonObject) => ({ type: "object", properties, unevaluatedProperties: false });
  const choosing = (properties: JsonObject) => ({ ...plain(properties), anyOf: [{ required: ["a"] }, { required: ["c"] }] });

  it.each<[string, (properties: JsonObject) => JsonObject]>([
    ["by itself", plain],
    ["that is made of parts", composed],
  ])("%s takes another optional field, and old readers leave it out", (_, form) => {
    const [before, after] = [form({ a: { type: "string" } }), form({ a: { type: "string" }, b: { type: "integer" } })];
    expect(findings(before, after)).toEqual([]);
    const [old, now] = [compile(version(1, before)), compile(version(2, after))];
    expect(old.check({ id: "1", a: "x", b: 1 })?.message ?? null).toMatch(/is not a field of this form/);
    const read = old.readFrom(now, form === plain ? { a: "x", b: 1 } : { id: "1", a: "x", b: 1 });
    expect(read).toEqual(form === plain ? { a: "x" } : { id: "1", a: "x" });
    expect(old.check(read)).toBeNull();
    // But a field that went may not come back as something else.
    expect(findings(after, form({ a: { type: "string" }, b: { type: "string" } })).length).toBeGreaterThan(0);
    expect(lintSchema(version(1, after)).map(({ rule }) => rule)).not.toContain("open");
  });

  it("is compared where alternatives name no fields, and findings about it name the locations as they were written", () => {
    expect(findings(choosing({ a: {}, c: {} }), choosing({ a: {}, c: {} }))).toEqual([]);
    const [first] = findings(choosing({ a: {}, c: {} }), choosing({ a: {} }));
    expect(first?.path).toBe("/unevaluatedProperties");
    const [other] = findings(
      { ...composed({ a: {} }), anyOf: [{ required: ["a"] }, { required: ["id"] }] },
      { ...composed({}), anyOf: [{ required: ["a"] }, { required: ["id"] }] },
    );
    expect(other).toMatchObject({ path: "/unevaluatedProperties", counterexample: { document: { a: expect.anything() } } });
  });

  const NAMES = ["a", "b", "c"];
  const kind = fc.constantFrom<JsonValue>({ type: "string" }, { type: "integer" }, true);
  const part = fc.record(
    { properties: fc.dictionary(fc.constantFrom(...NAMES), kind, { maxKeys: 2 }), patternProperties: fc.constant({ "^x": {} }) },
    { requiredKeys: [] },
  );
  const parts = fc
    .tuple(part, part, fc.uniqueArray(fc.constantFrom(...NAMES), { maxLength: 1 }), fc.boolean())
    .map(([own, other, required, isReferred]): JsonObject => {
      const there = JSON.parse(JSON.stringify(other)) as JsonObject;
      return {
        ...(JSON.parse(JSON.stringify(own)) as JsonObject),
        ...(isReferred ? { $defs: { other: there }, $ref: "#/$defs/other" } : { allOf: [there] }),
        ...(required.length > 0 ? { required } : {}),
        type: "object",
        unevaluatedProperties: false,
      };
    });
  const data = fc.dictionary(fc.constantFrom(...NAMES, "x1", "z"), fc.constantFrom<JsonValue>("t", 1, null), { maxKeys: 3 });

  it("means what the validator takes it to mean, and is read as it was compared (I28)", () => {
    fc.assert(
      fc.property(parts, parts, fc.array(data, { minLength: 20, maxLength: 40 }), (before, after, documents) => {
        const [writer, reader] = [compile(version(1, before)), compile(version(2, after))];
        const bare = compileDocument({ root: before, references: new Map() });
        const isReadable = checkCompatibility(version(2, after), [version(1, before)], "BACKWARD").length === 0;
        for (const document of documents) {
          const isWritten = bare(document) === true;
          expect(writer.check(document) === null, JSON.stringify([before, document])).toBe(isWritten);
          if (isWritten && isReadable)
            expect(reader.check(reader.readFrom(writer, document)), JSON.stringify([before, after, document])).toBeNull();
        }
      }),
      { numRuns: runs(60) },
    );
  });
});

describe("a list whose rest is named with unevaluatedItems", () => {
  const list = (more: JsonObject, rest: JsonValue = false) => ({
    $defs: { pair: { prefixItems: [{ type: "number" }, { type: "number" }] } },
    properties: { p: { ...more, unevaluatedItems: rest } },
  });
  it.each<[string, JsonObject, JsonValue, JsonObject, JsonObject]>([
    ["by itself", { prefixItems: [{}] }, false, { p: [1] }, { p: [1, 2] }],
    ["over a part", { $ref: "#/$defs/pair" }, { type: "string" }, { p: [1, 2, "m"] }, { p: [1, 2, 3] }],
    ["where all is named", { items: { type: "number" } }, false, { p: [1, 2] }, { p: ["m"] }],
    [
      "beside alternatives",
      { anyOf: [{ prefixItems: [{}, { const: 2 }] }, { prefixItems: [{}] }] },
      false,
      { p: [1, 2] },
      { p: [1, 3] },
    ],
    ["beside what a list contains", { contains: { type: "string" } }, { type: "number" }, { p: [1, "m"] }, { p: ["m", true] }],
    ["of any kind", { prefixItems: [{ type: "number" }] }, true, { p: [1, "m"] }, { p: ["m"] }],
  ])("%s is understood", (_, more, rest, good, bad) => {
    expect([check(list(more, rest))(good), check(list(more, rest))(bad)]).toEqual([true, false]);
  });
  it("is refused only where a contains within an alternative decides what is left over, or in a draft that reads contains otherwise", () => {
    expect(() => version(1, list({ anyOf: [{ contains: {} }, {}] }))).toThrow(/unevaluatedItems is not among/);
    expect(() => version(1, { $schema: DRAFT_2019, contains: {}, unevaluatedItems: false })).toThrow(
      /passes over what contains has found/,
    );
  });
});

describe("what is left over", () => {
  const self = { $ref: "#" };
  it.each<[string, JsonObject]>([
    ["of lists, by alternatives", { unevaluatedItems: false, anyOf: [self, self, { anyOf: [self] }] }],
    ["of members, by others", { unevaluatedProperties: false, dependentSchemas: { a: self, b: self } }],
    ["of members, by parts", { unevaluatedProperties: false, allOf: [self, self] }],
  ])("%s, in a schema that leads back to itself, is refused: the search for it always ends", (_, schema) => {
    expect(() => version(1, schema)).toThrow(/not among the keywords|refers to itself/);
  });
  it("of several large parts costs no more schemas than a form may have", () => {
    const properties = Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`m${i}`, {}]));
    const whole = { $ref: "#/$defs/big", properties: { more: {} }, unevaluatedProperties: false };
    const form = { $defs: { big: { properties } }, properties: { a: whole, b: whole, c: whole } };
    expect([check(form)({ a: { m1: 1, more: 2 } }), check(form)({ c: { less: 1 } })]).toEqual([true, false]);
  });
});

it("propertyNames that let any name through add nothing to a form, and keep no default from being filled in", () => {
  const form = (more: JsonObject) => ({
    type: "object",
    properties: { a: { type: "string", default: "none" } },
    required: ["a"],
    additionalProperties: false,
    ...more,
  });
  const before = { type: "object", properties: {}, additionalProperties: false };
  for (const propertyNames of [true, {}, { type: "string" }] as JsonValue[]) {
    expect(findings(form({}), form({ propertyNames }))).toEqual([]);
    if (propertyNames === true) expect(findings(before, form({ propertyNames }))).toEqual([]);
  }
  expect(findings({}, { propertyNames: true })).toEqual([]);
  expect(findings({}, { propertyNames: { maxLength: 3 } }).length).toBeGreaterThan(0);
});

it("the format regex is checked", () => {
  const fits = check({ properties: { r: { type: "string", format: "regex" } } });
  expect([fits({ r: "^a+$" }), fits({ r: "(" })]).toEqual([true, false]);
});
