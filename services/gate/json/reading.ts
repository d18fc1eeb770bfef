import { isJsonObject, type JsonObject, type JsonValue } from "../../core/index.ts";
import { children, type Document, follow, isSchema, LIST, NAMED, ONE, type Schema, type View, viewOf } from "./document.ts";
import { matcherOf } from "./patterns.ts";

/**
 * How a reader with one version of a JSON Schema reads data written with another, as Avro readers do: where its schema closes an object
 * (`additionalProperties: false`), members it does not know are left out; where it has a default for a member, the default is
 * filled in. This holds for objects whose schema says so itself; those that combine schemas (anyOf and the like) are taken as they are.
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
  const declared = (schema.properties ?? {}) as JsonObject;
  const needs = Object.values((schema.dependentRequired ?? {}) as Record<string, string[]>).flat();
  return [...((schema.required ?? []) as string[]), ...needs].every((name) => Object.hasOwn(declared, name));
}
const mayFill = (schema: JsonObject): boolean => isPlain(schema) && COUNTING.every((keyword) => schema[keyword] === undefined);

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
    const made: Document = { root: relax(each.root), references };
    relaxed.set(each, made);
    for (const [name, reference] of each.references) references.set(name, relaxDocument(reference));
    return made;
  }

  function relax(schema: Schema): Schema {
    if (typeof schema === "boolean") return schema;
    const out: Record<string, JsonValue> = { ...schema };
    for (const keyword of ONE) if (isSchema(schema[keyword])) out[keyword] = relax(schema[keyword]);
    for (const keyword of LIST)
      if (Array.isArray(schema[keyword])) out[keyword] = (schema[keyword] as Schema[]).map(relax) as JsonValue[];
    for (const keyword of NAMED) {
      const named = schema[keyword];
      if (isJsonObject(named))
        out[keyword] = Object.fromEntries(
          Object.entries(named).map(([name, each]) => [name, isSchema(each) ? relax(each) : each]),
        );
    }
    if (!acted.has(schema)) return out;
    if (isPlain(schema) && schema.additionalProperties === false) delete out.additionalProperties;
    if (mayFill(schema) && Array.isArray(schema.required) && isJsonObject(schema.properties)) {
      const { properties } = schema;
      out.required = (schema.required as string[]).filter((name) => defaultOf(properties[name]) === undefined);
    }
    return out;
  }
}

/** Sets a member of whatever name; assigning to `__proto__` would do something else. */
function put(out: Record<string, JsonValue>, name: string, value: JsonValue): void {
  if (name === "__proto__") Object.defineProperty(out, name, { value, enumerable: true, writable: true, configurable: true });
  else out[name] = value;
}

type Read = (value: JsonValue) => JsonValue;
const same: Read = (value) => value;

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
