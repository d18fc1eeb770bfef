import { isJsonObject, type JsonObject, type JsonValue } from "../../core/index.ts";

/** A JSON Schema: an object of keywords, or `true` / `false`. */
export type Schema = JsonObject | boolean;

/** A schema document with the documents that it may refer to, by the name its `$ref`s use. */
export interface Document {
  readonly root: Schema;
  readonly references: ReadonlyMap<string, Document>;
}

/** A schema within a document. `path` is a JSON pointer. */
export interface View {
  readonly schema: Schema;
  readonly doc: Document;
  readonly path: string;
}

export const viewOf = (doc: Document): View => ({ schema: doc.root, doc, path: "" });

export const escapePointer = (name: string): string => name.replaceAll("~", "~0").replaceAll("/", "~1");
export const unescapePointer = (part: string): string => part.replaceAll("~1", "/").replaceAll("~0", "~");

/** Keywords whose value is a schema, a list of schemas, or schemas by name. */
export const ONE = [
  "additionalProperties",
  "propertyNames",
  "items",
  "contains",
  "not",
  "if",
  "then",
  "else",
  "unevaluatedProperties",
  "unevaluatedItems",
  "contentSchema",
] as const;
export const LIST = ["allOf", "anyOf", "oneOf", "prefixItems"] as const;
export const NAMED = ["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"] as const;

export const isSchema = (value: unknown): value is Schema => typeof value === "boolean" || isJsonObject(value);

/** The schemas that stand directly in one, with their paths. */
export function children({ schema, doc, path }: View): View[] {
  if (typeof schema === "boolean") return [];
  const out: View[] = [];
  for (const keyword of ONE) {
    const value = schema[keyword];
    if (isSchema(value)) out.push({ schema: value, doc, path: `${path}/${keyword}` });
  }
  for (const keyword of LIST) {
    const value = schema[keyword];
    if (!Array.isArray(value)) continue;
    for (const [i, member] of value.entries())
      if (isSchema(member)) out.push({ schema: member, doc, path: `${path}/${keyword}/${i}` });
  }
  for (const keyword of NAMED) {
    const value = schema[keyword];
    if (!isJsonObject(value)) continue;
    for (const [name, member] of Object.entries(value))
      if (isSchema(member)) out.push({ schema: member, doc, path: `${path}/${keyword}/${escapePointer(name)}` });
  }
  return out;
}

/** Every schema of a document, outermost first. */
export function* walk(view: View, depth = 0): Generator<View & { readonly depth: number }> {
  yield { ...view, depth };
  for (const child of children(view)) yield* walk(child, depth + 1);
}

const anchors = new WeakMap<Document, Map<string, View>>();
function anchorsOf(doc: Document): Map<string, View> {
  let found = anchors.get(doc);
  if (found === undefined) {
    found = new Map();
    for (const view of walk(viewOf(doc))) {
      if (typeof view.schema === "boolean") continue;
      if (typeof view.schema.$anchor === "string") found.set(view.schema.$anchor, view);
    }
    anchors.set(doc, found);
  }
  return found;
}

/** The document that a `$ref` leads to; `null` when there is none. */
export function targetOf(ref: string, doc: Document): Document | null {
  const hash = ref.indexOf("#");
  const base = hash < 0 ? ref : ref.slice(0, hash);
  const isOwn = base === "" || (typeof doc.root === "object" && base === doc.root.$id);
  return isOwn ? doc : (doc.references.get(base) ?? null);
}

const locations = new WeakMap<Document, ReadonlySet<Schema>>();
/** All locations in a document where a schema stands, as `walk` finds them. */
function locationsOf(doc: Document): ReadonlySet<Schema> {
  let found = locations.get(doc);
  if (found === undefined) {
    found = new Set([...walk(viewOf(doc))].map(({ schema }) => schema));
    locations.set(doc, found);
  }
  return found;
}

/** Where a `$ref` leads; `null` when it leads nowhere, or to a location where no schema stands: an example, say. */
export function follow(ref: string, doc: Document): View | null {
  const hash = ref.indexOf("#");
  const fragment = decode(hash < 0 ? "" : ref.slice(hash + 1));
  const target = targetOf(ref, doc);
  if (fragment === null || target === null) return null;
  if (fragment === "") return viewOf(target);
  if (!fragment.startsWith("/")) return anchorsOf(target).get(fragment) ?? null;
  let at: JsonValue | undefined = target.root;
  for (const part of fragment.slice(1).split("/")) {
    if (typeof at !== "object" || at === null) return null;
    const name = unescapePointer(part);
    at = Object.hasOwn(at, name) ? (at as Record<string, JsonValue>)[name] : undefined;
  }
  return isSchema(at) && locationsOf(target).has(at) ? { schema: at, doc: target, path: fragment } : null;
}

function decode(fragment: string): string | null {
  try {
    return decodeURIComponent(fragment);
  } catch {
    return null;
  }
}
