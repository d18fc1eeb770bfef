/** What a form takes for each of its top-level members, as far as a cell of a table can say it. In comes a schema; out come the ways to read a cell. */
import { isJsonObject, type JsonObject, type JsonValue } from "../../core/index.ts";
import { follow, type Schema, type View } from "../json/document.ts";
import type { SchemaVersion } from "../schema.ts";

/** One way in which a cell can be read. */
export type Way =
  /** A value that the form names. */
  | { readonly is: "value"; readonly value: JsonValue }
  /** `asks`: what the text has to look like, if the form says so. */
  | { readonly is: "text"; readonly asks: "day" | "time" | "either" | null }
  /** `stands`: what the number counts, if it is a day or a time. */
  | { readonly is: "number"; readonly isWhole: boolean; readonly stands: Stands | null }
  | { readonly is: "boolean" }
  /** A list or a group, which a cell writes as JSON. */
  | { readonly is: "json" };

/** Days since 1970; milliseconds or microseconds since 1970; milliseconds or microseconds since midnight. */
export type Stands = "days" | "instant-ms" | "instant-us" | "clock-ms" | "clock-us";

export interface Member {
  readonly name: string;
  /** In the order in which they are tried. */
  readonly ways: readonly Way[];
  /** A missing value may be written as `null`. */
  readonly isNullable: boolean;
  /** The member may not be left out. */
  readonly isRequired: boolean;
}

/** Values that the form names come first, then texts: 0012345 keeps its zeros where both a text and a number would do. */
const RANK: Record<Way["is"], number> = { value: 0, text: 1, json: 2, number: 3, boolean: 4 };

/** How deep combinations of schemas are followed. */
const MAX_DEPTH = 16;
const ANY: Way = { is: "text", asks: null };
const NULL: Way = { is: "value", value: null };
const isNull = (way: Way): boolean => way.is === "value" && way.value === null;

/** The members that a form has at its top, by name. */
export function cellMembers(schema: SchemaVersion): ReadonlyMap<string, Member> {
  const { occurredOn } = schema.annotations;
  const found = schema.model.kind === "json" ? jsonMembers(schema) : avroMembers(JSON.parse(schema.text) as JsonValue);
  return new Map(
    found.map(({ name, ways, isRequired }) => {
      // The member that says when the event happened is a day or a time, though the form may only say that it is a text.
      const plain = ways.map(
        (way): Way => (name === occurredOn && way.is === "text" && way.asks === null ? { is: "text", asks: "either" } : way),
      );
      const ordered = plain.filter((way) => !isNull(way)).sort((a, b) => RANK[a.is] - RANK[b.is]);
      return [name, { name, ways: ordered, isNullable: ways.some(isNull), isRequired }];
    }),
  );
}

type Found = Pick<Member, "name" | "ways" | "isRequired">;

function jsonMembers({ model }: SchemaVersion): Found[] {
  if (model.kind !== "json") return [];
  const { root } = model.document;
  if (typeof root === "boolean" || !isJsonObject(root.properties)) return [];
  const required = new Set(Array.isArray(root.required) ? root.required : []);
  return Object.entries(root.properties).map(([name, schema]) => ({
    name,
    ways: waysOf({ schema: schema as Schema, doc: model.document, path: "" }, 0) ?? [ANY],
    isRequired: required.has(name),
  }));
}

/** The ways that a schema allows; `null`: it says nothing about the type. */
function waysOf({ schema, doc, path }: View, depth: number): readonly Way[] | null {
  if (typeof schema === "boolean" || depth > MAX_DEPTH) return null;
  const below = (each: JsonValue): readonly Way[] | null => waysOf({ schema: each as Schema, doc, path }, depth + 1);
  const types = schema.type === undefined ? null : [schema.type].flat();
  const own = types?.flatMap((type) => wayOf(type, schema)) ?? null;
  const named = schema.const !== undefined ? [schema.const] : Array.isArray(schema.enum) ? schema.enum : null;
  if (named !== null) return named.map((value) => ({ is: "value", value }));
  if (typeof schema.$ref === "string") {
    const target = follow(schema.$ref, doc);
    const ways = target === null ? null : waysOf(target, depth + 1);
    if (ways !== null) return ways;
  }
  for (const branches of [schema.anyOf, schema.oneOf]) {
    if (!Array.isArray(branches)) continue;
    const ways = branches.map(below);
    // A branch that says nothing of the type leaves all that the others and the schema itself allow.
    if (ways.every((each) => each !== null)) return ways.flat();
  }
  if (own !== null) return own;
  return Array.isArray(schema.allOf) ? (schema.allOf.map(below).find((ways) => ways !== null) ?? null) : null;
}

function wayOf(type: JsonValue, { format }: JsonObject): Way[] {
  switch (type) {
    case "null":
      return [NULL];
    case "integer":
    case "number":
      return [{ is: "number", isWhole: type === "integer", stands: null }];
    case "boolean":
      return [{ is: "boolean" }];
    case "array":
    case "object":
      return [{ is: "json" }];
    default:
      return [{ is: "text", asks: format === "date" ? "day" : format === "date-time" ? "time" : null }];
  }
}

const STANDS: ReadonlyMap<JsonValue | undefined, Stands> = new Map([
  ["date", "days"],
  ["timestamp-millis", "instant-ms"],
  ["local-timestamp-millis", "instant-ms"],
  ["timestamp-micros", "instant-us"],
  ["local-timestamp-micros", "instant-us"],
  ["time-millis", "clock-ms"],
  ["time-micros", "clock-us"],
]);

function avroMembers(parsed: JsonValue): Found[] {
  if (!isJsonObject(parsed) || !Array.isArray(parsed.fields)) return [];
  const enums = new Map<string, readonly Way[]>();
  return parsed.fields.filter(isJsonObject).map((field) => ({
    name: String(field.name),
    ways: avroWays(field.type, enums),
    isRequired: field.default === undefined,
  }));
}

/** `enums`: the enums named so far, which a later field may refer to. */
function avroWays(type: JsonValue | undefined, enums: Map<string, readonly Way[]>): readonly Way[] {
  if (Array.isArray(type)) return type.flatMap((branch) => avroWays(branch, enums));
  if (isJsonObject(type)) {
    if (type.type === "enum" && Array.isArray(type.symbols)) {
      const ways = type.symbols.map((value): Way => ({ is: "value", value }));
      enums.set(String(type.name), ways);
      return ways;
    }
    if (type.type === "record" || type.type === "array" || type.type === "map") return [{ is: "json" }];
    const stands = STANDS.get(type.logicalType) ?? null;
    return avroWays(type.type, enums).map((way) => (way.is === "number" ? { ...way, stands } : way));
  }
  switch (type) {
    case "null":
      return [NULL];
    case "int":
    case "long":
      return [{ is: "number", isWhole: true, stands: null }];
    case "float":
    case "double":
      return [{ is: "number", isWhole: false, stands: null }];
    case "boolean":
      return [{ is: "boolean" }];
    default:
      return (typeof type === "string" ? enums.get(type.slice(type.lastIndexOf(".") + 1)) : undefined) ?? [ANY];
  }
}
