import { isJsonObject, type JsonObject, type JsonValue } from "../../../core/index.ts";
import { escapePointer, follow, type Schema, type View } from "../document.ts";
import { childOf } from "./children.ts";
import { type Conjunction, type Conjunctions, made } from "./conjunctions.ts";
import { TooComplexError } from "./undecided.ts";

const MAX_CONJUNCTIONS = 256;
/** Pairs of which conjunctions are made at once, before those are dropped that say nothing of their own. */
const MAX_PAIRS = 1_024;
const TYPES_BUT_OBJECT = ["null", "boolean", "number", "string", "array"];

/**
 * Turns schemas into conjunctions: any value that fits all the schemas fits one of the conjunctions. `step` is called for each schema that is looked into.
 */
export function expander({ idOf, all }: Conjunctions, step: () => void): (views: readonly View[]) => Conjunction[] {
  const expanded = new Map<string, Conjunction[]>();
  const everything: readonly Conjunction[] = [all([], [])];

  return (views) => {
    const key = views.map(idOf).join("&");
    let found = expanded.get(key);
    if (found === undefined) {
      found = views.reduce<Conjunction[]>((sofar, view) => product(sofar, expand(view)), [...everything]);
      expanded.set(key, found);
    }
    return found;
  };

  function product(a: readonly Conjunction[], b: readonly Conjunction[]): Conjunction[] {
    const tooMany = (): TooComplexError => new TooComplexError("the schemas combine too many alternatives to be compared");
    if (a.length * b.length > MAX_PAIRS) throw tooMany();
    const pairs = a.flatMap((x) => b.map((y) => all([...x.atoms, ...y.atoms], [...x.nots, ...y.nots])));
    const out = a.length > 1 && b.length > 1 ? distinct(pairs, idOf) : pairs;
    if (out.length > MAX_CONJUNCTIONS) throw tooMany();
    return out;
  }

  function expand(view: View): Conjunction[] {
    step();
    const { schema } = view;
    if (schema === true) return [...everything];
    if (schema === false) return [];
    let out: Conjunction[] = [all([view], [])];
    if (typeof schema.$ref === "string") {
      const target = follow(schema.$ref, view.doc);
      if (target !== null) out = product(out, expand(target));
    }
    for (const each of listAt(view, schema, "allOf")) out = product(out, expand(each));
    const any = listAt(view, schema, "anyOf");
    if (any.length > 0) out = product(out, any.flatMap(expand));
    const one = listAt(view, schema, "oneOf");
    if (one.length > 0) out = product(out, exactlyOne(one));
    if (schema.not !== undefined) out = out.map((c) => all(c.atoms, [...c.nots, childOf(view, schema.not, "not")]));
    if (schema.if !== undefined) out = product(out, ifThenElse(view, schema));
    if (isJsonObject(schema.dependentSchemas))
      for (const [name, each] of Object.entries(schema.dependentSchemas)) out = product(out, dependent(view, name, each));
    return out;
  }

  function exactlyOne(branches: readonly View[]): Conjunction[] {
    return branches.flatMap((each) =>
      expand(each).map((c) => all(c.atoms, [...c.nots, ...branches.filter((other) => other !== each)])),
    );
  }

  function ifThenElse(view: View, schema: JsonObject): Conjunction[] {
    const condition = childOf(view, schema.if, "if");
    const orAll = (keyword: "then" | "else"): readonly Conjunction[] =>
      schema[keyword] === undefined ? everything : expand(childOf(view, schema[keyword], keyword));
    const yes = product(expand(condition), orAll("then"));
    const no = orAll("else").map((c) => all(c.atoms, [...c.nots, condition]));
    return [...yes, ...no];
  }

  function dependent(view: View, name: string, schema: JsonValue): Conjunction[] {
    const absent = all([made({ properties: { [name]: false } })], []);
    const notObject = all([made({ type: TYPES_BUT_OBJECT })], []);
    const present = expand(childOf(view, schema, `dependentSchemas/${escapePointer(name)}`)).map((c) =>
      all([...c.atoms, made({ type: "object", required: [name] })], c.nots),
    );
    return [absent, notObject, ...present];
  }
}

/** Without those that contradict themselves in so many words, and those of which another takes all values. */
function distinct(those: readonly Conjunction[], idOf: Conjunctions["idOf"]): Conjunction[] {
  const known = [...new Set(those)].map((c) => ({ c, atoms: c.atoms.map(idOf), nots: c.nots.map(idOf) }));
  const possible = known
    .filter(({ atoms, nots }) => !nots.some((not) => atoms.includes(not)))
    .map(({ c, atoms, nots }) => ({ c, said: new Set([...atoms, ...nots.map((not) => `not ${not}`)]) }));
  const isWithin = (a: ReadonlySet<string>, b: ReadonlySet<string>): boolean =>
    a.size <= b.size && [...a].every((each) => b.has(each));
  return possible.filter((x) => !possible.some((y) => y !== x && isWithin(y.said, x.said))).map(({ c }) => c);
}

/** The schemas in a keyword's list; an empty list where the keyword is missing. */
export function listAt(view: View, schema: JsonObject, keyword: string): View[] {
  const list = schema[keyword];
  return Array.isArray(list) ? list.map((each: Schema, i) => childOf(view, each, `${keyword}/${i}`)) : [];
}
