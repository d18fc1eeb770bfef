import { isJsonObject, type JsonObject, type JsonValue } from "../../core/index.ts";
import {
  children,
  type Document,
  escapePointer,
  follow,
  isSchema,
  LIST,
  NAMED,
  ONE,
  type Schema,
  type View,
  viewOf,
} from "./document.ts";
import { matcherOf } from "./patterns.ts";

/**
 * How a reader with one version of a JSON Schema reads data written with another, as Avro readers do: where its schema closes an object
 * (`additionalProperties: false`), members it does not know are left out; where it has a default for a member, the default is
 * filled in. This holds for objects whose schema says so itself. Of those that combine schemas (anyOf and the like), unknown members are left out where no part looks at them; all else is
 * taken as it is.
 */

const COMBINING = [
  "allOf",
  "anyOf",
  "oneOf",
  "not",
  "if",
  "dependentSchemas",
  "unevaluatedProperties",
  "enum",
  "const",
  "contains",
] as const;
/** With these, filling in a member could break another rule. */
const COUNTING = ["maxProperties", "propertyNames", "dependentRequired"] as const;

/** Whether a schema says by itself what an object holds: only declared members are asked for, so others may go. */
function isPlain(schema: JsonObject): boolean {
  if (COMBINING.some((keyword) => schema[keyword] !== undefined) || schema.$ref !== undefined) return false;
  return asksForNamed(schema, new Set(Object.keys((schema.properties ?? {}) as JsonObject)));
}
function asksForNamed(schema: JsonObject, names: ReadonlySet<string>): boolean {
  const needs = Object.values((schema.dependentRequired ?? {}) as Record<string, string[]>).flat();
  return [...((schema.required ?? []) as string[]), ...needs].every((name) => names.has(name));
}
/** Whether any name is allowed, so that the keyword adds nothing. */
const isAnyName = (names: JsonValue | undefined): boolean =>
  names === true || (isJsonObject(names) && Object.keys(names).length === 0);
const mayFill = (schema: JsonObject): boolean =>
  isPlain(schema) &&
  COUNTING.every((keyword) => schema[keyword] === undefined || (keyword === "propertyNames" && isAnyName(schema.propertyNames)));

/** What a schema that is put together by `$ref` and `allOf` names of an object's members. */
interface Named {
  readonly names: ReadonlySet<string>;
  readonly patterns: readonly string[];
}

/**
 * The last part of a schema that is put together and closed as a whole: it names all members of all parts, and no others may be. This is how
 * `unevaluatedProperties: false` is written out (`unevaluated.ts`).
 */
function closerOf(schema: JsonObject): (Named & { readonly at: number }) | null {
  const parts = Array.isArray(schema.allOf) ? schema.allOf : [];
  const last: unknown = parts.at(-1);
  if (!isJsonObject(last) || last.additionalProperties !== false) return null;
  const { properties, patternProperties, additionalProperties: _, ...rest } = last;
  if (!isJsonObject(properties) || !isJsonObject(patternProperties) || Object.keys(rest).length > 0) return null;
  if (![...Object.values(properties), ...Object.values(patternProperties)].every((each) => each === true)) return null;
  return { names: new Set(Object.keys(properties)), patterns: Object.keys(patternProperties), at: parts.length - 1 };
}

/** Whether a schema that is put together is closed as a whole, and how many members and patterns it names for that. */
export const isClosedAsWhole = (schema: JsonObject): boolean => closerOf(schema) !== null;
export const namedForClosing = (schema: JsonObject): number => {
  const closer = closerOf(schema);
  return closer === null ? 0 : closer.names.size + closer.patterns.length;
};

/** Parts of one schema that are looked into, at most. */
const MAX_PARTS = 1_000;

/** Keywords with which a schema looks at an object as it stands, so that leaving out a member could change the answer. */
const LOOKING = ["enum", "const", "contains", "unevaluatedProperties", "minProperties"] as const;
/** The same where the answer may be turned round: within alternatives, which another may exclude. */
const COUNTED = ["maxProperties", "propertyNames"] as const;

/** A part of a schema that is put together. `isSure`: whether it applies to all data. */
interface Part {
  readonly view: View;
  readonly isSure: boolean;
}

/** All parts that look at the same value as a schema, itself among them; `null`: there are too many. `closer`: the part of its `allOf` that closes it. */
function partsOf(view: View, closer: number | null): Part[] | null {
  const parts: Part[] = [];
  const seen = new Set<Schema>();
  const gather = (part: View, isSure: boolean): void => {
    const { schema, doc, path } = part;
    if (parts.length >= MAX_PARTS || (seen.has(schema) && schema !== false)) return;
    // What is reached in both ways is looked at in the stricter one.
    if (!isSure) seen.add(schema);
    parts.push({ view: part, isSure });
    if (typeof schema === "boolean") return;
    const below = (each: JsonValue | undefined, at: string, isSureToo: boolean): void => {
      if (isSchema(each)) gather({ schema: each, doc, path: `${path}/${at}` }, isSureToo);
    };
    const target = typeof schema.$ref === "string" ? follow(schema.$ref, doc) : null;
    if (target !== null) gather(target, isSure);
    for (const keyword of ["allOf", "anyOf", "oneOf"]) {
      const list: readonly JsonValue[] = Array.isArray(schema[keyword]) ? schema[keyword] : [];
      for (const [i, each] of list.entries())
        if (part !== view || keyword !== "allOf" || i !== closer) below(each, `${keyword}/${i}`, isSure && keyword === "allOf");
    }
    for (const keyword of ["not", "if", "then", "else"]) below(schema[keyword], keyword, false);
    for (const [name, each] of Object.entries((schema.dependentSchemas ?? {}) as JsonObject))
      below(each, `dependentSchemas/${escapePointer(name)}`, false);
  };
  gather(view, true);
  return parts.length < MAX_PARTS ? parts : null;
}

/**
 * The members that a schema with parts or alternatives names, if it is closed as a whole and members that it does not name may be left out: then no part of it looks at them.
 * `at`: the part of its `allOf` that closes it; `null`: it says so itself. Else `null`.
 */
function composed(view: View): (Named & { readonly at: number | null }) | null {
  const { schema } = view;
  if (typeof schema === "boolean") return null;
  const closer = closerOf(schema) ?? closedByItself(schema);
  const parts = closer === null ? null : partsOf(view, closer.at);
  if (closer === null || parts === null) return null;
  const { names, patterns, at } = closer;
  const areNamed = (keywords: JsonValue | undefined): boolean =>
    Object.keys((keywords ?? {}) as JsonObject).every((name) => names.has(name));
  const isOpen = ({ view: part, isSure }: Part): boolean => {
    const { schema: each } = part;
    // Whoever shuts out everything does so whatever is left out.
    if (typeof each === "boolean") return each || !isSure;
    if (each.additionalProperties !== undefined && !(part === view && at === null)) return false;
    if (LOOKING.some((keyword) => each[keyword] !== undefined)) return false;
    if (!isSure && COUNTED.some((keyword) => each[keyword] !== undefined)) return false;
    if (!areNamed(each.properties) || !areNamed(each.dependentSchemas) || (!isSure && !areNamed(each.dependentRequired)))
      return false;
    const own = Object.keys((each.patternProperties ?? {}) as JsonObject);
    return own.every((pattern) => patterns.includes(pattern)) && asksForNamed(each, names);
  };
  return parts.every(isOpen) ? closer : null;
}

/** What a schema names that has alternatives and closes its objects itself. */
function closedByItself(schema: JsonObject): (Named & { readonly at: null }) | null {
  if (schema.additionalProperties !== false || isPlain(schema)) return null;
  const names = new Set(Object.keys((schema.properties ?? {}) as JsonObject));
  return { names, patterns: Object.keys((schema.patternProperties ?? {}) as JsonObject), at: null };
}

const defaultOf = (schema: JsonValue | undefined): JsonValue | undefined => (isJsonObject(schema) ? schema.default : undefined);

/** Keywords that say nothing about what fits; a `$ref` beside nothing else stands for what it leads to. */
const WORDS = [
  "$ref",
  "$schema",
  "$id",
  "$defs",
  "$comment",
  "title",
  "description",
  "default",
  "examples",
  "deprecated",
  "readOnly",
  "writeOnly",
  "tributary",
];
const isPureRef = (schema: JsonObject): boolean =>
  typeof schema.$ref === "string" && Object.keys(schema).every((keyword) => WORDS.includes(keyword) || keyword.startsWith("x-"));

/** The children that reading goes into from a plain schema. */
const READ_INTO = ["properties", "additionalProperties", "items", "prefixItems"];

/**
 * The schemas that reading acts on wherever they apply. One that is also reached through a combination is not among them: there, data is taken as it is.
 */
function actedOn(doc: Document): ReadonlySet<Schema> {
  const plain = new Set<Schema>();
  const other = new Set<Schema>();
  const visit = (view: View, isActedOn: boolean): void => {
    const { schema } = view;
    const mine = isActedOn ? plain : other;
    if (typeof schema === "boolean" || mine.has(schema)) return;
    mine.add(schema);
    const target = typeof schema.$ref === "string" ? follow(schema.$ref, view.doc) : null;
    if (target !== null) visit(target, isActedOn && isPureRef(schema));
    const goesOn = isActedOn && isPlain(schema);
    for (const child of children(view)) {
      const keyword = child.path.slice(view.path.length + 1).split("/")[0]!;
      if (keyword !== "$defs" && keyword !== "definitions") visit(child, goesOn && READ_INTO.includes(keyword));
    }
  };
  visit(viewOf(doc), true);
  return new Set([...plain].filter((schema) => !other.has(schema)));
}

/** The schema that data must fit to be readable: the reader's own, less what reading takes care of. */
export function readable(doc: Document): Document {
  const acted = actedOn(doc);
  const relaxed = new Map<Document, Document>();
  return relaxDocument(doc);

  function relaxDocument(each: Document): Document {
    const known = relaxed.get(each);
    if (known !== undefined) return known;
    const references = new Map<string, Document>();
    const made: Document = { root: relax(viewOf(each)), references };
    relaxed.set(each, made);
    for (const [name, reference] of each.references) references.set(name, relaxDocument(reference));
    return made;
  }

  function relax(view: View): Schema {
    const { schema } = view;
    if (typeof schema === "boolean") return schema;
    const below = (child: Schema): Schema => relax({ ...view, schema: child });
    const out: Record<string, JsonValue> = { ...schema };
    for (const keyword of ONE) if (isSchema(schema[keyword])) out[keyword] = below(schema[keyword]);
    for (const keyword of LIST)
      if (Array.isArray(schema[keyword])) out[keyword] = (schema[keyword] as Schema[]).map(below) as JsonValue[];
    for (const keyword of NAMED) {
      const named = schema[keyword];
      if (isJsonObject(named))
        out[keyword] = Object.fromEntries(
          Object.entries(named).map(([name, each]) => [name, isSchema(each) ? below(each) : each]),
        );
    }
    if (!acted.has(schema)) return out;
    const closer = composed(view);
    if (closer?.at === null) delete out.additionalProperties;
    else if (closer !== null && Array.isArray(out.allOf)) out.allOf = out.allOf.with(closer.at, true);
    if (isPlain(schema) && schema.additionalProperties === false) delete out.additionalProperties;
    if (mayFill(schema) && Array.isArray(schema.required) && isJsonObject(schema.properties)) {
      const { properties } = schema;
      out.required = (schema.required as string[]).filter((name) => defaultOf(properties[name]) === undefined);
    }
    return out;
  }
}

/** Sets a member, whatever its name is; assigning to `__proto__` would do something else. */
function put(out: Record<string, JsonValue>, name: string, value: JsonValue): void {
  if (name === "__proto__") Object.defineProperty(out, name, { value, enumerable: true, writable: true, configurable: true });
  else out[name] = value;
}

type Read = (value: JsonValue) => JsonValue;
const same: Read = (value) => value;

/** Leaves out the members that no part of a schema names. */
function withoutOthers({ names, patterns }: Named): Read {
  const matchers = patterns.map((pattern) => matcherOf(pattern));
  const isKnown = (name: string): boolean => names.has(name) || matchers.some((matcher) => matcher.test(name));
  return (value) => {
    if (!isJsonObject(value) || Object.keys(value).every(isKnown)) return value;
    const out: Record<string, JsonValue> = {};
    for (const [name, member] of Object.entries(value)) if (isKnown(name)) put(out, name, member);
    return out;
  };
}

/** The function that reads data as a document's schema has it; what needs no change is returned as it is. */
// Long because the readers of schemas call one another through one table, in which a schema that leads back to itself finds its own reader.
export function jsonReader(doc: Document): Read {
  const acted = actedOn(doc);
  const made = new Map<Schema, { read: Read }>();
  return make(viewOf(doc));

  function make(view: View): Read {
    const { schema } = view;
    if (typeof schema === "boolean") return same;
    const known = made.get(schema);
    if (known !== undefined) return (value) => known.read(value);
    const slot = { read: same };
    made.set(schema, slot);
    slot.read = build(schema, view);
    return slot.read;
  }

  function build(schema: JsonObject, view: View): Read {
    const closer = acted.has(schema) ? composed(view) : null;
    if (closer !== null) return withoutOthers(closer);
    if (typeof schema.$ref === "string") {
      const target = isPureRef(schema) ? follow(schema.$ref, view.doc) : null;
      return target === null ? same : make(target);
    }
    if (!acted.has(schema)) return same;
    if (!isPlain(schema)) return same;
    const below = (child: JsonValue | undefined): Read | null => {
      if (!isSchema(child)) return null;
      const read = make({ ...view, schema: child });
      return read === same ? null : read;
    };
    const members = new Map<string, Read | null>();
    for (const [name, child] of Object.entries((schema.properties ?? {}) as JsonObject)) members.set(name, below(child));
    const patterns = Object.entries((schema.patternProperties ?? {}) as JsonObject).map(([pattern]) => matcherOf(pattern));
    const others = below(schema.additionalProperties);
    const closed = schema.additionalProperties === false;
    const fills = mayFill(schema)
      ? [...members.keys()].flatMap((name) => {
          const preset = defaultOf((schema.properties as JsonObject)[name]);
          return preset === undefined ? [] : [{ name, preset }];
        })
      : [];
    const first = Array.isArray(schema.prefixItems) ? schema.prefixItems.map(below) : [];
    const rest = below(schema.items);
    const reads = [...members.values(), others].some((read) => read !== null);
    const readsItems = [...first, rest].some((read) => read !== null);
    if (!closed && fills.length === 0 && !reads && !readsItems) return same;

    /** Whether every member stays as it is: what most events are. */
    const isAsRead = (value: JsonObject): boolean => {
      for (const name in value) {
        const read = members.get(name);
        if (read === undefined ? closed || others !== null : read !== null) return false;
      }
      return true;
    };
    const filled = (value: JsonObject): JsonObject => {
      let out: Record<string, JsonValue> | null = null;
      for (const { name, preset } of fills) {
        if (Object.hasOwn(value, name)) continue;
        out ??= { ...value };
        put(out, name, preset);
      }
      return out ?? value;
    };
    return (value) => {
      if (Array.isArray(value)) return readsItems ? value.map((item, i) => (first[i] ?? rest ?? same)(item as JsonValue)) : value;
      if (!isJsonObject(value)) return value;
      if (isAsRead(value)) return filled(value);
      const out: Record<string, JsonValue> = {};
      for (const [name, member] of Object.entries(value)) {
        const read = members.get(name);
        if (read !== undefined) put(out, name, read === null ? member : read(member));
        else if (patterns.some((pattern) => pattern.test(name))) put(out, name, member);
        else if (!closed) put(out, name, others === null ? member : others(member));
      }
      return filled(out);
    };
  }
}
