import { isJsonObject, type JsonValue } from "../../../core/index.ts";
import { sameDocument } from "../dialect.ts";
import { type Document, escapePointer, follow, type View, viewOf } from "../document.ts";
import { childOf } from "../facts/children.ts";
import { type Conjunction, made } from "../facts/conjunctions.ts";
import { listAt } from "../facts/expand.ts";
import { type Reasoner, reasoner } from "../facts/reasoner.ts";
import { supposer } from "../facts/supposing.ts";
import { TYPES, type Type, typesOf } from "../facts/types.ts";
import { isUndecided } from "../facts/undecided.ts";
import type { Oracle } from "../validator.ts";
import { areDisjoint, coversOne } from "./alternatives.ts";
import { ofArrays } from "./arrays.ts";
import { ofObjects } from "./objects.ts";
import type { JsonMismatch, Location, No, Proof } from "./proof.ts";
import { same } from "./same.ts";
import { ofNumbers, ofStrings } from "./scalars.ts";

/** What fails would fail without any supposition too: suppositions only let more fit. */
const hasFailed = (found: readonly JsonMismatch[]): boolean => found.length > 0;

const MAX_MISMATCHES = 20;

/**
 * Every location at which data that fits `writer` might not fit `reader`; empty means proved: all of it fits. The proof goes keyword by
 * keyword over what the schemas allow; where it cannot decide (two regular expressions that differ), it says so rather than guess, so
 * a mismatch is a doubt until an example confirms it.
 */
export function jsonMismatches(reader: Document, writer: Document, ask: Oracle): JsonMismatch[] {
  if (sameDocument(reader, writer)) return [];
  try {
    return comparison(ask)
      .subset([viewOf(writer)], viewOf(reader))
      .slice(0, MAX_MISMATCHES);
  } catch (error) {
    if (!isUndecided(error)) throw error;
    return [{ rule: "complexity", message: error.message, readerPath: "", writerPath: "" }];
  }
}

/** The reasoner of a comparison, for the search for examples. */
export const reasonerFor = (ask: Oracle): Reasoner => comparison(ask).reason;

function comparison(ask: Oracle): Proof {
  const { remember, suppose } = supposer();
  const reason = reasoner(ask, { remember, suppose }, (c, not) => covers(c, not, 0).length === 0);
  const { idOf, dnf, isEmpty } = reason;
  const proof: Proof = { reason, subset, covers };
  return proof;

  function subset(writer: readonly View[], reader: View): JsonMismatch[] {
    if (reader.schema === true) return [];
    const key = `${writer.map(idOf).sort().join("&")}<${idOf(reader)}`;
    // For finite data, a pair that is being compared further out fits further in if it fits there.
    return suppose<JsonMismatch[]>(key, [], () => subsetAnew(writer, reader), hasFailed);
  }

  function subsetAnew(writer: readonly View[], reader: View): JsonMismatch[] {
    const found: JsonMismatch[] = [];
    for (const c of dnf(writer)) {
      if (isEmpty(c)) continue;
      for (const mismatch of covers(c, reader, 0)) {
        if (!found.some((known) => known.readerPath === mismatch.readerPath && known.rule === mismatch.rule))
          found.push(mismatch);
      }
      if (found.length >= MAX_MISMATCHES) break;
    }
    // What the writer's schema says of the location, where the conjunction could not tell.
    return found.map((mismatch) => (mismatch.writerPath === "?" ? { ...mismatch, writerPath: writer[0]?.path ?? "" } : mismatch));
  }

  function covers(c: Conjunction, b: View, splits: number): JsonMismatch[] {
    if (b.schema === true) return [];
    return remember(`${c.id}<${idOf(b)}/${splits}`, () => coversAnew(proof, c, b, splits), hasFailed);
  }
}

/** What keeps the values of `c` from all fitting `b`: first as a whole, then keyword by keyword. */
function coversAnew(proof: Proof, c: Conjunction, b: View, splits: number): JsonMismatch[] {
  const { reason } = proof;
  reason.step();
  const { schema, path } = b;
  if (schema === true) return [];
  const writerPath = c.atoms[0]?.path ?? "?";
  const no: No = (rule, message, keyword = rule) => ({
    rule,
    message,
    readerPath: keyword === "" ? path : `${path}/${keyword}`,
    writerPath,
  });
  if (schema === false) return reason.isEmpty(c) ? [] : [no("false", "nothing is allowed here", "")];
  const location: Location = { c, facts: reason.facts(c), schema, view: b, no };
  if (location.facts.values !== null) return ofListed(proof, location, location.facts.values);
  if (c.atoms.some((atom) => same(atom, b))) return [];
  return [...ofApplicators(proof, location, splits), ...plain(proof, location)];
}

/** Where all values are known, each value is put to the reader. */
function ofListed(proof: Proof, location: Location, values: readonly JsonValue[]): JsonMismatch[] {
  const { schema, view, no } = location;
  const bad = values.filter((value) => !proof.reason.ask(view, value));
  if (bad.length === 0) return [];
  // The plain comparison finds which keyword refuses the value, if it can tell.
  const told = plain(proof, location);
  if (told.length > 0 && schema.enum === undefined && schema.const === undefined) return told;
  const keyword = schema.const !== undefined ? "const" : schema.enum !== undefined ? "enum" : "";
  return [no(keyword === "" ? "value" : keyword, `${list(bad)} is not taken`, keyword)];
}

/** The keywords that hold other schemas for the same value. */
function ofApplicators(proof: Proof, { c, facts, schema, view, no }: Location, splits: number): JsonMismatch[] {
  const { reason, covers } = proof;
  const out: JsonMismatch[] = [];
  if (typeof schema.$ref === "string") {
    const target = follow(schema.$ref, view.doc);
    if (target !== null) out.push(...covers(c, target, splits));
  }
  for (const each of listAt(view, schema, "allOf")) out.push(...covers(c, each, splits));
  for (const keyword of ["anyOf", "oneOf"] as const) {
    const branches = listAt(view, schema, keyword);
    if (branches.length > 0) out.push(...coversOne(proof, c, { keyword, branches, no }, splits));
  }
  if (schema.not !== undefined && !areDisjoint(reason, c, childOf(view, schema.not, "not")))
    out.push(no("not", "values that fit are among those excluded"));
  if (schema.if !== undefined) {
    const condition = childOf(view, schema.if, "if");
    if (schema.then !== undefined) {
      for (const d of reason.dnf([condition])) {
        const both = reason.all([...c.atoms, ...d.atoms], [...c.nots, ...d.nots]);
        if (!reason.isEmpty(both)) out.push(...covers(both, childOf(view, schema.then, "then"), splits));
      }
    }
    if (schema.else !== undefined) {
      const without = reason.all(c.atoms, [...c.nots, condition]);
      if (!reason.isEmpty(without)) out.push(...covers(without, childOf(view, schema.else, "else"), splits));
    }
  }
  if (isJsonObject(schema.dependentSchemas) && facts.types.has("object")) {
    for (const [name, each] of Object.entries(schema.dependentSchemas)) {
      const present = reason.all([...c.atoms, made({ type: "object", required: [name] })], c.nots);
      const wanted = childOf(view, each, `dependentSchemas/${escapePointer(name)}`);
      if (!reason.isEmpty(present)) out.push(...covers(present, wanted, splits));
    }
  }
  return out;
}

/** The keywords that look at one value by itself or at its members. */
function plain(proof: Proof, location: Location): JsonMismatch[] {
  const { facts, schema, no } = location;
  const out: JsonMismatch[] = [];
  let types: ReadonlySet<Type> = facts.types;
  if (schema.type !== undefined) {
    const allowed = typesOf(schema.type);
    const extra = TYPES.filter((type) => types.has(type) && !allowed.has(type));
    if (extra.length > 0) out.push(no("type", `${extra.map(wordOf).join(" or ")} was allowed, and is not taken`));
    types = new Set([...types].filter((type) => allowed.has(type)));
  }
  if ((schema.enum !== undefined || schema.const !== undefined) && facts.values === null)
    out.push(no(schema.const === undefined ? "enum" : "const", "values besides those listed were allowed"));
  if (types.has("integer") || types.has("fraction")) out.push(...ofNumbers(location, types));
  if (types.has("string")) out.push(...ofStrings(location));
  if (types.has("array")) out.push(...ofArrays(proof, location));
  if (types.has("object")) out.push(...ofObjects(proof, location));
  return out;
}

const wordOf = (type: Type): string =>
  ({
    null: "null",
    boolean: "a boolean",
    integer: "a whole number",
    fraction: "a number that is not whole",
    string: "a text",
    array: "a list",
    object: "an object",
  })[type];
const list = (values: readonly JsonValue[]): string =>
  values
    .slice(0, 5)
    .map((value) => JSON.stringify(value))
    .join(", ") + (values.length > 5 ? ", …" : "");
