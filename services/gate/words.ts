import type { ErrorObject } from "ajv/dist/2020.js";
import type { JsonValue } from "../core/index.ts";
import { expectedWords, type Misfit } from "./avro/misfit.ts";
import { escapePointer, unescapePointer } from "./json/document.ts";

/** Why an event cannot be taken as it is. */
export interface Problem {
  readonly code:
    | "schema-unknown"
    | "schema-differs"
    | "type-not-allowed"
    | "entity-not-allowed"
    | "not-json"
    | "not-canonical"
    | "undecodable"
    | "invalid"
    /** No stage behind the gate could hold it: see `core/ranges.ts`. */
    | "out-of-range"
    /** A column of a view cannot hold it. */
    | "unfit-for-view";
  /** For a field officer: which field, which value, what to write instead. */
  readonly message: string;
  /** JSON pointer into the data, where the problem has a location. */
  readonly path: string | null;
}

/** Characters of a value, and of a name, that a message shows. */
const MAX_SHOWN = 60;
const MAX_NAME = 200;
export const bounded = (text: string, max = MAX_NAME): string => (text.length > max ? `${text.slice(0, max)}…` : text);
const shown = (value: JsonValue | undefined): string =>
  bounded(typeof value === "string" ? `'${value}'` : (JSON.stringify(value) ?? "nothing"), MAX_SHOWN);

const MAX_MESSAGE = 500;

const COMPARISONS: Record<string, string> = { ">=": "at least", "<=": "at most", ">": "more than", "<": "less than" };

const TYPES: Record<string, string> = {
  string: "a text",
  integer: "a whole number",
  number: "a number",
  boolean: "true or false",
  array: "a list",
  object: "a group of fields",
  null: "empty",
};

const FORMATS: Record<string, string> = {
  date: "is not a date; write YYYY-MM-DD",
  "date-time": "is not a date and time; write YYYY-MM-DDThh:mm:ssZ",
  time: "is not a time; write hh:mm:ssZ",
  duration: "is not a length of time; write P3D for three days",
  email: "is not an e-mail address",
  uuid: "is not a UUID",
  uri: "is not a web address",
};

/** A JSON Schema failure in plain words. */
export const noField = (name: string): string => `${name} is not a field of this form`;

export function jsonProblem(error: ErrorObject, data: unknown): Problem {
  const at = error.instancePath;
  const name = at === "" ? "the event" : bounded(unescapePointer(at.slice(1).replaceAll("/", ".")));
  const value = shown(valueAt(data, at) as JsonValue);
  const { params } = error as { params: Record<string, unknown> };
  const description = (error.parentSchema as { description?: string } | undefined)?.description;
  const words = (): string => {
    switch (error.keyword) {
      case "required":
        return `${at === "" ? "" : `${name}.`}${String(params.missingProperty)} is missing`;
      case "dependentRequired":
        return `${String(params.missingProperty)} is missing; it goes with ${String(params.property)}`;
      case "minItems":
        return `${name} has too few entries`;
      case "contains":
        return `${name} has too few or too many of the entries that it must have`;
      case "maxItems":
        return `${name} has too many entries (at most ${String(params.limit)})`;
      case "uniqueItems":
        return `${name} has the same entry twice`;
      case "multipleOf":
        return `${name} ${value} must be a multiple of ${String(error.schema)}`;
      case "anyOf":
      case "oneOf":
      case "not":
        return `${name} ${value} does not fit${description === undefined ? "" : `: ${description}`}`;
      case "additionalProperties":
      case "unevaluatedProperties":
        return noField(bounded(String(params.additionalProperty ?? params.unevaluatedProperty)));
      case "false schema":
        return at === "" ? "nothing is taken here" : `${name} is not taken here`;
      case "enum":
        return `${name} ${value} is not one of ${(params.allowedValues as unknown[]).filter((v) => v !== null).join(", ")}`;
      case "const":
        return `${name} ${value} must be ${shown(params.allowedValue as JsonValue)}`;
      case "type":
        return `${name} ${value} must be ${[params.type]
          .flat()
          .map((type) => TYPES[String(type)] ?? String(type))
          .join(" or ")}`;
      case "format":
        return `${name} ${value} ${FORMATS[String(params.format)] ?? `is not a valid ${String(params.format)}`}`;
      case "pattern":
        return `${name} ${value} is not written as expected${description === undefined ? "" : `: ${description}`}`;
      case "minimum":
      case "maximum":
      case "exclusiveMinimum":
      case "exclusiveMaximum":
        return `${name} ${value} must be ${COMPARISONS[String(params.comparison)] ?? String(params.comparison)} ${String(params.limit)}`;
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
  return { code: "invalid", message: bounded(words(), MAX_MESSAGE), path: at === "" ? null : bounded(at) };
}

function valueAt(data: unknown, pointer: string): unknown {
  let value = data;
  for (const part of pointer.split("/").slice(1)) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Record<string, unknown>)[unescapePointer(part)];
  }
  return value;
}

/** An Avro misfit in plain words. */
export function avroProblem(misfit: Misfit | null): Problem | null {
  if (misfit === null) return null;
  const { path, value, expected } = misfit;
  const name = bounded(path.join(".")) || "the event";
  const pointer = path.length === 0 ? null : bounded(`/${path.map(escapePointer).join("/")}`);
  return { code: "invalid", message: bounded(words(), MAX_MESSAGE), path: pointer };

  function words(): string {
    if (expected === "member") return noField(name);
    if (value === undefined) return `${name} is missing`;
    return expected.kind === "enum"
      ? `${name} ${shown(value)} is not ${expectedWords(expected)}`
      : `${name} ${shown(value)} must be ${expectedWords(expected)}`;
  }
}
