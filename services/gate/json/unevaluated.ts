import { isJsonObject, type JsonObject, type JsonValue } from "../../core/index.ts";
import { type Document, escapePointer, follow, isSchema, LIST, NAMED, ONE, type Schema, type View, viewOf } from "./document.ts";

/**
 * `unevaluatedProperties` and `unevaluatedItems` in the words `additionalProperties` and `items`, where what is evaluated does not depend on the data: where it
 * comes through `$ref` and `allOf` only. Then everything that handles closed objects handles these: the validator, the reader, the comparison. Where the data
 * decides (`anyOf`, `if`, `contains`), the word stays, for the validator or for `refusals`.
 */

/** Schemas that are looked into, and names that are written, in one document. Beyond, words stay as they are. */
const MAX_LOOKS = 50_000;
const MAX_WRITTEN = 20_000;
const MAX_DEPTH = 100;

/** What a schema evaluates of a value that fits it. */
interface Evaluated {
  readonly names: Set<string>;
  readonly patterns: Set<string>;
  positions: number;
  allMembers: boolean;
  allItems: boolean;
  /** Whether it is the same for all data. */
  membersAreSure: boolean;
  itemsAreSure: boolean;
}
const nothing = (): Evaluated => ({
  ...{ names: new Set<string>(), patterns: new Set<string>(), positions: 0 },
  ...{ allMembers: false, allItems: false, membersAreSure: true, itemsAreSure: true },
});

interface Budget {
  looks: number;
  written: number;
}

/** A document that says the same without these words, as far as it can be said. */
export function explicit(doc: Document): Document {
  if (typeof doc.root === "boolean") return doc;
  const budget: Budget = { looks: MAX_LOOKS, written: MAX_WRITTEN };
  return { root: rewritten(viewOf(doc), budget), references: doc.references };
}

function rewritten(view: View, budget: Budget): Schema {
  const { schema, doc, path } = view;
  if (typeof schema === "boolean") return schema;
  const below = (child: Schema, at: string): Schema => rewritten({ schema: child, doc, path: `${path}/${at}` }, budget);
  const out: Record<string, JsonValue> = Object.fromEntries(
    Object.entries(schema).map(([keyword, value]) => [keyword, inside(keyword, value, below)]),
  );
  const closers = [ofMembers(view, out, budget), ofItems(view, out, budget)].filter((each) => each !== null);
  if (closers.length > 0) out.allOf = [...(Array.isArray(schema.allOf) ? (out.allOf as JsonValue[]) : []), ...closers];
  return out;
}

function inside(keyword: string, value: JsonValue, below: (child: Schema, at: string) => Schema): JsonValue {
  if ((ONE as readonly string[]).includes(keyword)) return isSchema(value) ? below(value, keyword) : value;
  if ((LIST as readonly string[]).includes(keyword) && Array.isArray(value))
    return value.map((each: JsonValue, i) => (isSchema(each) ? below(each, `${keyword}/${i}`) : each));
  if ((NAMED as readonly string[]).includes(keyword) && isJsonObject(value))
    return Object.fromEntries(
      Object.entries(value).map(([name, each]) => [
        name,
        isSchema(each) ? below(each, `${keyword}/${escapePointer(name)}`) : each,
      ]),
    );
  return value;
}

/** Takes `unevaluatedProperties` out of `out`. Returns what must stand in its `allOf` instead, if anything must. */
function ofMembers(view: View, out: Record<string, JsonValue>, budget: Budget): JsonValue | null {
  const { unevaluatedProperties } = out;
  if (unevaluatedProperties === undefined || (Array.isArray(out.allOf) ? false : out.allOf !== undefined)) return null;
  const { names, patterns, allMembers, membersAreSure } = evaluatedBy(view, budget);
  if (!membersAreSure) return null;
  budget.written -= names.size + patterns.size;
  if (budget.written < 0) return null;
  delete out.unevaluatedProperties;
  if (allMembers) return null;
  const own = (keyword: string): JsonObject => (isJsonObject(out[keyword]) ? out[keyword] : {});
  const areOwn = (those: Set<string>, keyword: string): boolean => [...those].every((each) => Object.hasOwn(own(keyword), each));
  if (areOwn(names, "properties") && areOwn(patterns, "patternProperties")) {
    out.additionalProperties = unevaluatedProperties;
    return null;
  }
  const all = (those: Set<string>): JsonObject => Object.fromEntries([...those].map((each) => [each, true]));
  return { properties: all(names), patternProperties: all(patterns), additionalProperties: unevaluatedProperties };
}

/** The same for `unevaluatedItems`. */
function ofItems(view: View, out: Record<string, JsonValue>, budget: Budget): JsonValue | null {
  const { unevaluatedItems } = out;
  if (unevaluatedItems === undefined || (Array.isArray(out.allOf) ? false : out.allOf !== undefined)) return null;
  const { positions, allItems, itemsAreSure } = evaluatedBy(view, budget);
  if (!itemsAreSure) return null;
  budget.written -= positions;
  if (budget.written < 0) return null;
  delete out.unevaluatedItems;
  if (allItems) return null;
  if (positions === (Array.isArray(out.prefixItems) ? out.prefixItems.length : 0)) {
    out.items = unevaluatedItems;
    return null;
  }
  return { prefixItems: Array.from({ length: positions }, () => true), items: unevaluatedItems };
}

const MAYBE = ["anyOf", "oneOf"] as const;
const MAYBE_ONE = ["if", "then", "else"] as const;

/** What a schema evaluates, without its own words for what is left over. */
function evaluatedBy(view: View, budget: Budget, outer = 0): Evaluated {
  const out = nothing();
  const seen = new Set<Schema>();
  collect(view, outer, true);
  return out;

  function collect({ schema, doc, path }: View, depth: number, isOwn: boolean): void {
    if (typeof schema === "boolean" || seen.has(schema)) return;
    if (--budget.looks < 0 || depth > MAX_DEPTH) {
      out.membersAreSure = false;
      out.itemsAreSure = false;
      return;
    }
    seen.add(schema);
    takeMembers(out, schema, isOwn);
    takeItems(out, schema, isOwn);
    const below = (child: unknown, at: string): View | null =>
      isSchema(child) ? { schema: child, doc, path: `${path}/${at}` } : null;
    const target = typeof schema.$ref === "string" ? follow(schema.$ref, doc) : null;
    if (target !== null) collect(target, depth + 1, false);
    for (const [i, each] of (Array.isArray(schema.allOf) ? schema.allOf : []).entries()) {
      const part = below(each, `allOf/${i}`);
      if (part !== null) collect(part, depth + 1, false);
    }
    for (const part of alternatives(schema, below)) doubt(part, depth + 1);
  }

  /** What applies to some data only: harmless where it evaluates nothing. */
  function doubt(part: View, depth: number): void {
    const { names, patterns, positions, allMembers, allItems, membersAreSure, itemsAreSure } = evaluatedBy(part, budget, depth);
    if (allMembers || names.size > 0 || patterns.size > 0 || !membersAreSure) out.membersAreSure = false;
    if (allItems || positions > 0 || !itemsAreSure) out.itemsAreSure = false;
  }
}

function alternatives(schema: JsonObject, below: (child: unknown, at: string) => View | null): View[] {
  const views = MAYBE_ONE.map((keyword) => below(schema[keyword], keyword));
  for (const keyword of MAYBE) {
    const list = schema[keyword];
    if (Array.isArray(list)) views.push(...list.map((each: JsonValue, i) => below(each, `${keyword}/${i}`)));
  }
  if (isJsonObject(schema.dependentSchemas))
    views.push(
      ...Object.entries(schema.dependentSchemas).map(([name, each]) => below(each, `dependentSchemas/${escapePointer(name)}`)),
    );
  return views.filter((view) => view !== null);
}

function takeMembers(out: Evaluated, schema: JsonObject, isOwn: boolean): void {
  if (isJsonObject(schema.properties)) for (const name of Object.keys(schema.properties)) out.names.add(name);
  if (isJsonObject(schema.patternProperties)) for (const each of Object.keys(schema.patternProperties)) out.patterns.add(each);
  if (schema.additionalProperties !== undefined || (!isOwn && schema.unevaluatedProperties !== undefined)) out.allMembers = true;
}

function takeItems(out: Evaluated, schema: JsonObject, isOwn: boolean): void {
  if (Array.isArray(schema.prefixItems)) out.positions = Math.max(out.positions, schema.prefixItems.length);
  if (schema.items !== undefined || (!isOwn && schema.unevaluatedItems !== undefined)) out.allItems = true;
  // Items that `contains` finds count as evaluated, and which items these are depends on the data.
  if (schema.contains !== undefined) out.itemsAreSure = false;
}
