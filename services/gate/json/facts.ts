import { canonicalize, isJsonObject, type JsonObject, type JsonValue } from "../../core/index.ts";
import { escapePointer, follow, isSchema, type Schema, type View } from "./document.ts";
import { CostlyError, matches, PatternError } from "./patterns.ts";
import type { Supposer } from "./supposing.ts";
import type { Oracle } from "./validator.ts";

/**
 * What a schema says, taken apart so that two can be compared: a union of conjunctions of plain schemas, and for each conjunction
 * what it allows of every type.
 */

/** JSON's types; numbers are parted into whole ones and others. */
export type Type = "null" | "boolean" | "integer" | "fraction" | "string" | "array" | "object";
export const TYPES: readonly Type[] = ["null", "boolean", "integer", "fraction", "string", "array", "object"];

/** All of `atoms` hold, and none of `nots`. The same ones are one object, so that what is found of it is found once. */
export interface Conjunction {
  readonly id: number;
  readonly atoms: readonly View[];
  readonly nots: readonly View[];
}

export interface Facts {
  readonly types: ReadonlySet<Type>;
  /** All values there are, where they are few; `null`: too many to list. */
  readonly values: readonly JsonValue[] | null;
  readonly number: { readonly min: Bound; readonly max: Bound; readonly multiples: readonly number[] };
  readonly string: {
    readonly minLength: number;
    readonly maxLength: number;
    readonly patterns: readonly string[];
    readonly formats: readonly string[];
    /** contentEncoding and contentMediaType, as `keyword=value`. */
    readonly contents: readonly string[];
  };
  readonly array: {
    readonly minItems: number;
    readonly maxItems: number;
    readonly unique: boolean;
    /** Positions that have schemas of their own. */
    readonly positions: number;
    readonly contains: readonly { readonly view: View; readonly min: number; readonly max: number }[];
  };
  readonly object: {
    readonly minProperties: number;
    readonly maxProperties: number;
    readonly required: ReadonlySet<string>;
    readonly names: ReadonlySet<string>;
    readonly patterns: ReadonlySet<string>;
    readonly propertyNames: readonly View[];
    readonly dependentRequired: ReadonlyMap<string, readonly string[]>;
  };
}

export interface Bound {
  readonly at: number;
  readonly open: boolean;
}

/** The two schemas are beyond what is compared; nothing is claimed of them. */
export class TooComplexError extends Error {}
/** Whether somebody gave up, rather than failed: the schemas are too intricate, or a pattern of theirs is not taken or costs too much. */
export const isUndecided = (error: unknown): error is Error =>
  error instanceof TooComplexError ||
  error instanceof PatternError ||
  error instanceof CostlyError ||
  // The stack is bounded too: what nests that deep is too intricate.
  (error instanceof RangeError && error.message.includes("call stack"));

const MAX_CONJUNCTIONS = 256;
const MAX_STEPS = 200_000;
const MAX_DEPTH = 40;
/** Whole numbers in a range are listed up to this many. */
const MAX_LISTED = 64;

const madeUp = new Map<string, View>();
const MAX_MADE = 10_000;
/** A schema made up for the comparison; the same for the same words. */
export function made(schema: Schema): View {
  const key = canonicalize(schema);
  let view = madeUp.get(key);
  if (view === undefined) {
    view = { schema, doc: { root: schema, references: new Map() }, path: "" };
    if (madeUp.size >= MAX_MADE) madeUp.clear();
    madeUp.set(key, view);
  }
  return view;
}
const NEVER = made(false);

export interface Reasoner {
  /** Names a schema: the same place, the same name. */
  idOf(view: View): string;
  /** The conjunction of these. */
  all(atoms: readonly View[], nots: readonly View[]): Conjunction;
  dnf(views: readonly View[]): Conjunction[];
  facts(c: Conjunction): Facts;
  /** What all of a conjunction's schemas say of a member; `never` where there can be none. */
  member(c: Conjunction, name: string): readonly View[];
  /** Of members whose name fits a pattern that some atom has, and of members that no atom names. */
  patterned(c: Conjunction, pattern: string): readonly View[];
  others(c: Conjunction): readonly View[];
  item(c: Conjunction, position: number): readonly View[];
  isNothing(views: readonly View[]): boolean;
  /** Whether it is plain that no value fits both: by what all of them must have. */
  isApart(c: Conjunction, view: View): boolean;
  isEmpty(c: Conjunction): boolean;
  ask: Oracle;
  step(): void;
}

export function reasoner(ask: Oracle, { remember }: Supposer, coversNot: (c: Conjunction, not: View) => boolean): Reasoner {
  const conjunctions = new Map<string, Conjunction>();
  const expanded = new Map<string, Conjunction[]>();
  /** Conjunctions whose facts are being gathered: where one leads back to itself, it is taken for what it says on its face. */
  const gathering = new Set<Conjunction>();
  const emptying = new Set<Conjunction>();
  const numbers = new WeakMap<object, number>();
  let next = 0;
  const idOf = ({ schema }: View): string => {
    if (typeof schema === "boolean") return String(schema);
    let number = numbers.get(schema);
    if (number === undefined) {
      number = next++;
      numbers.set(schema, number);
    }
    return String(number);
  };
  const all = (atoms: readonly View[], nots: readonly View[]): Conjunction => {
    const once = (views: readonly View[]): Map<string, View> => new Map(views.toReversed().map((view) => [idOf(view), view]));
    const [a, n] = [once(atoms), once(nots)];
    const key = `${[...a.keys()].sort().join("&")}-${[...n.keys()].sort().join("&")}`;
    let found = conjunctions.get(key);
    if (found === undefined) {
      found = { id: conjunctions.size, atoms: [...a.values()].toReversed(), nots: [...n.values()].toReversed() };
      conjunctions.set(key, found);
    }
    return found;
  };
  let steps = 0;
  let depth = 0;
  const step = (): void => {
    if (++steps > MAX_STEPS) throw new TooComplexError("the schemas are too intricate to be compared");
  };

  const product = (a: readonly Conjunction[], b: readonly Conjunction[]): Conjunction[] => {
    if (a.length * b.length > MAX_CONJUNCTIONS)
      throw new TooComplexError("the schemas combine too many alternatives to be compared");
    return a.flatMap((x) => b.map((y) => all([...x.atoms, ...y.atoms], [...x.nots, ...y.nots])));
  };
  const EVERYTHING: readonly Conjunction[] = [all([], [])];

  function expand(view: View): Conjunction[] {
    step();
    const { schema, doc, path } = view;
    if (schema === true) return [...EVERYTHING];
    if (schema === false) return [];
    let out: Conjunction[] = [all([view], [])];
    const below = (child: JsonValue | undefined, at: string): View => ({ schema: child as Schema, doc, path: `${path}/${at}` });
    if (typeof schema.$ref === "string") {
      const target = follow(schema.$ref, doc);
      if (target !== null) out = product(out, expand(target));
    }
    const lists = (keyword: string): View[] =>
      Array.isArray(schema[keyword]) ? schema[keyword].map((each, i) => below(each as JsonValue, `${keyword}/${i}`)) : [];
    for (const each of lists("allOf")) out = product(out, expand(each));
    const any = lists("anyOf");
    if (any.length > 0) out = product(out, any.flatMap(expand));
    const one = lists("oneOf");
    if (one.length > 0) {
      out = product(
        out,
        one.flatMap((each) => expand(each).map((c) => all(c.atoms, [...c.nots, ...one.filter((other) => other !== each)]))),
      );
    }
    if (schema.not !== undefined) out = out.map((c) => all(c.atoms, [...c.nots, below(schema.not, "not")]));
    if (schema.if !== undefined) {
      const condition = below(schema.if, "if");
      const yes = product(expand(condition), schema.then === undefined ? EVERYTHING : expand(below(schema.then, "then")));
      const no = (schema.else === undefined ? EVERYTHING : expand(below(schema.else, "else"))).map((c) =>
        all(c.atoms, [...c.nots, condition]),
      );
      out = product(out, [...yes, ...no]);
    }
    if (isJsonObject(schema.dependentSchemas)) {
      for (const [name, each] of Object.entries(schema.dependentSchemas)) {
        const absent = all([made({ properties: { [name]: false } })], []);
        const notObject = all([made({ type: TYPES_BUT_OBJECT })], []);
        const present = expand(below(each, `dependentSchemas/${escapePointer(name)}`)).map((c) =>
          all([...c.atoms, made({ type: "object", required: [name] })], c.nots),
        );
        out = product(out, [absent, notObject, ...present]);
      }
    }
    return out;
  }

  const dnf = (views: readonly View[]): Conjunction[] => {
    const key = views.map(idOf).join("&");
    let found = expanded.get(key);
    if (found === undefined) {
      found = views.reduce<Conjunction[]>((sofar, view) => product(sofar, expand(view)), [...EVERYTHING]);
      expanded.set(key, found);
    }
    return found;
  };

  const objects = (c: Conjunction): { readonly view: View; readonly schema: JsonObject }[] =>
    c.atoms.flatMap((view) => (typeof view.schema === "boolean" ? [] : [{ view, schema: view.schema }]));

  const child = (view: View, schema: JsonValue | undefined, at: string): View => ({
    schema: schema as Schema,
    doc: view.doc,
    path: `${view.path}/${at}`,
  });

  function ofMember(view: View, schema: JsonObject, name: string): View[] {
    const out: View[] = [];
    const named = schema.properties as JsonObject | undefined;
    const isNamed = named !== undefined && Object.hasOwn(named, name);
    if (isNamed) out.push(child(view, named[name], `properties/${escapePointer(name)}`));
    let isPatterned = false;
    for (const [pattern, each] of Object.entries((schema.patternProperties ?? {}) as JsonObject)) {
      if (!matches(pattern, name)) continue;
      isPatterned = true;
      out.push(child(view, each, `patternProperties/${escapePointer(pattern)}`));
    }
    if (!isNamed && !isPatterned && isSchema(schema.additionalProperties))
      out.push(child(view, schema.additionalProperties, "additionalProperties"));
    return out;
  }

  const member = (c: Conjunction, name: string): readonly View[] =>
    objects(c).flatMap(({ view, schema }) => [
      ...ofMember(view, schema, name),
      ...(isSchema(schema.propertyNames) && !ask(child(view, schema.propertyNames, "propertyNames"), name) ? [NEVER] : []),
    ]);

  const patterned = (c: Conjunction, pattern: string): readonly View[] =>
    objects(c).flatMap(({ view, schema }) => {
      const own = schema.patternProperties as JsonObject | undefined;
      if (own !== undefined && Object.hasOwn(own, pattern))
        return [child(view, own[pattern], `patternProperties/${escapePointer(pattern)}`)];
      // A name may be one that this atom names otherwise; only without any patterns is it surely an additional one (named ones are compared apart).
      return own === undefined && isSchema(schema.additionalProperties)
        ? [child(view, schema.additionalProperties, "additionalProperties")]
        : [];
    });

  const others = (c: Conjunction): readonly View[] =>
    objects(c).flatMap(({ view, schema }) =>
      isSchema(schema.additionalProperties) ? [child(view, schema.additionalProperties, "additionalProperties")] : [],
    );

  const item = (c: Conjunction, position: number): readonly View[] =>
    objects(c).flatMap(({ view, schema }) => {
      const prefix = (schema.prefixItems ?? []) as readonly Schema[];
      if (position < prefix.length) return [child(view, prefix[position] as JsonValue, `prefixItems/${position}`)];
      return isSchema(schema.items) ? [child(view, schema.items, "items")] : [];
    });

  function isNothing(views: readonly View[]): boolean {
    if (views.some(({ schema }) => schema === false)) return true;
    if (depth > MAX_DEPTH) return false;
    depth++;
    try {
      return dnf(views).every(isEmpty);
    } finally {
      depth--;
    }
  }

  function isApart(c: Conjunction, view: View): boolean {
    return dnf([view]).every((d) => facts(all([...c.atoms, ...d.atoms], [])).types.size === 0);
  }

  function isEmpty(c: Conjunction): boolean {
    step();
    if (facts(c).types.size === 0) return true;
    // One that leads back to itself is not known to be empty.
    if (c.nots.length === 0 || depth > MAX_DEPTH || emptying.has(c)) return false;
    const compute = (): boolean => {
      depth++;
      emptying.add(c);
      try {
        return c.nots.some((not) => !isApart(c, not) && coversNot(all(c.atoms, []), not));
      } finally {
        emptying.delete(c);
        depth--;
      }
    };
    return remember(`empty ${c.id}`, compute, (isIt) => !isIt);
  }

  function facts(c: Conjunction): Facts {
    if (gathering.has(c)) return gather(c, false);
    const compute = (): Facts => {
      gathering.add(c);
      try {
        return gather(c, true);
      } finally {
        gathering.delete(c);
      }
    };
    return remember(`facts ${c.id}`, compute, () => false);
  }

  function gather(c: Conjunction, goesIn: boolean): Facts {
    const types = new Set<Type>(TYPES);
    let values: JsonValue[] | null = null;
    let min: Bound = { at: -Infinity, open: false };
    let max: Bound = { at: Infinity, open: false };
    const multiples: number[] = [];
    let [minLength, maxLength] = [0, Infinity];
    const patterns: string[] = [];
    const formats: string[] = [];
    const contents: string[] = [];
    let [minItems, maxItems, unique, positions] = [0, Infinity, false, 0];
    const contains: { view: View; min: number; max: number }[] = [];
    let [minProperties, maxProperties] = [0, Infinity];
    const required = new Set<string>();
    const names = new Set<string>();
    const namePatterns = new Set<string>();
    const propertyNames: View[] = [];
    const dependentRequired = new Map<string, readonly string[]>();

    for (const { view, schema } of objects(c)) {
      if (schema.type !== undefined) {
        const allowed = typesOf(schema.type);
        for (const type of types) if (!allowed.has(type)) types.delete(type);
      }
      const listed =
        schema.const !== undefined ? [schema.const] : Array.isArray(schema.enum) ? (schema.enum as JsonValue[]) : null;
      if (listed !== null) {
        const texts = new Set(listed.map((value) => canonicalize(value)));
        values = values === null ? [...listed] : values.filter((value) => texts.has(canonicalize(value)));
      }
      const n = (keyword: string): number | undefined => schema[keyword] as number | undefined;
      min = tighter(tighter(min, n("minimum"), false, 1), n("exclusiveMinimum"), true, 1);
      max = tighter(tighter(max, n("maximum"), false, -1), n("exclusiveMaximum"), true, -1);
      if (n("multipleOf") !== undefined) multiples.push(n("multipleOf")!);
      minLength = Math.max(minLength, n("minLength") ?? 0);
      maxLength = Math.min(maxLength, n("maxLength") ?? Infinity);
      if (typeof schema.pattern === "string") patterns.push(schema.pattern);
      if (typeof schema.format === "string") formats.push(schema.format);
      for (const keyword of ["contentEncoding", "contentMediaType"])
        if (schema[keyword] !== undefined) contents.push(`${keyword}=${String(schema[keyword])}`);
      minItems = Math.max(minItems, n("minItems") ?? 0);
      maxItems = Math.min(maxItems, n("maxItems") ?? Infinity);
      unique ||= schema.uniqueItems === true;
      positions = Math.max(positions, Array.isArray(schema.prefixItems) ? schema.prefixItems.length : 0);
      if (isSchema(schema.contains)) {
        const bounds = { min: n("minContains") ?? 1, max: n("maxContains") ?? Infinity };
        contains.push({ view: child(view, schema.contains, "contains"), ...bounds });
        minItems = Math.max(minItems, bounds.min);
      }
      minProperties = Math.max(minProperties, n("minProperties") ?? 0);
      maxProperties = Math.min(maxProperties, n("maxProperties") ?? Infinity);
      for (const name of (schema.required ?? []) as string[]) required.add(name);
      for (const name of Object.keys((schema.properties ?? {}) as JsonObject)) names.add(name);
      for (const pattern of Object.keys((schema.patternProperties ?? {}) as JsonObject)) namePatterns.add(pattern);
      if (isSchema(schema.propertyNames)) propertyNames.push(child(view, schema.propertyNames, "propertyNames"));
      for (const [name, needs] of Object.entries((schema.dependentRequired ?? {}) as Record<string, string[]>))
        dependentRequired.set(name, [...(dependentRequired.get(name) ?? []), ...needs]);
    }
    closeOver(required, dependentRequired);
    minProperties = Math.max(minProperties, required.size);

    const low = min.open && Number.isInteger(min.at) ? min.at + 1 : Math.ceil(min.at);
    const high = max.open && Number.isInteger(max.at) ? max.at - 1 : Math.floor(max.at);
    if (low > high) types.delete("integer");
    if (min.at > max.at || (min.at === max.at && (min.open || max.open || Number.isInteger(min.at)))) types.delete("fraction");
    if (multiples.some(Number.isInteger)) types.delete("fraction");
    if (minLength > maxLength) types.delete("string");

    if (goesIn && depth < MAX_DEPTH && (types.has("array") || types.has("object"))) {
      depth++;
      try {
        if (types.has("array")) {
          for (let i = 0; i <= positions && i < maxItems; i++) if (isNothing(item(c, i))) maxItems = i;
          if (minItems > maxItems) types.delete("array");
        }
        if (types.has("object")) {
          if (minProperties > maxProperties || [...required].some((name) => isNothing(member(c, name)))) types.delete("object");
        }
      } finally {
        depth--;
      }
    }

    if (values === null && [...types].every((type) => type === "null" || type === "boolean" || type === "integer")) {
      const fewWhole =
        !types.has("integer") || (Number.isSafeInteger(low) && Number.isSafeInteger(high) && high - low < MAX_LISTED);
      if (fewWhole) {
        values = [];
        if (types.has("null")) values.push(null);
        if (types.has("boolean")) values.push(true, false);
        if (types.has("integer")) for (let i = low; i <= high; i++) values.push(i === 0 ? 0 : i);
      }
    }
    if (values !== null) {
      const all = values.filter((value) => c.atoms.every((atom) => ask(atom, value)) && !c.nots.some((not) => ask(not, value)));
      values = all;
      const present = new Set(all.map(typeOf));
      for (const type of types) if (!present.has(type)) types.delete(type);
    }
    return {
      types,
      values,
      number: { min, max, multiples },
      string: { minLength, maxLength, patterns, formats, contents },
      array: { minItems, maxItems, unique, positions, contains },
      object: { minProperties, maxProperties, required, names, patterns: namePatterns, propertyNames, dependentRequired },
    };
  }

  return { idOf, all, dnf, facts, member, patterned, others, item, isNothing, isApart, isEmpty, ask, step };
}

const TYPES_BUT_OBJECT = ["null", "boolean", "number", "string", "array"];

export function typesOf(type: JsonValue): Set<Type> {
  const out = new Set<Type>();
  for (const name of [type].flat() as string[]) {
    if (name === "number") out.add("integer").add("fraction");
    else out.add(name as Type);
  }
  return out;
}

export function typeOf(value: JsonValue): Type {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  switch (typeof value) {
    case "number":
      return Number.isInteger(value) ? "integer" : "fraction";
    case "boolean":
      return "boolean";
    case "string":
      return "string";
    default:
      return "object";
  }
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
