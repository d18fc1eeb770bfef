import { describe, expect, it } from "vitest";
import type { JsonObject, JsonValue, PackedEvent } from "../../services/core/index.ts";
import { avroMismatches } from "../../services/gate/avro/compat.ts";
import { parseAvro } from "../../services/gate/avro/model.ts";
import { avroReader } from "../../services/gate/avro/resolve.ts";
import { checkCompatibility, createGate, type Reference, type SchemaVersion, schemaVersion } from "../../services/gate/index.ts";
import { isMultiple } from "../../services/gate/json/multiples.ts";
import { gateOf, packed as packedFor } from "../support/gate.ts";

/** What somebody who wanted to break the gate tried. Each of these once took minutes, crashed the gate, or was reported wrongly. */

const tributary = { entity: "thing", events: ["thing.noted"] };
const packed = (payload: string | Uint8Array, version = 1): PackedEvent =>
  packedFor({ subject: "thing", version }, payload, { type: "thing.noted", entity: "thing" });
const json = (
  text: JsonObject | boolean,
  references: Reference[] = [],
  version = 1,
  lookUp: (reference: Reference) => SchemaVersion | undefined = () => undefined,
): SchemaVersion => schemaVersion("thing", version, { kind: "json", text: JSON.stringify(text), references }, lookUp);
const backward = (old: JsonObject, now: JsonObject) => checkCompatibility(json(now, [], 2), [json(old)], "BACKWARD");
const nested = (depth: number, innermost: JsonValue, wrap: (inner: JsonValue) => JsonValue): JsonValue => {
  let out = innermost;
  for (let i = 0; i < depth; i++) out = wrap(out);
  return out;
};

describe("an event whose checking would double with each level", () => {
  it("of Avro is refused in time, whichever branch it fails in", () => {
    const gate = gateOf({
      type: "record",
      name: "N",
      fields: [
        { name: "next", type: ["null", "N"] },
        { name: "v", type: "int" },
      ],
    });
    const text = JSON.stringify(nested(25, { next: null, v: "x" }, (next) => ({ next, v: 1 })));
    expect(gate.admit(packed(text))).toMatchObject({
      ok: false,
      problem: { message: expect.stringContaining("must be a whole number") },
    });
    const two = gateOf({
      type: "record",
      name: "R",
      fields: [
        {
          name: "n",
          type: [
            "null",
            {
              type: "record",
              name: "A",
              fields: [
                {
                  name: "n",
                  type: [
                    "null",
                    "A",
                    {
                      type: "record",
                      name: "B",
                      fields: [
                        { name: "n", type: ["null", "A", "B"] },
                        { name: "b", type: "int" },
                      ],
                    },
                  ],
                },
              ],
            },
            "B",
          ],
        },
      ],
    });
    expect(two.admit(packed(JSON.stringify(nested(40, { x: 1 }, (n) => ({ n }))))).ok).toBe(false);
  });
  it("of JSON Schema is refused in time", () => {
    const gate = gateOf({
      $ref: "#/$defs/n",
      $defs: {
        n: {
          anyOf: [
            { properties: { next: { $ref: "#/$defs/n" } }, required: ["next", "a"] },
            { properties: { next: { $ref: "#/$defs/n" } }, required: ["next", "b"] },
          ],
        },
      },
    });
    expect(gate.admit(packed(JSON.stringify(nested(40, { x: 1 }, (next) => ({ next })))))).toMatchObject({
      ok: false,
      problem: { message: expect.stringContaining("deep") },
    });
  });
  it("with a list whose entries would each be compared with all others is refused in time", () => {
    const gate = gateOf({ properties: { list: { type: "array", uniqueItems: true } } });
    expect(gate.admit(packed(JSON.stringify({ list: Array.from({ length: 80_000 }, (_, i) => i) })))).toMatchObject({
      ok: false,
      problem: { message: expect.stringContaining("more than 2000 entries") },
    });
    expect(gate.admit(packed(JSON.stringify({ list: [1, 2, 3] }))).ok).toBe(true);
  });
});

describe("Avro data", () => {
  it("is never taken deeper than canonical JSON can be written", () => {
    const gate = gateOf({ type: "record", name: "N", fields: [{ name: "c", type: { type: "array", items: "N" } }] });
    const bytes = (depth: number): Uint8Array =>
      new Uint8Array([...Array<number>(depth).fill(2), ...Array<number>(depth + 1).fill(0)]);
    expect(gate.admit(packed(bytes(20))).ok).toBe(true);
    expect(gate.admit(packed(bytes(40)))).toMatchObject({ ok: false, problem: { code: "undecodable" } });
  });
  it("that left members to their defaults is read with them, by its own version and by others", () => {
    const first: JsonObject = {
      type: "record",
      name: "T",
      fields: [
        { name: "tags", type: { type: "array", items: "string" }, default: [] },
        { name: "r", type: { type: "record", name: "I", fields: [{ name: "a", type: "int", default: 1 }] }, default: {} },
      ],
    };
    const gate = gateOf(first, {
      ...first,
      fields: [...(first.fields as JsonValue[]), { name: "note", type: "string", default: "" }],
    });
    expect(gate.admit(packed("{}"))).toMatchObject({ ok: true });
    expect(gate.read({ subject: "thing", version: 1 }, {}, { thing: 1 }).data).toEqual({ tags: [], r: { a: 1 } });
    expect(gate.read({ subject: "thing", version: 1 }, {}).data).toEqual({ tags: [], r: { a: 1 }, note: "" });
    expect(gate.pack({ subject: "thing", version: 2 }, {}).data).toEqual({ tags: [], r: { a: 1 }, note: "" });
  });
  it("that is as deep as the gate takes is also read", () => {
    const fields: JsonValue[] = [
      { name: "next", type: ["null", "N"], default: null },
      { name: "v", type: "int" },
    ];
    const gate = gateOf(
      { type: "record", name: "N", fields },
      { type: "record", name: "N", fields: [...fields, { name: "w", type: "int", default: 0 }] },
    );
    const data = nested(45, { next: null, v: 1 }, (next) => ({ next, v: 1 })) as JsonObject;
    expect(gate.admit(packed(JSON.stringify(data)))).toMatchObject({ ok: true });
    expect(JSON.stringify(gate.read({ subject: "thing", version: 1 }, data).data).match(/"w":0/g)).toHaveLength(46);
  });
  it("is refused with a short message", () => {
    const gate = gateOf({
      type: "record",
      name: "R",
      fields: [
        {
          name: "u",
          type: Array.from({ length: 400 }, (_, i) => ({
            type: "enum",
            name: `E${i}`,
            symbols: Array.from({ length: 20 }, (_, k) => `SYMBOL_${i}_${k}`),
          })),
        },
      ],
    });
    const verdict = gate.admit(packed('{"u":"none"}'));
    expect(verdict.ok === false && verdict.problem.message.length).toBeLessThan(600);
  });
  it("counts members that take no bytes", () => {
    const gate = gateOf({
      type: "record",
      name: "R",
      fields: [
        {
          name: "l",
          type: {
            type: "array",
            items: {
              type: "record",
              name: "W",
              fields: Array.from({ length: 300 }, (_, i) => ({ name: `f${i}`, type: "null" })),
            },
          },
        },
      ],
    });
    // 20,000 items of 300 nothings in five bytes.
    expect(gate.admit(packed(new Uint8Array([0xc0, 0xb8, 0x02, 0x00])))).toMatchObject({
      ok: false,
      problem: { message: expect.stringContaining("items") },
    });
  });
});

describe("a schema", () => {
  const refused = (schema: JsonObject | boolean, expected: RegExp): void =>
    expect(() => json(schema)).toThrow(
      expect.objectContaining({ code: "schema-malformed", message: expect.stringMatching(expected) }),
    );
  it("that refers to a location without a schema is refused, with whatever it hides there", () => {
    refused({ $ref: "#/x-defs/p", "x-defs": { p: { pattern: "^(a+)+$" } } }, /leads nowhere/);
    refused({ $ref: "#/examples/0", examples: [{ $dynamicRef: "#x" }] }, /leads nowhere/);
  });
  it("with more members than can be checked is refused", () => {
    refused({ properties: Object.fromEntries(Array.from({ length: 1_500 }, (_, i) => [`p${i}`, {}])) }, /more than 1000 members/);
  });
  it("that would be compiled over and over is compiled only once", () => {
    const big = {
      properties: Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`q${i}`, { type: "string", maxLength: i }])),
    };
    expect(() =>
      json({
        properties: Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`p${i}`, { $ref: "#/$defs/big" }])),
        $defs: { big },
      }),
    ).not.toThrow();
  });
  it("whose values would be compared wrongly is refused", () => {
    refused({ enum: [{ valueOf: 1 }, 2] }, /named like a method/);
  });
  it("of Avro with a member that no object can have, a size beyond all bounds, or endless defaults is refused", () => {
    const record = (fields: JsonValue[]) => ({ type: "record", name: "R", fields }) as JsonObject;
    expect(() => parseAvro(record([{ name: "__proto__", type: "int" }]))).toThrow(/not an Avro name/);
    expect(() => parseAvro({ type: "fixed", name: "F", size: 2 ** 53 - 1 })).toThrow(/not a valid size/);
    let inner: JsonValue = { type: "record", name: "R0", fields: [{ name: "a", type: "int", default: 0 }] };
    for (let i = 1; i < 7; i++)
      inner = {
        type: "record",
        name: `R${i}`,
        fields: [
          { name: "f", type: inner, default: {} },
          ...Array.from({ length: 9 }, (_, k) => ({ name: `g${k}`, type: `R${i - 1}`, default: {} })),
        ],
      };
    expect(() => parseAvro(inner)).toThrow(/intricate/);
  });
});

describe("a document that is not a schema", () => {
  const refusal = (text: string): string => {
    try {
      schemaVersion("thing", 1, { kind: "json", text, references: [] }, () => undefined);
      return "taken";
    } catch (error) {
      return (error as { code?: string }).code ?? String(error);
    }
  };
  it("is refused by the standard's own schema of schemas", () => {
    for (const text of [
      "null",
      "5",
      '"x"',
      "[]",
      '{"$id":5}',
      '{"oneOf":[-1]}',
      '{"oneOf":[]}',
      '{"minItems":-1}',
      '{"maxLength":1.5}',
      '{"type":"texts"}',
      '{"required":"a"}',
      '{"properties":[]}',
      '{"pattern":5}',
      '{"dependentSchemas":5}',
      '{"if":null}',
      '{"$ref":5}',
      '{"$defs":{"a":1}}',
      '{"multipleOf":0}',
      '{"enum":5}',
    ])
      expect(refusal(text), text).toBe("schema-malformed");
    expect(refusal("true")).toBe("taken");
    expect(refusal('{"minItems":1}')).toBe("taken");
  });
  it("is refused for numbers beyond all bounds, on a device as well, even if its source is trusted", () => {
    for (const text of [
      '{"maxLength":1e400}',
      '{"maxLength":1e300}',
      '{"minItems":9007199254740993}',
      '{"multipleOf":1e300}',
      '{"multipleOf":5e-324}',
    ])
      expect(refusal(text), text).toBe("schema-malformed");
    expect(() =>
      schemaVersion("thing", 1, { kind: "json", text: "null", references: [] }, () => undefined, { trusted: true }),
    ).toThrow(/neither an object/);
  });
});

describe("references", () => {
  const lookUp =
    (versions: Record<string, SchemaVersion>) =>
    ({ subject, version }: Reference): SchemaVersion | undefined =>
      versions[`${subject}@${version}`];
  const common1 = schemaVersion("common", 1, { kind: "json", text: '{"type":"string"}', references: [] }, () => undefined);
  const common2 = schemaVersion("common", 2, { kind: "json", text: '{"type":"integer"}', references: [] }, () => undefined);
  const find = lookUp({ "common@1": common1, "common@2": common2 });
  const using = (version: number): Reference[] => [{ name: "common", subject: "common", version }];
  it("are part of what a schema says", () => {
    const text = { properties: { x: { $ref: "common" } } };
    const [one, two] = [json(text, using(1), 1, find), json(text, using(2), 2, find)];
    expect(one.fingerprint).not.toBe(two.fingerprint);
    expect(checkCompatibility(two, [one], "BACKWARD")).toMatchObject([
      { rule: "type", counterexample: { document: { x: expect.any(String) } } },
    ]);
  });
  it("lead where each schema says, even if two schemas use one name for different ones", () => {
    const a = schemaVersion("a", 1, { kind: "json", text: '{"$ref":"common"}', references: using(1) }, find);
    const b = schemaVersion("b", 1, { kind: "json", text: '{"$ref":"common"}', references: using(2) }, find);
    const both = lookUp({ "a@1": a, "b@1": b });
    const references: Reference[] = [
      { name: "a", subject: "a", version: 1 },
      { name: "b", subject: "b", version: 1 },
    ];
    const schema = json({ tributary, type: "object", properties: { a: { $ref: "a" }, b: { $ref: "b" } } }, references, 1, both);
    const gate = createGate({ subjects: () => ["thing"], versions: () => [schema] });
    const check = (data: JsonObject) => gate.check({ subject: "thing", version: 1 }, "thing.noted", "thing", data);
    expect(check({ a: "text", b: 1 })).toBeNull();
    expect(check({ a: "text", b: "text" })?.path).toBe("/b");
    expect(check({ a: 1, b: 1 })?.path).toBe("/a");
  });
});

describe("a comparison", () => {
  it("does not take as proved what was assumed while another alternative was tried", () => {
    const w = (name: string, x: string, b: JsonValue): JsonObject => ({
      type: "record",
      name,
      fields: [
        { name: "b", type: b },
        { name: "x", type: x },
      ],
    });
    const inner: JsonObject = { type: "record", name: "n1.B", fields: [{ name: "w", type: ["null", "n1.W"], default: null }] };
    const reader = parseAvro([w("n1.W", "string", inner), w("n2.W", "int", "n1.B")]);
    const writer = parseAvro(
      w("W", "int", { type: "record", name: "B", fields: [{ name: "w", type: ["null", "W"], default: null }] }),
    );
    const read = avroReader(reader, writer);
    const document = { b: { w: { b: { w: null }, x: 1 } }, x: 1 };
    const isRead = ((): boolean => {
      try {
        read(document);
        return true;
      } catch {
        return false;
      }
    })();
    expect(avroMismatches(reader, writer).length === 0).toBe(isRead);
  });
  it("decides types of many kinds that all lead back to themselves", () => {
    const kinds = (n: number, more: JsonValue[]): JsonValue => {
      const names = Array.from({ length: n }, (_, i) => `K${i}`);
      const fields = (i: number): JsonValue[] => [
        { name: "next", type: i === n - 1 ? ["null", ...names] : ["null", "Root"] },
        ...(i === n - 1 ? more : []),
      ];
      return {
        type: "record",
        name: "Root",
        fields: [{ name: "x", type: names.map((name, i) => ({ type: "record", name, fields: fields(i) })) }],
      };
    };
    const old = parseAvro(kinds(200, []));
    expect(avroMismatches(parseAvro(kinds(200, [{ name: "w", type: "int", default: 0 }])), old)).toEqual([]);
    expect(avroMismatches(parseAvro(kinds(200, [{ name: "w", type: "int" }])), old)[0]).toMatchObject({
      rule: "missing_union_branch",
    });
    const tree = (n: number, more: JsonObject): JsonObject => ({
      $ref: "#/$defs/node",
      $defs: {
        node: {
          oneOf: Array.from({ length: n }, (_, i) => ({
            type: "object",
            properties: {
              kind: { const: `k${i}` },
              kids: { type: "array", items: { $ref: "#/$defs/node" } },
              ...(i === 0 ? more : {}),
            },
            required: i === 0 && more.must !== undefined ? ["kind", "must"] : ["kind"],
            additionalProperties: false,
          })),
        },
      },
    });
    expect(backward(tree(8, {}), tree(8, { note: { type: "string" } }))).toEqual([]);
    expect(backward(tree(8, {}), tree(8, { must: { type: "string" } }))[0]).toMatchObject({ counterexample: expect.anything() });
  });
  it("ends, whatever the schemas hold", () => {
    const wide = (k: number, type: string): JsonValue => {
      let inner: JsonValue = { type: "record", name: "L0", fields: [{ name: "v", type }] };
      for (let i = 1; i <= k; i++)
        inner = {
          type: "record",
          name: `L${i}`,
          fields: [
            { name: "a", type: inner },
            { name: "b", type: `L${i - 1}` },
          ],
        };
      return inner;
    };
    expect(avroMismatches(parseAvro(wide(20, "int")), parseAvro(wide(20, "string"))).length).toBeGreaterThan(0);
    expect(backward({ type: "integer", minimum: 1e300, maximum: 1e300 }, { type: "integer", maximum: 5 }).length).toBeGreaterThan(
      0,
    );
    expect(backward({ type: "integer", minimum: 2 ** 53, maximum: 2 ** 53 + 2 }, { type: "string" }).length).toBeGreaterThan(0);
    const lists = nested(3, { type: "integer" }, (items) => ({ type: "array", minItems: 100, items })) as JsonObject;
    expect(backward(lists, { type: "string" }).length).toBeGreaterThan(0);
    expect(
      backward({ dependentSchemas: { "a/b": { required: ["c"] } } }, { dependentSchemas: { "a/b": { required: ["d"] } } }).length,
    ).toBeGreaterThan(0);
  });
  it("is right at the limits of numbers", () => {
    expect(backward({ type: "integer", exclusiveMinimum: 0.5 }, { type: "integer", exclusiveMinimum: 1 })).toMatchObject([
      { counterexample: { document: 1 } },
    ]);
    expect(backward({ type: "integer", exclusiveMaximum: 1.5 }, { type: "integer", exclusiveMaximum: 1 })).toMatchObject([
      { counterexample: { document: 1 } },
    ]);
    expect([
      isMultiple(1e21, 1),
      isMultiple(5e-324, 2),
      isMultiple(0.3, 0.1),
      isMultiple(1.7000000000000002, 0.01),
      isMultiple(12391239123, 1e-8),
      isMultiple(1e308, 0.123456789),
      isMultiple(-0, 3),
    ]).toEqual([true, false, true, false, true, false, true]);
    expect(json({ multipleOf: 0.01 })).toBeDefined();
    expect(
      gateOf({ properties: { n: { multipleOf: 0.1 } } }).check({ subject: "thing", version: 1 }, "thing.noted", "thing", {
        n: 0.25,
      })?.message,
    ).toBe("n 0.25 must be a multiple of 0.1");
  });
  it("knows names that every object has", () => {
    expect(
      backward(
        { type: "object", dependentRequired: { q: ["valueOf"] }, required: ["q"] },
        { type: "object", required: ["valueOf"] },
      ),
    ).toEqual([]);
    const gate = gateOf({ type: "object", dependentRequired: { q: ["valueOf"] } });
    expect(gate.check({ subject: "thing", version: 1 }, "thing.noted", "thing", { q: 1 })?.message).toBe(
      "valueOf is missing; it goes with q",
    );
  });
  it("promises only defaults that reading fills in", () => {
    const object = (properties: JsonObject, required: string[]): JsonObject => ({
      type: "object",
      properties,
      required,
      additionalProperties: false,
    });
    const [old, now] = [
      object({ a: { type: "string" } }, ["a"]),
      object({ a: { type: "string" }, b: { type: "string", default: "none" } }, ["a", "b"]),
    ];
    expect(backward({ type: "object", properties: { o: old } }, { type: "object", properties: { o: now } })).toEqual([]);
    for (const wrap of [
      (o: JsonObject): JsonObject => ({ anyOf: [o, { type: "null" }] }),
      (o: JsonObject): JsonObject => ({ allOf: [o] }),
    ]) {
      expect(
        backward({ type: "object", properties: { o: wrap(old) } }, { type: "object", properties: { o: wrap(now) } }).length,
      ).toBeGreaterThan(0);
    }
    const shared = (o: JsonObject): JsonObject => ({ $ref: "#/$defs/o", tributary, $comment: "root", $defs: { o } });
    expect(backward(shared(old), shared(now))).toEqual([]);
    const gate = gateOf(shared(old), shared(now));
    expect(gate.read({ subject: "thing", version: 1 }, { a: "x" }).data).toEqual({ a: "x", b: "none" });
  });
  it("is not led astray by a member named __proto__", () => {
    const gate = gateOf({ type: "object", properties: { status: { enum: ["new"] }, n: { type: "integer", default: 1 } } });
    const verdict = gate.admit(packed('{"__proto__":{"status":"evil"}}'));
    expect(verdict.ok).toBe(true);
    const { data } = gate.read({ subject: "thing", version: 1 }, verdict.ok ? verdict.data : {});
    expect(data.status).toBeUndefined();
    expect(Object.keys(data)).toEqual(["__proto__", "n"]);
  });
});

it("a list that is too short for its first positions must still contain what it must", () => {
  const gate = gateOf({
    properties: { list: { type: "array", prefixItems: [{}, { type: "string" }], contains: { type: "object", required: ["c"] } } },
  });
  const check = (list: JsonValue) =>
    gate.check({ subject: "thing", version: 1 }, "thing.noted", "thing", { list })?.message ?? "fits";
  expect([[], [{}], [{ c: 1 }], [1, "a"], [1, "a", { c: 1 }], [1, 2, { c: 1 }]].map(check)).toEqual([
    "list has too few or too many of the entries that it must have",
    "list has too few or too many of the entries that it must have",
    "fits",
    "list has too few or too many of the entries that it must have",
    "fits",
    "list.1 2 must be a text",
  ]);
});
