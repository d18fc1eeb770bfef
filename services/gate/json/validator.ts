import { Ajv2020, type ErrorObject, type ValidateFunction } from "ajv/dist/2020.js";
import { canonicalize, isJsonObject, type JsonValue } from "../../core/index.ts";
import { type Document, isSchema, LIST, NAMED, ONE, type Schema, type View, viewOf, walk } from "./document.ts";
import { addFormats } from "./formats.ts";

const OPTIONS = {
  strict: true,
  strictTypes: false,
  strictRequired: false,
  strictTuples: false,
  allowMatchingProperties: true,
  verbose: true,
  logger: false,
} as const;

/** Names that every JavaScript object has; a schema that uses one needs a check of own members only, which is slower. */
const INHERITED = new Set(Object.getOwnPropertyNames(Object.prototype));

/** Annotations that a schema may carry anywhere. Anything else unknown is refused: most likely it is misspelt. */
const ANNOTATIONS = ["tributary", "$anchor"];

function ajvFor(doc: Document, allErrors: boolean): Ajv2020 {
  const names = new Set<string>();
  const annotations = new Set(ANNOTATIONS);
  const visit = (each: Document): void => {
    for (const { schema } of walk(viewOf(each))) {
      if (typeof schema === "boolean") continue;
      for (const keyword of Object.keys(schema)) if (keyword.startsWith("x-")) annotations.add(keyword);
      if (isJsonObject(schema.properties)) for (const name of Object.keys(schema.properties)) names.add(name);
      if (Array.isArray(schema.required)) for (const name of schema.required) names.add(String(name));
    }
    for (const reference of each.references.values()) visit(reference);
  };
  visit(doc);
  const ajv = new Ajv2020({ ...OPTIONS, allErrors, ownProperties: [...names].some((name) => INHERITED.has(name)) });
  addFormats(ajv);
  for (const keyword of annotations) if (ajv.getKeyword(keyword) === false) ajv.addKeyword(keyword);
  return ajv;
}

/**
 * Names that ajv's comparison of values (for `uniqueItems`, and `enum` and `const` of objects) takes for an object's own methods: a value that has
 * them is compared wrongly, or the comparison throws.
 */
const RESERVED = ["valueOf", "toString", "constructor"];

/** Whether a document compares whole objects or lists. */
export function comparesValues(doc: Document): boolean {
  const isObject = (value: unknown): boolean => typeof value === "object" && value !== null;
  for (const { schema } of walk(viewOf(doc))) {
    if (typeof schema === "boolean") continue;
    if (schema.uniqueItems === true || isObject(schema.const)) return true;
    if (Array.isArray(schema.enum) && schema.enum.some(isObject)) return true;
  }
  return [...doc.references.values()].some(comparesValues);
}

/** The path of a member whose name such a comparison cannot bear; `null` when there is none. */
export function reservedName(value: JsonValue, path: readonly string[] = []): readonly string[] | null {
  if (typeof value !== "object" || value === null) return null;
  for (const [name, member] of Object.entries(value)) {
    if (!Array.isArray(value) && RESERVED.includes(name)) return [...path, name];
    const found = reservedName(member as JsonValue, [...path, name]);
    if (found !== null) return found;
  }
  return null;
}

/**
 * A schema as ajv is given it. ajv 8 may take an empty list for one that `contains` something, where another keyword looks at its items too;
 * the length that `contains` implies is said to it in so many words.
 */
function guarded(schema: Schema): Schema {
  if (typeof schema === "boolean") return schema;
  const out: Record<string, JsonValue> = { ...schema };
  for (const keyword of ONE) if (isSchema(schema[keyword])) out[keyword] = guarded(schema[keyword]);
  for (const keyword of LIST)
    if (Array.isArray(schema[keyword])) out[keyword] = (schema[keyword] as Schema[]).map(guarded) as JsonValue[];
  for (const keyword of NAMED) {
    const named = schema[keyword];
    if (isJsonObject(named))
      out[keyword] = Object.fromEntries(
        Object.entries(named).map(([name, each]) => [name, isSchema(each) ? guarded(each) : each]),
      );
  }
  if (schema.contains !== undefined)
    out.minItems = Math.max((schema.minItems as number | undefined) ?? 0, (schema.minContains as number | undefined) ?? 1);
  return out;
}

const OWN = "https://tributary.invalid/own";

/** Makes ajv know a document and what it refers to, each by the name in its `$ref`s. */
function add(ajv: Ajv2020, doc: Document): void {
  const added = new Map<string, Document>();
  const addReferences = (each: Document): void => {
    for (const [name, reference] of each.references) {
      if (added.has(name)) continue;
      added.set(name, reference);
      const root = guarded(reference.root);
      // ajv resolves a reference against the $id of where it stands; without one, names stay as they are written.
      ajv.addSchema(typeof root === "boolean" ? root : { ...root, $id: name }, name);
      addReferences(reference);
    }
  };
  addReferences(doc);
}

const compiledOnce = new WeakMap<Document, ValidateFunction>();

/** Compiles a document with ajv, once. Throws ajv's error for what is no schema. */
export function compileDocument(doc: Document): ValidateFunction {
  let validate = compiledOnce.get(doc);
  if (validate === undefined) {
    validate = compileAnew(doc, false);
    compiledOnce.set(doc, validate);
  }
  return validate;
}

function compileAnew(doc: Document, allErrors: boolean): ValidateFunction {
  const ajv = ajvFor(doc, allErrors);
  add(ajv, doc);
  return ajv.compile(guarded(doc.root) as Parameters<typeof ajv.compile>[0]);
}

/** Asks the real validator about any schema within documents; compiled once each. */
export interface Oracle {
  (view: View, value: JsonValue): boolean;
  /** Every error of a document on a value. */
  errors(doc: Document, value: JsonValue): readonly ErrorObject[];
}

export function oracle(): Oracle {
  const documents = new Map<Document, Ajv2020>();
  const compiled = new Map<Document, Map<string, ValidateFunction>>();
  const whole = new Map<Document, ValidateFunction>();
  const ask = ({ schema, doc, path }: View, value: JsonValue): boolean => {
    if (typeof schema === "boolean") return schema;
    const mine = compiled.get(doc) ?? new Map<string, ValidateFunction>();
    compiled.set(doc, mine);
    const key = path === "" || path.startsWith("/") ? path : canonicalize(schema);
    let validate = mine.get(key);
    if (validate === undefined) {
      validate = compilePart({ schema, doc, path });
      mine.set(key, validate);
    }
    return validate(value) as boolean;
  };
  const compilePart = ({ doc, path }: View): ValidateFunction => {
    let ajv = documents.get(doc);
    if (ajv === undefined) {
      ajv = ajvFor(doc, false);
      add(ajv, doc);
      const root = guarded(doc.root);
      ajv.addSchema(typeof root === "boolean" ? root : { ...root, $id: (root.$id as string) ?? OWN }, OWN);
      documents.set(doc, ajv);
    }
    const base = typeof doc.root === "object" && typeof doc.root.$id === "string" ? doc.root.$id : OWN;
    return ajv.compile({ $ref: `${base}#${path.split("/").map(encodeURIComponent).join("/")}` });
  };
  ask.errors = (doc: Document, value: JsonValue): readonly ErrorObject[] => {
    let validate = whole.get(doc);
    if (validate === undefined) {
      validate = compileAnew(doc, true);
      whole.set(doc, validate);
    }
    return validate(value) ? [] : (validate.errors ?? []);
  };
  return ask;
}
