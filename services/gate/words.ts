import type { ErrorObject } from "ajv/dist/2020.js";
import type avsc from "avsc";

/** Why an event cannot be taken as it is. */
export interface Problem {
  readonly code:
    | "schema-unknown"
    | "type-not-allowed"
    | "entity-not-allowed"
    | "not-json"
    | "not-canonical"
    | "undecodable"
    | "invalid";
  /** For a field officer: which field, which value, what to write instead. */
  readonly message: string;
  /** JSON pointer into the data, where the problem has a place. */
  readonly path: string | null;
}

const MAX_SHOWN = 60;
const shown = (value: unknown): string => {
  const text = typeof value === "string" ? `'${value}'` : (JSON.stringify(value) ?? "nothing");
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
};

const FORMATS: Record<string, string> = {
  date: "is not a date; write YYYY-MM-DD",
  "date-time": "is not a date and time; write YYYY-MM-DDThh:mm:ssZ",
  time: "is not a time; write hh:mm:ss",
  email: "is not an e-mail address",
  uuid: "is not a UUID",
  uri: "is not a web address",
};

/** A JSON Schema failure in plain words. */
export function jsonProblem(error: ErrorObject, data: unknown): Problem {
  const at = error.instancePath;
  const name = at === "" ? "the event" : at.slice(1).replaceAll("/", ".").replaceAll("~1", "/").replaceAll("~0", "~");
  const value = shown(valueAt(data, at));
  const { params } = error as { params: Record<string, unknown> };
  const description = (error.parentSchema as { description?: string } | undefined)?.description;
  const words = (): string => {
    switch (error.keyword) {
      case "required":
        return `${String(params.missingProperty)} is missing`;
      case "additionalProperties":
      case "unevaluatedProperties":
        return `${String(params.additionalProperty ?? params.unevaluatedProperty)} is not a field of this form`;
      case "enum":
        return `${name} ${value} is not one of ${(params.allowedValues as unknown[]).filter((v) => v !== null).join(", ")}`;
      case "const":
        return `${name} ${value} must be ${shown(params.allowedValue)}`;
      case "type":
        return `${name} ${value} must be ${[params.type].flat().join(" or ")}`;
      case "format":
        return `${name} ${value} ${FORMATS[String(params.format)] ?? `is not a valid ${String(params.format)}`}`;
      case "pattern":
        return `${name} ${value} is not written as expected${description === undefined ? "" : `: ${description}`}`;
      case "minimum":
      case "maximum":
      case "exclusiveMinimum":
      case "exclusiveMaximum":
        return `${name} ${value} must be ${String(params.comparison)} ${String(params.limit)}`;
      case "minLength":
        return `${name} is too short (at least ${String(params.limit)} characters)`;
      case "maxLength":
        return `${name} is too long (at most ${String(params.limit)} characters)`;
      case "minProperties":
        return "nothing was filled in";
      default:
        return `${name} ${error.message ?? "does not fit"}`;
    }
  };
  return { code: "invalid", message: words(), path: at === "" ? null : at };
}

function valueAt(data: unknown, pointer: string): unknown {
  let value = data;
  for (const part of pointer.split("/").slice(1)) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Record<string, unknown>)[part.replaceAll("~1", "/").replaceAll("~0", "~")];
  }
  return value;
}

/** What does not fit an Avro type, in plain words; `null` when all fits. */
export function avroProblem(type: avsc.Type, data: Record<string, unknown>): Problem | null {
  const { fields } = type as avsc.types.RecordType;
  const names = new Set(fields.map(({ name }) => name));
  for (const name of Object.keys(data)) {
    if (!names.has(name)) return { code: "invalid", message: `${name} is not a field of this form`, path: `/${name}` };
  }
  let found: Problem | null = null;
  type.isValid(data, {
    errorHook(path: string[], value: unknown, at: avsc.Type) {
      if (found !== null) return;
      const name = path.join(".") || "the event";
      found = { code: "invalid", message: misfit(name, value, at), path: path.length === 0 ? null : `/${path.join("/")}` };
    },
  });
  return found;
}

function misfit(name: string, value: unknown, type: avsc.Type): string {
  if (value === undefined) return `${name} is missing`;
  if (type.typeName === "enum")
    return `${name} ${shown(value)} is not one of ${(type as avsc.types.EnumType).symbols.join(", ")}`;
  if (type.typeName.startsWith("union")) {
    const branches = (type as avsc.types.UnwrappedUnionType).types
      .map((branch) => branch.typeName)
      .filter((branch) => branch !== "null");
    return `${name} ${shown(value)} must be ${branches.join(" or ")} or empty`;
  }
  const kinds: Record<string, string> = {
    int: "a whole number",
    long: "a whole number",
    float: "a number",
    double: "a number",
    string: "a text",
    boolean: "true or false",
  };
  return `${name} ${shown(value)} must be ${kinds[type.typeName] ?? `a ${type.typeName}`}`;
}
