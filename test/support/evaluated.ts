/** JSON Schema's words for what is left over, as the standard says them: a slow second definition, for the schemas of a small world. */
import fc from "fast-check";
import { isJsonObject, type JsonObject, type JsonValue } from "../../services/core/index.ts";
import type { Schema } from "../../services/gate/json/document.ts";

/** What a schema has evaluated of a value: names of members, and indices of items. */
type Seen = ReadonlySet<string>;

/** What a schema evaluates of a value that fits it; `null`: the value does not fit. `root`: where `$ref` begins. */
export function evaluate(schema: Schema, value: JsonValue, root: Schema = schema): Seen | null {
  if (typeof schema === "boolean") return schema ? new Set() : null;
  const seen = new Set<string>();
  let fits = true;
  const also = (found: Seen | null): void => {
    if (found === null) fits = false;
    else for (const each of found) seen.add(each);
  };
  const of = (keyword: string): Schema | undefined => schema[keyword] as Schema | undefined;
  const ask = (each: Schema): Seen | null => evaluate(each, value, root);
  const list = (keyword: string): Schema[] => (schema[keyword] ?? []) as Schema[];
  if (schema.$ref !== undefined) also(ask(((root as JsonObject).$defs as JsonObject).leaf as Schema));
  if (schema.type !== undefined && typeName(value) !== schema.type) fits = false;
  if (schema.const !== undefined && schema.const !== value) fits = false;
  for (const each of list("allOf")) also(ask(each));
  for (const keyword of ["anyOf", "oneOf"]) {
    if (schema[keyword] === undefined) continue;
    const found = list(keyword)
      .map(ask)
      .filter((each) => each !== null);
    if (found.length === 0 || (keyword === "oneOf" && found.length > 1)) fits = false;
    for (const each of found) also(each);
  }
  if (schema.not !== undefined && ask(of("not")!) !== null) fits = false;
  if (schema.if !== undefined) {
    const condition = ask(of("if")!);
    if (condition !== null) also(condition);
    also(ask((condition === null ? of("else") : of("then")) ?? true));
  }
  if (isJsonObject(value)) members(schema, value, { seen, also, root });
  if (Array.isArray(value)) items(schema, value, { seen, also, root });
  return fits ? seen : null;
}

interface Run {
  readonly seen: Set<string>;
  also(found: Seen | null): void;
  readonly root: Schema;
}

function members(schema: JsonObject, value: JsonObject, { seen, also, root }: Run): void {
  for (const name of (schema.required ?? []) as string[]) if (!Object.hasOwn(value, name)) also(null);
  for (const [name, each] of Object.entries((schema.dependentSchemas ?? {}) as Record<string, Schema>))
    if (Object.hasOwn(value, name)) also(evaluate(each, value, root));
  const take = (name: string, each: Schema): void => also(evaluate(each, value[name]!, root) === null ? null : new Set([name]));
  for (const name of Object.keys(value)) {
    const { properties = {}, patternProperties = {} } = schema as Record<string, Record<string, Schema>>;
    const said = [...(Object.hasOwn(properties, name) ? [properties[name]!] : [])];
    for (const [pattern, each] of Object.entries(patternProperties)) if (new RegExp(pattern, "u").test(name)) said.push(each);
    if (said.length === 0 && schema.additionalProperties !== undefined) said.push(schema.additionalProperties as Schema);
    for (const each of said) take(name, each);
  }
  if (schema.unevaluatedProperties === undefined) return;
  for (const name of Object.keys(value)) if (!seen.has(name)) take(name, schema.unevaluatedProperties as Schema);
}

function items(schema: JsonObject, value: readonly JsonValue[], { seen, also, root }: Run): void {
  const take = (i: number, each: Schema): void => also(evaluate(each, value[i]!, root) === null ? null : new Set([String(i)]));
  const first = (schema.prefixItems ?? []) as Schema[];
  for (const i of value.keys()) {
    const each = i < first.length ? first[i] : (schema.items as Schema | undefined);
    if (each !== undefined) take(i, each);
  }
  if (schema.contains !== undefined) {
    const found = [...value.keys()].filter((i) => evaluate(schema.contains as Schema, value[i]!, root) !== null);
    also(found.length === 0 ? null : new Set(found.map(String)));
  }
  if (schema.unevaluatedItems === undefined) return;
  for (const i of value.keys()) if (!seen.has(String(i))) take(i, schema.unevaluatedItems as Schema);
}

const typeName = (value: JsonValue): string =>
  value === null ? "null" : Array.isArray(value) ? "array" : typeof value === "object" ? "object" : typeof value;

const NAMES = ["a", "b", "xa"] as const;
const scalar = fc.constantFrom<JsonValue>(1, 2, "t", null);
const leaf = fc.oneof(
  fc.constantFrom<Schema>(true, false, { type: "number" }, { type: "string" }),
  scalar.map((each): Schema => ({ const: each })),
);
const some = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 1 });
/** Schemas that apply to one value, some levels of them, with what names members and items. */
const { schema } = fc.letrec<{ schema: Schema }>((tie) => {
  const sub = tie("schema") as fc.Arbitrary<Schema>;
  const few = fc.array(sub, { minLength: 1, maxLength: 3 });
  const named = fc.dictionary(fc.constantFrom(...NAMES), leaf, { maxKeys: 2 });
  const made = fc
    .record({
      properties: some(named),
      patternProperties: fc.option(fc.dictionary(fc.constantFrom("^x", "a$"), leaf, { maxKeys: 1 }), { nil: undefined, freq: 3 }),
      required: some(fc.uniqueArray(fc.constantFrom(...NAMES), { maxLength: 1 })),
      additionalProperties: fc.option(leaf, { nil: undefined, freq: 5 }),
      prefixItems: some(fc.array(leaf, { minLength: 1, maxLength: 2 })),
      items: fc.option(leaf, { nil: undefined, freq: 5 }),
      contains: fc.option(leaf, { nil: undefined, freq: 3 }),
      anyOf: some(few),
      oneOf: some(few),
      allOf: some(few),
      not: fc.option(sub, { nil: undefined, freq: 5 }),
      when: some(fc.tuple(sub, sub, sub)),
      dependentSchemas: fc.option(fc.dictionary(fc.constantFrom(...NAMES), sub, { maxKeys: 1 }), { nil: undefined, freq: 3 }),
      unevaluatedProperties: some(leaf),
      unevaluatedItems: some(leaf),
    })
    .map(({ when, ...rest }) => {
      if (when === undefined) return rest;
      const [condition, then, otherwise] = when;
      return { ...rest, if: condition, then, else: otherwise };
    });
  const referred = fc.constant<unknown>({ $ref: "#/$defs/leaf" });
  return {
    schema: fc
      .oneof({ maxDepth: 2, depthSize: "small" }, leaf, referred, made)
      .map((each) => JSON.parse(JSON.stringify(each)) as Schema),
  };
});
/** A document as somebody would write it, though stranger. */
export const written = fc.tuple(schema, schema, leaf).map(
  ([root, inner, left]): Schema => ({
    ...(typeof root === "boolean" ? { allOf: [root] } : root),
    $defs: { leaf: JSON.stringify(inner).includes("$ref") ? { properties: { b: true }, prefixItems: [true] } : inner },
    unevaluatedProperties: left,
    unevaluatedItems: left,
  }),
);
/** Values of the same small world. */
export const value: fc.Arbitrary<JsonValue> = fc
  .oneof(scalar, fc.array(scalar, { maxLength: 3 }), fc.dictionary(fc.constantFrom(...NAMES, "c"), scalar, { maxKeys: 3 }))
  .map((each) => JSON.parse(JSON.stringify(each)) as JsonValue);
