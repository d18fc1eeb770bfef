import { canonicalize, isJsonObject, type JsonObject, type JsonValue } from "../../core/index.ts";
import { sameDocument } from "./dialect.ts";
import { type Document, escapePointer, follow, isSchema, LIST, NAMED, ONE, type Schema, type View, viewOf } from "./document.ts";
import { type Conjunction, type Facts, isUndecided, made, type Reasoner, reasoner, TYPES, type Type, typesOf } from "./facts.ts";
import { isMultiple } from "./multiples.ts";
import { matches } from "./patterns.ts";
import { supposer } from "./supposing.ts";
import type { Oracle } from "./validator.ts";

/** A place where a document that fits the writer's schema may not fit the reader's. Paths are JSON pointers into the schemas. */
export interface JsonMismatch {
  /** The keyword that fails, as it stands at the end of `readerPath`. */
  readonly rule: string;
  readonly message: string;
  readonly readerPath: string;
  readonly writerPath: string;
}

/** What fails fails whatever else is supposed: suppositions only let more fit. */
const hasFailed = (found: readonly JsonMismatch[]): boolean => found.length > 0;

const MAX_SPLITS = 3;
const MAX_MISMATCHES = 20;

/**
 * Every place where data that fits `writer` might not fit `reader`; empty means proved: all of it fits. The proof goes keyword by
 * keyword over what the schemas allow; where it cannot decide (two regular expressions that differ), it says so rather than guess, so
 * a mismatch is a doubt until an example confirms it.
 */
export function jsonMismatches(reader: Document, writer: Document, ask: Oracle): JsonMismatch[] {
  if (sameDocument(reader, writer)) return [];
  try {
    return comparison(ask)
      .subset([viewOf(writer)], viewOf(reader))
      .slice(0, MAX_MISMATCHES);
  } catch (error) {
    if (!isUndecided(error)) throw error;
    return [{ rule: "complexity", message: error.message, readerPath: "", writerPath: "" }];
  }
}

/** The reasoner of a comparison, for those who look for examples. */
export const reasonerFor = (ask: Oracle): Reasoner => comparison(ask).reason;

function comparison(ask: Oracle): {
  readonly reason: Reasoner;
  subset(writer: readonly View[], reader: View): JsonMismatch[];
} {
  const { remember, suppose } = supposer();
  const reason = reasoner(ask, { remember, suppose }, (c, not) => covers(c, not, 0).length === 0);
  const { idOf, all, dnf, facts, member, patterned, others, item, isNothing, isApart, isEmpty, step } = reason;
  return { reason, subset };

  function subset(writer: readonly View[], reader: View): JsonMismatch[] {
    if (reader.schema === true) return [];
    const key = `${writer.map(idOf).sort().join("&")}<${idOf(reader)}`;
    // For finite data, a pair that is being compared further out holds below if it holds there.
    return suppose<JsonMismatch[]>(key, [], () => subsetAnew(writer, reader), hasFailed);
  }

  function subsetAnew(writer: readonly View[], reader: View): JsonMismatch[] {
    const found: JsonMismatch[] = [];
    for (const c of dnf(writer)) {
      if (isEmpty(c)) continue;
      for (const mismatch of covers(c, reader, 0)) {
        if (!found.some((known) => known.readerPath === mismatch.readerPath && known.rule === mismatch.rule))
          found.push(mismatch);
      }
      if (found.length >= MAX_MISMATCHES) break;
    }
    // What the writer's schema says of the place, where the conjunction could not tell.
    return found.map((mismatch) => (mismatch.writerPath === "?" ? { ...mismatch, writerPath: writer[0]?.path ?? "" } : mismatch));
  }

  /** What keeps the values of `c` from all fitting `b`. */
  function covers(c: Conjunction, b: View, splits: number): JsonMismatch[] {
    if (b.schema === true) return [];
    return remember(`${c.id}<${idOf(b)}/${splits}`, () => coversAnew(c, b, splits), hasFailed);
  }

  function coversAnew(c: Conjunction, b: View, splits: number): JsonMismatch[] {
    step();
    const { schema, doc, path } = b;
    if (schema === true) return [];
    const at = (keyword: string): string => (keyword === "" ? path : `${path}/${keyword}`);
    const writerPath = c.atoms[0]?.path ?? "?";
    const no = (rule: string, message: string, keyword = rule): JsonMismatch => ({
      rule,
      message,
      readerPath: at(keyword),
      writerPath,
    });
    if (schema === false) return isEmpty(c) ? [] : [no("false", "nothing is allowed here", "")];
    const f = facts(c);
    if (f.values !== null) {
      const bad = f.values.filter((value) => !ask(b, value));
      if (bad.length === 0) return [];
      // Which keyword says so: found by the plain comparison, if it can tell.
      const told = plain(c, f, schema, b, no);
      return told.length > 0 && schema.enum === undefined && schema.const === undefined
        ? told
        : [
            no(
              schema.const !== undefined ? "const" : schema.enum !== undefined ? "enum" : "value",
              `${list(bad)} is not taken`,
              keywordOf(schema),
            ),
          ];
    }
    if (c.atoms.some((atom) => same(atom, b))) return [];
    const below = (child: JsonValue | undefined, keyword: string): View => ({ schema: child as Schema, doc, path: at(keyword) });
    const lists = (keyword: string): View[] =>
      Array.isArray(schema[keyword]) ? schema[keyword].map((each, i) => below(each as JsonValue, `${keyword}/${i}`)) : [];
    const out: JsonMismatch[] = [];
    if (typeof schema.$ref === "string") {
      const target = follow(schema.$ref, doc);
      if (target !== null) out.push(...covers(c, target, splits));
    }
    for (const each of lists("allOf")) out.push(...covers(c, each, splits));
    const any = lists("anyOf");
    if (any.length > 0) out.push(...coversOne(c, any, splits, "anyOf", no));
    const one = lists("oneOf");
    if (one.length > 0) out.push(...coversOne(c, one, splits, "oneOf", no));
    if (schema.not !== undefined && !areDisjoint(c, below(schema.not, "not")))
      out.push(no("not", "values that fit are among those excluded"));
    if (schema.if !== undefined) {
      const condition = below(schema.if, "if");
      if (schema.then !== undefined) {
        for (const d of dnf([condition])) {
          const both = all([...c.atoms, ...d.atoms], [...c.nots, ...d.nots]);
          if (!isEmpty(both)) out.push(...covers(both, below(schema.then, "then"), splits));
        }
      }
      if (schema.else !== undefined) {
        const without = all(c.atoms, [...c.nots, condition]);
        if (!isEmpty(without)) out.push(...covers(without, below(schema.else, "else"), splits));
      }
    }
    if (isJsonObject(schema.dependentSchemas) && f.types.has("object")) {
      for (const [name, each] of Object.entries(schema.dependentSchemas)) {
        const present = all([...c.atoms, made({ type: "object", required: [name] })], c.nots);
        if (!isEmpty(present)) out.push(...covers(present, below(each, `dependentSchemas/${escapePointer(name)}`), splits));
      }
    }
    out.push(...plain(c, f, schema, b, no));
    return out;
  }

  type No = (rule: string, message: string, keyword?: string) => JsonMismatch;

  /** Some one of the alternatives must take all of `c`; if none does, the values are parted and each part tried. */
  function coversOne(
    c: Conjunction,
    branches: readonly View[],
    splits: number,
    keyword: "anyOf" | "oneOf",
    no: No,
  ): JsonMismatch[] {
    const tried = branches.map((branch) => ({
      branch,
      // Nothing of it is taken: no need to say in how many ways.
      found: isApart(c, branch) ? [no("const", "none of them is taken")] : covers(c, branch, splits),
    }));
    const fitting = tried.filter(({ found }) => found.length === 0);
    if (
      keyword === "anyOf"
        ? fitting.length > 0
        : fitting.some(({ branch }) => branches.every((other) => other === branch || areDisjoint(c, other)))
    )
      return [];
    if (splits < MAX_SPLITS) {
      const parts = partsOf(c);
      if (parts?.every((part) => isEmpty(part) || coversOne(part, branches, splits + 1, keyword, no).length === 0)) return [];
    }
    if (fitting.length > 1 || (keyword === "oneOf" && fitting.length === 1))
      return [no(keyword, "values may fit more than one alternative")];
    const nearest = tried.filter(
      ({ found }) => !found.some(({ rule }) => rule === "type" || rule === "const" || rule === "enum"),
    );
    return nearest.length === 1 ? nearest[0]!.found : [no(keyword, "no alternative takes all of them")];
  }

  /** The values of `c` by type, or by a required member that has few values; `null` when there is nothing to part by. */
  function partsOf(c: Conjunction): Conjunction[] | null {
    const f = facts(c);
    const also = (schema: JsonObject): Conjunction => all([...c.atoms, made(schema)], c.nots);
    const types = new Set([...f.types].map((type) => (type === "fraction" || type === "integer" ? "number" : type)));
    if (types.size > 1) return [...types].map((type) => also({ type }));
    if (!f.types.has("object")) return null;
    for (const name of f.object.required) {
      const values: (JsonValue | undefined)[] = [];
      for (const d of dnf(member(c, name))) if (!isEmpty(d)) values.push(...(facts(d).values ?? [undefined]));
      if (values.length < 2 || values.length > 20 || values.includes(undefined)) continue;
      return values.map((value) => also({ properties: { [name]: { const: value as JsonValue } } }));
    }
    return null;
  }

  function areDisjoint(c: Conjunction, x: View): boolean {
    return dnf([x]).every((d) => isEmpty(all([...c.atoms, ...d.atoms], [...c.nots, ...d.nots])));
  }

  /** The keywords that look at one value by itself or at its members. */
  function plain(c: Conjunction, f: Facts, schema: JsonObject, b: View, no: No): JsonMismatch[] {
    const out: JsonMismatch[] = [];
    let types: ReadonlySet<Type> = f.types;
    if (schema.type !== undefined) {
      const allowed = typesOf(schema.type);
      const extra = TYPES.filter((type) => types.has(type) && !allowed.has(type));
      if (extra.length > 0) out.push(no("type", `${extra.map(wordOf).join(" or ")} was allowed, and is not taken`));
      types = new Set([...types].filter((type) => allowed.has(type)));
    }
    if ((schema.enum !== undefined || schema.const !== undefined) && f.values === null)
      out.push(no(schema.const === undefined ? "enum" : "const", "values besides those listed were allowed"));
    if (types.has("integer") || types.has("fraction")) out.push(...ofNumbers(f, types, schema, no));
    if (types.has("string")) out.push(...ofStrings(f, schema, no));
    if (types.has("array")) out.push(...ofArrays(c, f, schema, b, no));
    if (types.has("object")) out.push(...ofObjects(c, f, schema, b, no));
    return out;
  }

  function ofNumbers({ number }: Facts, types: ReadonlySet<Type>, schema: JsonObject, no: No): JsonMismatch[] {
    const out: JsonMismatch[] = [];
    const wholeOnly = !types.has("fraction");
    // Of whole numbers, the outermost that are allowed.
    const [low, high] = wholeOnly
      ? [
          { at: number.min.open && Number.isInteger(number.min.at) ? number.min.at + 1 : Math.ceil(number.min.at), open: false },
          { at: number.max.open && Number.isInteger(number.max.at) ? number.max.at - 1 : Math.floor(number.max.at), open: false },
        ]
      : [number.min, number.max];
    const [lowest, highest] = [low.at, high.at];
    const n = (keyword: string): number => schema[keyword] as number;
    if (n("minimum") !== undefined && lowest < n("minimum"))
      out.push(no("minimum", `numbers below ${n("minimum")} were allowed`));
    if (n("maximum") !== undefined && highest > n("maximum"))
      out.push(no("maximum", `numbers above ${n("maximum")} were allowed`));
    if (
      n("exclusiveMinimum") !== undefined &&
      (lowest < n("exclusiveMinimum") || (lowest === n("exclusiveMinimum") && !low.open))
    )
      out.push(no("exclusiveMinimum", `numbers not above ${n("exclusiveMinimum")} were allowed`));
    if (
      n("exclusiveMaximum") !== undefined &&
      (highest > n("exclusiveMaximum") || (highest === n("exclusiveMaximum") && !high.open))
    )
      out.push(no("exclusiveMaximum", `numbers not below ${n("exclusiveMaximum")} were allowed`));
    const step = n("multipleOf");
    if (step !== undefined) {
      const given = wholeOnly ? [1, ...number.multiples] : number.multiples;
      if (!given.some((multiple) => isMultiple(multiple, step)))
        out.push(no("multipleOf", `numbers that are no multiples of ${step} were allowed`));
    }
    return out;
  }

  function ofStrings({ string }: Facts, schema: JsonObject, no: No): JsonMismatch[] {
    const out: JsonMismatch[] = [];
    if (string.minLength < ((schema.minLength as number) ?? 0))
      out.push(no("minLength", `texts shorter than ${String(schema.minLength)} were allowed`));
    if (string.maxLength > ((schema.maxLength as number) ?? Infinity))
      out.push(no("maxLength", `texts longer than ${String(schema.maxLength)} were allowed`));
    if (typeof schema.pattern === "string" && !string.patterns.includes(schema.pattern))
      out.push(no("pattern", `texts that do not match ${schema.pattern} may have been allowed`));
    if (typeof schema.format === "string" && !string.formats.includes(schema.format))
      out.push(no("format", `texts that are no ${schema.format} may have been allowed`));
    for (const keyword of ["contentEncoding", "contentMediaType"]) {
      if (schema[keyword] !== undefined && !string.contents.includes(`${keyword}=${String(schema[keyword])}`))
        out.push(no(keyword, `texts were not said to be ${String(schema[keyword])}, and readers would decode them wrongly`));
    }
    return out;
  }

  function ofArrays(c: Conjunction, f: Facts, schema: JsonObject, b: View, no: No): JsonMismatch[] {
    const { array } = f;
    const out: JsonMismatch[] = [];
    const n = (keyword: string): number | undefined => schema[keyword] as number | undefined;
    if (array.minItems < (n("minItems") ?? 0)) out.push(no("minItems", `lists shorter than ${n("minItems")} were allowed`));
    if (array.maxItems > (n("maxItems") ?? Infinity)) out.push(no("maxItems", `lists longer than ${n("maxItems")} were allowed`));
    if (schema.uniqueItems === true && !array.unique && array.maxItems > 1)
      out.push(no("uniqueItems", "lists with equal items were allowed"));
    const prefix = (schema.prefixItems ?? []) as readonly Schema[];
    const positions = Math.max(array.positions, prefix.length);
    for (let i = 0; i <= positions && i < array.maxItems; i++) {
      const own = i < prefix.length ? prefix[i] : schema.items;
      if (!isSchema(own)) continue;
      const at = i < prefix.length ? `prefixItems/${i}` : "items";
      out.push(...subset(item(c, i), { schema: own, doc: b.doc, path: `${b.path}/${at}` }));
    }
    if (isSchema(schema.contains)) {
      const wanted: View = { schema: schema.contains, doc: b.doc, path: `${b.path}/contains` };
      const min = n("minContains") ?? 1;
      const max = n("maxContains") ?? Infinity;
      const isWithin = (views: readonly View[]): boolean => subset(views, wanted).length === 0;
      const sure = (): boolean => {
        let fitting = 0;
        for (let i = 0; i < Math.min(array.minItems, min + positions + 1); i++) if (isWithin(item(c, i))) fitting++;
        return fitting >= min;
      };
      if (min > 0 && !array.contains.some((has) => has.min >= min && isWithin([has.view])) && !sure())
        out.push(no("contains", `lists without ${min === 1 ? "such an item" : `${min} such items`} were allowed`));
      const isBounded =
        array.maxItems <= max || array.contains.some((has) => has.max <= max && subset([wanted], has.view).length === 0);
      if (max < Infinity && !isBounded) out.push(no("maxContains", `lists with more than ${max} such items were allowed`));
    }
    return out;
  }

  function ofObjects(c: Conjunction, f: Facts, schema: JsonObject, b: View, no: No): JsonMismatch[] {
    const { object } = f;
    const out: JsonMismatch[] = [];
    const n = (keyword: string): number | undefined => schema[keyword] as number | undefined;
    for (const [i, name] of ((schema.required ?? []) as string[]).entries())
      if (!object.required.has(name)) out.push(no("required", `${name} may be missing`, `required/${i}`));
    if (object.minProperties < (n("minProperties") ?? 0))
      out.push(no("minProperties", `fewer than ${n("minProperties")} members were allowed`));
    const isClosed = object.patterns.size === 0 && isNothing(others(c));
    const possible = [...object.names].filter((name) => !isNothing(member(c, name)));
    const most = Math.min(object.maxProperties, isClosed ? possible.length : Infinity);
    if (most > (n("maxProperties") ?? Infinity))
      out.push(no("maxProperties", `more than ${n("maxProperties")} members were allowed`));
    if (isSchema(schema.propertyNames)) {
      const wanted: View = { schema: schema.propertyNames, doc: b.doc, path: `${b.path}/propertyNames` };
      const areNamed = isClosed && possible.every((name) => ask(wanted, name));
      if (!areNamed && !object.propertyNames.some((view) => subset([view, made({ type: "string" })], wanted).length === 0))
        out.push(no("propertyNames", "members with other names were allowed"));
    }
    for (const [name, needs] of Object.entries((schema.dependentRequired ?? {}) as Record<string, string[]>)) {
      if (isNothing(member(c, name))) continue;
      const given = new Set([...object.required, ...closure(name, object.dependentRequired)]);
      const lacking = needs.filter((need) => !given.has(need));
      if (lacking.length > 0)
        out.push(
          no(
            "dependentRequired",
            `${name} without ${lacking.join(", ")} was allowed`,
            `dependentRequired/${escapePointer(name)}`,
          ),
        );
    }
    out.push(...ofMembers(c, object, schema, b));
    if (schema.unevaluatedProperties !== undefined && schema.unevaluatedProperties !== true)
      out.push(...ofUnevaluated(c, isClosed, possible, schema, b, no));
    return out;
  }

  function ofMembers(c: Conjunction, object: Facts["object"], schema: JsonObject, b: View): JsonMismatch[] {
    const named = (schema.properties ?? {}) as JsonObject;
    const patterns = Object.entries((schema.patternProperties ?? {}) as JsonObject);
    const view = (child: JsonValue | undefined, keyword: string): View => ({
      schema: child as Schema,
      doc: b.doc,
      path: `${b.path}/${keyword}`,
    });
    const additional = isSchema(schema.additionalProperties) ? view(schema.additionalProperties, "additionalProperties") : null;
    const out: JsonMismatch[] = [];
    for (const name of new Set([...object.names, ...object.required, ...Object.keys(named)])) {
      const mine = member(c, name);
      const wanted = [
        ...(Object.hasOwn(named, name) ? [view(named[name], `properties/${escapePointer(name)}`)] : []),
        ...patterns
          .filter(([pattern]) => matches(pattern, name))
          .map(([pattern, each]) => view(each, `patternProperties/${escapePointer(pattern)}`)),
      ];
      if (wanted.length === 0 && additional !== null) wanted.push(additional);
      for (const each of wanted) if (each.schema !== true) out.push(...told(subset(mine, each), each, name));
    }
    const rest = others(c);
    const restIsNothing = isNothing(rest);
    for (const [pattern, each] of patterns) {
      const wanted = view(each, `patternProperties/${escapePointer(pattern)}`);
      if (object.patterns.has(pattern)) {
        out.push(...subset(patterned(c, pattern), wanted));
        continue;
      }
      if (!restIsNothing) out.push(...subset(rest, wanted));
      for (const mine of object.patterns) if (!areApart(mine, pattern)) out.push(...subset(patterned(c, mine), wanted));
    }
    if (additional !== null && additional.schema !== true) {
      if (!restIsNothing) out.push(...subset(rest, additional));
      for (const mine of object.patterns)
        if (!patterns.some(([pattern]) => pattern === mine)) out.push(...subset(patterned(c, mine), additional));
    }
    return out;
  }

  /** A member that the reader forbids is told by its name. */
  function told(found: JsonMismatch[], wanted: View, name: string): JsonMismatch[] {
    return found.map((mismatch) =>
      mismatch.rule === "false" && mismatch.readerPath === wanted.path
        ? { ...mismatch, rule: "additionalProperties", message: `${name} is a member that is not taken` }
        : mismatch,
    );
  }

  function ofUnevaluated(
    c: Conjunction,
    isClosed: boolean,
    possible: readonly string[],
    schema: JsonObject,
    b: View,
    no: No,
  ): JsonMismatch[] {
    const named = new Set(Object.keys((schema.properties ?? {}) as JsonObject));
    if (isClosed && possible.every((name) => named.has(name))) return [];
    const wanted: View = { schema: schema.unevaluatedProperties as Schema, doc: b.doc, path: `${b.path}/unevaluatedProperties` };
    const isAlone = ["$ref", "allOf", "anyOf", "oneOf", "dependentSchemas"].every((keyword) => schema[keyword] === undefined);
    if (!isAlone) return [no("unevaluatedProperties", "members may be left over that are not taken")];
    const out = isNothing(others(c)) ? [] : subset(others(c), wanted);
    for (const name of possible) if (!named.has(name)) out.push(...subset(member(c, name), wanted));
    const known = (schema.patternProperties ?? {}) as JsonObject;
    for (const mine of facts(c).object.patterns) if (!Object.hasOwn(known, mine)) out.push(...subset(patterned(c, mine), wanted));
    return out;
  }

  function same(a: View, b: View): boolean {
    if (a.schema === b.schema) return true;
    if (textOf(a.schema) !== textOf(b.schema)) return false;
    return !textOf(a.schema).includes('"$ref"') || sameDocument(a.doc, b.doc);
  }
}

const texts = new WeakMap<object, string>();
/** A schema's text without what it only says to people. */
function textOf(schema: Schema): string {
  if (typeof schema === "boolean") return String(schema);
  let text = texts.get(schema);
  if (text === undefined) {
    text = canonicalize(stripped(schema));
    texts.set(schema, text);
  }
  return text;
}

const WORDS = new Set([
  "title",
  "description",
  "$comment",
  "examples",
  "default",
  "deprecated",
  "readOnly",
  "writeOnly",
  "tributary",
  "$id",
  "$schema",
  "$defs",
]);
function stripped(schema: Schema): JsonValue {
  if (typeof schema === "boolean") return schema;
  const out: Record<string, JsonValue> = {};
  for (const [keyword, value] of Object.entries(schema)) {
    if (WORDS.has(keyword) || keyword.startsWith("x-")) continue;
    if ((ONE as readonly string[]).includes(keyword) && isSchema(value)) out[keyword] = stripped(value);
    else if ((LIST as readonly string[]).includes(keyword) && Array.isArray(value))
      out[keyword] = (value as Schema[]).map(stripped);
    else if ((NAMED as readonly string[]).includes(keyword) && isJsonObject(value))
      out[keyword] = Object.fromEntries(Object.entries(value).map(([name, each]) => [name, stripped(each as Schema)]));
    else out[keyword] = keyword === "required" || keyword === "enum" ? sorted(value) : value;
  }
  return out;
}
const sorted = (value: JsonValue): JsonValue =>
  Array.isArray(value) ? [...value].sort((a, b) => (canonicalize(a) < canonicalize(b) ? -1 : 1)) : value;

function closure(name: string, needs: ReadonlyMap<string, readonly string[]>): Set<string> {
  const out = new Set([name]);
  for (const each of out) for (const need of needs.get(each) ?? []) out.add(need);
  return out;
}

/** Whether two patterns surely match no common name: both begin at the start with other letters. */
function areApart(a: string, b: string): boolean {
  const start = (pattern: string): string => /^\^([A-Za-z0-9_-]*)(?![*+?{A-Za-z0-9_-])/.exec(pattern)?.[1] ?? "";
  const hasChoice = a.includes("|") || b.includes("|");
  const [x, y] = [start(a), start(b)];
  return !hasChoice && !x.startsWith(y) && !y.startsWith(x);
}

const wordOf = (type: Type): string =>
  ({
    null: "null",
    boolean: "a boolean",
    integer: "a whole number",
    fraction: "a number that is not whole",
    string: "a text",
    array: "a list",
    object: "an object",
  })[type];
const list = (values: readonly JsonValue[]): string =>
  values
    .slice(0, 5)
    .map((value) => JSON.stringify(value))
    .join(", ") + (values.length > 5 ? ", …" : "");
const keywordOf = (schema: JsonObject): string =>
  schema.const !== undefined ? "const" : schema.enum !== undefined ? "enum" : "";
