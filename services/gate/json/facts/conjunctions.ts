import { canonicalize } from "../../../core/index.ts";
import type { Schema, View } from "../document.ts";

/** All of `atoms` hold, and none of `nots`. Equal conjunctions are one object, so that what is found of it is found once. */
export interface Conjunction {
  readonly id: number;
  readonly atoms: readonly View[];
  readonly nots: readonly View[];
}

const madeUp = new Map<string, View>();
const MAX_MADE = 10_000;
/** A schema made for the comparison; the same text gives the same schema. */
export function made(schema: Schema): View {
  const key = canonicalize(schema);
  let view = madeUp.get(key);
  if (view === undefined) {
    view = { schema, doc: { root: schema, references: new Map() }, path: "" };
    if (madeUp.size >= MAX_MADE) madeUp.clear();
    madeUp.set(key, view);
  }
  return view;
}

export interface Conjunctions {
  /** Names a schema: the same location, the same name. */
  idOf(view: View): string;
  /** The conjunction of these. */
  all(atoms: readonly View[], nots: readonly View[]): Conjunction;
}

/** The conjunctions of one comparison. */
export function conjunctions(): Conjunctions {
  const known = new Map<string, Conjunction>();
  const numbers = new WeakMap<object, number>();
  let next = 0;
  const idOf = ({ schema }: View): string => {
    if (typeof schema === "boolean") return String(schema);
    let number = numbers.get(schema);
    if (number === undefined) {
      number = next++;
      numbers.set(schema, number);
    }
    return String(number);
  };
  const all = (atoms: readonly View[], nots: readonly View[]): Conjunction => {
    const once = (views: readonly View[]): Map<string, View> => new Map(views.toReversed().map((view) => [idOf(view), view]));
    const [a, n] = [once(atoms), once(nots)];
    const key = `${[...a.keys()].sort().join("&")}-${[...n.keys()].sort().join("&")}`;
    let found = known.get(key);
    if (found === undefined) {
      found = { id: known.size, atoms: [...a.values()].toReversed(), nots: [...n.values()].toReversed() };
      known.set(key, found);
    }
    return found;
  };
  return { idOf, all };
}
