import { isJsonObject, type JsonObject, type JsonValue } from "../../core/index.ts";
import { type Document, follow, isSchema, type View, viewOf } from "../json/document.ts";
import type { Declared } from "./avro.ts";
import { ANY, both, inBrackets, type Member, objectType, type Type, typeName, union } from "./words.ts";

/** Keywords that only say something of objects, and of lists. Where one stands without a `type`, such a value is meant. */
const OF_OBJECTS = ["properties", "required", "additionalProperties", "patternProperties", "dependentRequired"];
const OF_LISTS = ["items", "prefixItems"];

const listOf = (value: JsonValue | undefined): readonly JsonValue[] => (Array.isArray(value) ? value : []);
const objectOf = (value: JsonValue | undefined): JsonObject => (isJsonObject(value) ? value : {});
const textOf = (value: JsonValue | undefined): string | null => (typeof value === "string" && value !== "" ? value : null);

const literal = (value: JsonValue): Type => (typeof value === "object" && value !== null ? null : JSON.stringify(value));

/** The last word of a pointer: `/$defs/address` is called `address`. */
const lastWord = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

/**
 * The type of the documents that a JSON Schema (2020-12) takes, and those that it refers to. A type says what TypeScript can say of shapes; it never refuses a document that the schema takes
 * for another reason than an unnamed member. What cannot be said (patterns, ranges, `if`, `not`) is left to the schema.
 */
// Long because its parts call one another, as schemas hold schemas, and share the names given so far.
export function jsonTypes(document: Document, name: string, take: (wanted: string) => string): readonly Declared[] {
  const names = new Map<View["schema"], string>();
  const declared: Declared[] = [];

  /** The name of a schema that something refers to. */
  const nameOf = (view: View, open: ReadonlySet<string>): string => {
    const known = names.get(view.schema);
    if (known !== undefined) return known;
    const own = take(`${name}${typeName(lastWord(view.path))}`);
    names.set(view.schema, own);
    const at = declared.push({ name: own, type: null }) - 1;
    declared[at] = { name: own, type: typeOf(view, new Set([...open, own])) };
    return own;
  };

  /** `open`: the names whose types begin here. One of them would be defined by itself. */
  const referred = (ref: string, doc: Document, open: ReadonlySet<string>): Type => {
    const to = follow(ref, doc);
    if (to === null || typeof to.schema === "boolean") return null;
    const found = names.get(to.schema);
    return found !== undefined && open.has(found) ? null : nameOf(to, open);
  };

  const within = (view: View, schema: JsonValue, path: string): View | null =>
    isSchema(schema) ? { schema, doc: view.doc, path: `${view.path}/${path}` } : null;
  const inside = (view: View, schema: JsonValue | undefined, path: string): Type => {
    const at = schema === undefined ? null : within(view, schema, path);
    return at === null ? null : typeOf(at, new Set());
  };

  const objectIn = (view: View, schema: JsonObject): string => {
    const required = new Set(listOf(schema.required).filter((each) => typeof each === "string"));
    const properties = objectOf(schema.properties);
    const members = Object.entries(properties).map(
      ([member, of]): Member => ({
        name: member,
        type: inside(view, of, `properties/${member}`),
        isOptional: !required.has(member),
        says: textOf(objectOf(of).description) ?? textOf(objectOf(of).title),
      }),
    );
    for (const member of required)
      if (!Object.hasOwn(properties, member)) members.push({ name: member, type: null, isOptional: false, says: null });
    const { additionalProperties: others } = schema;
    const byPattern = Object.entries(objectOf(schema.patternProperties)).map(([pattern, of]) =>
      inside(view, of, `patternProperties/${pattern}`),
    );
    const isOpen = others === true || isJsonObject(others) || (others === undefined && members.length === 0);
    if (!isOpen && byPattern.length === 0) return objectType(members);
    return objectType(members, union([...byPattern, ...(isOpen ? [inside(view, others, "additionalProperties")] : [])]));
  };

  const listIn = (view: View, schema: JsonObject): string => {
    const prefix = listOf(schema.prefixItems);
    const rest = schema.items === false ? "never" : inside(view, schema.items, "items");
    if (prefix.length === 0) return schema.items === false ? "readonly []" : `readonly ${inBrackets(rest)}[]`;
    const least = typeof schema.minItems === "number" ? schema.minItems : 0;
    const items = prefix.map((of, i) => `${inBrackets(inside(view, of, `prefixItems/${i}`))}${i < least ? "" : "?"}`);
    return `readonly [${[...items, ...(rest === "never" ? [] : [`...${inBrackets(rest)}[]`])].join(", ")}]`;
  };

  const ofKind = (view: View, schema: JsonObject, kind: JsonValue): Type => {
    switch (kind) {
      case "string":
      case "number":
      case "boolean":
      case "null":
        return kind;
      case "integer":
        return "number";
      case "array":
        return listIn(view, schema);
      case "object":
        return objectIn(view, schema);
      default:
        return null;
    }
  };

  /** What a schema says by itself, without those that it is made of. */
  const ownType = (view: View, schema: JsonObject): Type => {
    if (schema.const !== undefined) return literal(schema.const);
    if (Array.isArray(schema.enum)) return union(schema.enum.map(literal));
    if (schema.type !== undefined)
      return union((Array.isArray(schema.type) ? schema.type : [schema.type]).map((kind) => ofKind(view, schema, kind)));
    if (OF_OBJECTS.some((keyword) => schema[keyword] !== undefined)) return objectIn(view, schema);
    return OF_LISTS.some((keyword) => schema[keyword] !== undefined) ? listIn(view, schema) : null;
  };

  const typeOf = (view: View, open: ReadonlySet<string>): Type => {
    const { schema } = view;
    if (typeof schema === "boolean") return schema ? null : "never";
    const parts = (keyword: "allOf" | "anyOf" | "oneOf"): readonly Type[] =>
      listOf(schema[keyword]).map((of, i) => {
        const at = within(view, of, `${keyword}/${i}`);
        return at === null ? null : typeOf(at, open);
      });
    return both([
      typeof schema.$ref === "string" ? referred(schema.$ref, view.doc, open) : null,
      ownType(view, schema),
      ...parts("allOf"),
      ...(["anyOf", "oneOf"] as const).map((keyword) => (schema[keyword] === undefined ? null : union(parts(keyword)))),
    ]);
  };

  const root = viewOf(document);
  names.set(root.schema, name);
  const at = declared.push({ name, type: null }) - 1;
  declared[at] = { name, type: typeOf(root, new Set([name])) ?? ANY };
  return declared;
}
