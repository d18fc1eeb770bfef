import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalize, type JsonObject, type JsonValue } from "../../services/core/index.ts";
import { avroDecoder } from "../../services/gate/avro/decode.ts";
import { type AvroRecord, parseAvro } from "../../services/gate/avro/model.ts";
import { avscType } from "../../services/gate/compiled.ts";
import { createGate } from "../../services/gate/index.ts";
import { loadSchemas } from "../../services/gate/node.ts";
import { generate } from "../data/generate.ts";
import { gateOf, packed } from "../support/gate.ts";
import { gate, SCHEMAS } from "../support/hub.ts";
import { runs } from "../support/runs.ts";
import { tempDir } from "../support/temp.ts";

const PERSON = '{"given_name":"Awɛŋ","registered_on":"2026-01-05","registration_no":"JUB-000001","sex":"female"}';
const handOut = {
  distribution_no: "D1",
  registration_no: "JUB-000001",
  item: "RICE",
  quantity: 5.5,
  unit: "KG",
  distributed_on: "2026-01-05",
};
const distribution = { subject: "distribution", version: 2 };
const asHandOut = { type: "distribution.recorded", entity: "distribution" };

describe("the gate", () => {
  it("takes what fits, and changes nothing on the way", () => {
    expect(gate.admit(packed({ subject: "beneficiary", version: 1 }, PERSON))).toEqual({
      ok: true,
      data: JSON.parse(PERSON),
      text: PERSON,
    });
  });
  it.each([
    ["an unknown subject", packed({ subject: "nothing", version: 1 }, "{}"), "schema-unknown"],
    ["an unknown version", packed({ subject: "beneficiary", version: 9 }, PERSON), "schema-unknown"],
    [
      "a type that the schema is not for",
      packed({ subject: "beneficiary", version: 1 }, PERSON, { type: "beneficiary.updated" }),
      "type-not-allowed",
    ],
    [
      "an entity that the schema is not about",
      packed({ subject: "beneficiary", version: 1 }, PERSON, { entity: "site" }),
      "entity-not-allowed",
    ],
    ["no JSON", packed({ subject: "beneficiary", version: 1 }, "{oops"), "not-json"],
    ["JSON that is not an object", packed({ subject: "beneficiary", version: 1 }, "[1]"), "not-json"],
    [
      "JSON in another order",
      packed({ subject: "beneficiary-update", version: 1 }, '{"village":"a","phone":null}'),
      "not-canonical",
    ],
    ["a missing field", packed({ subject: "beneficiary", version: 1 }, '{"given_name":"A"}'), "invalid"],
  ])("holds back %s, keeping its text for the chain", (_, event, code) => {
    const verdict = gate.admit(event);
    expect(verdict).toMatchObject({ ok: false, problem: { code }, text: new TextDecoder().decode(event.payload) });
  });
  it("has no text for Avro that it cannot decode, so the sender is asked for JSON", () => {
    expect(gate.admit(packed({ subject: "distribution", version: 9 }, new Uint8Array([1]), asHandOut))).toMatchObject({
      ok: false,
      text: null,
    });
    expect(gate.admit(packed(distribution, new Uint8Array([200, 1, 2]), asHandOut))).toMatchObject({
      ok: false,
      problem: { code: "undecodable" },
      text: null,
    });
  });
  it.each([
    [
      "beneficiary",
      { ...JSON.parse(PERSON), birth_date: "2019-02-30" },
      "birth_date '2019-02-30' is not a date; write YYYY-MM-DD",
      "/birth_date",
    ],
    ["beneficiary", { ...JSON.parse(PERSON), sex: "f" }, "sex 'f' is not one of female, male, other, unknown", "/sex"],
    [
      "beneficiary",
      { ...JSON.parse(PERSON), household_size: "many" },
      "household_size 'many' must be a whole number",
      "/household_size",
    ],
    ["beneficiary", { ...JSON.parse(PERSON), shoe: 44 }, "shoe is not a field of this form", null],
    ["beneficiary-update", {}, "nothing was filled in", null],
    ["distribution", { ...handOut, item: "XRICE" }, /^item 'XRICE' is not one of RICE, MAIZE/, "/item"],
    ["distribution", { ...handOut, quantity: "five" }, "quantity 'five' must be a number", "/quantity"],
    ["distribution", { ...handOut, shoe: 44 }, "shoe is not a field of this form", "/shoe"],
  ])("says of a %s what is wrong in words for a field officer", (subject, data, message, path) => {
    const { problem } = gate.pack({ subject, version: gate.newest(subject)!.version }, data as never);
    expect(problem).toMatchObject({
      code: "invalid",
      message: message instanceof RegExp ? expect.stringMatching(message) : message,
      path,
    });
  });
});

describe("Avro data", () => {
  it("travels as Avro and is admitted as the same text that was hashed", () => {
    const item = fc.record({
      ...Object.fromEntries(Object.entries(handOut).map(([name, value]) => [name, fc.constant(value)])),
      quantity: fc.double({ noNaN: true, noDefaultInfinity: true }),
      registration_no: fc.string(),
      voucher_no: fc.option(fc.string({ unit: "grapheme" })),
    });
    fc.assert(
      fc.property(item, (data) => {
        fc.pre(data.registration_no.isWellFormed() && (data.voucher_no?.isWellFormed() ?? true));
        const { text, problem } = gate.pack(distribution, data as never);
        expect(problem).toBeNull();
        const { encoding, payload } = gate.payload(distribution, text, true);
        expect(encoding).toBe("avro");
        expect(gate.admit({ ...packed(distribution, payload, asHandOut) })).toMatchObject({ ok: true, text });
      }),
    );
  });
  it("that does not fit travels as JSON, so that nothing of it is lost", () => {
    const { text } = gate.pack(distribution, { ...handOut, item: "XRICE" } as never);
    expect(gate.payload(distribution, text, true).encoding).toBe("json");
  });
  it("of hostile bytes is decided in bounded time", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(typeof gate.admit(packed(distribution, bytes, asHandOut)).ok).toBe("boolean");
      }),
      { numRuns: runs(500) },
    );
  });
  it("in Avro's binary form comes out as avsc reads it, with its canonical text", () => {
    const fields = [
      { name: "b", type: "string" },
      { name: "a", type: ["null", "long"] },
      { name: "e", type: { type: "enum", name: "E", symbols: ["X", "Y"] } },
      {
        name: "list",
        type: {
          type: "array",
          items: {
            type: "record",
            name: "P",
            fields: [
              { name: "z", type: "double" },
              { name: "y", type: "boolean" },
            ],
          },
        },
      },
      { name: "m", type: { type: "map", values: "float" } },
      { name: "i", type: "int" },
    ];
    const parts = [{ type: "record", name: "R", fields } as unknown as JsonValue];
    const type = avscType(parts);
    const decode = avroDecoder(parseAvro(parts[0]!) as AvroRecord);
    const value = fc.record({
      b: fc.string({ unit: "binary" }),
      // Beyond 2^52, avsc writes another number than it is given.
      a: fc.option(fc.integer({ min: -(2 ** 52), max: 2 ** 52 })),
      e: fc.constantFrom("X", "Y"),
      list: fc.array(fc.record({ z: fc.double({ noNaN: true, noDefaultInfinity: true }), y: fc.boolean() })),
      m: fc.dictionary(fc.string({ minLength: 1 }), fc.float({ noNaN: true, noDefaultInfinity: true })),
      i: fc.integer(),
    });
    fc.assert(
      fc.property(value, (given) => {
        const { data, text } = decode(type.toBuffer(given));
        expect(text).toBe(canonicalize(JSON.parse(JSON.stringify(given))));
        expect(canonicalize(data)).toBe(text);
      }),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          decode(bytes);
        } catch (error) {
          expect(error).toSatisfy((thrown: unknown) => thrown instanceof RangeError || thrown instanceof TypeError);
        }
      }),
      { numRuns: runs(500) },
    );
  });
  it("keeps whole numbers that JSON holds exactly, and travels as JSON where avsc would write another number", () => {
    const made = gateOf({
      type: "record",
      name: "N",
      fields: [
        { name: "n", type: "long" },
        { name: "f", type: "float", default: 0.1 },
      ],
    });
    const ref = { subject: "thing", version: 1 };
    for (const n of [0, -1, 2 ** 31, -(2 ** 52) - 1, 2 ** 53 - 1, -(2 ** 53) + 1]) {
      const { data, text, problem } = made.pack(ref, { n });
      expect([data, problem]).toEqual([{ n, f: Math.fround(0.1) }, null]);
      const sent = { ...packed(ref, text, { type: "thing.noted", entity: "thing" }), ...made.payload(ref, text, true) };
      expect(made.admit(sent)).toMatchObject({ ok: true, data, text });
    }
    expect(made.check(ref, "thing.noted", "thing", { n: 2 ** 53 })).toMatchObject({
      message: "n 9007199254740992 must be a whole number",
    });
  });
  it("of an older version is read as the newest shows it", () => {
    expect(gate.read({ subject: "distribution", version: 1 }, handOut)).toEqual({
      version: 2,
      data: { ...handOut, voucher_no: null },
    });
    expect(gate.read({ subject: "beneficiary", version: 1 }, { given_name: "A" })).toEqual({
      version: 2,
      data: { given_name: "A", consent: false },
    });
  });
});

describe("a schema file", () => {
  const load = (name: string, text: string) => {
    const dir = tempDir();
    mkdirSync(join(dir, "thing"));
    writeFileSync(join(dir, "thing", name), text);
    return createGate(loadSchemas(dir));
  };
  const tributary = { entity: "thing", events: ["thing.noted"] };
  it.each([
    ["that is not JSON", "v1.schema.json", "{", /not JSON/],
    ["whose annotations are incomplete", "v1.schema.json", '{"tributary":{"entity":"thing"}}', /tributary.*go together/],
    ["with an annotation that nobody knows", "v1.schema.json", '{"tributary":{"entitty":"thing"}}', /entitty/],
    ["with a misspelt keyword", "v1.schema.json", JSON.stringify({ tributary, requierd: ["a"] }), /requierd/],
    ["of another dialect", "v1.schema.json", '{"$schema":"http://json-schema.org/draft-04/schema#"}', /dialect/],
    ["with a format that cannot be checked correctly", "v1.schema.json", '{"format":"hostname"}', /hostname/],
    ["that refers to nothing", "v1.schema.json", '{"$ref":"#/$defs/none"}', /leads nowhere/],
    ["that refers to itself for ever", "v1.schema.json", '{"$ref":"#"}', /refers to itself/],
    ["that is too large", "v1.schema.json", JSON.stringify({ description: "x".repeat(300_000) }), /more than/],
    ["that nests without end", "v1.schema.json", `${'{"not":'.repeat(200)}{}${"}".repeat(200)}`, /nests more than/],
    ["with a gap before its version", "v2.schema.json", JSON.stringify({ tributary }), /version 1 is missing/],
    ["with a strange name", "first.json", "{}", /named v1/],
    ["that is not Avro", "v1.avsc", JSON.stringify({ tributary, type: "recrod", name: "X" }), /not an Avro schema/],
    [
      "with bytes, which JSON cannot hold",
      "v1.avsc",
      JSON.stringify({ tributary, type: "record", name: "X", fields: [{ name: "b", type: "bytes" }] }),
      /bytes/,
    ],
  ])("%s is refused by name", (_, name, text, expected) => {
    expect(() => load(name, text)).toThrow(
      expect.objectContaining({ code: "schema-malformed", message: expect.stringMatching(expected) }),
    );
  });
  it("with items that take no bytes counts a bounded number of them, whatever an attacker's few bytes announce", () => {
    const made = load(
      "v1.avsc",
      JSON.stringify({ tributary, type: "record", name: "X", fields: [{ name: "n", type: { type: "array", items: "null" } }] }),
    );
    const claim = (count: number[]) =>
      made.admit(
        packed({ subject: "thing", version: 1 }, new Uint8Array([...count, 0]), { type: "thing.noted", entity: "thing" }),
      );
    expect(claim([4])).toMatchObject({ ok: true, data: { n: [null, null] } });
    expect(claim([0xfe, 0xff, 0xff, 0xff, 0x0f])).toMatchObject({
      ok: false,
      problem: { code: "undecodable", message: expect.stringMatching(/more than \d+ items/) },
    });
  });
  it("may refer to another subject's, at a version", () => {
    const dir = tempDir();
    const write = (subject: string, name: string, schema: unknown) => {
      mkdirSync(join(dir, subject), { recursive: true });
      writeFileSync(join(dir, subject, name), JSON.stringify(schema));
    };
    write("phone", "v1.schema.json", { type: "string", pattern: "^\\+[0-9]{7,15}$" });
    write("contact", "v1.schema.json", {
      tributary: { entity: "contact", events: ["contact.noted"], references: [{ name: "phone", subject: "phone", version: 1 }] },
      type: "object",
      properties: { phone: { $ref: "phone" } },
      additionalProperties: false,
    });
    write("place", "v1.avsc", { type: "record", name: "relief.Place", fields: [{ name: "lat", type: "double" }] });
    write("visit", "v1.avsc", {
      tributary: {
        entity: "visit",
        events: ["visit.made"],
        references: [{ name: "relief.Place", subject: "place", version: 1 }],
      },
      type: "record",
      name: "relief.Visit",
      fields: [{ name: "at", type: "relief.Place" }],
    });
    const made = createGate(loadSchemas(dir));
    expect(made.check({ subject: "contact", version: 1 }, "contact.noted", "contact", { phone: "+254712345678" })).toBeNull();
    expect(made.check({ subject: "contact", version: 1 }, "contact.noted", "contact", { phone: "0712" })?.message).toMatch(
      /phone '0712'/,
    );
    const text = made.pack({ subject: "visit", version: 1 }, { at: { lat: 1.5 } }).text;
    const sent = made.payload({ subject: "visit", version: 1 }, text, true);
    expect(sent.encoding).toBe("avro");
    expect(
      made.admit(packed({ subject: "visit", version: 1 }, sent.payload as Uint8Array, { type: "visit.made", entity: "visit" })),
    ).toMatchObject({ ok: true, text });
  });
  it("that compares whole values is not fooled by members named like an object's methods", () => {
    const made = load(
      "v1.schema.json",
      JSON.stringify({ tributary, properties: { list: { type: "array", uniqueItems: true } } }),
    );
    const admit = (text: string) =>
      made.admit(packed({ subject: "thing", version: 1 }, text, { type: "thing.noted", entity: "thing" }));
    expect(admit('{"list":[{"valueOf":1},{"valueOf":1}]}')).toMatchObject({
      ok: false,
      problem: { message: "list.0.valueOf has a name that no field may have" },
    });
    expect(admit('{"list":[{"constructor":1},{"constructor":1}]}')).toMatchObject({ ok: false });
    expect(admit('{"list":[{"a":1},{"a":1}]}')).toMatchObject({
      ok: false,
      problem: { message: "list has the same entry twice" },
    });
    expect(admit('{"list":[{"a":1},{"a":2}]}')).toMatchObject({ ok: true });
  });
  it("of Avro names a member that nobody knows, however deep it stands", () => {
    const made = load(
      "v1.avsc",
      JSON.stringify({
        tributary,
        type: "record",
        name: "X",
        fields: [{ name: "at", type: ["null", { type: "record", name: "P", fields: [{ name: "lat", type: "double" }] }] }],
      }),
    );
    const check = (data: JsonObject) => made.check({ subject: "thing", version: 1 }, "thing.noted", "thing", data);
    expect(check({ at: { lat: 1 } })).toBeNull();
    expect(check({ at: null })).toBeNull();
    expect(check({ at: { lat: 1, alt: 5 } })).toMatchObject({ message: "at.alt is not a field of this form", path: "/at/alt" });
    expect(check({ at: { lat: "north" } })?.message).toBe("at.lat 'north' must be a number");
  });
  it("of this project loads, and its subjects have the versions that the README names", () => {
    const store = loadSchemas(SCHEMAS);
    expect(Object.fromEntries(store.subjects().map((subject) => [subject, store.versions(subject).length]))).toEqual({
      assessment: 1,
      beneficiary: 2,
      "beneficiary-removal": 1,
      "beneficiary-update": 1,
      "case-acceptance": 1,
      "case-assignment": 1,
      "case-comment": 1,
      "conflict-resolution": 1,
      distribution: 2,
      policy: 1,
      "policy-removal": 1,
      "quarantine-rejection": 1,
      "quarantine-release": 1,
      "replica-purge": 1,
      "schema-change": 1,
      "schema-registration": 1,
      site: 1,
      "site-roles": 1,
      "stock-movement": 1,
    });
  });
});

it("the sample data are what their generator writes, at least 3,000 rows, with one bad date and one unknown code", () => {
  const dir = join(import.meta.dirname, "../data");
  const files = generate();
  for (const [path, text] of Object.entries(files))
    expect(readFileSync(join(dir, path), "utf8") === text, `${path} is not what test/data/generate.ts writes`).toBe(true);
  expect(readdirSync(dir, { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".csv"))).toHaveLength(
    Object.keys(files).length,
  );
  const all = Object.values(files).join("");
  expect(all.match(/2019-02-30/g)).toHaveLength(1);
  expect(all.match(/XRICE/g)).toHaveLength(1);
});
