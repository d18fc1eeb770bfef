/** What a declaration's invariants say of rows: one answer for whoever folds, tries rules or proves views. */
import { canonicalize, type JsonObject, type JsonValue, messageOf } from "../core/index.ts";
import type { FullRow } from "./fold.ts";
import type { Invariant } from "./projection.ts";

/** A row as a declaration's functions see it. */
export const seenRow = (id: string, row: Pick<FullRow, "values">): JsonObject & { readonly id: string } => ({
  ...row.values,
  id,
});

/** What the invariants of a view say of one row. */
export interface CheckedRow {
  /** By invariant, the key that the row holds, as canonical JSON. */
  readonly keys: ReadonlyMap<string, string>;
  /** By invariant, what is wrong with the row. */
  readonly problems: ReadonlyMap<string, string>;
}

const NO_KEYS: ReadonlyMap<string, string> = new Map();
const UNCHECKED: CheckedRow = { keys: NO_KEYS, problems: NO_KEYS };

type Invariants = Readonly<Record<string, Invariant>>;

/** Asks all invariants about a row; one that is deleted, or that is not there, holds no key and has no problem. Throws what they throw. */
export function checkInvariants(invariants: Invariants, id: string, row: FullRow | null): CheckedRow {
  const rules = Object.entries(invariants);
  if (row === null || row.deleted || rules.length === 0) return UNCHECKED;
  const seen = seenRow(id, row) as never; // each rule is declared for the columns of its own view
  const keys = new Map<string, string>();
  const problems = new Map<string, string>();
  for (const [name, rule] of rules) {
    if ("problem" in rule) {
      const problem = rule.problem(seen);
      if (problem !== null) problems.set(name, problem);
      continue;
    }
    const key: JsonValue | undefined = rule.key(seen);
    if (key !== null && key !== undefined) keys.set(name, canonicalize(key));
  }
  return { keys, problems };
}

/** Whether more rows hold one key than the invariant allows. */
export const isBroken = (rule: Invariant, holders: number): boolean => "atMost" in rule && holders > rule.atMost;

/** What is wrong with a row of totals. A rule that throws says no less than one that complains: what was folded must go on. */
export function problemOfTotal(rule: Invariant, row: Readonly<Record<string, unknown>>): string | null {
  if (!("problem" in rule)) return null;
  try {
    return rule.problem(row as never); // the rule is declared for the columns of its own totals
  } catch (error) {
    return `it cannot be checked: ${messageOf(error)}`;
  }
}
