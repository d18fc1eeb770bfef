import type { JsonObject, JsonValue } from "../../../core/index.ts";
import { escapePointer, isSchema, type View } from "../document.ts";
import { childOf } from "../facts/children.ts";
import { made } from "../facts/conjunctions.ts";
import { areApart, matches } from "../patterns.ts";
import type { JsonMismatch, Location, Proof } from "./proof.ts";

export function ofObjects(proof: Proof, location: Location): JsonMismatch[] {
  const { reason, subset } = proof;
  const { others, member, isNothing, ask } = reason;
  const { c, schema, view, no } = location;
  const { object } = location.facts;
  const out: JsonMismatch[] = [];
  const n = (keyword: string): number | undefined => schema[keyword] as number | undefined;
  for (const [i, name] of ((schema.required ?? []) as string[]).entries())
    if (!object.required.has(name)) out.push(no("required", `${name} may be missing`, `required/${i}`));
  if (object.minProperties < (n("minProperties") ?? 0))
    out.push(no("minProperties", `fewer than ${n("minProperties")} members were allowed`));
  const isClosed = object.patterns.size === 0 && isNothing(others(c));
  const possible = [...object.names].filter((name) => !isNothing(member(c, name)));
  const most = Math.min(object.maxProperties, isClosed ? possible.length : Infinity);
  if (most > (n("maxProperties") ?? Infinity))
    out.push(no("maxProperties", `more than ${n("maxProperties")} members were allowed`));
  if (isSchema(schema.propertyNames)) {
    const wanted = childOf(view, schema.propertyNames, "propertyNames");
    const areNamed = isClosed && possible.every((name) => ask(wanted, name));
    const isAnyName = subset([made({ type: "string" })], wanted).length === 0;
    if (
      !isAnyName &&
      !areNamed &&
      !object.propertyNames.some((view) => subset([view, made({ type: "string" })], wanted).length === 0)
    )
      out.push(no("propertyNames", "members with other names were allowed"));
  }
  for (const [name, needs] of Object.entries((schema.dependentRequired ?? {}) as Record<string, string[]>)) {
    if (isNothing(member(c, name))) continue;
    const given = new Set([...object.required, ...closure(name, object.dependentRequired)]);
    const lacking = needs.filter((need) => !given.has(need));
    if (lacking.length > 0)
      out.push(
        no("dependentRequired", `${name} without ${lacking.join(", ")} was allowed`, `dependentRequired/${escapePointer(name)}`),
      );
  }
  out.push(...ofMembers(proof, location));
  if (schema.unevaluatedProperties !== undefined && schema.unevaluatedProperties !== true)
    out.push(...ofUnevaluated(proof, location, { isClosed, possible }));
  return out;
}

function ofMembers(proof: Proof, { c, facts: { object }, schema, view: reader }: Location): JsonMismatch[] {
  const { reason, subset } = proof;
  const named = (schema.properties ?? {}) as JsonObject;
  const patterns = Object.entries((schema.patternProperties ?? {}) as JsonObject);
  const view = (child: JsonValue | undefined, keyword: string): View => childOf(reader, child, keyword);
  const additional = isSchema(schema.additionalProperties) ? view(schema.additionalProperties, "additionalProperties") : null;
  const out: JsonMismatch[] = [];
  for (const name of new Set([...object.names, ...object.required, ...Object.keys(named)])) {
    const mine = reason.member(c, name);
    const wanted = [
      ...(Object.hasOwn(named, name) ? [view(named[name], `properties/${escapePointer(name)}`)] : []),
      ...patterns
        .filter(([pattern]) => matches(pattern, name))
        .map(([pattern, each]) => view(each, `patternProperties/${escapePointer(pattern)}`)),
    ];
    if (wanted.length === 0 && additional !== null) wanted.push(additional);
    for (const each of wanted) if (each.schema !== true) out.push(...told(subset(mine, each), each, name));
  }
  const rest = reason.others(c);
  const restIsNothing = reason.isNothing(rest);
  for (const [pattern, each] of patterns) {
    const wanted = view(each, `patternProperties/${escapePointer(pattern)}`);
    if (object.patterns.has(pattern)) {
      out.push(...subset(reason.patterned(c, pattern), wanted));
      continue;
    }
    if (!restIsNothing) out.push(...subset(rest, wanted));
    for (const mine of object.patterns) if (!areApart(mine, pattern)) out.push(...subset(reason.patterned(c, mine), wanted));
  }
  if (additional !== null && additional.schema !== true) {
    if (!restIsNothing) out.push(...subset(rest, additional));
    for (const mine of object.patterns)
      if (!patterns.some(([pattern]) => pattern === mine)) out.push(...subset(reason.patterned(c, mine), additional));
  }
  return out;
}

/** A member that the reader forbids is reported by its name. */
function told(found: JsonMismatch[], wanted: View, name: string): JsonMismatch[] {
  return found.map((mismatch) =>
    mismatch.rule === "false" && mismatch.readerPath === wanted.path
      ? { ...mismatch, rule: "additionalProperties", message: `${name} is a member that is not taken` }
      : mismatch,
  );
}

function ofUnevaluated(
  { reason, subset }: Proof,
  { c, facts, schema, view, no }: Location,
  { isClosed, possible }: { readonly isClosed: boolean; readonly possible: readonly string[] },
): JsonMismatch[] {
  const named = new Set(Object.keys((schema.properties ?? {}) as JsonObject));
  if (isClosed && possible.every((name) => named.has(name))) return [];
  const wanted = childOf(view, schema.unevaluatedProperties, "unevaluatedProperties");
  const isAlone = ["$ref", "allOf", "anyOf", "oneOf", "dependentSchemas"].every((keyword) => schema[keyword] === undefined);
  if (!isAlone) return [no("unevaluatedProperties", "members may be left over that are not taken")];
  const out = reason.isNothing(reason.others(c)) ? [] : subset(reason.others(c), wanted);
  for (const name of possible) if (!named.has(name)) out.push(...subset(reason.member(c, name), wanted));
  const known = (schema.patternProperties ?? {}) as JsonObject;
  for (const mine of facts.object.patterns)
    if (!Object.hasOwn(known, mine)) out.push(...subset(reason.patterned(c, mine), wanted));
  return out;
}

function closure(name: string, needs: ReadonlyMap<string, readonly string[]>): Set<string> {
  const out = new Set([name]);
  for (const each of out) for (const need of needs.get(each) ?? []) out.add(need);
  return out;
}
