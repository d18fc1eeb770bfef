import { Ajv2020, type ErrorObject, type FuncKeywordDefinition, type ValidateFunction } from "ajv/dist/2020.js";
import { canonicalize, isJsonObject, type JsonValue } from "../../core/index.ts";
import {
  children,
  type Document,
  follow,
  isSchema,
  LIST,
  NAMED,
  ONE,
  type Schema,
  targetOf,
  type View,
  viewOf,
  walk,
} from "./document.ts";
import { addFormats } from "./formats.ts";
import { isMultiple } from "./multiples.ts";
import { beginCheck, matcherOf } from "./patterns.ts";

const OPTIONS = {
  strict: true,
  strictTypes: false,
  strictRequired: false,
  strictTuples: false,
  allowMatchingProperties: true,
  verbose: true,
  // A schema that is referred to often is compiled once, not once for each.
  inlineRefs: false,
  // Documents are checked against the meta-schema when they are read (`refusals`); when each validator compiled it again, that took half of a hub's start.
  validateSchema: false,
  logger: false,
  code: { regExp: Object.assign((pattern: string) => matcherOf(pattern), { code: "matcherOf" }) },
} as const;

/** Names that every JavaScript object has; a schema that uses one needs a check of own members only, which is slower. */
const INHERITED = new Set(Object.getOwnPropertyNames(Object.prototype));

/** Annotations that a schema may carry anywhere. Anything else unknown is refused: most likely it is misspelt. */
const ANNOTATIONS = ["tributary", "$anchor"];

function ajvFor(doc: Document, allErrors: boolean): Ajv2020 {
  const names = new Set<string>();
  const annotations = new Set(ANNOTATIONS);
  let asksWhatIsLeft = false;
  const visit = (each: Document): void => {
    for (const { schema } of walk(viewOf(each))) {
      if (typeof schema === "boolean") continue;
      for (const keyword of Object.keys(schema)) if (keyword.startsWith("x-")) annotations.add(keyword);
      if (schema.unevaluatedProperties !== undefined || schema.unevaluatedItems !== undefined) asksWhatIsLeft = true;
      for (const keyword of ["properties", "dependentRequired", "dependentSchemas"] as const)
        if (isJsonObject(schema[keyword])) for (const name of Object.keys(schema[keyword])) names.add(name);
      const needs = isJsonObject(schema.dependentRequired) ? Object.values(schema.dependentRequired) : [];
      for (const name of [schema.required ?? [], ...needs].flat()) names.add(String(name));
    }
    for (const reference of each.references.values()) visit(reference);
  };
  visit(doc);
  const ajv = new Ajv2020({ ...OPTIONS, allErrors, ownProperties: [...names].some((name) => INHERITED.has(name)) });
  // Noting what is evaluated costs time, and ajv 8 fails on its notes of a `$ref` beside `patternProperties`.
  if (!asksWhatIsLeft) ajv.opts.unevaluated = false;
  addFormats(ajv);
  ajv.removeKeyword("contains");
  ajv.addKeyword(containing(ajv));
  ajv.removeKeyword("multipleOf");
  ajv.addKeyword({
    keyword: "multipleOf",
    type: "number",
    schemaType: "number",
    validate: (of: number, value: number) => isMultiple(value, of),
  });
  for (const keyword of annotations) if (ajv.getKeyword(keyword) === false) ajv.addKeyword(keyword);
  return ajv;
}

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

/** Whether a document combines schemas and comes back to itself: then each level of data may be looked at several times. */
export function multiplies(doc: Document): boolean {
  let combines = false;
  let loops = false;
  const done = new Set<Schema>();
  const visit = (view: View, open: readonly Schema[]): void => {
    const { schema } = view;
    if (typeof schema === "boolean") return;
    if (open.includes(schema)) {
      loops = true;
      return;
    }
    if (done.has(schema)) return;
    if (COMBINING.some((keyword) => schema[keyword] !== undefined)) combines = true;
    const below = [...open, schema];
    const target = typeof schema.$ref === "string" ? follow(schema.$ref, view.doc) : null;
    for (const child of [...children(view), ...(target === null ? [] : [target])]) visit(child, below);
    done.add(schema);
  };
  visit(viewOf(doc), []);
  return combines && loops;
}
const COMBINING = ["allOf", "anyOf", "oneOf", "not", "if", "dependentSchemas", "patternProperties", "contains"];

/** The address under which ajv knows a document. Each has its own, whatever it and others call themselves. */
const addresses = new WeakMap<Document, string>();
let nextAddress = 0;
function addressOf(doc: Document): string {
  let address = addresses.get(doc);
  if (address === undefined) {
    address = `https://schema.invalid/${nextAddress++}`;
    addresses.set(doc, address);
  }
  return address;
}

/**
 * A schema as ajv is given it. References lead to documents' addresses, since two documents may call different ones by the same name.
 */
function prepared(schema: Schema, doc: Document): Schema {
  if (typeof schema === "boolean") return schema;
  const out: Record<string, JsonValue> = { ...schema };
  delete out.$id;
  delete out.$schema;
  for (const keyword of ONE) if (isSchema(schema[keyword])) out[keyword] = prepared(schema[keyword], doc);
  for (const keyword of LIST)
    if (Array.isArray(schema[keyword]))
      out[keyword] = (schema[keyword] as Schema[]).map((each) => prepared(each, doc)) as JsonValue[];
  for (const keyword of NAMED) {
    const named = schema[keyword];
    if (isJsonObject(named))
      out[keyword] = Object.fromEntries(
        Object.entries(named).map(([name, each]) => [name, isSchema(each) ? prepared(each, doc) : each]),
      );
  }
  if (typeof schema.$ref === "string") {
    const hash = schema.$ref.indexOf("#");
    const target = targetOf(schema.$ref, doc);
    if (target !== null) out.$ref = `${addressOf(target)}${hash < 0 ? "#" : schema.$ref.slice(hash)}`;
  }
  return out;
}

/**
 * `contains`, before `prefixItems`: ajv 8 leaves out what comes after that for lists too short for any of its positions, and so takes them for ones that
 * contain what they do not. What is looked for is compiled when it is first needed, since it may lead back to the schema it stands in; references are addresses, so it may stand alone.
 */
function containing(ajv: Ajv2020): FuncKeywordDefinition {
  const compiled = new Map<Schema, ValidateFunction>();
  return {
    keyword: "contains",
    before: "prefixItems",
    type: "array",
    schemaType: ["object", "boolean"],
    validate: ((
      wanted: Schema,
      items: readonly JsonValue[],
      parent?: { readonly minContains?: number; readonly maxContains?: number },
    ) => {
      let isWanted = compiled.get(wanted);
      if (isWanted === undefined) {
        isWanted = ajv.compile(wanted);
        compiled.set(wanted, isWanted);
      }
      let count = 0;
      for (const item of items) if (isWanted(item)) count++;
      return count >= (parent?.minContains ?? 1) && count <= (parent?.maxContains ?? Infinity);
    }) as NonNullable<FuncKeywordDefinition["validate"]>,
  };
}

/** Makes ajv know a document and all that it refers to. */
function add(ajv: Ajv2020, doc: Document): void {
  const address = addressOf(doc);
  if (ajv.schemas[address] !== undefined) return;
  const schema = prepared(doc.root, doc);
  ajv.addSchema(typeof schema === "boolean" ? { $id: address, allOf: [schema] } : { ...schema, $id: address }, address);
  for (const reference of doc.references.values()) add(ajv, reference);
}

const compiledOnce = new WeakMap<Document, ValidateFunction>();

/** Compiles a document with ajv, once. Throws ajv's error for a document that is not a schema. */
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
  return ajv.getSchema(addressOf(doc)) as ValidateFunction;
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
    beginCheck();
    return validate(value) as boolean;
  };
  const compilePart = ({ doc, path }: View): ValidateFunction => {
    let ajv = documents.get(doc);
    if (ajv === undefined) {
      ajv = ajvFor(doc, false);
      add(ajv, doc);
      documents.set(doc, ajv);
    }
    return ajv.compile({ $ref: `${addressOf(doc)}#${path.split("/").map(encodeURIComponent).join("/")}` });
  };
  ask.errors = (doc: Document, value: JsonValue): readonly ErrorObject[] => {
    let validate = whole.get(doc);
    if (validate === undefined) {
      validate = compileAnew(doc, true);
      whole.set(doc, validate);
    }
    beginCheck();
    try {
      return validate(value) ? [] : (validate.errors ?? []);
    } catch (error) {
      // ajv 8 fails on its notes after a first error: then only the first error is reported.
      if (!(error instanceof TypeError)) throw error;
      const first = compileDocument(doc);
      return first(value) ? [] : (first.errors ?? []);
    }
  };
  return ask;
}
