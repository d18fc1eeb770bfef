import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JsonObject } from "../../services/core/index.ts";
import { checkCompatibility, type Level } from "../../services/gate/compatibility.ts";
import { compile } from "../../services/gate/compiled.ts";
import { viewOf } from "../../services/gate/json/document.ts";
import { explicit } from "../../services/gate/json/unevaluated.ts";
import { oracle } from "../../services/gate/json/validator.ts";
import { schemaVersion } from "../../services/gate/schema.ts";
import { evaluate, value, written } from "../support/evaluated.ts";
import { atLeast, runs } from "../support/runs.ts";
import { isTaken } from "../support/schemas.ts";

/** Forms that say with `unevaluatedProperties` and `unevaluatedItems` what is left over, beside alternatives that name members. */

const version = (n: number, schema: JsonObject) =>
  schemaVersion("visit", n, { kind: "json", text: JSON.stringify(schema), references: [] }, () => undefined);
const findings = (before: JsonObject, after: JsonObject, level: Level) =>
  checkCompatibility(version(2, after), [version(1, before)], level);
type Verdict = "fits" | "breaks" | "doubt";
/** `breaks`: each finding has a document that shows it; `doubt`: some finding has none. */
const verdict = (before: JsonObject, after: JsonObject, level: Level): Verdict => {
  const found = findings(before, after, level);
  return found.length === 0 ? "fits" : found.every(({ counterexample }) => counterexample !== null) ? "breaks" : "doubt";
};

const text = { type: "string" };
const count = { type: "integer" };
const closed = { unevaluatedProperties: false };
const object = (properties: JsonObject, more: JsonObject = {}): JsonObject => ({ type: "object", properties, ...more });
/** A visit of one of several kinds, each with members of its own. */
const kinds = (common: JsonObject, own: Record<string, JsonObject>, keyword = "oneOf"): JsonObject =>
  object(
    { kind: { enum: Object.keys(own) }, ...common },
    {
      required: ["kind"],
      [keyword]: Object.entries(own).map(([kind, properties]) => ({ properties: { kind: { const: kind }, ...properties } })),
      ...closed,
    },
  );
const base = { no: text };
const when = (then: JsonObject, otherwise: JsonObject, common: JsonObject = base): JsonObject =>
  object(
    { ...common, urgent: { type: "boolean" } },
    { if: { properties: { urgent: { const: true } }, required: ["urgent"] }, then, else: otherwise, ...closed },
  );
const goesWith = (properties: JsonObject): JsonObject => object(base, { dependentSchemas: { no: { properties } }, ...closed });
const parts = (...all: JsonObject[]): JsonObject => ({
  $defs: Object.fromEntries(all.map((each, i) => [`p${i}`, { properties: each }])),
  type: "object",
  allOf: all.map((_, i) => ({ $ref: `#/$defs/p${i}` })),
  ...closed,
});
const list = (more: JsonObject): JsonObject => object({ marks: { type: "array", ...more } }, { additionalProperties: false });
const pair = { prefixItems: [count, count] };
const single = { prefixItems: [text] };

describe("a form that names members in alternatives, and no others", () => {
  const two = kinds(base, { home: { rooms: count }, clinic: { beds: count } });
  it.each<[string, JsonObject, JsonObject, Verdict, Verdict]>([
    // Each row: what changes, before, after, whether the new version reads old data, whether the old version reads new data.
    [
      "takes another optional member for all",
      two,
      kinds({ ...base, note: text }, { home: { rooms: count }, clinic: { beds: count } }),
      "fits",
      "fits",
    ],
    [
      "takes another optional member for one of the kinds",
      two,
      kinds(base, { home: { rooms: count, roof: text }, clinic: { beds: count } }),
      "fits",
      "fits",
    ],
    [
      "may be written with anyOf as well",
      two,
      kinds(base, { home: { rooms: count }, clinic: { beds: count } }, "anyOf"),
      "fits",
      "fits",
    ],
    [
      "gives a member of all to one kind only",
      kinds({ ...base, rooms: count }, { home: {}, clinic: {} }),
      kinds(base, { home: { rooms: count }, clinic: {} }),
      "breaks",
      "fits",
    ],
    [
      "takes another kind",
      two,
      kinds(base, { home: { rooms: count }, clinic: { beds: count }, school: { rooms: count } }),
      "fits",
      "breaks",
    ],
    [
      "no longer knows a member at all",
      kinds(base, { home: { rooms: count }, clinic: { beds: count } }),
      kinds(base, { home: {}, clinic: { beds: count } }),
      "fits",
      "fits",
    ],
    [
      "changes the type of a kind's member",
      two,
      kinds(base, { home: { rooms: text }, clinic: { beds: count } }),
      "breaks",
      "breaks",
    ],
    [
      "has five kinds and another member",
      kinds(base, { a: { a1: count }, b: { b1: count }, c: { c1: count }, d: { d1: count }, e: { e1: count } }),
      kinds(
        { ...base, note: text },
        { a: { a1: count }, b: { b1: count }, c: { c1: count }, d: { d1: count }, e: { e1: count } },
      ),
      "fits",
      "fits",
    ],
    [
      "has members by if and then, and takes another",
      when({ properties: { by: text } }, {}),
      when({ properties: { by: text } }, {}, { ...base, note: text }),
      "fits",
      "fits",
    ],
    [
      "takes another member where the if holds",
      when({ properties: { by: text } }, {}),
      when({ properties: { by: text, at: text } }, {}),
      "fits",
      "fits",
    ],
    [
      "takes a member in the other case",
      when({ properties: { by: text } }, {}),
      when({}, { properties: { by: text } }),
      "breaks",
      "breaks",
    ],
    [
      "has members that go with another, and takes one more",
      goesWith({ by: text }),
      goesWith({ by: text, at: text }),
      "fits",
      "fits",
    ],
    [
      "takes a member by itself that went with another",
      goesWith({ by: text }),
      object({ ...base, by: text }, closed),
      "fits",
      "breaks",
    ],
    [
      "is put together of two parts, and takes a third",
      parts(base, { by: text }),
      parts(base, { by: text }, { at: text }),
      "fits",
      "fits",
    ],
  ])("%s", (_, before, after, backward, forward) => {
    expect([verdict(before, after, "BACKWARD"), verdict(before, after, "FORWARD")]).toEqual([backward, forward]);
  });

  it.each<[string, JsonObject, JsonObject]>([
    ["parts that are put together", parts(base, { by: text }), object({ ...base, by: text }, { additionalProperties: false })],
    [
      "alternatives that name nothing",
      object({ a: text, b: text }, { anyOf: [{ required: ["a"] }, { required: ["b"] }], ...closed }),
      object({ a: text, b: text }, { anyOf: [{ required: ["a"] }, { required: ["b"] }], additionalProperties: false }),
    ],
    [
      "alternatives that all name the same",
      object(
        {},
        { required: ["a"], oneOf: [{ properties: { a: { const: 1 } } }, { properties: { a: { const: 2 } } }], ...closed },
      ),
      object({ a: { enum: [1, 2] } }, { required: ["a"], additionalProperties: false }),
    ],
    [
      "a member that comes by itself or with another",
      object({ a: text }, { dependentSchemas: { a: { properties: { b: text } } }, ...closed }),
      object({ a: text, b: text }, { dependentRequired: { b: ["a"] }, additionalProperties: false }),
    ],
  ])("compares as one with the closed form that says the same: %s", (_, before, after) => {
    expect([findings(before, after, "FULL"), findings(after, before, "FULL")]).toEqual([[], []]);
  });

  it("may name them by patterns that match nothing named elsewhere", () => {
    const apart = (more: JsonObject) =>
      object(more, { anyOf: [{ patternProperties: { "^x_": count } }, { required: ["no"] }], ...closed });
    expect(verdict(apart(base), apart({ ...base, note: text }), "FULL")).toBe("fits");
  });
});

describe("a form whose alternatives name members by patterns that match what is named elsewhere as well", () => {
  const pattern = { patternProperties: { "^x_": count } };
  const named = object({ x_note: text }, closed);
  it.each<[string, JsonObject]>([
    ["a member named for all, with anyOf", { ...named, anyOf: [pattern, {}] }],
    ["a member named for all, with oneOf", { ...named, oneOf: [pattern, { required: ["no"] }] }],
    ["a member named for all, with if", when(pattern, {}, { x_note: text })],
    ["a member named for all, with dependentSchemas", { ...named, dependentSchemas: { x_note: pattern } }],
    ["a member named for all, in a part", { ...named, $ref: "#/$defs/either" }],
    ["a pattern for all", object({}, { patternProperties: { "^x": text }, anyOf: [pattern, {}], ...closed })],
    ["a pattern of another alternative", object({}, { anyOf: [pattern, { patternProperties: { s$: count } }], ...closed })],
    ["a member of another alternative", object({}, { anyOf: [pattern, { properties: { x_note: text } }], ...closed })],
    ["what is left over fits a schema", { ...named, anyOf: [pattern, {}], unevaluatedProperties: text }],
  ])("is refused when it is registered, with what to write instead: %s", (_, form) => {
    const $defs = { either: { anyOf: [pattern, {}] } };
    for (const each of [form, object({ inner: form }, { additionalProperties: false })])
      expect(() => version(1, { $defs, ...each })).toThrow(
        expect.objectContaining({
          code: "schema-malformed",
          message: expect.stringMatching(/unevaluatedProperties: .*which members are left over/),
          hint: expect.stringContaining("under properties instead of patternProperties"),
        }),
      );
  });

  it("is validated as the standard says once it is written as the hint says", () => {
    const form: JsonObject = { ...named, anyOf: [{ properties: { x_a: count, x_note: count } }, {}] };
    const compiled = compile(version(1, form));
    const data: JsonObject[] = [{ x_note: "t" }, { x_a: 1 }, { x_note: "t", x_a: 1 }, { x_b: 1 }];
    expect(data.map((each) => compiled.check(each) === null)).toEqual([true, true, false, false]);
  });

  it("is taken where nothing is left over to be checked", () => {
    const form = { ...named, anyOf: [pattern, {}], unevaluatedProperties: true };
    expect(compile(version(1, form)).check({ x_note: "t", x_a: 1, other: 2 })).toBeNull();
  });
});

describe("a list that names its items in alternatives", () => {
  const either = { anyOf: [pair, single] };
  it.each<[string, JsonObject, JsonObject, Verdict, Verdict]>([
    [
      "takes any text behind them",
      { ...either, unevaluatedItems: false },
      { ...either, unevaluatedItems: text },
      "fits",
      "breaks",
    ],
    [
      "says the same with alternatives in another order",
      { anyOf: [single, pair], unevaluatedItems: false },
      { ...either, unevaluatedItems: false },
      "fits",
      "fits",
    ],
    [
      "has longer alternatives",
      { ...either, unevaluatedItems: false },
      { anyOf: [{ prefixItems: [count, count, count] }, single], unevaluatedItems: false },
      "fits",
      "breaks",
    ],
    [
      "says what its items are by what it contains",
      { contains: text, unevaluatedItems: count },
      { contains: text, items: { anyOf: [count, text] } },
      "fits",
      "fits",
    ],
  ])("%s", (_, before, after, backward, forward) => {
    const [a, b] = [list(before), list(after)];
    expect([verdict(a, b, "BACKWARD"), verdict(a, b, "FORWARD")]).toEqual([backward, forward]);
  });
});

describe("what is left over", () => {
  it("means what the standard says, whatever decides it", () => {
    let [taken, fitting] = [0, 0];
    fc.assert(
      fc.property(written, fc.array(value, { minLength: 20, maxLength: 30 }), (root, values) => {
        const doc = explicit({ root, references: new Map() });
        fc.pre(isTaken(doc));
        taken++;
        const ask = oracle();
        for (const each of values) {
          const isFitting = evaluate(root, each) !== null;
          if (isFitting) fitting++;
          expect(ask(viewOf(doc), each), JSON.stringify([root, each])).toBe(isFitting);
        }
      }),
      { numRuns: runs(300) },
    );
    expect(taken).toBeGreaterThan(atLeast(100));
    expect(fitting).toBeGreaterThan(atLeast(100));
  });
});
