import { isJsonObject, type JsonObject, type JsonValue } from "../../../core/index.ts";
import type { Schema, View } from "../document.ts";
import { type Conjunction, made } from "../facts/conjunctions.ts";
import type { Reasoner } from "../facts/reasoner.ts";
import type { JsonMismatch, No, Proof } from "./proof.ts";

const MAX_SPLITS = 3;

export interface Choice {
  readonly keyword: "anyOf" | "oneOf";
  readonly branches: readonly View[];
  readonly no: No;
}

/** One of the alternatives must take all of `c`; if none does, the values are divided and each part is tried. */
export function coversOne(proof: Proof, c: Conjunction, choice: Choice, splits: number): JsonMismatch[] {
  const { reason, covers } = proof;
  const { keyword, branches, no } = choice;
  const tried = branches.map((branch) => ({
    branch,
    // The branch takes none of the values: there is no need to say in how many ways.
    found: reason.isApart(c, branch) ? [no("const", "none of them is taken")] : covers(c, branch, splits),
  }));
  const fitting = tried.filter(({ found }) => found.length === 0);
  if (
    keyword === "anyOf"
      ? fitting.length > 0
      : fitting.some(({ branch }) => branches.every((other) => other === branch || areDisjoint(reason, c, other)))
  )
    return [];
  if (splits < MAX_SPLITS) {
    const parts = partsOf(reason, c) ?? partsByMember(reason, c, choice.branches);
    if (parts?.every((part) => reason.isEmpty(part) || coversOne(proof, part, choice, splits + 1).length === 0)) return [];
  }
  if (fitting.length > 1 || (keyword === "oneOf" && fitting.length === 1))
    return [no(keyword, "values may fit more than one alternative")];
  const nearest = tried.filter(({ found }) => !found.some(({ rule }) => rule === "type" || rule === "const" || rule === "enum"));
  return nearest.length === 1 ? nearest[0]!.found : [no(keyword, "no alternative takes all of them")];
}

/** The values of `c` by type, or by a required member that has few values; `null` when there is nothing to divide them by. */
function partsOf({ facts, all, dnf, member, isEmpty }: Reasoner, c: Conjunction): Conjunction[] | null {
  const f = facts(c);
  const also = (schema: JsonObject): Conjunction => all([...c.atoms, made(schema)], c.nots);
  const types = new Set([...f.types].map((type) => (type === "fraction" || type === "integer" ? "number" : type)));
  if (types.size > 1) return [...types].map((type) => also({ type }));
  if (!f.types.has("object")) return null;
  for (const name of f.object.required) {
    const values: (JsonValue | undefined)[] = [];
    for (const d of dnf(member(c, name))) if (!isEmpty(d)) values.push(...(facts(d).values ?? [undefined]));
    if (values.length < 2 || values.length > 20 || values.includes(undefined)) continue;
    return values.map((value) => also({ properties: { [name]: { const: value as JsonValue } } }));
  }
  return null;
}

/** The values of `c` by whether they have the members that one of the alternatives forbids. */
function partsByMember(
  { facts, all, member, isNothing }: Reasoner,
  c: Conjunction,
  branches: readonly View[],
): Conjunction[] | null {
  const { required } = facts(c).object;
  const forbidden = branches
    .flatMap(({ schema }) => forbiddenBy(schema))
    .filter((name) => !required.has(name) && !isNothing(member(c, name)));
  if (forbidden.length === 0 || forbidden.length > 20) return null;
  const also = (schema: JsonObject): Conjunction => all([...c.atoms, made(schema)], c.nots);
  const none = also({ properties: Object.fromEntries(forbidden.map((name) => [name, false])) });
  return [none, ...forbidden.map((name) => also({ type: "object", required: [name] }))];
}

function forbiddenBy(schema: Schema): string[] {
  if (typeof schema === "boolean" || !isJsonObject(schema.properties)) return [];
  const { properties } = schema;
  return Object.keys(properties).filter((name) => properties[name] === false);
}

export function areDisjoint({ dnf, all, isEmpty }: Reasoner, c: Conjunction, x: View): boolean {
  return dnf([x]).every((d) => isEmpty(all([...c.atoms, ...d.atoms], [...c.nots, ...d.nots])));
}
