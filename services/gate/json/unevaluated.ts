import { canonicalize, isJsonObject, type JsonObject, type JsonValue } from "../../core/index.ts";
import { type Document, escapePointer, isSchema, LIST, NAMED, ONE, type Schema, type View, viewOf } from "./document.ts";
import { type Evaluated, evaluatedBy, type Looks } from "./evaluated.ts";
import { isUndecided } from "./facts/undecided.ts";
import { areApart, matches } from "./patterns.ts";

/**
 * `unevaluatedProperties` and `unevaluatedItems` in the words `additionalProperties` and `items`. Then everything that handles closed objects handles these: the validator,
 * the reader, the comparison. What is evaluated in all data is named as it is. What is evaluated only where an alternative holds (`anyOf`, `oneOf`, `if`, `dependentSchemas`) is said as a clause:
 *
 *   the members that it names fit the word's schema, or one of the alternatives that name them holds
 *
 * Where that cannot be said (patterns that may overlap, `contains` within an alternative), the word stays, and `refusals` refuses the form.
 */

/** Schemas that are looked into, names that are written, and schemas of clauses, in one document. Beyond, words stay as they are. */
const MAX_LOOKS = 50_000;
const MAX_WRITTEN = 20_000;
const MAX_CLAUSES = 500;

interface Budget extends Looks {
  written: number;
  clauses: number;
}

/** Clauses that were written, with how many schemas each holds. */
const clauses = new WeakMap<object, number>();
/** How many schemas stand in a document at this one only because the document was written out. */
export const writtenAt = (schema: JsonObject): number => clauses.get(schema) ?? 0;

/** A document that says the same without these words, as far as it can be said. */
export function explicit(doc: Document): Document {
  if (typeof doc.root === "boolean") return doc;
  const budget: Budget = { doc, looks: MAX_LOOKS, known: new Map(), written: MAX_WRITTEN, clauses: MAX_CLAUSES };
  return { root: rewritten(viewOf(doc), budget), references: doc.references };
}

function rewritten(view: View, budget: Budget): Schema {
  const { schema, doc, path } = view;
  if (typeof schema === "boolean") return schema;
  const below = (child: Schema, at: string): Schema => rewritten({ schema: child, doc, path: `${path}/${at}` }, budget);
  const out: Record<string, JsonValue> = Object.fromEntries(
    Object.entries(schema).map(([keyword, value]) => [keyword, inside(keyword, value, below)]),
  );
  // What closes the members stands last, where the reading looks for it.
  const closers = [...ofItems(view, out, budget), ...ofMembers(view, out, budget)];
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

/** A schema that is one of several: `first`, or any of the conditions. */
function clause(first: JsonObject, conditions: readonly JsonValue[]): JsonObject {
  if (conditions.length === 0) return first;
  const made = { anyOf: [first, ...conditions] };
  const held = ["properties", "patternProperties"].flatMap((keyword) => Object.keys((first[keyword] ?? {}) as JsonObject));
  const items = Array.isArray(first.prefixItems) ? first.prefixItems.length : 0;
  // Each condition is a reference, or some of them in one `allOf` or `not`.
  clauses.set(
    made,
    2 + held.length + items + conditions.reduce<number>((sum, each) => sum + 1 + canonicalize(each).split("$ref").length, 0),
  );
  return made;
}

/** Pays for what is to be written; `false`: there is no room for it. */
function pay(budget: Budget, names: number, made: readonly JsonObject[]): boolean {
  budget.written -= names;
  budget.clauses -= made.reduce((sum, each) => sum + writtenAt(each), 0);
  return budget.written >= 0 && budget.clauses >= 0;
}

const isTaken = (out: Record<string, JsonValue>): boolean => out.allOf === undefined || Array.isArray(out.allOf);
const asOne = (when: readonly JsonValue[]): JsonValue => (when.length === 1 ? when[0]! : { allOf: [...when] });

/** Takes `unevaluatedProperties` out of `out`. Returns what must stand at the end of its `allOf` instead. */
function ofMembers(view: View, out: Record<string, JsonValue>, budget: Budget): JsonObject[] {
  const rest = out.unevaluatedProperties;
  if (rest === undefined || !isTaken(out)) return [];
  const found = evaluatedBy(view, budget);
  const said = found.membersAreKnown ? saidOf(found, rest) : null;
  if (said === null) return [];
  const { names, patterns, always, made } = said;
  const all = (those: ReadonlySet<string>): JsonObject => Object.fromEntries([...those].map((each) => [each, true]));
  const closer = clause({ properties: all(names), patternProperties: all(patterns), additionalProperties: rest }, always);
  if (!pay(budget, names.size + patterns.size, [...made, closer])) return [];
  delete out.unevaluatedProperties;
  if (found.allMembers) return [];
  const own = (keyword: string): JsonObject => (isJsonObject(out[keyword]) ? out[keyword] : {});
  const areOwn = (those: ReadonlySet<string>, keyword: string): boolean =>
    [...those].every((each) => Object.hasOwn(own(keyword), each));
  if (always.length > 0 || !areOwn(names, "properties") || !areOwn(patterns, "patternProperties")) return [...made, closer];
  out.additionalProperties = rest;
  return [...made];
}

interface Said {
  readonly names: ReadonlySet<string>;
  readonly patterns: ReadonlySet<string>;
  /** Conditions under which all members are evaluated. */
  readonly always: readonly JsonValue[];
  readonly made: readonly JsonObject[];
}

/** Conditions, each once, by their text. */
type Conditions = ReadonlyMap<string, JsonValue>;
const keyOf = (conditions: Conditions): string => [...conditions.keys()].sort().join("\n");
const isWithin = (a: Conditions, b: Conditions): boolean => [...a.keys()].every((key) => b.has(key));

/** What is to be written for members; `null`: it cannot be said. `rest`: what those that are left over must fit. */
function saidOf(found: Evaluated, rest: JsonValue): Said | null {
  const byName = new Map<string, Map<string, JsonValue>>();
  const byPattern = new Map<string, Map<string, JsonValue>>();
  const always = new Map<string, JsonValue>();
  for (const { when, what } of found.maybe) {
    const condition = asOne(when);
    const text = canonicalize(condition);
    const note = (by: Map<string, Map<string, JsonValue>>, name: string): void => {
      by.set(name, (by.get(name) ?? new Map()).set(text, condition));
    };
    if (what.allMembers) always.set(text, condition);
    for (const name of what.names) if (!found.names.has(name)) note(byName, name);
    for (const pattern of what.patterns) if (!found.patterns.has(pattern)) note(byPattern, pattern);
  }
  const names = new Set([...found.names, ...byName.keys()]);
  const patterns = new Set([...found.patterns, ...byPattern.keys()]);
  if (!settle(found, byName, byPattern)) return null;
  const made = rest === true ? [] : [...madeOf("properties", byName), ...madeOf("patternProperties", byPattern)];
  return { names, patterns, always: [...always.values()], made };

  /** One clause for all that the same conditions are for. */
  function madeOf(keyword: string, by: ReadonlyMap<string, Conditions>): JsonObject[] {
    const groups = Map.groupBy(by, ([, conditions]) => keyOf(conditions));
    return [...groups.values()].map((group) => {
      const conditions = new Map([...(group[0]?.[1] ?? []), ...always]);
      return clause({ [keyword]: Object.fromEntries(group.map(([name]) => [name, rest])) }, [...conditions.values()]);
    });
  }
}

/**
 * Takes out the names that are evaluated by way of a pattern as well. `false`: a pattern's clause would ask too much, since some names that it matches may be
 * evaluated otherwise.
 */
function settle(found: Evaluated, byName: Map<string, Conditions>, byPattern: ReadonlyMap<string, Conditions>): boolean {
  try {
    for (const name of byName.keys()) if ([...found.patterns].some((pattern) => matches(pattern, name))) byName.delete(name);
    for (const [pattern, conditions] of byPattern) {
      if ([...found.names].some((name) => matches(pattern, name))) return false;
      if ([...found.patterns].some((other) => !areApart(pattern, other))) return false;
      for (const [other, its] of byPattern)
        if (other !== pattern && keyOf(its) !== keyOf(conditions) && !areApart(pattern, other)) return false;
      for (const [name, its] of byName) {
        if (!matches(pattern, name)) continue;
        if (!isWithin(its, conditions)) return false;
        byName.delete(name);
      }
    }
    return true;
  } catch (error) {
    if (!isUndecided(error)) throw error;
    return false;
  }
}

/** The same for `unevaluatedItems`. */
function ofItems(view: View, out: Record<string, JsonValue>, budget: Budget): JsonObject[] {
  const left = out.unevaluatedItems;
  if (left === undefined || !isTaken(out)) return [];
  const found = evaluatedBy(view, budget);
  const { positions, maybe } = found;
  if (!found.itemsAreKnown || (!found.allItems && maybe.some(({ what }) => what.contained.length > 0))) return [];
  const rest = restOf(left, found.contained);
  const later = maybe.filter(({ what }) => what.allItems || what.positions > positions);
  const cuts = [...new Set(later.flatMap(({ what }) => (what.allItems ? [] : [what.positions])))].sort((a, b) => a - b);
  const last = cuts.at(-1) ?? positions;
  const until = (end: number): JsonValue[] => {
    const those = later.filter(({ what }) => what.allItems || what.positions >= end).map(({ when }) => asOne(when));
    return [...new Map(those.map((each) => [canonicalize(each), each])).values()];
  };
  const free = (count: number): JsonValue[] => Array.from({ length: count }, () => true);
  const made = cuts.map((end, i) => {
    const from = cuts[i - 1] ?? positions;
    return clause({ prefixItems: [...free(from), ...Array.from({ length: end - from }, () => rest)] }, until(end));
  });
  const closer = clause(last === 0 ? { items: rest } : { prefixItems: free(last), items: rest }, until(Infinity));
  if (!pay(budget, last, [...made, closer])) return [];
  delete out.unevaluatedItems;
  if (found.allItems) return [];
  const isOwn = last === (Array.isArray(out.prefixItems) ? out.prefixItems.length : 0) && closer.anyOf === undefined;
  if (!isOwn) return [...made, closer];
  out.items = rest;
  return made;
}

/** What an item must fit that no position evaluates: the word's own schema, or one that `contains` looks for. */
function restOf(left: JsonValue, contained: readonly JsonValue[]): JsonValue {
  if (contained.length === 0 || left === true) return left;
  const all = left === false ? contained : [left, ...contained];
  return all.length === 1 ? all[0]! : { anyOf: [...all] };
}
