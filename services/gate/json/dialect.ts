import { Ajv2020, type ValidateFunction } from "ajv/dist/2020.js";
import { canonicalize, isJsonObject, type JsonObject } from "../../core/index.ts";
import { type Document, follow, type Schema, type View, viewOf, walk } from "./document.ts";
import { FORMATS } from "./formats.ts";
import { patternProblem } from "./patterns.ts";
import { namedForClosing } from "./reading.ts";
import { writtenAt } from "./unevaluated.ts";
import { reservedName } from "./values.ts";

/** Why a JSON Schema is refused, where, and what to write instead. */
export interface Refusal {
  readonly path: string;
  readonly reason: string;
  readonly hint: string;
}

export const DIALECT = "https://json-schema.org/draft/2020-12/schema";
/** Bounds on a schema: far beyond any form, small enough that checking one stays cheap. */
export const MAX_SCHEMA_BYTES = 256 * 1024;
const MAX_SCHEMAS = 2_000;
const MAX_DEPTH = 64;
/** More members of one object than this overflow the stack in the code that ajv generates for them. */
const MAX_PROPERTIES = 1_000;
/** Each pattern may become an automaton of some hundred kilobytes. */
const MAX_PATTERNS = 100;
/** Each property of characters is looked up once, which takes some 60 ms. */
const MAX_PROPERTY_ESCAPES = 20;
const MAX_REFUSALS = 20;
/** Lengths and counts: far beyond what an event can hold, and exact wherever they are added up. */
const MAX_COUNT = 2 ** 31 - 1;
const COUNTS = ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "minContains", "maxContains"];
/** The range of `multipleOf`: numbers that decimal arithmetic handles in a few digits. */
const MIN_STEP = 1e-15;
const MAX_STEP = 1e15;

/**
 * What a document is refused for: it is not a JSON Schema by the 2020-12 meta-schema, or is one that would be validated wrongly: `ajv` 8 fails the JSON Schema Test Suite on these (docs/schemas.md
 * has the figures). Also refused: what no validator could check in bounded time.
 */
export function refusals(doc: Document, { withPatterns = true } = {}): Refusal[] {
  if (typeof doc.root !== "boolean" && !isJsonObject(doc.root))
    return [{ path: "", reason: "it is neither an object nor true or false", hint: "Write an object." }];
  const unmeta = metaProblem(doc.root);
  const found = dialectRefusals(doc, unmeta === null, withPatterns);
  // What this dialect's own words say of a location is clearer than the meta-schema's.
  return found.length > 0 || unmeta === null ? found : [unmeta];
}

let metaSchema: ValidateFunction | null = null;
/** Why a document is not a schema by the standard's own schema of schemas. */
function metaProblem(root: Schema): Refusal | null {
  metaSchema ??= new Ajv2020({ strict: false, validateFormats: false, logger: false }).getSchema(DIALECT)!;
  if (metaSchema(root) === true) return null;
  const error = metaSchema.errors?.[0];
  return {
    path: (error?.instancePath ?? "").slice(0, 200),
    reason: `it is not a JSON Schema 2020-12: this ${(error?.message ?? "is wrong").slice(0, 200)}`,
    hint: "Correct it.",
  };
}

function dialectRefusals(doc: Document, isSchemaByMeta: boolean, withPatterns: boolean): Refusal[] {
  const out: Refusal[] = [];
  const refuse = (path: string, reason: string, hint: string): void => {
    if (out.length < MAX_REFUSALS) out.push({ path, reason, hint });
  };
  let count = 0;
  // Names that stand there only because the document was written out (`unevaluated.ts`).
  let spared = 0;
  let notWrittenOut: string | null = null;
  for (const view of walk(viewOf(doc))) {
    const { schema, path, depth } = view;
    if (typeof schema !== "boolean") spared += namedForClosing(schema) + writtenAt(schema);
    if (++count > MAX_SCHEMAS + spared) {
      refuse(path, `it holds more than ${MAX_SCHEMAS} schemas`, "Split it into several subjects.");
      break;
    }
    if (depth > MAX_DEPTH) {
      refuse(path, `it nests more than ${MAX_DEPTH} deep`, "Make it flatter.");
      break;
    }
    if (typeof schema === "boolean") continue;
    refuseKeywords(schema, path, refuse);
    if (schema.unevaluatedProperties !== undefined && schema.unevaluatedProperties !== true) notWrittenOut ??= path;
    refuseNumbers(schema, path, refuse);
    refuseReference(view, refuse);
  }
  if (withPatterns) refusePatterns(doc, refuse);
  if (out.length === 0 && isSchemaByMeta) refuseLoops(doc, refuse);
  // ajv 8 takes a member for evaluated if an alternative's pattern matches it, even where that alternative does not hold.
  if (out.length === 0 && isSchemaByMeta && notWrittenOut !== null) {
    refuse(
      `${notWrittenOut}/unevaluatedProperties`,
      "it cannot be told correctly here which members are left over: patterns in alternatives (anyOf, oneOf, if, dependentSchemas) may match what is named elsewhere as well, or there are too many alternatives",
      "In the alternatives, name members under properties instead of patternProperties, or write patterns that match nothing named elsewhere.",
    );
  }
  return out;
}

type Refuse = (path: string, reason: string, hint: string) => void;

const WRONG: Readonly<Record<string, string>> = {
  $dynamicRef: "Use $ref.",
  $dynamicAnchor: "Use $anchor and $ref.",
  $recursiveRef: "It belongs to an older draft; use $ref.",
  $recursiveAnchor: "It belongs to an older draft; use $ref.",
  unevaluatedItems: "Use items after prefixItems; it is taken unless a contains within an alternative decides what is left over.",
  $vocabulary: "Leave it out: the standard vocabularies are in force.",
  additionalItems: "It belongs to an older draft; use prefixItems and items.",
  dependencies: "It belongs to an older draft; use dependentRequired or dependentSchemas.",
};

function refuseKeywords(schema: JsonObject, path: string, refuse: Refuse): void {
  for (const [keyword, hint] of Object.entries(WRONG)) {
    if (schema[keyword] !== undefined)
      refuse(`${path}/${keyword}`, `${keyword} is not among the keywords that can be validated correctly here`, hint);
  }
  if (schema.$schema !== undefined && (schema.$schema !== DIALECT || path !== "")) {
    refuse(
      `${path}/$schema`,
      `its dialect is ${JSON.stringify(schema.$schema)}`,
      `${DIALECT} is spoken here, and drafts 6, 7 and 2019-09 where they say the same.`,
    );
  }
  if (schema.$id !== undefined && path !== "")
    refuse(`${path}/$id`, "a schema inside has an $id of its own", "Use $anchor, or make it a subject of its own.");
  if (path === "" && typeof schema.$id === "string" && !/^(https?|urn):/.test(schema.$id))
    refuse("/$id", "its $id is not an http(s) or urn address", "Leave it out, or write https://….");
  if (Array.isArray(schema.items))
    refuse(`${path}/items`, "items is a list, which belongs to an older draft", "Use prefixItems.");
  if (typeof schema.format === "string" && !FORMATS.includes(schema.format)) {
    refuse(
      `${path}/format`,
      `the format ${schema.format} is not one that can be checked correctly here`,
      `There are ${FORMATS.join(", ")}; or use a pattern.`,
    );
  }
  if (Array.isArray(schema.enum) && schema.enum.length === 0)
    refuse(`${path}/enum`, "an empty enum allows no value", "List the values.");
  for (const keyword of ["enum", "const"]) {
    if (schema[keyword] !== undefined && reservedName(schema[keyword]) !== null)
      refuse(
        `${path}/${keyword}`,
        "a value has a member named like a method of objects, and is compared wrongly here",
        "Choose another name.",
      );
  }
  for (const keyword of ["properties", "dependentSchemas", "dependentRequired", "patternProperties"]) {
    if (isJsonObject(schema[keyword]) && Object.keys(schema[keyword]).length > MAX_PROPERTIES)
      refuse(`${path}/${keyword}`, `it has more than ${MAX_PROPERTIES} members`, "Group them, or use another subject.");
  }
  for (const keyword of ["properties", "dependentSchemas", "dependentRequired"]) {
    if (isJsonObject(schema[keyword]) && Object.hasOwn(schema[keyword], "__proto__"))
      refuse(`${path}/${keyword}`, "a member named __proto__ is validated wrongly here", "Choose another name.");
  }
}

function refuseNumbers(schema: JsonObject, path: string, refuse: Refuse): void {
  for (const keyword of COUNTS) {
    const count = schema[keyword];
    if (typeof count === "number" && count > MAX_COUNT)
      refuse(`${path}/${keyword}`, `${count} is more than ${MAX_COUNT}`, "Leave it out, or write what is meant.");
  }
  const step = schema.multipleOf;
  if (typeof step === "number" && step > 0 && (step < MIN_STEP || step > MAX_STEP))
    refuse(`${path}/multipleOf`, `${step} is not between ${MIN_STEP} and ${MAX_STEP}`, "Write what is meant.");
}

function refuseReference({ schema, doc, path }: View, refuse: Refuse): void {
  if (typeof schema === "boolean" || schema.$ref === undefined) return;
  if (typeof schema.$ref !== "string" || follow(schema.$ref, doc) === null) {
    refuse(
      `${path}/$ref`,
      `${JSON.stringify(schema.$ref)} leads nowhere`,
      "Refer to #/$defs/…, or to a subject that tributary.references names.",
    );
  }
}

const IN_PLACE = ["allOf", "anyOf", "oneOf"] as const;
/** A schema that applies itself to the same value can never be answered. */
function refuseLoops(doc: Document, refuse: Refuse): void {
  const done = new Set<Schema>();
  const visit = (view: View, open: readonly Schema[]): void => {
    const { schema, path } = view;
    if (typeof schema === "boolean") return;
    if (open.includes(schema)) {
      refuse(path, "it refers to itself without going deeper into the value", "Refer to it from within properties or items.");
      return;
    }
    if (done.has(schema)) return;
    const below = [...open, schema];
    if (typeof schema.$ref === "string") {
      const target = follow(schema.$ref, view.doc);
      if (target !== null) visit(target, below);
    }
    for (const keyword of IN_PLACE) {
      const list = schema[keyword];
      if (Array.isArray(list))
        for (const [i, member] of list.entries())
          visit({ schema: member as Schema, doc: view.doc, path: `${path}/${keyword}/${i}` }, below);
    }
    for (const keyword of ["not", "if", "then", "else"] as const) {
      if (schema[keyword] !== undefined)
        visit({ schema: schema[keyword] as Schema, doc: view.doc, path: `${path}/${keyword}` }, below);
    }
    for (const [name, member] of Object.entries((schema.dependentSchemas ?? {}) as Record<string, Schema>))
      visit({ schema: member, doc: view.doc, path: `${path}/dependentSchemas/${name}` }, below);
    done.add(schema);
  };
  for (const view of walk(viewOf(doc))) visit(view, []);
}

function refusePatterns(doc: Document, refuse: Refuse): void {
  const all = patternsOf(doc);
  const count = new Set(all.map(({ pattern }) => pattern)).size;
  if (count > MAX_PATTERNS) {
    refuse("", `it has ${count} different patterns; ${MAX_PATTERNS} are taken`, "Use formats, enums, or fewer of them.");
    return;
  }
  const properties = new Set(all.flatMap(({ pattern }) => pattern.match(/\\p\{[^}]*\}/gi) ?? []));
  if (properties.size > MAX_PROPERTY_ESCAPES) {
    refuse(
      "",
      `its patterns name ${properties.size} different properties \\p{…}; ${MAX_PROPERTY_ESCAPES} are taken`,
      "Use fewer.",
    );
    return;
  }
  for (const { path, pattern } of all) {
    const problem = patternProblem(pattern);
    if (problem !== null)
      refuse(
        path,
        `the pattern ${pattern.slice(0, 200)} is refused: ${problem}`,
        "Write one without (?=…), (?!…), (?<=…) and \\1, and with + or * for large counts: maxLength bounds the text.",
      );
  }
}

/** Patterns of a document. */
function patternsOf(doc: Document): { readonly path: string; readonly pattern: string }[] {
  const out: { path: string; pattern: string }[] = [];
  for (const { schema, path } of walk(viewOf(doc))) {
    if (typeof schema === "boolean") continue;
    if (typeof schema.pattern === "string") out.push({ path: `${path}/pattern`, pattern: schema.pattern });
    for (const pattern of Object.keys((schema.patternProperties ?? {}) as JsonObject))
      out.push({ path: `${path}/patternProperties`, pattern });
  }
  return out;
}

const documentTexts = new WeakMap<Document, string>();
function textOf(doc: Document): string {
  let text = documentTexts.get(doc);
  if (text === undefined) {
    text = canonicalize(doc.root);
    documentTexts.set(doc, text);
  }
  return text;
}

/** Whether two documents say the same, references included. */
export function sameDocument(a: Document, b: Document): boolean {
  if (a === b) return true;
  if (a.references.size !== b.references.size || textOf(a) !== textOf(b)) return false;
  return [...a.references].every(([name, doc]) => {
    const other = b.references.get(name);
    return other !== undefined && sameDocument(doc, other);
  });
}
