import type { JsonValue } from "../../core/index.ts";

/** Avro's types with all names resolved. Named types may refer to themselves, so they form a graph. */
export type Avro = Primitive | AvroRecord | AvroEnum | AvroFixed | AvroArray | AvroMap | AvroUnion;

export const PRIMITIVES = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"] as const;
export interface Primitive {
  readonly kind: (typeof PRIMITIVES)[number];
  readonly logical?: string;
}
export interface AvroField {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly type: Avro;
  /** `undefined`: no default. As JSON; a union's default may fit any branch. */
  readonly default?: JsonValue;
}
export interface AvroRecord {
  readonly kind: "record";
  readonly name: string;
  readonly aliases: readonly string[];
  readonly fields: AvroField[];
}
export interface AvroEnum {
  readonly kind: "enum";
  readonly name: string;
  readonly aliases: readonly string[];
  readonly symbols: readonly string[];
  readonly default?: string;
}
export interface AvroFixed {
  readonly kind: "fixed";
  readonly name: string;
  readonly aliases: readonly string[];
  readonly size: number;
  /** What the type's values mean, as `logicalOf` names it: `decimal(9, 2)`. */
  readonly logical?: string;
}
export interface AvroArray {
  readonly kind: "array";
  readonly items: Avro;
}
export interface AvroMap {
  readonly kind: "map";
  readonly values: Avro;
}
export interface AvroUnion {
  readonly kind: "union";
  readonly branches: readonly Avro[];
}

/** How deep a schema may nest, and how many types it may define: far beyond any form. */
const MAX_DEPTH = 64;
const MAX_NAMED = 1_000;
/** How many bytes a fixed type may have: an event does not have more. */
const MAX_FIXED = 1_048_576;
/** How often checking a schema's defaults may look at values and their parts. */
const MAX_STEPS = 200_000;
const NAME = /^(?!__proto__$)[A-Za-z_][A-Za-z0-9_]*$/;

/** Says why a text is not an Avro schema: where, and what is wrong there. */
export class AvroSchemaError extends Error {
  readonly path: string;
  constructor(path: string, message: string) {
    super(path === "" ? message : `${path}: ${message}`);
    this.path = path;
  }
}

/**
 * Reads an Avro schema (parsed JSON). `references` are schemas whose named types it may use. Throws `AvroSchemaError`, naming the
 * location. Source: https://avro.apache.org/docs/1.12.0/specification/#schema-declaration
 */
// Long because the parsers of types call one another and share the names defined so far, which every type may refer to.
export function parseAvro(schema: JsonValue, references: readonly JsonValue[] = []): Avro {
  const named = new Map<string, Avro>();
  const budget: Budget = { left: MAX_STEPS };
  for (const reference of references) parse(reference, "", "", 0);
  return parse(schema, "", "", 0);

  function parse(node: JsonValue | undefined, path: string, namespace: string, depth: number): Avro {
    if (depth > MAX_DEPTH) throw new AvroSchemaError(path, `it nests more than ${MAX_DEPTH} deep`);
    if (typeof node === "string") {
      if ((PRIMITIVES as readonly string[]).includes(node)) return { kind: node as Primitive["kind"] };
      const full = node.includes(".") || namespace === "" ? node : `${namespace}.${node}`;
      const known = named.get(full) ?? named.get(node);
      if (known === undefined) throw new AvroSchemaError(path, `there is no type named ${node}`);
      return known;
    }
    if (Array.isArray(node)) return parseUnion(node as JsonValue[], path, namespace, depth);
    if (typeof node !== "object" || node === null) throw new AvroSchemaError(path, "a type is a name, an object or a list");
    const of = node as Record<string, JsonValue | undefined>;
    switch (of.type) {
      case "record":
      case "error":
        return parseRecord(of, path, namespace, depth);
      case "enum":
        return parseEnum(of, path, namespace);
      case "fixed":
        return parseFixed(of, path, namespace);
      case "array":
        return { kind: "array", items: parse(of.items, `${path}/items`, namespace, depth + 1) };
      case "map":
        return { kind: "map", values: parse(of.values, `${path}/values`, namespace, depth + 1) };
      default:
        if (of.type === undefined) throw new AvroSchemaError(path, "its member type is missing");
        return meaning(parse(of.type, path, namespace, depth + 1), of);
    }
  }

  function parseUnion(branches: readonly JsonValue[], path: string, namespace: string, depth: number): AvroUnion {
    const parsed = branches.map((branch, i) => parse(branch, `${path}/${i}`, namespace, depth + 1));
    const seen = new Set<string>();
    for (const [i, branch] of parsed.entries()) {
      if (branch.kind === "union") throw new AvroSchemaError(`${path}/${i}`, "a union stands directly in a union");
      const key = "name" in branch ? branch.name : branch.kind;
      if (seen.has(key)) throw new AvroSchemaError(`${path}/${i}`, `the union has two branches of ${key}`);
      seen.add(key);
    }
    return { kind: "union", branches: parsed };
  }

  function naming(of: Record<string, JsonValue | undefined>, path: string, namespace: string) {
    if (typeof of.name !== "string" || !of.name.split(".").every((part) => NAME.test(part)))
      throw new AvroSchemaError(path, "its name is missing, or is not an Avro name");
    if ((PRIMITIVES as readonly string[]).includes(of.name.slice(of.name.lastIndexOf(".") + 1)))
      throw new AvroSchemaError(`${path}/name`, `${of.name} is the name of a primitive type; choose another name`);
    const own = typeof of.namespace === "string" ? of.namespace : namespace;
    const name = of.name.includes(".") || own === "" ? of.name : `${own}.${of.name}`;
    const space = name.includes(".") ? name.slice(0, name.lastIndexOf(".")) : "";
    const aliases = stringsOf(of.aliases, `${path}/aliases`).map((alias) =>
      alias.includes(".") || space === "" ? alias : `${space}.${alias}`,
    );
    if (named.has(name)) throw new AvroSchemaError(path, `the name ${name} is defined twice`);
    if (named.size >= MAX_NAMED) throw new AvroSchemaError(path, `it defines more than ${MAX_NAMED} types`);
    return { name, space, aliases };
  }

  function parseRecord(of: Record<string, JsonValue | undefined>, path: string, namespace: string, depth: number): AvroRecord {
    const { name, space, aliases } = naming(of, path, namespace);
    const record: AvroRecord = { kind: "record", name, aliases, fields: [] };
    named.set(name, record);
    if (!Array.isArray(of.fields)) throw new AvroSchemaError(path, "its member fields is not a list");
    const seen = new Set<string>();
    for (const [i, given] of (of.fields as JsonValue[]).entries()) {
      const at = `${path}/fields/${i}`;
      const field = given as Record<string, JsonValue | undefined>;
      if (typeof field !== "object" || field === null || typeof field.name !== "string" || !NAME.test(field.name))
        throw new AvroSchemaError(at, "its name is missing, or is not an Avro name");
      if (seen.has(field.name)) throw new AvroSchemaError(at, `the field ${field.name} stands twice`);
      seen.add(field.name);
      const type = parse(field.type, `${at}/type`, space, depth + 1);
      const parsed: AvroField = { name: field.name, aliases: stringsOf(field.aliases, `${at}/aliases`), type };
      if (field.default !== undefined && !fits(type, field.default, budget)) {
        const why = budget.left > 0 ? `the default of ${field.name} does not fit its type` : "its defaults are too intricate";
        throw new AvroSchemaError(`${at}/default`, why);
      }
      record.fields.push(field.default === undefined ? parsed : { ...parsed, default: field.default });
    }
    return record;
  }

  function parseEnum(of: Record<string, JsonValue | undefined>, path: string, namespace: string): AvroEnum {
    const { name, aliases } = naming(of, path, namespace);
    const symbols = stringsOf(of.symbols, `${path}/symbols`);
    if (new Set(symbols).size !== symbols.length) throw new AvroSchemaError(`${path}/symbols`, "a symbol stands twice");
    if (!symbols.every((symbol) => NAME.test(symbol)))
      throw new AvroSchemaError(`${path}/symbols`, "a symbol is not an Avro name");
    if (of.default !== undefined && !symbols.includes(of.default as string))
      throw new AvroSchemaError(`${path}/default`, "the default is not one of the symbols");
    const parsed: AvroEnum = {
      kind: "enum",
      name,
      aliases,
      symbols,
      ...(of.default === undefined ? {} : { default: of.default as string }),
    };
    named.set(name, parsed);
    return parsed;
  }

  function parseFixed(of: Record<string, JsonValue | undefined>, path: string, namespace: string): AvroFixed {
    const { name, aliases } = naming(of, path, namespace);
    if (!Number.isSafeInteger(of.size) || (of.size as number) < 0 || (of.size as number) > MAX_FIXED)
      throw new AvroSchemaError(`${path}/size`, "it is not a valid size");
    const logical = logicalOf("fixed", of);
    const parsed: AvroFixed = {
      kind: "fixed",
      name,
      aliases,
      size: of.size as number,
      ...(logical === undefined ? {} : { logical }),
    };
    named.set(name, parsed);
    return parsed;
  }
}

/** The logical types of the specification, and the types that each may stand on; on other types it says nothing. */
const LOGICAL: Readonly<Record<string, readonly Avro["kind"][]>> = {
  decimal: ["bytes", "fixed"],
  "big-decimal": ["bytes"],
  uuid: ["string", "fixed"],
  date: ["int"],
  "time-millis": ["int"],
  "time-micros": ["long"],
  "timestamp-millis": ["long"],
  "timestamp-micros": ["long"],
  "timestamp-nanos": ["long"],
  "local-timestamp-millis": ["long"],
  "local-timestamp-micros": ["long"],
  "local-timestamp-nanos": ["long"],
  duration: ["fixed"],
};

/**
 * What a type's values mean, beyond their form: the unit of a time, the digits of a decimal. `undefined`: the type says nothing of it, or nothing that the
 * specification knows. Source: https://avro.apache.org/docs/1.12.0/specification/#logical-types
 */
function logicalOf(
  kind: Avro["kind"],
  { logicalType, precision, scale = 0 }: Record<string, JsonValue | undefined>,
): string | undefined {
  if (typeof logicalType !== "string" || !Object.hasOwn(LOGICAL, logicalType)) return undefined;
  if (LOGICAL[logicalType]?.includes(kind) !== true) return undefined;
  return logicalType === "decimal" ? `decimal(${String(precision)}, ${String(scale)})` : logicalType;
}

/** A type with what the object around it says of its meaning. A type that is only named keeps its own. */
function meaning(type: Avro, of: Record<string, JsonValue | undefined>): Avro {
  const kind = PRIMITIVES.find((each) => each === of.type);
  const logical = kind === undefined ? undefined : logicalOf(kind, of);
  return kind === undefined || logical === undefined ? type : { kind, logical };
}

/** The logical types within a type, in the order in which they stand. Two types of one canonical form mean the same where these lists are alike. */
export function meanings(type: Avro, seen = new Set<Avro>()): string[] {
  const own = "logical" in type && type.logical !== undefined ? type.logical : "-";
  if (seen.has(type)) return [];
  seen.add(type);
  switch (type.kind) {
    case "array":
      return meanings(type.items, seen);
    case "map":
      return meanings(type.values, seen);
    case "union":
      return type.branches.flatMap((branch) => meanings(branch, seen));
    case "record":
      return type.fields.flatMap((field) => meanings(field.type, seen));
    default:
      return [own];
  }
}

function stringsOf(value: JsonValue | undefined, path: string): string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value) || !value.every((item) => typeof item === "string"))
    throw new AvroSchemaError(path, "it is not a list of names");
  return value as string[];
}

export const INT = 2 ** 31;
/** How deep a value may nest: less deep than canonical JSON allows. */
export const MAX_VALUE_DEPTH = 60;

/** How much may still be looked at: values of types that contain themselves can take very long to be told apart. */
export interface Budget {
  left: number;
}
const MAX_LOOKS = 100_000;

/** Whether a JSON value is a value of the type: exactly the members of a record, the first fitting branch of a union. Returns `false` when the budget is used up. */
export function fits(type: Avro, value: JsonValue | undefined, budget: Budget = { left: MAX_LOOKS }, depth = 0): boolean {
  if (--budget.left < 0 || depth > MAX_VALUE_DEPTH) return false;
  switch (type.kind) {
    case "null":
      return value === null;
    case "boolean":
      return typeof value === "boolean";
    case "int":
      return Number.isInteger(value) && (value as number) >= -INT && (value as number) < INT;
    case "long":
      return Number.isSafeInteger(value);
    case "float":
      return typeof value === "number" && Number.isFinite(Math.fround(value));
    case "double":
      return typeof value === "number";
    case "bytes":
    case "string":
      return typeof value === "string";
    case "fixed":
      return typeof value === "string" && value.length === type.size;
    case "enum":
      return typeof value === "string" && type.symbols.includes(value);
    case "array":
      return Array.isArray(value) && value.every((item) => fits(type.items, item as JsonValue, budget, depth + 1));
    case "map":
      return isPlain(value) && Object.values(value).every((item) => fits(type.values, item as JsonValue, budget, depth + 1));
    case "union":
      return type.branches.some((branch) => fits(branch, value, budget, depth));
    case "record": {
      if (!isPlain(value)) return false;
      const names = new Set(type.fields.map((field) => field.name));
      for (const name of Object.keys(value)) if (!names.has(name)) return false;
      return type.fields.every((field) => {
        const member = Object.hasOwn(value, field.name) ? (value[field.name] as JsonValue) : field.default;
        return member !== undefined && fits(field.type, member, budget, depth + 1);
      });
    }
  }
}

const isPlain = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A type's name as it stands in a sentence. */
export const nameOfType = (type: Avro): string =>
  "name" in type
    ? `${type.kind} ${type.name}`
    : type.kind === "union"
      ? `[${type.branches.map(nameOfType).join(", ")}]`
      : "logical" in type && type.logical !== undefined
        ? `${type.kind} (${type.logical})`
        : type.kind;
