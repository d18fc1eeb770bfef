import { TributaryError } from "./errors.ts";

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** How deep an event's data may nest: far deeper than any form, and well within the stack. */
export const MAX_JSON_DEPTH = 64;

const unfit = (problem: string): TributaryError =>
  new TributaryError("event-invalid", `the data cannot be written as canonical JSON: ${problem}`, "Send plain JSON values only.");

function quoted(text: string): string {
  if (!text.isWellFormed()) throw unfit("a text holds half of a surrogate pair");
  return JSON.stringify(text);
}

/**
 * Canonical JSON after RFC 8785 (JCS): members sorted by UTF-16 code units, numbers and strings as ECMAScript writes
 * them, no white space. Members that are `undefined` are left out, as JSON.stringify does.
 * Throws `event-invalid` for what JSON cannot hold, half surrogates, and nesting beyond `MAX_JSON_DEPTH`.
 * Source: https://www.rfc-editor.org/rfc/rfc8785
 */
export function canonicalize(value: unknown, depth = 0): string {
  if (depth > MAX_JSON_DEPTH) throw unfit(`it nests more than ${MAX_JSON_DEPTH} deep`);
  if (value === null) return "null";
  switch (typeof value) {
    case "string":
      return quoted(value);
    case "boolean":
      return value ? "true" : "false";
    case "number":
      if (!Number.isFinite(value)) throw unfit(`${value} is not a JSON number`);
      return value === 0 ? "0" : String(value);
    case "object":
      break;
    default:
      throw unfit(`a ${typeof value} is not a JSON value`);
  }
  if (Array.isArray(value)) {
    let out = "[";
    for (let i = 0; i < value.length; i++) {
      if (i > 0) out += ",";
      out += canonicalize(value[i], depth + 1);
    }
    return `${out}]`;
  }
  const object = value as Record<string, unknown>;
  let out = "";
  for (const key of Object.keys(object).sort()) {
    const member = object[key];
    if (member === undefined) continue;
    out += `${out === "" ? "" : ","}${quoted(key)}:${canonicalize(member, depth + 1)}`;
  }
  return `{${out}}`;
}

/**
 * Whether every object's members stand in order, so that `JSON.stringify` writes the canonical form (but for half surrogates, which it escapes).
 * `false` may also mean that members with numbers for names have lost their order in parsing.
 */
function isInOrder(value: JsonValue, depth: number): boolean {
  if (typeof value !== "object" || value === null) return true;
  if (depth > MAX_JSON_DEPTH) return false;
  if (Array.isArray(value)) return value.every((item) => isInOrder(item as JsonValue, depth + 1));
  let last = "";
  let isFirst = true;
  for (const key in value) {
    if (!isFirst && key <= last) return false;
    isFirst = false;
    last = key;
    const member = (value as JsonObject)[key]!;
    if (typeof member === "object" && !isInOrder(member, depth + 1)) return false;
  }
  return true;
}

/** Parses JSON text that must already be canonical; `null` when it is not JSON or not in its canonical form. */
export function parseCanonical(text: string): { readonly value: JsonValue } | null {
  try {
    const value = JSON.parse(text) as JsonValue;
    // The engine's own writer is several times as fast as ours; what it cannot tell, ours tells.
    if (isInOrder(value, 0) && JSON.stringify(value) === text && !text.includes("\\ud")) return { value };
    return canonicalize(value) === text ? { value } : null;
  } catch {
    return null;
  }
}

export const isJsonObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * The part of a program's value that JSON cannot express, in words that name the part and its location; `null`: there is none. `JSON.stringify` would silently write a Map as `{}` and
 * a Date as a text. `where` names the value itself.
 */
export function notJson(value: unknown, where: string, depth = 0): string | null {
  switch (typeof value) {
    case "string":
    case "boolean":
      return null;
    case "number":
      return Number.isFinite(value) ? null : `${where} is ${value}, which is not a number of JSON`;
    case "object":
      break;
    default:
      return `${where} is ${typeof value === "undefined" ? "undefined" : `a ${typeof value}`}, which JSON cannot say`;
  }
  if (value === null || depth > MAX_JSON_DEPTH) return null;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const found = notJson(value[i], `${where}[${i}]`, depth + 1);
      if (found !== null) return found;
    }
    return null;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) {
    const kind = (value as { readonly constructor?: { readonly name?: unknown } }).constructor?.name;
    return `${where} is a ${typeof kind === "string" && kind !== "" ? kind : "object of a class"}, which JSON cannot say`;
  }
  for (const [name, member] of Object.entries(value)) {
    const found = member === undefined ? null : notJson(member, `${where}.${name}`, depth + 1);
    if (found !== null) return found;
  }
  return null;
}
