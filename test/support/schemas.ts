import fc from "fast-check";
import type { JsonValue } from "../../services/core/index.ts";
import { refusals } from "../../services/gate/json/dialect.ts";
import type { Document, Schema } from "../../services/gate/json/document.ts";
import { explicit } from "../../services/gate/json/unevaluated.ts";
import { compileDocument } from "../../services/gate/json/validator.ts";

const small = fc.integer({ min: 0, max: 4 });
const NAMES = ["a", "b", "c", "ab"] as const;
const names = fc.uniqueArray(fc.constantFrom(...NAMES), { maxLength: 3 });
const literal: fc.Arbitrary<JsonValue> = fc.constantFrom<JsonValue>(
  null,
  true,
  false,
  0,
  1,
  2,
  3.5,
  "",
  "a",
  "ab",
  "abc",
  [],
  [1],
  {},
  { a: 1 },
);

/** Schemas of everything that the comparison knows, small enough that edges are met. */
const { schema } = fc.letrec<{ schema: Schema; plain: Schema }>((tie) => {
  const sub = tie("schema") as fc.Arbitrary<Schema>;
  const some = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 });
  const string = fc.record({
    type: fc.constant("string"),
    minLength: some(small),
    maxLength: some(small),
    pattern: some(fc.constantFrom("^a", "b$", "^[a-c]+$")),
  });
  const number = fc.record({
    type: fc.constantFrom("integer", "number"),
    minimum: some(small),
    maximum: some(small),
    exclusiveMinimum: some(small),
    exclusiveMaximum: some(small),
    multipleOf: some(fc.constantFrom(1, 2, 3, 0.5)),
  });
  const left = fc.oneof({ weight: 3, arbitrary: fc.constant<Schema>(false) }, { weight: 1, arbitrary: sub });
  const array = fc.record({
    type: fc.constant("array"),
    items: some(sub),
    prefixItems: some(fc.array(sub, { minLength: 1, maxLength: 2 })),
    minItems: some(small),
    maxItems: some(small),
    uniqueItems: some(fc.boolean()),
    contains: some(sub),
    unevaluatedItems: some(left),
  });
  const object = fc.record({
    type: fc.constant("object"),
    properties: some(fc.dictionary(fc.constantFrom(...NAMES), sub, { maxKeys: 3 })),
    required: some(names),
    additionalProperties: some(fc.oneof(fc.constant<Schema>(false), sub)),
    patternProperties: some(fc.dictionary(fc.constantFrom("^a", "b$"), sub, { maxKeys: 1 })),
    minProperties: some(small),
    maxProperties: some(small),
    propertyNames: some(fc.record({ maxLength: small })),
    dependentRequired: some(fc.dictionary(fc.constantFrom(...NAMES), names, { maxKeys: 1 })),
    dependentSchemas: some(fc.dictionary(fc.constantFrom(...NAMES), sub, { maxKeys: 1 })),
    unevaluatedProperties: some(left),
  });
  const choice = fc.oneof(
    fc.record({ enum: fc.uniqueArray(literal, { minLength: 1, maxLength: 4, selector: (value) => JSON.stringify(value) }) }),
    fc.record({ const: literal }),
    fc.record({ type: fc.uniqueArray(fc.constantFrom("string", "null", "integer", "boolean"), { minLength: 1, maxLength: 3 }) }),
    fc.constantFrom<Schema>(true, {}),
  );
  const combined = fc.oneof(
    fc.record({ allOf: fc.array(sub, { minLength: 1, maxLength: 2 }) }),
    fc.record({ anyOf: fc.array(sub, { minLength: 1, maxLength: 3 }) }),
    fc.record({ oneOf: fc.array(sub, { minLength: 1, maxLength: 2 }) }),
    fc.record({ not: sub }),
    // biome-ignore lint/suspicious/noThenProperty: it is JSON Schema's keyword
    fc.record({ if: sub, then: sub, else: sub }),
    fc.constant<Schema>({ $ref: "#/$defs/leaf" }),
  );
  /** Alternatives with members or items of their own, and what is left over of them. */
  const part = fc.oneof(object, array, sub);
  const closed = fc
    .record({
      type: some(fc.constantFrom("object", "array")),
      properties: some(fc.dictionary(fc.constantFrom(...NAMES), sub, { maxKeys: 2 })),
      anyOf: some(fc.array(part, { minLength: 1, maxLength: 2 })),
      oneOf: some(fc.array(part, { minLength: 1, maxLength: 2 })),
      allOf: some(fc.array(part, { minLength: 1, maxLength: 2 })),
      when: some(fc.tuple(part, part)),
      unevaluatedProperties: some(left),
      unevaluatedItems: some(left),
    })
    .map(({ when, ...rest }) => {
      if (when == null) return rest;
      const [condition, then] = when;
      return { ...rest, if: condition, then };
    });
  const clean = (arbitrary: fc.Arbitrary<unknown>): fc.Arbitrary<Schema> =>
    arbitrary.map((value) => JSON.parse(JSON.stringify(value)) as Schema);
  return {
    plain: clean(fc.oneof(string, number, choice)),
    schema: clean(fc.oneof({ maxDepth: 3, depthSize: "small" }, tie("plain"), object, array, combined, closed)),
  };
});

export const document = fc.tuple(schema, schema).map(([root, leaf]): Document => {
  const top = typeof root === "boolean" ? { allOf: [root] } : root;
  return explicit({ root: { ...top, $defs: { leaf: withoutRefs(leaf) as Schema } }, references: new Map() });
});
/** Whether a document is one that the gate takes. */
export function isTaken(doc: Document): boolean {
  if (refusals(doc).length > 0) return false;
  try {
    compileDocument(doc);
    return true;
  } catch {
    return false;
  }
}
const withoutRefs = (value: unknown): unknown =>
  Array.isArray(value)
    ? value.map(withoutRefs)
    : typeof value === "object" && value !== null
      ? "$ref" in value
        ? { type: "string" }
        : Object.fromEntries(Object.entries(value).map(([key, each]) => [key, withoutRefs(each)]))
      : value;

/** A change such as people make: a keyword is taken away, or replaced by one of another schema. */
const changed = fc.tuple(document, document, fc.nat(), fc.boolean()).map(([before, other, at, drop]): [Document, Document] => {
  const keywords = Object.keys(before.root as object).filter((keyword) => keyword !== "$defs");
  if (keywords.length === 0) return [before, other];
  const keyword = keywords[at % keywords.length]!;
  const root: Record<string, JsonValue> = { ...(before.root as Record<string, JsonValue>) };
  const replacement = (other.root as Record<string, JsonValue>)[keyword];
  if (drop || replacement === undefined) delete root[keyword];
  else root[keyword] = replacement;
  return [before, { root, references: new Map() }];
});
/** A writer's and a reader's schema. */
export const pairs = fc.oneof(
  changed,
  changed.map(([a, b]): [Document, Document] => [b, a]),
  fc.tuple(document, document),
);

/** Values of the same small world. */
const values = fc.letrec<{ value: JsonValue }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3, depthSize: "small" },
    literal,
    fc.integer({ min: -1, max: 6 }),
    fc.string({ maxLength: 5, unit: fc.constantFrom("a", "b", "c") }),
    fc.array(tie("value"), { maxLength: 4 }) as fc.Arbitrary<JsonValue>,
    fc.dictionary(fc.constantFrom(...NAMES, "d"), tie("value") as fc.Arbitrary<JsonValue>, {
      maxKeys: 4,
    }) as fc.Arbitrary<JsonValue>,
  ),
}));
/** The values as parsed JSON has them. */
export const value: fc.Arbitrary<JsonValue> = values.value.map((each) => JSON.parse(JSON.stringify(each)) as JsonValue);
