import { isSchema, type Schema, type View } from "../document.ts";
import { childOf } from "../facts/children.ts";
import type { JsonMismatch, Location, Proof } from "./proof.ts";

export function ofArrays(proof: Proof, location: Location): JsonMismatch[] {
  const { c, schema, view, no } = location;
  const { array } = location.facts;
  const out: JsonMismatch[] = [];
  const n = (keyword: string): number | undefined => schema[keyword] as number | undefined;
  if (array.minItems < (n("minItems") ?? 0)) out.push(no("minItems", `lists shorter than ${n("minItems")} were allowed`));
  if (array.maxItems > (n("maxItems") ?? Infinity)) out.push(no("maxItems", `lists longer than ${n("maxItems")} were allowed`));
  if (schema.uniqueItems === true && !array.unique && array.maxItems > 1)
    out.push(no("uniqueItems", "lists with equal items were allowed"));
  const prefix = (schema.prefixItems ?? []) as readonly Schema[];
  const positions = Math.max(array.positions, prefix.length);
  for (let i = 0; i <= positions && i < array.maxItems; i++) {
    const own = i < prefix.length ? prefix[i] : schema.items;
    if (!isSchema(own)) continue;
    const at = i < prefix.length ? `prefixItems/${i}` : "items";
    out.push(...proof.subset(proof.reason.item(c, i), childOf(view, own, at)));
  }
  out.push(...ofContains(proof, location, positions));
  return out;
}

/** `positions`: the indices for which either side has a schema of its own. */
function ofContains(
  { reason, subset }: Proof,
  { c, facts: { array }, schema, view, no }: Location,
  positions: number,
): JsonMismatch[] {
  if (!isSchema(schema.contains)) return [];
  const out: JsonMismatch[] = [];
  const wanted = childOf(view, schema.contains, "contains");
  const min = (schema.minContains as number | undefined) ?? 1;
  const max = (schema.maxContains as number | undefined) ?? Infinity;
  const isWithin = (views: readonly View[]): boolean => subset(views, wanted).length === 0;
  const sure = (): boolean => {
    let fitting = 0;
    for (let i = 0; i < Math.min(array.minItems, min + positions + 1); i++) if (isWithin(reason.item(c, i))) fitting++;
    return fitting >= min;
  };
  if (min > 0 && !array.contains.some((has) => has.min >= min && isWithin([has.view])) && !sure())
    out.push(no("contains", `lists without ${min === 1 ? "such an item" : `${min} such items`} were allowed`));
  const isBounded =
    array.maxItems <= max || array.contains.some((has) => has.max <= max && subset([wanted], has.view).length === 0);
  if (max < Infinity && !isBounded) out.push(no("maxContains", `lists with more than ${max} such items were allowed`));
  return out;
}
