import { isJsonObject, type JsonValue } from "../../core/index.ts";
import { unescapePointer } from "./document.ts";

/** Words that stand in a document for others that its writer used (`drafts.ts`, `unevaluated.ts`). */
const WRITTEN: ReadonlyMap<string, readonly string[]> = new Map([
  ["additionalProperties", ["unevaluatedProperties"]],
  ["items", ["additionalItems", "unevaluatedItems"]],
  ["prefixItems", ["items"]],
  ["dependentRequired", ["dependencies"]],
  ["dependentSchemas", ["dependencies"]],
  ["$ref", ["$recursiveRef"]],
  ["$anchor", ["$id"]],
]);
/** What was written as a last member of `allOf`. */
const CLOSERS = ["unevaluatedProperties", "unevaluatedItems"];

/** A pointer into a document as its writer wrote it, where it was rewritten; the same pointer where nothing on its way was rewritten. */
export function asWritten(pointer: string, written: JsonValue): string {
  let at: JsonValue | undefined = written;
  const out: string[] = [];
  for (const part of pointer.split("/").slice(1)) {
    const name = unescapePointer(part);
    const word = wordIn(at, name);
    if (word === undefined) return lastWords(out, written) ?? pointer;
    out.push(word === name ? part : word);
    at = memberOf(at, word);
  }
  return out.map((part) => `/${part}`).join("");
}

/** The word that stands for another in an object; `undefined`: no word does. */
const wordIn = (at: JsonValue | undefined, name: string): string | undefined =>
  [name, ...(WRITTEN.get(name) ?? [])].find((word) => memberOf(at, word) !== undefined);

/** The word of which a member of `allOf` was made that nobody wrote; `null`: it is no such member. */
function lastWords(sofar: readonly string[], written: JsonValue): string | null {
  const outer = sofar.at(-1) === "allOf" ? sofar.slice(0, -1) : sofar;
  let at: JsonValue | undefined = written;
  for (const part of outer) at = memberOf(at, unescapePointer(part));
  const word = CLOSERS.find((each) => memberOf(at, each) !== undefined);
  return word === undefined ? null : [...outer, word].map((part) => `/${part}`).join("");
}

function memberOf(value: JsonValue | undefined, name: string): JsonValue | undefined {
  if (Array.isArray(value)) return /^\d+$/.test(name) ? (value[Number(name)] as JsonValue | undefined) : undefined;
  return isJsonObject(value) && Object.hasOwn(value, name) ? value[name] : undefined;
}
