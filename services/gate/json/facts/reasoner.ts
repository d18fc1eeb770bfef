import type { View } from "../document.ts";
import type { Oracle } from "../validator.ts";
import { itemOf, memberOf, othersOf, patternedOf } from "./children.ts";
import { type Conjunction, conjunctions } from "./conjunctions.ts";
import { expander } from "./expand.ts";
import type { Facts } from "./facts.ts";
import { type Draft, dropImpossible, fewValues, onItsFace } from "./gather.ts";
import type { Supposer } from "./supposing.ts";
import { typeOf } from "./types.ts";
import { TooComplexError } from "./undecided.ts";

/**
 * What a schema says, taken apart so that two can be compared: a union of conjunctions of plain schemas, and for each conjunction
 * what it allows of every type.
 */

const MAX_STEPS = 200_000;
const MAX_DEPTH = 40;

export interface Reasoner {
  /** Names a schema: the same location, the same name. */
  idOf(view: View): string;
  /** The conjunction of these. */
  all(atoms: readonly View[], nots: readonly View[]): Conjunction;
  dnf(views: readonly View[]): Conjunction[];
  facts(c: Conjunction): Facts;
  /** What all of a conjunction's schemas say of a member; `never` where there can be none. */
  member(c: Conjunction, name: string): readonly View[];
  /** What they say of members whose name fits a pattern that some atom has, and of members that no atom names. */
  patterned(c: Conjunction, pattern: string): readonly View[];
  others(c: Conjunction): readonly View[];
  item(c: Conjunction, position: number): readonly View[];
  isNothing(views: readonly View[]): boolean;
  /** Whether it is plain that no value fits both: by what all of them must have. */
  isApart(c: Conjunction, view: View): boolean;
  isEmpty(c: Conjunction): boolean;
  ask: Oracle;
  step(): void;
}

/** `coversNot`: whether all that a conjunction lets through fits a schema, which takes a comparison. */
// Long because facts, emptiness and apartness are found by way of one another and share one bound of steps and depth.
export function reasoner(ask: Oracle, { remember }: Supposer, coversNot: (c: Conjunction, not: View) => boolean): Reasoner {
  /** Conjunctions whose facts are being gathered: where one leads back to itself, it is taken for what it says on its face. */
  const gathering = new Set<Conjunction>();
  const emptying = new Set<Conjunction>();
  let steps = 0;
  let depth = 0;
  const step = (): void => {
    if (++steps > MAX_STEPS) throw new TooComplexError("the schemas are too intricate to be compared");
  };
  const { idOf, all } = conjunctions();
  const dnf = expander({ idOf, all }, step);
  const member = (c: Conjunction, name: string): readonly View[] => memberOf(c, name, ask);

  return {
    idOf,
    all,
    dnf,
    facts,
    member,
    patterned: patternedOf,
    others: othersOf,
    item: itemOf,
    isNothing,
    isApart,
    isEmpty,
    ask,
    step,
  };

  function isNothing(views: readonly View[]): boolean {
    if (views.some(({ schema }) => schema === false)) return true;
    if (depth > MAX_DEPTH) return false;
    return deeper(() => dnf(views).every(isEmpty));
  }

  function isApart(c: Conjunction, view: View): boolean {
    return dnf([view]).every((d) => facts(all([...c.atoms, ...d.atoms], [])).types.size === 0);
  }

  function isEmpty(c: Conjunction): boolean {
    step();
    if (facts(c).types.size === 0) return true;
    // A conjunction that leads back to itself is not known to be empty.
    if (c.nots.length === 0 || depth > MAX_DEPTH || emptying.has(c)) return false;
    const compute = (): boolean => {
      emptying.add(c);
      try {
        return deeper(() => c.nots.some((not) => !isApart(c, not) && coversNot(all(c.atoms, []), not)));
      } finally {
        emptying.delete(c);
      }
    };
    return remember(`empty ${c.id}`, compute, (isIt) => !isIt);
  }

  function facts(c: Conjunction): Facts {
    if (gathering.has(c)) return gather(c, false);
    const compute = (): Facts => {
      gathering.add(c);
      try {
        return gather(c, true);
      } finally {
        gathering.delete(c);
      }
    };
    return remember(`facts ${c.id}`, compute, () => false);
  }

  function gather(c: Conjunction, goesIn: boolean): Facts {
    const draft = onItsFace(c);
    const { types } = draft;
    dropImpossible(draft);
    if (goesIn && depth < MAX_DEPTH) deeper(() => dropHollow(c, draft));
    const values = (draft.values ?? fewValues(draft))?.filter(
      (value) => c.atoms.every((atom) => ask(atom, value)) && !c.nots.some((not) => ask(not, value)),
    );
    if (values !== undefined) {
      const present = new Set(values.map(typeOf));
      for (const type of types) if (!present.has(type)) types.delete(type);
    }
    return { ...draft, values: values ?? null };
  }

  /** Takes out lists and objects that would have to hold what nothing fits. */
  function dropHollow(c: Conjunction, { types, array, object }: Draft): void {
    if (types.has("array")) {
      for (let i = 0; i <= array.positions && i < array.maxItems; i++) if (isNothing(itemOf(c, i))) array.maxItems = i;
      if (array.minItems > array.maxItems) types.delete("array");
    }
    if (types.has("object")) {
      const isHollow =
        object.minProperties > object.maxProperties || [...object.required].some((name) => isNothing(member(c, name)));
      if (isHollow) types.delete("object");
    }
  }

  function deeper<T>(compute: () => T): T {
    depth++;
    try {
      return compute();
    } finally {
      depth--;
    }
  }
}
