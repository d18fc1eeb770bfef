import { isJsonObject, type JsonObject, type JsonValue } from "../../core/index.ts";
import { type Document, escapePointer, follow, isSchema, type Schema, type View } from "./document.ts";

/** What a schema evaluates of a value that fits it: in all data, and where one of its alternatives holds. In come schemas as they were written; they stay as they are. */

const MAX_DEPTH = 100;
/** Alternatives that one schema has, with those inside them. */
const MAX_MAYBE = 200;

export interface Sure {
  readonly names: Set<string>;
  readonly patterns: Set<string>;
  positions: number;
  allMembers: boolean;
  allItems: boolean;
  /** References to the schemas of `contains`: the items that fit them are evaluated. */
  readonly contained: JsonValue[];
}

export interface Evaluated extends Sure {
  /** What is evaluated where all of `when` hold. */
  readonly maybe: { readonly when: readonly JsonValue[]; readonly what: Sure }[];
  /** `false`: there is more, and nobody looked. */
  membersAreKnown: boolean;
  itemsAreKnown: boolean;
}

/** What is shared by all looks into one document. */
export interface Looks {
  readonly doc: Document;
  /** How many schemas may still be looked into. */
  looks: number;
  readonly known: Map<Schema, Evaluated>;
}

const nothing = (): Evaluated => ({
  ...{ names: new Set<string>(), patterns: new Set<string>(), positions: 0, allMembers: false, allItems: false },
  ...{ contained: [], maybe: [], membersAreKnown: true, itemsAreKnown: true },
});
const unknown = (): Evaluated => ({ ...nothing(), membersAreKnown: false, itemsAreKnown: false });

/** What a schema evaluates, without its own words for what is left over. */
export const evaluatedBy = (view: View, looks: Looks): Evaluated => looked(view, looks, []);

/** `within`: the schemas that this one stands in, or is referred to by, for the same value; none for the one that is asked about. */
function looked(view: View, looks: Looks, within: readonly Schema[]): Evaluated {
  const { schema } = view;
  if (typeof schema === "boolean") return nothing();
  const before = within.length === 0 ? undefined : looks.known.get(schema);
  if (before !== undefined) return before;
  // A schema that leads back to itself for the same value is refused by `refusals`.
  if (--looks.looks < 0 || within.length > MAX_DEPTH || within.includes(schema)) return unknown();
  const out = nothing();
  takeMembers(out, schema, within.length === 0);
  takeItems(out, view, schema, looks, within.length === 0);
  takeParts(out, view, schema, looks, [...within, schema]);
  if (out.maybe.length > MAX_MAYBE) {
    out.maybe.length = 0;
    out.membersAreKnown = false;
    out.itemsAreKnown = false;
  }
  if (within.length > 0) looks.known.set(schema, out);
  return out;
}

function takeMembers(out: Evaluated, schema: JsonObject, isOwn: boolean): void {
  if (isJsonObject(schema.properties)) for (const name of Object.keys(schema.properties)) out.names.add(name);
  if (isJsonObject(schema.patternProperties)) for (const each of Object.keys(schema.patternProperties)) out.patterns.add(each);
  if (schema.additionalProperties !== undefined || (!isOwn && schema.unevaluatedProperties !== undefined)) out.allMembers = true;
}

// Many parameters because what is looked into, and by whom, goes with each look.
function takeItems(out: Evaluated, view: View, schema: JsonObject, looks: Looks, isOwn: boolean): void {
  if (Array.isArray(schema.prefixItems)) out.positions = schema.prefixItems.length;
  if (schema.items !== undefined || (!isOwn && schema.unevaluatedItems !== undefined)) out.allItems = true;
  const wanted = below(view, schema.contains, "contains");
  if (wanted === null) return;
  const reference = referenceTo(wanted, looks.doc);
  if (reference === null) out.itemsAreKnown = false;
  else out.contained.push(reference);
}

// Many parameters because what is looked into, and by whom, goes with each look.
function takeParts(out: Evaluated, view: View, schema: JsonObject, looks: Looks, within: readonly Schema[]): void {
  const look = (part: View | null): Evaluated => (part === null ? nothing() : looked(part, looks, within));
  const when = (part: View): JsonValue | null => referenceTo(part, looks.doc);
  if (typeof schema.$ref === "string") absorb(out, look(follow(schema.$ref, view.doc)));
  for (const part of listed(view, schema, "allOf")) absorb(out, look(part));
  for (const keyword of ["anyOf", "oneOf"])
    choose(
      out,
      listed(view, schema, keyword).map((part) => ({ when: when(part), what: look(part) })),
    );
  const condition = below(view, schema.if, "if");
  if (condition !== null) {
    const yes = nothing();
    absorb(yes, look(condition));
    absorb(yes, look(below(view, schema.then, "then")));
    const holds = when(condition);
    choose(out, [
      { when: holds, what: yes },
      { when: holds === null ? null : { not: holds }, what: look(below(view, schema.else, "else")) },
    ]);
  }
  if (!isJsonObject(schema.dependentSchemas)) return;
  for (const [name, each] of Object.entries(schema.dependentSchemas)) {
    const what = look(below(view, each, `dependentSchemas/${escapePointer(name)}`));
    choose(out, [
      { when: { type: "object", required: [name] }, what },
      { when: null, what: nothing() },
    ]);
  }
}

const below = ({ doc, path }: View, schema: JsonValue | undefined, at: string): View | null =>
  isSchema(schema) ? { schema, doc, path: `${path}/${at}` } : null;
const listed = (view: View, schema: JsonObject, keyword: string): View[] => {
  const list = schema[keyword];
  return Array.isArray(list) ? list.flatMap((each: JsonValue, i) => below(view, each, `${keyword}/${i}`) ?? []) : [];
};

/** A schema that says what the one at a location says; `null`: it is in a document that has no name here. */
function referenceTo({ schema, doc, path }: View, from: Document): JsonValue | null {
  if (typeof schema === "boolean") return schema;
  const fragment = `#${path.split("/").map(encodeURIComponent).join("/")}`;
  if (doc === from) return { $ref: fragment };
  const name = [...from.references].find(([each, other]) => other === doc && !each.includes("#"))?.[0];
  return name === undefined ? null : { $ref: `${name}${fragment}` };
}

/** Adds what a part evaluates that applies to all data. */
function absorb(out: Evaluated, part: Evaluated): void {
  addSure(out, part);
  out.maybe.push(...part.maybe);
  out.membersAreKnown &&= part.membersAreKnown;
  out.itemsAreKnown &&= part.itemsAreKnown;
}

function addSure(out: Sure, part: Sure): void {
  for (const name of part.names) out.names.add(name);
  for (const pattern of part.patterns) out.patterns.add(pattern);
  out.positions = Math.max(out.positions, part.positions);
  out.allMembers ||= part.allMembers;
  out.allItems ||= part.allItems;
  out.contained.push(...part.contained);
}

/** Adds what parts evaluate of which at least one holds. `when`: what holds if this one does; `null`: that cannot be said. */
function choose(out: Evaluated, parts: readonly { readonly when: JsonValue | null; readonly what: Evaluated }[]): void {
  if (parts.length === 0) return;
  for (const { when, what } of parts) {
    out.membersAreKnown &&= what.membersAreKnown;
    out.itemsAreKnown &&= what.itemsAreKnown;
    const all = [what, ...what.maybe.map((each) => each.what)];
    if (when === null) {
      if (all.some(({ allMembers, names, patterns }) => allMembers || names.size + patterns.size > 0))
        out.membersAreKnown = false;
      if (all.some(({ allItems, positions, contained }) => allItems || positions + contained.length > 0))
        out.itemsAreKnown = false;
      continue;
    }
    if (when === false) continue;
    out.maybe.push({ when: [when], what }, ...what.maybe.map((each) => ({ when: [when, ...each.when], what: each.what })));
  }
  addSure(out, common(parts.map(({ what }) => what)));
}

/** What all of them evaluate. */
function common(all: readonly Sure[]): Sure {
  const named = all.filter(({ allMembers }) => !allMembers);
  const counted = all.filter(({ allItems }) => !allItems);
  const inAll = (of: (each: Sure) => ReadonlySet<string>): Set<string> =>
    new Set([...(named[0] === undefined ? [] : of(named[0]))].filter((each) => named.every((other) => of(other).has(each))));
  return {
    names: inAll(({ names }) => names),
    patterns: inAll(({ patterns }) => patterns),
    positions: counted.length === 0 ? 0 : Math.min(...counted.map(({ positions }) => positions)),
    allMembers: named.length === 0,
    allItems: counted.length === 0,
    contained: [],
  };
}
