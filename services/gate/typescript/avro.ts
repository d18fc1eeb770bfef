import type { Avro, AvroRecord } from "../avro/model.ts";
import { inBrackets, type Member, objectType, type Type, typeName, union } from "./words.ts";

/** Types that are declared beside the one that is asked for. */
export interface Declared {
  readonly name: string;
  readonly type: Type;
}

/** The type of an Avro record's values as JSON, and the records within it. */
export function avroTypes(root: Avro, name: string, take: (wanted: string) => string): readonly Declared[] {
  const names = new Map<AvroRecord, string>();
  const declared: Declared[] = [];
  const recordType = (record: AvroRecord): string =>
    objectType(
      record.fields.map(
        (field): Member => ({
          name: field.name,
          type: typeOf(field.type),
          isOptional: field.default !== undefined,
          says: null,
        }),
      ),
    );
  const nameOf = (record: AvroRecord): string => {
    const known = names.get(record);
    if (known !== undefined) return known;
    const own = names.size === 0 ? name : take(`${name}${typeName(record.name.slice(record.name.lastIndexOf(".") + 1))}`);
    names.set(record, own);
    // Its place is taken before its members are looked at: a record may hold itself.
    const at = declared.push({ name: own, type: null }) - 1;
    declared[at] = { name: own, type: recordType(record) };
    return own;
  };
  const typeOf = (type: Avro): Type => {
    switch (type.kind) {
      case "null":
      case "boolean":
        return type.kind;
      case "int":
      case "long":
      case "float":
      case "double":
        return "number";
      case "bytes":
      case "fixed":
      case "string":
        return "string";
      case "enum":
        return union(type.symbols.map((symbol) => JSON.stringify(symbol)));
      case "array":
        return `readonly ${inBrackets(typeOf(type.items))}[]`;
      case "map":
        return objectType([], typeOf(type.values));
      case "union":
        return union(type.branches.map(typeOf));
      case "record":
        return nameOf(type);
    }
  };
  const type = typeOf(root);
  return root.kind === "record" ? declared : [{ name, type }, ...declared];
}
