import type { JsonValue } from "../../../core/index.ts";

/** JSON's types; numbers are parted into whole ones and others. */
export type Type = "null" | "boolean" | "integer" | "fraction" | "string" | "array" | "object";
export const TYPES: readonly Type[] = ["null", "boolean", "integer", "fraction", "string", "array", "object"];

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
