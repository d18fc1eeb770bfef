import type { JsonObject, JsonValue } from "../../../core/index.ts";
import { escapePointer, isSchema, type Schema, type View } from "../document.ts";
import { matches } from "../patterns.ts";
import type { Oracle } from "../validator.ts";
import { type Conjunction, made } from "./conjunctions.ts";

/** What a conjunction's schemas say of what is in a value: its members and items. */

const NEVER = made(false);

export const objectsOf = (c: Conjunction): { readonly view: View; readonly schema: JsonObject }[] =>
  c.atoms.flatMap((view) => (typeof view.schema === "boolean" ? [] : [{ view, schema: view.schema }]));

export const childOf = (view: View, schema: JsonValue | undefined, at: string): View => ({
  schema: schema as Schema,
  doc: view.doc,
  path: `${view.path}/${at}`,
});

function ofMember(view: View, schema: JsonObject, name: string): View[] {
  const out: View[] = [];
  const named = schema.properties as JsonObject | undefined;
  const isNamed = named !== undefined && Object.hasOwn(named, name);
  if (isNamed) out.push(childOf(view, named[name], `properties/${escapePointer(name)}`));
  let isPatterned = false;
  for (const [pattern, each] of Object.entries((schema.patternProperties ?? {}) as JsonObject)) {
    if (!matches(pattern, name)) continue;
    isPatterned = true;
    out.push(childOf(view, each, `patternProperties/${escapePointer(pattern)}`));
  }
  if (!isNamed && !isPatterned && isSchema(schema.additionalProperties))
    out.push(childOf(view, schema.additionalProperties, "additionalProperties"));
  return out;
}

/** What all of a conjunction's schemas say of a member; `never` where there can be none. */
export const memberOf = (c: Conjunction, name: string, ask: Oracle): readonly View[] =>
  objectsOf(c).flatMap(({ view, schema }) => [
    ...ofMember(view, schema, name),
    ...(isSchema(schema.propertyNames) && !ask(childOf(view, schema.propertyNames, "propertyNames"), name) ? [NEVER] : []),
  ]);

/** What they say of members whose name fits a pattern that some atom has. */
export const patternedOf = (c: Conjunction, pattern: string): readonly View[] =>
  objectsOf(c).flatMap(({ view, schema }) => {
    const own = schema.patternProperties as JsonObject | undefined;
    if (own !== undefined && Object.hasOwn(own, pattern))
      return [childOf(view, own[pattern], `patternProperties/${escapePointer(pattern)}`)];
    // A name may be one that this atom names otherwise; only without any patterns is it surely an additional one (named ones are compared apart).
    return own === undefined && isSchema(schema.additionalProperties)
      ? [childOf(view, schema.additionalProperties, "additionalProperties")]
      : [];
  });

/** What they say of members that no atom names. */
export const othersOf = (c: Conjunction): readonly View[] =>
  objectsOf(c).flatMap(({ view, schema }) =>
    isSchema(schema.additionalProperties) ? [childOf(view, schema.additionalProperties, "additionalProperties")] : [],
  );

export const itemOf = (c: Conjunction, position: number): readonly View[] =>
  objectsOf(c).flatMap(({ view, schema }) => {
    const prefix = (schema.prefixItems ?? []) as readonly Schema[];
    if (position < prefix.length) return [childOf(view, prefix[position] as JsonValue, `prefixItems/${position}`)];
    return isSchema(schema.items) ? [childOf(view, schema.items, "items")] : [];
  });
