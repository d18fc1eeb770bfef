import { type Avro, type AvroField, type AvroRecord, nameOfType } from "./model.ts";

/** Why data of a writer's type cannot be read as a reader's. Paths are JSON pointers into the two schemas. */
export interface AvroMismatch {
  readonly rule:
    | "type_mismatch"
    | "name_mismatch"
    | "fixed_size_mismatch"
    | "missing_enum_symbols"
    | "missing_union_branch"
    | "reader_field_missing_default_value"
    | "complexity";
  readonly message: string;
  readonly readerPath: string;
  readonly writerPath: string;
}

class TooComplexError extends Error {}
const MAX_STEPS = 20_000;
const MAX_MISMATCHES = 50;

/** The promotions of the specification: writer → readers that take it. */
const PROMOTES: Readonly<Record<string, readonly string[]>> = {
  int: ["long", "float", "double"],
  long: ["float", "double"],
  float: ["double"],
  string: ["bytes"],
  bytes: ["string"],
};

export const promotes = (writer: Avro, reader: Avro): boolean =>
  writer.kind === reader.kind || (PROMOTES[writer.kind]?.includes(reader.kind) ?? false);

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

/**
 * Everything that keeps data of `writer` from being read as `reader`; empty when all of it can be.
 * Source: https://avro.apache.org/docs/1.12.0/specification/#schema-resolution
 */
export function avroMismatches(reader: Avro, writer: Avro): AvroMismatch[] {
  /** Pairs that are compared, or were found to fit: a type that contains itself is compared once. */
  let open = new Map<Avro, Set<Avro>>();
  let steps = 0;
  try {
    return compare(reader, writer, "", "").slice(0, MAX_MISMATCHES);
  } catch (error) {
    if (!(error instanceof TooComplexError)) throw error;
    return [{ rule: "complexity", message: "the types are too intricate to be compared", readerPath: "", writerPath: "" }];
  }

  function compare(r: Avro, w: Avro, readerPath: string, writerPath: string): AvroMismatch[] {
    if (++steps > MAX_STEPS) throw new TooComplexError();
    const begun = open.get(r) ?? new Set();
    if (begun.has(w)) return [];
    if (r.kind === "record") open.set(r, begun.add(w));
    const found = compareTypes(r, w, readerPath, writerPath);
    // A pair that failed may fail again elsewhere, at another path.
    if (found.length > 0) begun.delete(w);
    return found;
  }

  function compareTypes(r: Avro, w: Avro, readerPath: string, writerPath: string): AvroMismatch[] {
    const no = (rule: AvroMismatch["rule"], message: string, below = ""): AvroMismatch[] => [
      { rule, message, readerPath: readerPath + below, writerPath: writerPath + below },
    ];
    if (w.kind === "union") {
      return w.branches.flatMap((branch, i) => {
        const at = `${writerPath}/${i}`;
        if (r.kind !== "union") return compare(r, branch, readerPath, at);
        return branchOf(r.branches, branch) === undefined
          ? [{ rule: "missing_union_branch", message: `no branch takes ${nameOfType(branch)}`, readerPath, writerPath: at }]
          : [];
      });
    }
    if (r.kind === "union") {
      return branchOf(r.branches, w) === undefined
        ? no("missing_union_branch", `no branch of ${nameOfType(r)} takes ${nameOfType(w)}`)
        : [];
    }
    if (r.kind === "record" && w.kind === "record") {
      if (!sameName(r, w)) return no("name_mismatch", `${r.name} is not ${w.name}`, "/name");
      return r.fields.flatMap((field, i) => {
        const source = sourceOf(field, w);
        const at = `${readerPath}/fields/${i}`;
        if (source !== undefined)
          return compare(field.type, source.type, `${at}/type`, `${writerPath}/fields/${w.fields.indexOf(source)}/type`);
        return field.default !== undefined
          ? []
          : [
              {
                rule: "reader_field_missing_default_value" as const,
                message: `the writer does not write ${field.name}, and the reader has no default for it`,
                readerPath: at,
                writerPath: `${writerPath}/fields`,
              },
            ];
      });
    }
    if (r.kind === "enum" && w.kind === "enum") {
      if (!sameName(r, w)) return no("name_mismatch", `${r.name} is not ${w.name}`, "/name");
      const missing = w.symbols.filter((symbol) => !r.symbols.includes(symbol));
      return missing.length === 0 || r.default !== undefined
        ? []
        : no("missing_enum_symbols", `the reader does not know ${missing.join(", ")}, and has no default symbol`, "/symbols");
    }
    if (r.kind === "fixed" && w.kind === "fixed") {
      if (!sameName(r, w)) return no("name_mismatch", `${r.name} is not ${w.name}`, "/name");
      return r.size === w.size ? [] : no("fixed_size_mismatch", `${w.size} bytes are not ${r.size}`, "/size");
    }
    if (r.kind === "array" && w.kind === "array") return compare(r.items, w.items, `${readerPath}/items`, `${writerPath}/items`);
    if (r.kind === "map" && w.kind === "map") return compare(r.values, w.values, `${readerPath}/values`, `${writerPath}/values`);
    return promotes(w, r) ? [] : no("type_mismatch", `${nameOfType(w)} cannot be read as ${nameOfType(r)}`);
  }

  /** The reader's branch for a writer's type: one of the same type and name first, else the first that takes it. */
  function branchOf(branches: readonly Avro[], w: Avro): Avro | undefined {
    const takes = (branch: Avro): boolean => {
      // What is found to fit on the way counts only if the branch does.
      const before = open;
      open = new Map([...before].map(([type, others]) => [type, new Set(others)]));
      const taken = compare(branch, w, "", "").length === 0;
      if (!taken) open = before;
      return taken;
    };
    return branches.find((branch) => branch.kind === w.kind && takes(branch)) ?? branches.find(takes);
  }
}
