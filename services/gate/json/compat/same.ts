import { canonicalize, isJsonObject, type JsonValue } from "../../../core/index.ts";
import { sameDocument } from "../dialect.ts";
import { isSchema, LIST, NAMED, ONE, type Schema, type View } from "../document.ts";

/** Whether two schemas say the same: then there is nothing to compare. */
export function same(a: View, b: View): boolean {
  if (a.schema === b.schema) return true;
  if (textOf(a.schema) !== textOf(b.schema)) return false;
  return !textOf(a.schema).includes('"$ref"') || sameDocument(a.doc, b.doc);
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
