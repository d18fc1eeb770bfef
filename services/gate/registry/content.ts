import { canonicalize, sha256 } from "../../core/index.ts";
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
const contents = new WeakMap<object, string>();
/** The same of an entry, which never changes: found once. */
export function contentOf(entry: { readonly schema: SchemaVersion; readonly text: string }): string {
  let key = contents.get(entry);
  if (key === undefined) {
    key = contentKey({ ...entry.schema, text: entry.text });
    contents.set(entry, key);
  }
  return key;
}
