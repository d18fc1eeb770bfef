import type { JsonValue, Vector } from "../core/index.ts";
import type { ColumnType } from "./columns.ts";
import type { Author } from "./register.ts";

/** A write to a register that merges by itself. */
export interface CrdtWrite {
  readonly by: Author;
  /** What the author had seen of the entity. Their own earlier events always count as seen. */
  readonly basis: Vector;
  readonly value: JsonValue;
}

/**
 * A kind of register whose concurrent writes merge into one value, so that there is never anything to decide. Its state is plain JSON and a
 * function of the *set* of writes: `join` is commutative, associative and idempotent (a write is named by `by.origin` and `by.seq`), and states of
 * the same writes are equal member for member, whatever order they came in.
 */
export interface Crdt {
  readonly name: string;
  readonly version: number;
  /** Kinds of columns that can show what `read` gives. */
  readonly columns: readonly ColumnType[];
  /** Why a value is not a write of this kind; `null` when it is one. */
  problem(value: JsonValue): string | null;
  /** The state with one more write. Never changes its argument. */
  join(state: JsonValue | undefined, write: CrdtWrite): JsonValue;
  /** What the column shows. */
  read(state: JsonValue): JsonValue;
  /** Texts that a write carries where they cannot be seen in it, for a check of what it adds; most kinds are plain JSON. */
  texts?(value: JsonValue): readonly string[];
  /** Writes of a state that the value shown leaves out, as sentences; the row then counts as contested. Most kinds never leave one out. */
  leftOut?(state: JsonValue): readonly string[];
}
