/** What a declaration's invariants say of rows: the same answer for whoever folds, tries rules or verifies views. */
import { canonicalize, type JsonValue, messageOf, TributaryError } from "../core/index.ts";
import { askAround, UNKNOWN } from "./around.ts";
import type { FullRow } from "./fold.ts";
import { DELETED, type Invariant, type Projection } from "./projection.ts";
import type { Contribution, Totals } from "./views.ts";

/** What the invariants of a view say of one row. */
export interface CheckedRow {
  /** The key that the row holds, as canonical JSON, by invariant. */
  readonly keys: ReadonlyMap<string, string>;
  /** What is wrong with the row, by invariant. */
  readonly problems: ReadonlyMap<string, string>;
}

type Invariants = Readonly<Record<string, Invariant>>;

const NONE: ReadonlyMap<string, string> = new Map();

/** What `asks` answers for each invariant about a row. Nothing is asked about a row that is deleted or missing; where it cannot be told, there is no answer. */
function asked(
  invariants: Invariants,
  id: string,
  row: FullRow | null,
  asks: (rule: Invariant, seen: never) => string | null,
): ReadonlyMap<string, string> {
  if (row === null || row.deleted || isUnknown(row)) return NONE;
  const rules = Object.entries(invariants);
  if (rules.length === 0) return NONE;
  const found = new Map<string, string>();
  if (row.withheld === undefined) {
    const seen = { ...row.values, id } as never; // each rule is declared for the columns of its own view
    for (const [name, rule] of rules) note(found, name, asks(rule, seen));
  } else
    for (const [name, rule] of rules)
      note(
        found,
        name,
        askAround(id, row, (seen) => asks(rule, seen)),
      );
  return found;
}

function note(found: Map<string, string>, name: string, answer: string | null | typeof UNKNOWN): void {
  if (answer !== null && answer !== UNKNOWN) found.set(name, answer);
}

/** Whether nobody can tell if the row is there. */
const isUnknown = ({ withheld }: FullRow): boolean => withheld?.includes(DELETED) === true;

const keyOf = (rule: Invariant, seen: never): string | null => {
  const key: JsonValue | undefined = "atMost" in rule ? rule.key(seen) : null;
  return key === null || key === undefined ? null : canonicalize(key);
};
const problemOf = (rule: Invariant, seen: never): string | null => ("problem" in rule ? rule.problem(seen) : null);

/** The invariants of which nobody here can tell whether a row keeps them: they look at columns that are withheld. */
export function unknownIn(invariants: Invariants, id: string, row: FullRow | null): ReadonlySet<string> {
  if (row === null || row.deleted || row.withheld === undefined) return NO_NAMES;
  const rules = Object.entries(invariants);
  const isOpen = (rule: Invariant): boolean =>
    askAround(id, row, (seen) => ("atMost" in rule ? keyOf(rule, seen) : problemOf(rule, seen))) !== UNKNOWN;
  return new Set(rules.filter(([, rule]) => isUnknown(row) || !isOpen(rule)).map(([name]) => name));
}
const NO_NAMES: ReadonlySet<string> = new Set();

/** The key that a row holds, as canonical JSON, by invariant. Throws what the rules throw. */
export const keysHeld = (invariants: Invariants, id: string, row: FullRow | null): ReadonlyMap<string, string> =>
  asked(invariants, id, row, keyOf);

/** What is wrong with a row, by invariant. Throws what the rules throw. */
export const problemsIn = (invariants: Invariants, id: string, row: FullRow | null): ReadonlyMap<string, string> =>
  asked(invariants, id, row, problemOf);

/** What a row adds to totals. Throws `projection-failed` if that follows from what is withheld here: a total would be wrong without saying so. */
export function contributionsOf(totals: Totals, source: string, id: string, row: FullRow): readonly Contribution[] {
  if (row.deleted) return [];
  const made = isUnknown(row) ? UNKNOWN : askAround(id, row, (seen) => totals.contributions(source, seen));
  if (made !== UNKNOWN) return made;
  throw withheldHere(`${totals.name} adds up ${(row.withheld ?? []).join(", ")} of ${source}/${id}`, "its totals would be wrong");
}

/** Throws `projection-failed` if it cannot be told which bucket an entity is in. */
export function checkScopeSeen({ name, scopeBy }: Pick<Projection, "name" | "scopeBy">, id: string, row: FullRow): void {
  const missing = scopeBy === null || row.withheld === undefined ? [] : scopeBy.filter((each) => row.withheld?.includes(each));
  if (missing.length > 0)
    throw withheldHere(`${name} tells buckets apart by ${missing.join(", ")} of ${id}`, "no bucket is known");
}

const withheldHere = (what: string, so: string): TributaryError =>
  new TributaryError(
    "projection-failed",
    `${what}, which is withheld here: ${so}`,
    "Let this replica see the field, or take it out of the declaration; then `tributary parked retry`.",
  );

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
