import type { IncarnationId, JsonValue, Vector } from "../core/index.ts";
import type { ColumnType } from "./columns.ts";
import type { Author } from "./register.ts";

/** A write to a register that merges by itself. */
export interface CrdtWrite {
  readonly by: Author;
  /** What the author had seen of the entity. The author's own earlier events always count as seen. */
  readonly basis: Vector;
  readonly value: JsonValue;
}

/**
 * A kind of register whose concurrent writes merge into one value, so there is never anything to decide. Its state is plain JSON and a
 * function of the *set* of writes: `join` is commutative, associative and idempotent (a write is named by `by.origin` and `by.seq`), and states of
 * the same writes are equal member for member, whatever order they came in.
 */
export interface Crdt {
  readonly name: string;
  readonly version: number;
  /** The hub in whose order it takes writes, where it names one: the id of its log's first incarnation. */
  readonly hub?: IncarnationId;
  /** The types of columns that can show what `read` returns. */
  readonly columns: readonly ColumnType[];
  /** Why a value is not a write of this kind; `null` when it is one. */
  problem(value: JsonValue): string | null;
  /** The state with one more write. Never changes its argument. */
  join(state: JsonValue | undefined, write: CrdtWrite): JsonValue;
  /** What the column shows. */
  read(state: JsonValue): JsonValue;
  /** The texts that a write carries in an encoded form, so that what it adds can be checked. Most kinds need none, because they are plain JSON. */
  texts?(value: JsonValue): readonly string[];
  /** Those writes of a state that the shown value leaves out, one sentence each; the row then counts as contested. Most kinds never leave one out. */
  leftOut?(state: JsonValue): readonly string[];
}
