import { describe, expect, it } from "vitest";
import type { JsonValue } from "../../services/core/index.ts";
import { normalAvro } from "../../services/gate/avro/normal.ts";
import { compile } from "../../services/gate/compiled.ts";
import { checkCompatibility, type SchemaVersion, schemaVersion } from "../../services/gate/index.ts";
import { normalised } from "../../services/gate/registry/content.ts";

const avro = (number: number, schema: JsonValue): SchemaVersion =>
  schemaVersion("transfer", number, { kind: "avro", text: JSON.stringify(schema), references: [] }, () => undefined);
const transfer = (type: JsonValue) => ({ type: "record", name: "relief.Transfer", fields: [{ name: "at", type }] });
const time = (type: string, logicalType: string, more: object = {}) => ({ type, logicalType, ...more }) as JsonValue;
const findings = (before: JsonValue, after: JsonValue) =>
  checkCompatibility(avro(2, transfer(after)), [avro(1, transfer(before))], "FULL_TRANSITIVE");

describe("a change of what an Avro number means", () => {
  it.each<[string, JsonValue, JsonValue]>([
    ["milliseconds to microseconds", time("long", "timestamp-millis"), time("long", "timestamp-micros")],
    ["a moment to a local time", time("long", "timestamp-millis"), time("long", "local-timestamp-millis")],
    [
      "milliseconds to microseconds in a list",
      { type: "array", items: time("int", "time-millis") },
      {
        type: "array",
        items: time("long", "time-micros"),
      },
    ],
    [
      "milliseconds to microseconds where the value may be empty",
      ["null", time("long", "timestamp-millis")],
      ["null", time("long", "timestamp-micros")],
    ],
    [
      "the digits of a decimal",
      time("bytes", "decimal", { precision: 9, scale: 2 }),
      time("bytes", "decimal", { precision: 9, scale: 3 }),
    ],
    [
      "the digits of a decimal of fixed size",
      { type: "fixed", name: "D", size: 4, logicalType: "decimal", precision: 9, scale: 2 },
      { type: "fixed", name: "D", size: 4, logicalType: "decimal", precision: 9 },
    ],
  ])("%s is refused both ways, with a document that shows it", (_, before, after) => {
    const found = findings(before, after);
    expect(found.map(({ direction }) => direction)).toEqual(expect.arrayContaining(["backward"]));
    expect(found.every(({ rule }) => ["logical_type_mismatch", "missing_union_branch", "type_mismatch"].includes(rule))).toBe(
      true,
    );
    expect(found.every(({ counterexample }) => counterexample !== null)).toBe(true);
    expect(findings(after, before).length).toBeGreaterThan(0);
  });

  it.each<[string, JsonValue, JsonValue]>([
    ["the same, written differently", time("long", "timestamp-millis"), { logicalType: "timestamp-millis", type: "long" }],
    ["a number that now says what it means", "long", time("long", "timestamp-millis")],
    ["a logical type that Avro does not know", time("long", "age-of-the-moon"), time("long", "hours")],
    ["a logical type on a type that it is not for", time("int", "timestamp-millis"), time("int", "timestamp-micros")],
  ])("%s is not a change", (_, before, after) => {
    expect(findings(before, after)).toEqual([]);
  });

  it("is refused by the reader as well: no value is ever read a thousand times too large", () => {
    const [before, after] = ["timestamp-millis", "timestamp-micros"].map((unit, i) => avro(i + 1, transfer(time("long", unit))));
    expect(before!.fingerprint).toBe(after!.fingerprint);
    const [old, now] = [compile(before!), compile(after!)];
    expect(() => now.readFrom(old, { at: 1 })).toThrow(/timestamp-millis.*cannot be read as.*timestamp-micros/);
    expect(now.readFrom(now, { at: 1 })).toEqual({ at: 1 });
  });
});

it.each(["int", "relief.string", "null"])("an Avro type may not be called %s, which is a primitive type", (name) => {
  expect(() => avro(1, { type: "record", name, fields: [] })).toThrow(/is the name of a primitive type; choose another name/);
  expect(() => avro(1, { type: "enum", name, symbols: ["A"] })).toThrow(/choose another name/);
});

describe("the normal form of an Avro schema", () => {
  it("has full names in place of namespaces, names in place of objects that hold only a type, and all that the schema says", () => {
    expect(
      normalAvro({
        type: "record",
        name: "Outer",
        namespace: "relief",
        doc: "kept",
        aliases: ["Old"],
        fields: [
          { name: "k", type: { type: "enum", name: "Kind", symbols: ["A"] }, default: "A" },
          { name: "again", type: ["null", "Kind", { type: "string" }] },
          { name: "at", type: { type: "long", logicalType: "timestamp-millis" } },
          { name: "more", type: { type: "array", items: { type: "Outer" } } },
        ],
      }),
    ).toEqual({
      type: "record",
      name: "relief.Outer",
      doc: "kept",
      aliases: ["relief.Old"],
      fields: [
        { name: "k", type: { type: "enum", name: "relief.Kind", symbols: ["A"] }, default: "A" },
        { name: "again", type: ["null", "relief.Kind", "string"] },
        { name: "at", type: { type: "long", logicalType: "timestamp-millis" } },
        { name: "more", type: { type: "array", items: "relief.Outer" } },
      ],
    });
  });
  it("means the same, and is its own normal form", () => {
    const text = JSON.stringify({ namespace: "a", name: "R", type: "record", fields: [{ type: { type: "int" }, name: "n" }] });
    const normal = normalised({ kind: "avro", text, references: [] });
    const at = (each: string) => schemaVersion("r", 1, { kind: "avro", text: each, references: [] }, () => undefined);
    expect(at(normal.text).fingerprint).toBe(at(text).fingerprint);
    expect(normalised(normal)).toEqual(normal);
  });
  it("leaves alone a text that is not a schema", () => {
    expect(normalised({ kind: "avro", text: "{", references: [] }).text).toBe("{");
  });
});
