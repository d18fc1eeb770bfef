import {
  type Avro,
  type AvroEnum,
  type AvroField,
  type AvroFixed,
  type AvroRecord,
  type AvroUnion,
  nameOfType,
} from "./model.ts";

/** Why data of a writer's type cannot be read as the reader's type. Paths are JSON pointers into the two schemas. */
export interface AvroMismatch {
  readonly rule:
    | "type_mismatch"
    | "name_mismatch"
    | "fixed_size_mismatch"
    | "logical_type_mismatch"
    | "missing_enum_symbols"
    | "missing_union_branch"
    | "reader_field_missing_default_value"
    | "complexity";
  readonly message: string;
  readonly readerPath: string;
  readonly writerPath: string;
}

/** How often pairs of types, and parts of pairs, are looked at. Schemas of the largest size, of many kinds, take fewer looks. */
const MAX_LOOKS = 5_000_000;
/** How many pairs are searched to say where they fail. */
const MAX_TOLD = 20_000;
const MAX_MISMATCHES = 50;

/** The promotions of the specification: a writer's type → the readers' types that take it. */
const PROMOTES: Readonly<Record<string, readonly string[]>> = {
  int: ["long", "float", "double"],
  long: ["float", "double"],
  float: ["double"],
  string: ["bytes"],
  bytes: ["string"],
};

const isPromoted = (writer: Avro, reader: Avro): boolean =>
  writer.kind === reader.kind || (PROMOTES[writer.kind]?.includes(reader.kind) ?? false);

/**
 * Whether values mean to the reader what they meant to the writer: milliseconds are not read as microseconds. Where one of the two says nothing
 * about the meaning, there is nothing to contradict.
 */
export const meansTheSame = (writer: Avro, reader: Avro): boolean =>
  !("logical" in writer && "logical" in reader) || writer.logical === reader.logical;

export const promotes = (writer: Avro, reader: Avro): boolean => isPromoted(writer, reader) && meansTheSame(writer, reader);

const simple = (name: string): string => name.slice(name.lastIndexOf(".") + 1);
/** Named types match by their unqualified names, or where one of the reader's aliases names the writer. */
export const sameName = (
  reader: { readonly name: string; readonly aliases: readonly string[] },
  writer: { readonly name: string },
): boolean =>
  simple(reader.name) === simple(writer.name) ||
  reader.aliases.some((alias) => alias === writer.name || simple(alias) === simple(writer.name));

/** The writer's field that a reader's field is read from: its own name first, then its aliases in order. */
export const sourceOf = (reader: AvroField, writer: AvroRecord): AvroField | undefined => {
  for (const name of [reader.name, ...reader.aliases]) {
    const found = writer.fields.find((field) => field.name === name);
    if (found !== undefined) return found;
  }
  return undefined;
};

/** The types are too intricate to compare; nothing is claimed about them. */
export class TooIntricateError extends Error {}

/** Whether all data of a writer's type can be read as the reader's type; each pair of types is decided once. */
export type Takes = (reader: Avro, writer: Avro) => boolean;

/**
 * Decides pairs of types together. All pairs that a pair depends on are supposed to fit; those that cannot are struck out, and the pairs that depend on them are looked
 * at again, until nothing changes. So types that lead back to themselves, in however many ways, take a number of looks that grows with the number of pairs, and
 * what remains is right: data is finite, and each of its parts is read by a pair that remains.
 */
export function comparer(): Takes {
  const decided = new Map<Avro, Map<Avro, boolean>>();
  let looks = 0;
  return (reader, writer) => {
    const known = decided.get(reader)?.get(writer);
    if (known !== undefined) return known;
    const pairs = new Map<Avro, Map<Avro, Pair>>();
    const toLook: Pair[] = [];
    const lookAt = (pair: Pair): void => {
      if (pair.isQueued || !pair.fits) return;
      pair.isQueued = true;
      toLook.push(pair);
    };
    const pairOf = (r: Avro, w: Avro): Pair => {
      let pair = pairs.get(r)?.get(w);
      if (pair === undefined) {
        pair = { r, w, fits: decided.get(r)?.get(w) ?? true, isQueued: false, users: new Set() };
        pairs.set(r, (pairs.get(r) ?? new Map<Avro, Pair>()).set(w, pair));
        if (decided.get(r)?.get(w) === undefined) lookAt(pair);
      }
      return pair;
    };
    const look = (pair: Pair): void => {
      const takes: Takes = (r, w) => {
        if (!mayFit(r, w)) return false;
        if (++looks > MAX_LOOKS) throw new TooIntricateError("the types are too intricate to be compared");
        const part = pairOf(r, w);
        part.users.add(pair);
        return part.fits;
      };
      if (directly(pair.r, pair.w, takes)) return;
      pair.fits = false;
      for (const user of pair.users) lookAt(user);
    };
    const first = pairOf(reader, writer);
    for (let next = toLook.pop(); next !== undefined; next = toLook.pop()) {
      next.isQueued = false;
      look(next);
    }
    for (const [r, of] of pairs)
      for (const [w, { fits }] of of) decided.set(r, (decided.get(r) ?? new Map<Avro, boolean>()).set(w, fits));
    return first.fits;
  };
}

interface Pair {
  readonly r: Avro;
  readonly w: Avro;
  fits: boolean;
  isQueued: boolean;
  /** The pairs that have this one as a part. */
  readonly users: Set<Pair>;
}

const isNamed = (type: Avro): type is AvroRecord | AvroEnum | AvroFixed => "name" in type;
/** Returns `false` for pairs that cannot fit, whatever their parts say: most pairs of branches of two unions. */
function mayFit(r: Avro, w: Avro): boolean {
  if (r.kind === "union" || w.kind === "union") return true;
  return isNamed(r) && isNamed(w) ? r.kind === w.kind && sameName(r, w) : promotes(w, r);
}

/** Whether a pair fits, if its parts do as `takes` says. */
function directly(r: Avro, w: Avro, takes: Takes): boolean {
  if (w.kind === "union")
    return w.branches.every((branch) => (r.kind === "union" ? branchOf(r, branch, takes) !== undefined : takes(r, branch)));
  if (r.kind === "union") return branchOf(r, w, takes) !== undefined;
  if (r.kind === "record" && w.kind === "record") {
    if (!sameName(r, w)) return false;
    const sources = sourcesOf(w);
    return r.fields.every((field) => {
      const source = sources(field);
      return source === undefined ? field.default !== undefined : takes(field.type, source.type);
    });
  }
  if (r.kind === "enum" && w.kind === "enum")
    return sameName(r, w) && (r.default !== undefined || w.symbols.every((symbol) => r.symbols.includes(symbol)));
  if (r.kind === "fixed" && w.kind === "fixed") return sameName(r, w) && r.size === w.size && meansTheSame(w, r);
  if (r.kind === "array" && w.kind === "array") return takes(r.items, w.items);
  if (r.kind === "map" && w.kind === "map") return takes(r.values, w.values);
  return promotes(w, r);
}

/** The reader's branch for a writer's type: one of the same type and name first, else the first that takes it. */
export const branchOf = ({ branches }: AvroUnion, w: Avro, takes: Takes): Avro | undefined =>
  branches.find((branch) => branch.kind === w.kind && takes(branch, w)) ?? branches.find((branch) => takes(branch, w));

const sources = new WeakMap<AvroRecord, Map<string, AvroField>>();
/** `sourceOf` with one look per field, for records of many fields. */
function sourcesOf(writer: AvroRecord): (reader: AvroField) => AvroField | undefined {
  let byName = sources.get(writer);
  if (byName === undefined) {
    byName = new Map(writer.fields.map((field) => [field.name, field]));
    sources.set(writer, byName);
  }
  return ({ name, aliases }) => byName.get(name) ?? byName.get(aliases.find((alias) => byName.has(alias)) ?? "");
}

const misread = (reader: Avro, writer: Avro): string =>
  `${nameOfType(writer)} would be read as ${nameOfType(reader)}, and mean something else`;

/**
 * Everything that keeps data of `writer` from being read as `reader`, fifty locations at most; empty when all of it can be.
 * Source: https://avro.apache.org/docs/1.12.0/specification/#schema-resolution
 */
export function avroMismatches(reader: Avro, writer: Avro, takes: Takes = comparer()): AvroMismatch[] {
  const out: AvroMismatch[] = [];
  /** The pairs further out, whose failing locations are being listed. */
  const open = new Map<Avro, Set<Avro>>();
  let told = 0;
  try {
    tell(reader, writer, "", "");
    if (out.length === 0 && !takes(reader, writer))
      out.push({ rule: "complexity", message: "they differ; it takes too long to say where", readerPath: "", writerPath: "" });
    return out.slice(0, MAX_MISMATCHES);
  } catch (error) {
    if (!(error instanceof TooIntricateError)) throw error;
    return [{ rule: "complexity", message: error.message, readerPath: "", writerPath: "" }];
  }

  function tell(r: Avro, w: Avro, readerPath: string, writerPath: string): void {
    if (out.length >= MAX_MISMATCHES || ++told > MAX_TOLD || takes(r, w)) return;
    const begun = open.get(r) ?? new Set<Avro>();
    if (begun.has(w)) return;
    open.set(r, begun.add(w));
    tellTypes(r, w, readerPath, writerPath);
    begun.delete(w);
  }

  function tellTypes(r: Avro, w: Avro, readerPath: string, writerPath: string): void {
    const no = (rule: AvroMismatch["rule"], message: string, below = ""): void => {
      out.push({ rule, message, readerPath: readerPath + below, writerPath: writerPath + below });
    };
    if (w.kind === "union") {
      for (const [i, branch] of w.branches.entries()) {
        const at = `${writerPath}/${i}`;
        if (r.kind !== "union") tell(r, branch, readerPath, at);
        else if (branchOf(r, branch, takes) === undefined)
          out.push({
            rule: "missing_union_branch",
            message: `no branch takes ${nameOfType(branch)}`,
            readerPath,
            writerPath: at,
          });
      }
      return;
    }
    if (r.kind === "union") no("missing_union_branch", `no branch of ${nameOfType(r)} takes ${nameOfType(w)}`);
    else if (isNamed(r) && isNamed(w) && r.kind === w.kind && !sameName(r, w))
      no("name_mismatch", `${r.name} is not ${w.name}`, "/name");
    else if (r.kind === "record" && w.kind === "record") {
      for (const [i, field] of r.fields.entries()) {
        const source = sourceOf(field, w);
        const at = `${readerPath}/fields/${i}`;
        if (source !== undefined)
          tell(field.type, source.type, `${at}/type`, `${writerPath}/fields/${w.fields.indexOf(source)}/type`);
        else if (field.default === undefined)
          out.push({
            rule: "reader_field_missing_default_value",
            message: `the writer does not write ${field.name}, and the reader has no default for it`,
            readerPath: at,
            writerPath: `${writerPath}/fields`,
          });
      }
    } else if (r.kind === "enum" && w.kind === "enum") {
      const missing = w.symbols.filter((symbol) => !r.symbols.includes(symbol));
      no("missing_enum_symbols", `the reader does not know ${missing.join(", ")}, and has no default symbol`, "/symbols");
    } else if (!meansTheSame(w, r) && isPromoted(w, r)) no("logical_type_mismatch", misread(r, w));
    else if (r.kind === "fixed" && w.kind === "fixed") {
      no("fixed_size_mismatch", `${w.size} bytes are not ${r.size}`, "/size");
    } else if (r.kind === "array" && w.kind === "array") tell(r.items, w.items, `${readerPath}/items`, `${writerPath}/items`);
    else if (r.kind === "map" && w.kind === "map") tell(r.values, w.values, `${readerPath}/values`, `${writerPath}/values`);
    else no("type_mismatch", `${nameOfType(w)} cannot be read as ${nameOfType(r)}`);
  }
}
