import { canonicalize, type JsonObject, type JsonValue, type Vector } from "../core/index.ts";
import type { FullRow } from "./fold.ts";

/** All that a view shows of an entity, as text: two sides that show the same have the same text. */
export const rowText = (id: string, { values, deleted, conflicts, tables }: FullRow, waitingFor: Vector): string =>
  canonicalize([id, { values, deleted, conflicts, tables } as unknown as JsonValue, waitingFor as JsonObject]);

/** A hash over rows' texts, in any order. `digest`: SHA-256 of a text, in hexadecimal. */
export const rowsHash = (texts: readonly string[], digest: (text: string) => string): string =>
  digest(texts.toSorted().join("\n"));
