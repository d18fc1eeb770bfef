import { canonicalize, isJsonObject, type JsonObject, type JsonValue } from "../../core/index.ts";
import { reasonerFor } from "./compat/mismatches.ts";
import { type Document, follow, isSchema, type Schema, type View, viewOf } from "./document.ts";
import { type Conjunction, made } from "./facts/conjunctions.ts";
import type { Facts } from "./facts/facts.ts";
import type { Reasoner } from "./facts/reasoner.ts";
import { isUndecided } from "./facts/undecided.ts";
import { FORMAT_EXAMPLES } from "./formats.ts";
import { matches } from "./patterns.ts";
import { textsMatching } from "./texts.ts";
import type { Oracle } from "./validator.ts";

/** How many values a list of examples has, how many alternatives are looked at, and how deep examples nest, at most. */
const MAX_EXAMPLES = 600;
const MAX_PER_MEMBER = 24;
const MAX_ALTERNATIVES = 24;
const MAX_DEPTH = 5;
/** How long a text or list is made, at most, to show that longer ones are refused. */
const MAX_LENGTH = 5_000;
/** Values within one example, at most. */
const MAX_SIZE = 20_000;

const sizes = new WeakMap<object, number>();
/** How many values a value holds. A part that occurs many times is counted each time, but looked at once. */
function sizeOf(value: JsonValue): number {
  if (typeof value !== "object" || value === null) return 1;
  let size = sizes.get(value);
  if (size === undefined) {
    size = 1;
    for (const member of Object.values(value)) size += sizeOf(member as JsonValue);
    sizes.set(value, size);
  }
  return size;
}

/**
 * Documents that fit a schema, the plainest first: edges of what it allows, and what `reader` (another schema) may stumble over: its
 * bounds overstepped, its members left out or filled with something else. Each is checked against the schema by the real validator.
 */
export function jsonExamples(writer: Document, ask: Oracle, reader?: Document): JsonValue[] {
  const reason = reasonerFor(ask);
  const root = viewOf(writer);
  const seen = new Set<string>();
  const out: JsonValue[] = [];
  const consider = (value: JsonValue): void => {
    if (sizeOf(value) > MAX_SIZE) return;
    let text: string;
    try {
      text = canonicalize(value);
    } catch {
      return;
    }
    if (seen.has(text)) return;
    seen.add(text);
    if (ask(root, value)) out.push(value);
  };
  try {
    for (const value of generator(reason).examples([root], reader === undefined ? [] : [viewOf(reader)], 0)) consider(value);
  } catch (error) {
    if (!isUndecided(error)) throw error;
  }
  return out.sort((a, b) => canonicalize(a).length - canonicalize(b).length);
}

// Long because examples of objects hold examples of lists, texts and numbers, and the other way round; each kind is a function of its own in here.
function generator({ dnf, facts, member, item, others, patterned, isEmpty }: Reasoner) {
  return { examples };

  /** Values that likely fit all of `views`, with `hints` saying where another schema draws its lines. */
  function examples(views: readonly View[], hints: readonly View[], depth: number): JsonValue[] {
    if (depth > MAX_DEPTH) return [];
    const lines = flattened(hints);
    const byAlternative: JsonValue[][] = [];
    let count = 0;
    for (const c of dnf(views).slice(0, MAX_ALTERNATIVES)) {
      if (isEmpty(c)) continue;
      const found = ofConjunction(c, lines, depth);
      byAlternative.push(found);
      count += found.length;
      if (count >= MAX_EXAMPLES) break;
    }
    // In turns: whoever takes only the first ones gets some of each.
    const most = Math.max(0, ...byAlternative.map(({ length }) => length));
    const out: JsonValue[] = [];
    for (let i = 0; i < most; i++) for (const found of byAlternative) if (i < found.length) out.push(found[i]!);
    return out.slice(0, MAX_EXAMPLES);
  }

  function ofConjunction(c: Conjunction, hints: readonly View[], depth: number): JsonValue[] {
    const f = facts(c);
    if (f.values !== null) return [...f.values];
    const out: JsonValue[] = [];
    if (f.types.has("object")) out.push(...objects(c, f, hints, depth));
    if (f.types.has("string")) out.push(...strings(f, hints));
    if (f.types.has("integer") || f.types.has("fraction")) out.push(...numbers(f, hints));
    if (f.types.has("array")) out.push(...arrays(c, f, hints, depth));
    if (f.types.has("boolean")) out.push(true, false);
    if (f.types.has("null")) out.push(null);
    return out;
  }

  function numbers({ number, types }: Facts, hints: readonly View[]): number[] {
    const tries = new Set<number>([1, 0, -1, 0.5, 1.5, 1e6]);
    const around = (at: unknown): void => {
      if (typeof at !== "number" || !Number.isFinite(at)) return;
      for (const step of [0, -1, 1, -0.5, 0.5]) tries.add(at + step);
    };
    around(number.min.at);
    around(number.max.at);
    for (const { schema } of hints) {
      for (const keyword of ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"])
        around((schema as JsonObject)[keyword]);
      for (const value of listed(schema as JsonObject)) around(value);
    }
    for (const multiple of number.multiples)
      for (const from of [...tries]) for (const step of [0, 1, 2, 3]) tries.add((Math.ceil(from / multiple) + step) * multiple);
    return [...tries].filter(
      (n) =>
        types.has(Number.isInteger(n) ? "integer" : "fraction") &&
        (n > number.min.at || (n === number.min.at && !number.min.open)) &&
        (n < number.max.at || (n === number.max.at && !number.max.open)),
    );
  }

  function strings({ string }: Facts, hints: readonly View[]): string[] {
    const tries: string[] = [];
    const lengths = new Set([string.minLength, string.minLength + 1]);
    if (string.maxLength < MAX_LENGTH) lengths.add(string.maxLength);
    for (const { schema } of hints) {
      const { minLength, maxLength, pattern, format } = schema as JsonObject;
      if (typeof minLength === "number") lengths.add(minLength - 1).add(minLength);
      if (typeof maxLength === "number") lengths.add(maxLength + 1).add(maxLength);
      if (typeof pattern === "string") tries.push(...textsMatching(pattern).slice(0, 3));
      if (typeof format === "string") tries.push(FORMAT_EXAMPLES[format] ?? "");
      for (const value of listed(schema as JsonObject)) if (typeof value === "string") tries.push(value, `${value}x`);
    }
    const fitting = [...lengths].filter(
      (length) => length >= string.minLength && length <= string.maxLength && length <= MAX_LENGTH,
    );
    for (const format of string.formats) tries.unshift(FORMAT_EXAMPLES[format] ?? "");
    for (const pattern of string.patterns) tries.unshift(...textsMatching(pattern, fitting));
    for (const length of fitting) tries.push("a".repeat(length), "A1-".repeat(length).slice(0, length));
    tries.push("text", "1", "", "2026-05-03");
    return tries.filter((text) => {
      const length = [...text].length;
      return (
        length >= string.minLength && length <= string.maxLength && string.patterns.every((pattern) => matches(pattern, text))
      );
    });
  }

  function arrays(c: Conjunction, { array }: Facts, hints: readonly View[], depth: number): JsonValue[] {
    const lengths = new Set([array.minItems, array.minItems + 1, array.positions, array.positions + 1]);
    if (array.maxItems < MAX_LENGTH) lengths.add(array.maxItems);
    for (const { schema } of hints) {
      const { minItems, maxItems, prefixItems, minContains, maxContains } = schema as JsonObject;
      for (const n of [minItems, maxItems, minContains, maxContains])
        if (typeof n === "number")
          lengths
            .add(n - 1)
            .add(n)
            .add(n + 1);
      if (Array.isArray(prefixItems)) lengths.add(prefixItems.length).add(prefixItems.length + 1);
      if ((schema as JsonObject).uniqueItems === true) lengths.add(2);
    }
    const kinds = new Map<number, JsonValue[]>();
    const at = (i: number): JsonValue[] => {
      const position = Math.min(
        i,
        Math.max(
          array.positions,
          ...hints.map(({ schema }) => (((schema as JsonObject).prefixItems ?? []) as JsonValue[]).length),
        ),
      );
      let found = kinds.get(position);
      if (found === undefined) {
        found = examples(
          item(c, position),
          hints.flatMap((hint) => hintItem(hint, position)),
          depth + 1,
        ).slice(0, MAX_PER_MEMBER);
        kinds.set(position, found);
      }
      return found;
    };
    const edges = hints.flatMap((hint) => hintItem(hint, array.positions));
    const wanted = array.contains.map(({ view, min }) => ({
      min,
      values: examples([view, ...item(c, array.positions)], edges, depth + 1),
    }));
    /** One list of each length, and what differs from it in one item. */
    const out: JsonValue[] = [];
    const others: JsonValue[] = [];
    for (const length of [...lengths]
      .filter((n) => n >= array.minItems && n <= array.maxItems && n <= MAX_LENGTH)
      .sort((a, b) => a - b)) {
      const base: JsonValue[] = [];
      for (let i = 0; i < length; i++) {
        const choices = at(i);
        if (choices.length === 0) break;
        base.push(array.unique ? choices[i % choices.length]! : choices[0]!);
      }
      if (base.length < length) continue;
      let free = length;
      for (const { min, values } of wanted)
        for (let k = 0; k < min && free > 0 && values.length > 0; k++) base[--free] = values[k % values.length]!;
      out.push(base);
      for (const i of [0, 1, array.positions, length - 1]) {
        if (i < 0 || i >= length) continue;
        for (const other of at(i).slice(0, 8)) others.push(base.with(i, other));
      }
      if (length > 1) others.push(base.with(1, base[0]!));
      for (const { values } of wanted)
        for (const value of values.slice(0, 8)) if (length > 0) others.push(base.with(length - 1, value));
    }
    return [...out, ...others];
  }

  function objects(c: Conjunction, f: Facts, hints: readonly View[], depth: number): JsonValue[] {
    const { object } = f;
    const hinted = new Set<string>();
    for (const { schema } of hints) {
      const { properties, required, patternProperties, dependentRequired, dependentSchemas } = schema as JsonObject;
      for (const name of Object.keys((properties ?? {}) as JsonObject)) hinted.add(name);
      for (const name of (required ?? []) as string[]) hinted.add(name);
      for (const named of [dependentRequired, dependentSchemas])
        for (const name of Object.keys((named ?? {}) as JsonObject)) hinted.add(name);
      for (const pattern of Object.keys((patternProperties ?? {}) as JsonObject))
        for (const name of textsMatching(pattern).slice(0, 2)) hinted.add(name);
    }
    for (const pattern of object.patterns) for (const name of textsMatching(pattern).slice(0, 2)) hinted.add(name);
    const known = new Set([...object.names, ...object.required, ...hinted]);
    const choices = new Map<string, JsonValue[]>();
    const of = (name: string): JsonValue[] => {
      let found = choices.get(name);
      if (found === undefined) {
        found = examples(
          member(c, name),
          hints.flatMap((hint) => hintMember(hint, name)),
          depth + 1,
        ).slice(0, MAX_PER_MEMBER);
        choices.set(name, found);
      }
      return found;
    };
    const base: Record<string, JsonValue> = {};
    for (const name of object.required) {
      const [first] = of(name);
      if (first === undefined) return [];
      base[name] = first;
    }
    const spare = spareNames(object, hints, c);
    const fill = (of_: Record<string, JsonValue>, count: number): Record<string, JsonValue> => {
      const out = { ...of_ };
      for (const name of [...known, ...spare]) {
        if (Object.keys(out).length >= count) break;
        const [first] = of(name);
        if (out[name] === undefined && first !== undefined) out[name] = first;
      }
      return out;
    };
    const least = fill(base, object.minProperties);
    const out: JsonValue[] = [least];
    for (const name of known) {
      for (const value of of(name)) {
        const changed = { ...least, [name]: value };
        for (const need of object.dependentRequired.get(name) ?? [])
          if (changed[need] === undefined && of(need).length > 0) changed[need] = of(need)[0]!;
        out.push(changed);
      }
    }
    for (const name of spare.slice(0, 2)) for (const value of of(name).slice(0, 8)) out.push({ ...least, [name]: value });
    const all = fill(base, Math.min(object.maxProperties, known.size));
    out.push(all);
    for (const name of [...known].slice(0, 8)) for (const value of of(name).slice(0, 4)) out.push({ ...all, [name]: value });
    for (const { schema } of hints) {
      const { minProperties, maxProperties } = schema as JsonObject;
      if (typeof minProperties === "number") out.push(fill(base, minProperties - 1));
      if (typeof maxProperties === "number" && maxProperties < MAX_LENGTH) out.push(fill(base, maxProperties + 1));
    }
    return out;
  }

  /** Names that neither schema knows, where the writer allows such names. */
  function spareNames(object: Facts["object"], hints: readonly View[], c: Conjunction): string[] {
    let count = object.minProperties + 1;
    for (const { schema } of hints) {
      const { maxProperties, minProperties } = schema as JsonObject;
      for (const n of [maxProperties, minProperties]) if (typeof n === "number") count = Math.max(count, n + 1);
    }
    if (others(c).some(({ schema }) => schema === false)) {
      return [...object.patterns].flatMap((pattern) =>
        patterned(c, pattern).some(({ schema }) => schema === false) ? [] : textsMatching(pattern, [1, 2, 3]),
      );
    }
    const texts = object.propertyNames.flatMap((view) =>
      dnf([view, made({ type: "string" })]).flatMap((d) => strings(facts(d), [])),
    );
    const plain = Array.from({ length: Math.min(count, 200) }, (_, i) => (i === 0 ? "other" : `other${i}`));
    return [...plain, ...texts.slice(0, 20)];
  }
}

const listed = (schema: JsonObject): readonly JsonValue[] =>
  Array.isArray(schema.enum) ? (schema.enum as JsonValue[]) : schema.const === undefined ? [] : [schema.const];

/** A schema and all that it combines: each says something of the same value. */
function flattened(views: readonly View[]): View[] {
  const seen = new Map<Schema, View>();
  for (const view of views) flatten(view, seen);
  return [...seen.values()];
}

function flatten(view: View, seen: Map<Schema, View>, depth = 0): void {
  const { schema, doc, path } = view;
  if (typeof schema === "boolean" || depth > 8 || seen.has(schema)) return;
  seen.set(schema, view);
  const below = (child: JsonValue | undefined, at: string): void => {
    if (isSchema(child)) flatten({ schema: child as Schema, doc, path: `${path}/${at}` }, seen, depth + 1);
  };
  if (typeof schema.$ref === "string") {
    const target = follow(schema.$ref, doc);
    if (target !== null) flatten(target, seen, depth + 1);
  }
  for (const keyword of ["allOf", "anyOf", "oneOf"])
    if (Array.isArray(schema[keyword]))
      for (const [i, each] of schema[keyword].entries()) below(each as JsonValue, `${keyword}/${i}`);
  for (const keyword of ["not", "if", "then", "else"]) below(schema[keyword], keyword);
  for (const each of Object.values((schema.dependentSchemas ?? {}) as JsonObject)) below(each, "dependentSchemas");
}

function hintMember({ schema, doc, path }: View, name: string): View[] {
  const { properties, patternProperties, additionalProperties } = schema as JsonObject;
  if (isJsonObject(properties) && Object.hasOwn(properties, name))
    return [{ schema: properties[name] as Schema, doc, path: `${path}/properties/${name}` }];
  const out: View[] = [];
  for (const [pattern, each] of Object.entries((patternProperties ?? {}) as JsonObject))
    if (matches(pattern, name)) out.push({ schema: each as Schema, doc, path: `${path}/patternProperties` });
  if (out.length === 0 && isSchema(additionalProperties))
    out.push({ schema: additionalProperties, doc, path: `${path}/additionalProperties` });
  return out;
}

function hintItem({ schema, doc, path }: View, position: number): View[] {
  const { prefixItems, items, contains } = schema as JsonObject;
  const out: View[] = [];
  const own = Array.isArray(prefixItems) && position < prefixItems.length ? prefixItems[position] : items;
  for (const each of [own, contains]) if (isSchema(each)) out.push({ schema: each as Schema, doc, path });
  return out;
}
