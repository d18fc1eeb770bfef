import type { JsonObject } from "../../../core/index.ts";
import type { View } from "../document.ts";
import type { Conjunction } from "../facts/conjunctions.ts";
import type { Facts } from "../facts/facts.ts";
import type { Reasoner } from "../facts/reasoner.ts";

/** A location at which a document that fits the writer's schema may not fit the reader's. Paths are JSON pointers into the schemas. */
export interface JsonMismatch {
  /** The keyword that fails, as it stands at the end of `readerPath`. */
  readonly rule: string;
  readonly message: string;
  readonly readerPath: string;
  readonly writerPath: string;
}

export type No = (rule: string, message: string, keyword?: string) => JsonMismatch;

/** One schema of the reader's, held against what the writer lets through there. */
export interface Location {
  /** What the writer lets through, and what is known of it. */
  readonly c: Conjunction;
  readonly facts: Facts;
  /** The reader's schema, and where it stands. */
  readonly schema: JsonObject;
  readonly view: View;
  /** Makes the mismatch of one of its keywords. */
  readonly no: No;
}

/** A comparison in progress, for the keywords' own rules. */
export interface Proof {
  readonly reason: Reasoner;
  /** What keeps the values that fit all of `writer` from fitting `reader`. */
  subset(writer: readonly View[], reader: View): JsonMismatch[];
  /** What keeps the values of `c` from all fitting `reader`. `splits`: how often they have been divided on the way here. */
  covers(c: Conjunction, reader: View, splits: number): JsonMismatch[];
}
