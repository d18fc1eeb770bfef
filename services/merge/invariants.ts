/** What a declaration's invariants say of rows: the same answer for whoever folds, tries rules or verifies views. */
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
  /** The key that the row holds, as canonical JSON, by invariant. */
  readonly keys: ReadonlyMap<string, string>;
  /** What is wrong with the row, by invariant. */
  readonly problems: ReadonlyMap<string, string>;
}

type Invariants = Readonly<Record<string, Invariant>>;

const NONE: ReadonlyMap<string, string> = new Map();

/** What `asks` answers for each invariant about a row. Nothing is asked about a row that is deleted or missing. */
function asked(
  invariants: Invariants,
  id: string,
  row: FullRow | null,
  asks: (rule: Invariant, seen: never) => string | null,
): ReadonlyMap<string, string> {
  if (row === null || row.deleted) return NONE;
  const rules = Object.entries(invariants);
  if (rules.length === 0) return NONE;
  const seen = seenRow(id, row) as never; // each rule is declared for the columns of its own view
  const found = new Map<string, string>();
  for (const [name, rule] of rules) {
    const answer = asks(rule, seen);
    if (answer !== null) found.set(name, answer);
  }
  return found;
}

/** The key that a row holds, as canonical JSON, by invariant. Throws what the rules throw. */
export const keysHeld = (invariants: Invariants, id: string, row: FullRow | null): ReadonlyMap<string, string> =>
  asked(invariants, id, row, (rule, seen) => {
    const key: JsonValue | undefined = "atMost" in rule ? rule.key(seen) : null;
    return key === null || key === undefined ? null : canonicalize(key);
  });

/** What is wrong with a row, by invariant. Throws what the rules throw. */
export const problemsIn = (invariants: Invariants, id: string, row: FullRow | null): ReadonlyMap<string, string> =>
  asked(invariants, id, row, (rule, seen) => ("problem" in rule ? rule.problem(seen) : null));

/** Asks all invariants about a row. Throws what they throw. */
export const checkInvariants = (invariants: Invariants, id: string, row: FullRow | null): CheckedRow => ({
  keys: keysHeld(invariants, id, row),
  problems: problemsIn(invariants, id, row),
});

/** Whether more rows hold one key than the invariant allows. */
export const isBroken = (rule: Invariant, holders: number): boolean => "atMost" in rule && holders > rule.atMost;

/** What is wrong with a row of totals. A rule that throws counts like one that complains, because folding must go on. */
export function problemOfTotal(rule: Invariant, row: Readonly<Record<string, unknown>>): string | null {
  if (!("problem" in rule)) return null;
  try {
    return rule.problem(row as never); // the rule is declared for the columns of its own totals
  } catch (error) {
    return `it cannot be checked: ${messageOf(error)}`;
  }
}
