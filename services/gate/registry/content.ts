import { canonicalize, type JsonValue, sha256 } from "../../core/index.ts";
import { normalAvro } from "../avro/normal.ts";
import type { SchemaText, SchemaVersion } from "../schema.ts";

/** What makes two schemas the same one: all they say, annotations and defaults included, but not how the text is laid out. */
export const contentKey = ({ text, kind, references }: SchemaText): string => {
  let said: string;
  try {
    said = canonicalize(JSON.parse(text));
  } catch {
    said = text;
  }
  return sha256(`${kind}\n${said}\n${canonicalize(references)}`);
};
/**
 * The same schema in a text that does not depend on how it is written: members in order, Avro's names in full, references in order and once. What is no
 * schema comes back as it is.
 */
export function normalised({ kind, text, references }: SchemaText): SchemaText {
  let normal: string;
  try {
    const parsed = JSON.parse(text) as JsonValue;
    normal = canonicalize(kind === "avro" ? normalAvro(parsed) : parsed);
  } catch {
    return { kind, text, references };
  }
  const distinct = new Map(references.map((each) => [canonicalize({ ...each }), each]));
  return { kind, text: normal, references: [...distinct.keys()].sort().flatMap((key) => distinct.get(key) ?? []) };
}

/** A content's key in the form of a UUID: the schema's name in all registries of this kind. */
export const guidOf = (key: string): string =>
  [key.slice(0, 8), key.slice(8, 12), key.slice(12, 16), key.slice(16, 20), key.slice(20, 32)].join("-");

interface Kept {
  readonly schema: SchemaVersion;
  readonly text: string;
}
/** A function of an entry, which never changes: found once. */
const once = (find: (given: SchemaText) => string): ((entry: Kept) => string) => {
  const found = new WeakMap<object, string>();
  return (entry) => {
    let key = found.get(entry);
    if (key === undefined) {
      key = find({ ...entry.schema, text: entry.text });
      found.set(entry, key);
    }
    return key;
  };
};
export const contentOf = once(contentKey);
/** The same of what it says in its normal form. */
export const normalContentOf = once((given) => contentKey(normalised(given)));
