import { isJsonObject, type JsonObject, type JsonValue } from "../../core/index.ts";
import type { Refusal } from "./dialect.ts";
import { escapePointer, isSchema, LIST, NAMED, ONE, type Schema, walk } from "./document.ts";

/**
 * Documents of older drafts in 2020-12's words, where these say the same: lists of `items` and `additionalItems`, `dependencies`, `$recursiveRef`, an `$id` that
 * is an anchor. In comes what somebody registered; what has no word of the same meaning is left as it is, for `refusals` to name.
 */

/** Drafts by their `$schema`, without `#` at the end. */
const OLDER: ReadonlyMap<string, Draft> = new Map([
  ["http://json-schema.org/draft-06/schema", "draft 6"],
  ["https://json-schema.org/draft-06/schema", "draft 6"],
  ["http://json-schema.org/draft-07/schema", "draft 7"],
  ["https://json-schema.org/draft-07/schema", "draft 7"],
  ["https://json-schema.org/draft/2019-09/schema", "draft 2019-09"],
]);
/** `unsaid`: there is no `$schema`; older words can only have their older meaning then. */
type Draft = "draft 6" | "draft 7" | "draft 2019-09" | "unsaid";

/** Keywords that a draft does not know, so that its validators pass over them. */
const LATER: Readonly<Record<Draft, readonly string[]>> = {
  unsaid: [],
  "draft 2019-09": ["prefixItems"],
  "draft 7": [
    "prefixItems",
    "unevaluatedItems",
    "unevaluatedProperties",
    "dependentRequired",
    "dependentSchemas",
    "minContains",
    "maxContains",
  ],
  "draft 6": ["if", "then", "else"],
};
const laterThan = (draft: Draft): readonly string[] =>
  draft === "draft 6" ? [...LATER["draft 7"], ...LATER["draft 6"]] : LATER[draft];

/** Keywords that may stand beside a `$ref` in drafts in which nothing beside it counts. */
const BESIDE_REF = new Set(
  "$ref $schema $id $defs definitions $comment title description default examples readOnly writeOnly deprecated tributary".split(
    " ",
  ),
);

interface Translation {
  readonly draft: Draft;
  /** Whether the document refers to no other. */
  readonly standsAlone: boolean;
  /** Whether it says anywhere what items that are left over must be. */
  readonly asksWhatIsLeft: boolean;
  refuse(refusal: Refusal): void;
}

/** A document in 2020-12's words, and the first thing in it that means something else in its draft than in 2020-12. */
export function modern(root: Schema, standsAlone: boolean): { readonly root: Schema; readonly refusal: Refusal | null } {
  const said = typeof root === "boolean" ? undefined : root.$schema;
  const draft = said === undefined ? "unsaid" : typeof said === "string" ? OLDER.get(said.replace(/#$/, "")) : undefined;
  if (draft === undefined || typeof root === "boolean") return { root, refusal: null };
  let refusal: Refusal | null = null;
  const { $schema: _, ...rest } = root;
  const translation: Translation = {
    draft,
    standsAlone,
    asksWhatIsLeft: [...walk({ schema: root, doc: { root, references: new Map() }, path: "" })].some(
      ({ schema }) => typeof schema !== "boolean" && schema.unevaluatedItems !== undefined,
    ),
    refuse: (found) => {
      refusal ??= found;
    },
  };
  return { root: translated(translation, rest, ""), refusal };
}

function translated(of: Translation, schema: Schema, path: string): Schema {
  if (typeof schema === "boolean") return schema;
  refuseOthers(of, schema, path);
  return Object.fromEntries(
    Object.entries(schema).flatMap(([keyword, value]): [string, JsonValue][] => {
      const at = `${path}/${keyword}`;
      return older(of, schema, keyword, path) ?? [[keyword, inside(of, keyword, value, at)]];
    }),
  );
}

/** An older word in newer ones; `null`: it is not an older word, or says something that the newer ones do not. */
function older(of: Translation, schema: JsonObject, keyword: string, path: string): [string, JsonValue][] | null {
  const value = schema[keyword];
  const below = (each: JsonValue, at: string): JsonValue => (isSchema(each) ? translated(of, each, `${path}/${at}`) : each);
  switch (keyword) {
    case "items":
      if (!Array.isArray(value) || schema.prefixItems !== undefined) return null;
      return value.length === 0 ? [] : [["prefixItems", value.map((each: JsonValue, i) => below(each, `items/${i}`))]];
    case "additionalItems":
      if (Array.isArray(schema.items) && schema.prefixItems === undefined && value !== undefined)
        return [["items", below(value, keyword)]];
      return of.draft === "unsaid" ? null : [];
    case "dependencies":
      return dependencies(schema, below);
    case "$recursiveRef":
      return value === "#" && schema.$ref === undefined ? [["$ref", "#"]] : null;
    case "$recursiveAnchor":
      // Where other documents are referred to, it matters which of them was entered first.
      return value === false || (value === true && path === "" && of.standsAlone) ? [] : null;
    case "$id":
      return typeof value === "string" && /^#./.test(value) && isPre2019(of.draft) ? [["$anchor", value.slice(1)]] : null;
    default:
      return null;
  }
}

function dependencies(schema: JsonObject, below: (each: JsonValue, at: string) => JsonValue): [string, JsonValue][] | null {
  const { dependencies: given, dependentRequired, dependentSchemas } = schema;
  if (!isJsonObject(given) || dependentRequired !== undefined || dependentSchemas !== undefined) return null;
  const all = Object.entries(given);
  const needs = all.filter(([, each]) => Array.isArray(each));
  const schemas = all.filter(([, each]) => !Array.isArray(each));
  const out: [string, JsonValue][] = [];
  if (needs.length > 0) out.push(["dependentRequired", Object.fromEntries(needs)]);
  if (schemas.length > 0)
    out.push([
      "dependentSchemas",
      Object.fromEntries(schemas.map(([name, each]) => [name, below(each, `dependencies/${escapePointer(name)}`)])),
    ]);
  return out;
}

/** The same keyword, with what stands in it translated. */
function inside(of: Translation, keyword: string, value: JsonValue, at: string): JsonValue {
  if ((ONE as readonly string[]).includes(keyword)) return isSchema(value) ? translated(of, value, at) : value;
  if ((LIST as readonly string[]).includes(keyword) && Array.isArray(value))
    return value.map((each: JsonValue, i) => (isSchema(each) ? translated(of, each, `${at}/${i}`) : each));
  if ((NAMED as readonly string[]).includes(keyword) && isJsonObject(value))
    return Object.fromEntries(
      Object.entries(value).map(([name, each]) => [
        name,
        isSchema(each) ? translated(of, each, `${at}/${escapePointer(name)}`) : each,
      ]),
    );
  return value;
}

const isPre2019 = (draft: Draft): boolean => draft === "draft 6" || draft === "draft 7";

/** Refuses what the document's draft passes over and 2020-12 takes into account. */
function refuseOthers(of: Translation, schema: JsonObject, path: string): void {
  const { draft, refuse } = of;
  const later = laterThan(draft).find((keyword) => schema[keyword] !== undefined);
  if (later !== undefined)
    refuse({
      path: `${path}/${later}`,
      reason: `${draft} does not know ${later}, and passes over it`,
      hint: "Leave it out, or write the document in 2020-12.",
    });
  if (draft === "draft 2019-09" && schema.contains !== undefined && of.asksWhatIsLeft)
    refuse({
      path: `${path}/contains`,
      reason: "in draft 2019-09, unevaluatedItems passes over what contains has found",
      hint: "Write the document in 2020-12, or name the items with items and additionalItems.",
    });
  if (!isPre2019(draft) || schema.$ref === undefined) return;
  const beside = Object.keys(schema).find((keyword) => !BESIDE_REF.has(keyword) && !keyword.startsWith("x-"));
  if (beside !== undefined)
    refuse({
      path: `${path}/${beside}`,
      reason: `in ${draft}, what stands beside $ref counts for nothing`,
      hint: `Leave ${beside} out, or write it and the $ref as two members of an allOf.`,
    });
}
