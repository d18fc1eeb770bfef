import { canonicalize, type JsonObject, type JsonValue, sha256, type Vector } from "../core/index.ts";
import type { FullRow } from "./fold.ts";
import type { View } from "./views.ts";

/** All that a view shows of an entity, as text: two sides that show the same have the same text. */
export const rowText = (id: string, { values, deleted, conflicts, tables }: FullRow, waitingFor: Vector): string =>
  canonicalize([id, { values, deleted, conflicts, tables } as unknown as JsonValue, waitingFor as JsonObject]);

/** A hash over rows' texts, in any order. `digest`: SHA-256 of a text, in hexadecimal. */
export const rowsHash = (texts: readonly string[], digest: (text: string) => string): string =>
  digest(texts.toSorted().join("\n"));

const known = new WeakMap<object, string>();

/** The digest of all that a view's declaration says, functions as their texts: two sides with the same fold the view by the same rules. */
export function shapeDigest(view: Pick<View, "name" | "shape">): string {
  let digest = known.get(view);
  if (digest === undefined) {
    digest = sha256(JSON.stringify([view.name, view.shape]));
    known.set(view, digest);
  }
  return digest;
}
