import { isJsonObject, type JsonObject, type JsonValue } from "../../core/index.ts";
import { type Avro, type AvroRecord, fits, INT, MAX_VALUE_DEPTH, nameOfType } from "./model.ts";

/** The first thing about a value that does not fit a type: where, what stands there, and what should. */
export interface Misfit {
  readonly path: readonly string[];
  readonly value: JsonValue | undefined;
  readonly expected: "member" | Avro;
}

/** How often a value's parts are looked at, at most; a value of types that contain themselves could take very long. */
const MAX_LOOKS = 200_000;
const MAX_DEPTH = MAX_VALUE_DEPTH;

/**
 * A check for values of a record type: `null` when the value fits. Stricter than Avro libraries, which pass over members that the
 * schema does not have: what a form wrote there would be lost in silence, since nobody can read it.
 */
// Long because the checks of types call one another through one table and share one count of looks.
export function avroCheck(type: AvroRecord): (value: JsonObject) => Misfit | null {
  const made = new Map<Avro, { check: Check }>();
  const check = make(type);
  let looks = 0;
  return (value) => {
    looks = 0;
    return check(value, 0);
  };

  type Check = (value: JsonValue | undefined, depth: number) => Misfit | null;

  function make(of: Avro): Check {
    const known = made.get(of);
    if (known !== undefined) return (value, depth) => known.check(value, depth);
    const slot: { check: Check } = { check: () => null };
    if (of.kind === "record") made.set(of, slot);
    slot.check = build(of);
    return slot.check;
  }

  // Long because it is one table: Avro's kinds, and the check of each.
  function build(of: Avro): Check {
    const no = (value: JsonValue | undefined): Misfit => ({ path: [], value, expected: of });
    const below = (name: string, found: Misfit): Misfit => ({ ...found, path: [name, ...found.path] });
    switch (of.kind) {
      case "string":
        return (value) => (typeof value === "string" ? null : no(value));
      case "int":
        return (value) => (Number.isInteger(value) && (value as number) >= -INT && (value as number) < INT ? null : no(value));
      case "long":
        return (value) => (Number.isSafeInteger(value) ? null : no(value));
      case "float":
        return (value) => (typeof value === "number" && Number.isFinite(Math.fround(value)) ? null : no(value));
      case "double":
        return (value) => (typeof value === "number" ? null : no(value));
      case "enum": {
        const symbols = new Set(of.symbols);
        return (value) => (symbols.has(value as string) ? null : no(value));
      }
      case "union": {
        const branches = of.branches.map((branch) => ({ kind: branch.kind, check: make(branch) }));
        return (value, depth) => {
          let near: Misfit | null = null;
          let isOnly = true;
          for (const { kind, check } of branches) {
            const found = ++looks > MAX_LOOKS ? no(value) : check(value, depth);
            if (found === null) return null;
            // Where only one branch is of the value's kind, that branch tells better what is wrong inside the value.
            if (isJsonObject(value) ? kind === "record" : Array.isArray(value) && kind === "array") {
              isOnly = near === null;
              near = found;
            }
          }
          return near !== null && isOnly ? near : no(value);
        };
      }
      case "array": {
        const item = make(of.items);
        return (value, depth) => {
          if (!Array.isArray(value) || depth > MAX_DEPTH) return no(value as JsonValue);
          for (let i = 0; i < value.length; i++) {
            const found = item(value[i] as JsonValue, depth + 1);
            if (found !== null) return below(String(i), found);
          }
          return null;
        };
      }
      case "map": {
        const member = make(of.values);
        return (value, depth) => {
          if (!isJsonObject(value) || depth > MAX_DEPTH) return no(value);
          for (const name of Object.keys(value)) {
            const found = member(value[name], depth + 1);
            if (found !== null) return below(name, found);
          }
          return null;
        };
      }
      case "record": {
        const fields = of.fields.map(({ name, type: member, default: preset }) => ({ name, preset, check: make(member) }));
        const names = new Set(fields.map(({ name }) => name));
        return (value, depth) => {
          if (!isJsonObject(value) || depth > MAX_DEPTH) return no(value);
          for (const name in value) if (!names.has(name)) return { path: [name], value: value[name], expected: "member" };
          for (const { name, preset, check } of fields) {
            const member = Object.hasOwn(value, name) ? value[name] : undefined;
            if (member === undefined && preset !== undefined) continue;
            const found = check(member, depth + 1);
            if (found !== null) return below(name, found);
          }
          return null;
        };
      }
      default:
        return (value) => (fits(of, value) ? null : no(value));
    }
  }
}

const KINDS: Readonly<Record<string, string>> = {
  int: "a whole number",
  long: "a whole number",
  float: "a number",
  double: "a number",
  string: "a text",
  boolean: "true or false",
  array: "a list",
  record: "a group of fields",
  map: "a group of fields",
  null: "empty",
};

/** What a value of the type should be, in words. */
export function expectedWords(type: Avro): string {
  if (type.kind === "enum") return `one of ${type.symbols.slice(0, 20).join(", ")}${type.symbols.length > 20 ? ", …" : ""}`;
  if (type.kind === "union") {
    const words = type.branches.filter(({ kind }) => kind !== "null").map(expectedWords);
    return [...words, ...(type.branches.length > words.length ? ["empty"] : [])].join(" or ");
  }
  return KINDS[type.kind] ?? nameOfType(type);
}
