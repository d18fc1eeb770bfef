import type { JsonValue } from "../../core/index.ts";
import { branchOf, comparer, meansTheSame, promotes, sameName, sourceOf, type Takes, TooIntricateError } from "./compat.ts";
import { type Avro, type AvroField, fits, nameOfType } from "./model.ts";

type Read = (value: JsonValue, depth: number) => JsonValue;

/** How deep a value may nest before it is refused. */
const MAX_DEPTH = 64;

/** A value that was written cannot be read: says which, in words. */
export class UnreadableError extends Error {}

/** A field's default with the defaults inside it filled in. */
const presetOf = ({ type, default: preset }: AvroField): JsonValue | undefined =>
  preset === undefined ? undefined : avroNormaliser(type)(preset);

const unreadable = (why: string): Read => {
  return () => {
    throw new UnreadableError(why);
  };
};

/**
 * A function that shows values of `writer` as `reader` reads them: members that `reader` does not know are left out, its defaults are filled in,
 * renamed members are found by their aliases. Works on plain JSON values, so nothing is encoded and decoded. The function throws `UnreadableError`
 * for a value that cannot be read, and only then.
 * Source: https://avro.apache.org/docs/1.12.0/specification/#schema-resolution
 */
// Long because it is one table: pairs of kinds in the order of the specification's resolution rules, with the reader of each.
export function avroReader(reader: Avro, writer: Avro): (value: JsonValue) => JsonValue {
  const made = new Map<Avro, Map<Avro, { read: Read | null }>>();
  const decide = comparer();
  const takes: Takes = (r, w) => {
    try {
      return decide(r, w);
    } catch (error) {
      // Nothing is claimed about these types, so no branch counts as one that takes all values.
      if (error instanceof TooIntricateError) return false;
      throw error;
    }
  };
  const read = make(reader, writer);
  return (value) => read(value, 0);

  function make(r: Avro, w: Avro): Read {
    const known = made.get(r)?.get(w);
    if (known !== undefined) return (value, depth) => known.read!(value, depth);
    const slot: { read: Read | null } = { read: null };
    made.set(r, (made.get(r) ?? new Map()).set(w, slot));
    slot.read = build(r, w);
    return slot.read;
  }

  function build(r: Avro, w: Avro): Read {
    if (w.kind === "union") {
      const branches = w.branches.map((branch) => ({ branch, read: make(r, branch) }));
      return (value, depth) => {
        const taken = branches.find(({ branch }) => fits(branch, value));
        if (taken === undefined) throw new UnreadableError("no branch of the writer's union wrote it");
        return taken.read(value, depth);
      };
    }
    if (r.kind === "union") {
      // A branch that takes some values of the writer's type is better than none.
      const branch = branchOf(r, w, takes) ?? r.branches.find((candidate) => candidate.kind === w.kind);
      return branch === undefined ? unreadable(`no branch of ${nameOfType(r)} takes ${nameOfType(w)}`) : make(branch, w);
    }
    if (r.kind === "record" && w.kind === "record") {
      if (!sameName(r, w)) return unreadable(`${r.name} is not ${w.name}`);
      const fields = r.fields.map((field) => {
        const source = sourceOf(field, w);
        const preset = presetOf(field);
        // A value that the writer does not have is the reader's default.
        const left = source === undefined ? undefined : presetOf(source);
        return { name: field.name, from: source?.name, left, preset, read: source && make(field.type, source.type) };
      });
      return (value, depth) => {
        if (depth > MAX_DEPTH) throw new UnreadableError(`it nests more than ${MAX_DEPTH} deep`);
        const written = value as Record<string, JsonValue>;
        const out: Record<string, JsonValue> = {};
        for (const { name, from, left, preset, read } of fields) {
          if (read !== undefined) out[name] = read((Object.hasOwn(written, from!) ? written[from!] : left)!, depth + 1);
          else if (preset !== undefined) out[name] = preset;
          else throw new UnreadableError(`${name} was not written, and has no default`);
        }
        return out;
      };
    }
    if (r.kind === "enum" && w.kind === "enum") {
      if (!sameName(r, w)) return unreadable(`${r.name} is not ${w.name}`);
      const symbols = new Set(r.symbols);
      return (value) => {
        if (symbols.has(value as string)) return value;
        if (r.default !== undefined) return r.default;
        throw new UnreadableError(`${String(value)} is not one of ${r.symbols.join(", ")}`);
      };
    }
    if (r.kind === "fixed" && w.kind === "fixed")
      return sameName(r, w) && r.size === w.size && meansTheSame(w, r)
        ? same
        : unreadable(`${nameOfType(w)} is not ${nameOfType(r)}`);
    if (r.kind === "array" && w.kind === "array") {
      const item = make(r.items, w.items);
      return (value, depth) => (value as JsonValue[]).map((each) => item(each, depth + 1));
    }
    if (r.kind === "map" && w.kind === "map") {
      const member = make(r.values, w.values);
      return (value, depth) =>
        Object.fromEntries(
          Object.entries(value as Record<string, JsonValue>).map(([key, each]) => [key, member(each, depth + 1)]),
        );
    }
    if (!promotes(w, r)) return unreadable(`${nameOfType(w)} cannot be read as ${nameOfType(r)}`);
    return r.kind === "float" ? (value) => Math.fround(value as number) : same;
  }
}

const same: Read = (value) => value;

/**
 * A function that gives values of a type the form in which they come back from Avro's binary form: defaults filled in, floats of 32 bits rounded to them.
 * Not by writing and reading them: avsc loses the last bit of whole numbers beyond 2^52.
 */
export function avroNormaliser(type: Avro): (value: JsonValue) => JsonValue {
  const made = new Map<Avro, { normal: (value: JsonValue) => JsonValue }>();
  return make(type);

  function make(of: Avro): (value: JsonValue) => JsonValue {
    const known = made.get(of);
    if (known !== undefined) return (value) => known.normal(value);
    const slot = { normal: (value: JsonValue) => value };
    if (of.kind === "record") made.set(of, slot);
    slot.normal = build(of);
    return slot.normal;
  }

  function build(of: Avro): (value: JsonValue) => JsonValue {
    switch (of.kind) {
      case "float":
        return (value) => zeroed(Math.fround(value as number));
      case "int":
      case "long":
      case "double":
        return (value) => zeroed(value as number);
      case "array": {
        const item = make(of.items);
        return (value) => (value as JsonValue[]).map(item);
      }
      case "map": {
        const member = make(of.values);
        return (value) =>
          Object.fromEntries(Object.entries(value as Record<string, JsonValue>).map(([key, each]) => [key, member(each)]));
      }
      case "union": {
        const branches = of.branches.map((branch) => ({ branch, normal: make(branch) }));
        return (value) => branches.find(({ branch }) => fits(branch, value))?.normal(value) ?? value;
      }
      case "record": {
        const fields = of.fields.map((field) => ({ name: field.name, preset: field.default, normal: make(field.type) }));
        return (value) => {
          const given = value as Record<string, JsonValue | undefined>;
          const out: Record<string, JsonValue> = {};
          for (const { name, preset, normal } of fields) {
            const member = Object.hasOwn(given, name) ? (given[name] ?? (given[name] === null ? null : preset)) : preset;
            if (member !== undefined) out[name] = normal(member);
          }
          return out;
        };
      }
      default:
        return same as (value: JsonValue) => JsonValue;
    }
  }
}

const zeroed = (value: number): number => (value === 0 ? 0 : value);
