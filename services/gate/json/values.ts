import type { JsonValue } from "../../core/index.ts";

/**
 * Names that ajv's comparison of values (for `uniqueItems`, and `enum` and `const` of objects) takes for an object's own methods: a value that has
 * them is compared wrongly, or the comparison throws.
 */
const RESERVED = ["valueOf", "toString", "constructor"];

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

/** The length of the longest list in a value. */
export function longestList(value: JsonValue): number {
  if (typeof value !== "object" || value === null) return 0;
  let longest = Array.isArray(value) ? value.length : 0;
  for (const member of Object.values(value)) longest = Math.max(longest, longestList(member as JsonValue));
  return longest;
}

/** How deep a value nests: 0 for what is neither list nor object. */
export function depthOf(value: JsonValue): number {
  if (typeof value !== "object" || value === null) return 0;
  let deepest = 0;
  for (const member of Object.values(value)) deepest = Math.max(deepest, depthOf(member as JsonValue));
  return deepest + 1;
}
