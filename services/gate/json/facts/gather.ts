import { canonicalize, type JsonObject, type JsonValue } from "../../../core/index.ts";
import { isSchema, type View } from "../document.ts";
import { childOf, objectsOf } from "./children.ts";
import type { Conjunction } from "./conjunctions.ts";
import type { Bound, Facts } from "./facts.ts";
import { TYPES, type Type, typesOf } from "./types.ts";

/** Facts while they are gathered. */
type Mutable<T> = { -readonly [K in keyof T]: T[K] };
export interface Draft {
  readonly types: Set<Type>;
  values: JsonValue[] | null;
  readonly number: Omit<Mutable<Facts["number"]>, "multiples"> & { readonly multiples: number[] };
  readonly string: Omit<Mutable<Facts["string"]>, "patterns" | "formats" | "contents"> & {
    readonly patterns: string[];
    readonly formats: string[];
    readonly contents: string[];
  };
  readonly array: Omit<Mutable<Facts["array"]>, "contains"> & { readonly contains: Facts["array"]["contains"][number][] };
  readonly object: Omit<Mutable<Facts["object"]>, "required" | "names" | "patterns" | "propertyNames" | "dependentRequired"> & {
    readonly required: Set<string>;
    readonly names: Set<string>;
    readonly patterns: Set<string>;
    readonly propertyNames: View[];
    readonly dependentRequired: Map<string, readonly string[]>;
  };
}

const everything = (): Draft => ({
  types: new Set(TYPES),
  values: null,
  number: { min: { at: -Infinity, open: false }, max: { at: Infinity, open: false }, multiples: [] },
  string: { minLength: 0, maxLength: Infinity, patterns: [], formats: [], contents: [] },
  array: { minItems: 0, maxItems: Infinity, unique: false, positions: 0, contains: [] },
  object: {
    minProperties: 0,
    maxProperties: Infinity,
    required: new Set(),
    names: new Set(),
    patterns: new Set(),
    propertyNames: [],
    dependentRequired: new Map(),
  },
});

/** A keyword's number; what a schema holds there was checked when it was read. */
const numberAt = (schema: JsonObject, keyword: string): number | undefined => schema[keyword] as number | undefined;

/** What the schemas of a conjunction say together, each keyword by itself. */
export function onItsFace(c: Conjunction): Draft {
  const draft = everything();
  for (const { view, schema } of objectsOf(c)) {
    narrowTypes(draft, schema);
    narrowNumbers(draft, schema);
    narrowStrings(draft, schema);
    narrowArrays(draft, schema, view);
    narrowObjects(draft, schema, view);
  }
  const { object } = draft;
  closeOver(object.required, object.dependentRequired);
  object.minProperties = Math.max(object.minProperties, object.required.size);
  return draft;
}

function narrowTypes(draft: Draft, schema: JsonObject): void {
  const { types } = draft;
  if (schema.type !== undefined) {
    const allowed = typesOf(schema.type);
    for (const type of types) if (!allowed.has(type)) types.delete(type);
  }
  const listed = schema.const !== undefined ? [schema.const] : Array.isArray(schema.enum) ? (schema.enum as JsonValue[]) : null;
  if (listed === null) return;
  const texts = new Set(listed.map((value) => canonicalize(value)));
  draft.values = draft.values === null ? [...listed] : draft.values.filter((value) => texts.has(canonicalize(value)));
}

function narrowNumbers({ number }: Draft, schema: JsonObject): void {
  const n = (keyword: string): number | undefined => numberAt(schema, keyword);
  number.min = tighter(tighter(number.min, n("minimum"), false, 1), n("exclusiveMinimum"), true, 1);
  number.max = tighter(tighter(number.max, n("maximum"), false, -1), n("exclusiveMaximum"), true, -1);
  const multiple = n("multipleOf");
  if (multiple !== undefined) number.multiples.push(multiple);
}

function narrowStrings({ string }: Draft, schema: JsonObject): void {
  string.minLength = Math.max(string.minLength, numberAt(schema, "minLength") ?? 0);
  string.maxLength = Math.min(string.maxLength, numberAt(schema, "maxLength") ?? Infinity);
  if (typeof schema.pattern === "string") string.patterns.push(schema.pattern);
  if (typeof schema.format === "string") string.formats.push(schema.format);
  for (const keyword of ["contentEncoding", "contentMediaType"])
    if (schema[keyword] !== undefined) string.contents.push(`${keyword}=${String(schema[keyword])}`);
}

function narrowArrays({ array }: Draft, schema: JsonObject, view: View): void {
  array.minItems = Math.max(array.minItems, numberAt(schema, "minItems") ?? 0);
  array.maxItems = Math.min(array.maxItems, numberAt(schema, "maxItems") ?? Infinity);
  array.unique ||= schema.uniqueItems === true;
  array.positions = Math.max(array.positions, Array.isArray(schema.prefixItems) ? schema.prefixItems.length : 0);
  if (!isSchema(schema.contains)) return;
  const bounds = { min: numberAt(schema, "minContains") ?? 1, max: numberAt(schema, "maxContains") ?? Infinity };
  array.contains.push({ view: childOf(view, schema.contains, "contains"), ...bounds });
  array.minItems = Math.max(array.minItems, bounds.min);
}

function narrowObjects({ object }: Draft, schema: JsonObject, view: View): void {
  object.minProperties = Math.max(object.minProperties, numberAt(schema, "minProperties") ?? 0);
  object.maxProperties = Math.min(object.maxProperties, numberAt(schema, "maxProperties") ?? Infinity);
  for (const name of (schema.required ?? []) as string[]) object.required.add(name);
  for (const name of Object.keys((schema.properties ?? {}) as JsonObject)) object.names.add(name);
  for (const pattern of Object.keys((schema.patternProperties ?? {}) as JsonObject)) object.patterns.add(pattern);
  if (isSchema(schema.propertyNames)) object.propertyNames.push(childOf(view, schema.propertyNames, "propertyNames"));
  for (const [name, needs] of Object.entries((schema.dependentRequired ?? {}) as Record<string, string[]>))
    object.dependentRequired.set(name, [...(object.dependentRequired.get(name) ?? []), ...needs]);
}

/** The outermost whole numbers within the bounds. */
export function wholeRange({ min, max }: { readonly min: Bound; readonly max: Bound }): {
  readonly low: number;
  readonly high: number;
} {
  return {
    low: min.open && Number.isInteger(min.at) ? min.at + 1 : Math.ceil(min.at),
    high: max.open && Number.isInteger(max.at) ? max.at - 1 : Math.floor(max.at),
  };
}

/** Takes out the types of which the bounds leave no value. */
export function dropImpossible({ types, number, string }: Draft): void {
  const { min, max, multiples } = number;
  const { low, high } = wholeRange(number);
  if (low > high) types.delete("integer");
  if (min.at > max.at || (min.at === max.at && (min.open || max.open || Number.isInteger(min.at)))) types.delete("fraction");
  if (multiples.some(Number.isInteger)) types.delete("fraction");
  if (string.minLength > string.maxLength) types.delete("string");
}

/** Whole numbers in a range are listed up to this many. */
const MAX_LISTED = 64;

/** All values of the types that are left, where they are few; `null`: too many. */
export function fewValues({ types, number }: Draft): JsonValue[] | null {
  if (![...types].every((type) => type === "null" || type === "boolean" || type === "integer")) return null;
  const { low, high } = wholeRange(number);
  const hasFew = !types.has("integer") || (Number.isSafeInteger(low) && Number.isSafeInteger(high) && high - low < MAX_LISTED);
  if (!hasFew) return null;
  const values: JsonValue[] = [];
  if (types.has("null")) values.push(null);
  if (types.has("boolean")) values.push(true, false);
  if (types.has("integer")) for (let i = low; i <= high; i++) values.push(i === 0 ? 0 : i);
  return values;
}

/** The tighter of two bounds; `side` is 1 for lower bounds, −1 for upper ones. */
function tighter(bound: Bound, at: number | undefined, open: boolean, side: 1 | -1): Bound {
  if (at === undefined) return bound;
  if (at * side > bound.at * side) return { at, open };
  return at === bound.at && open ? { at, open } : bound;
}

/** Adds what required members require. */
function closeOver(required: Set<string>, needs: ReadonlyMap<string, readonly string[]>): void {
  for (let grown = true; grown; ) {
    grown = false;
    for (const name of [...required]) {
      for (const need of needs.get(name) ?? []) {
        if (required.has(need)) continue;
        required.add(need);
        grown = true;
      }
    }
  }
}
