import { type EntityRef, isJsonObject, type JsonValue, TributaryError } from "../core/index.ts";
import {
  DELETED,
  type DecidedRule,
  type EntityState,
  entityViews,
  type Projection,
  type RegisterRule,
  type Sibling,
  siblingsOf,
  unpackState,
} from "../merge/engine.ts";
import { type CaseRow, caseById, packedState, type StandingValue } from "../views/index.ts";
import type { Desk } from "./desk.ts";
import { type Choice, choicesOf } from "./pick.ts";

/** What is to be decided: a case, or a register of an entity, with or without a case. */
export type Matter = { readonly case: string } | { readonly entity: EntityRef; readonly register: string };

/** How a value for a register is written. */
export type Form =
  /** Whether the entity is deleted: true or false. */
  | { readonly kind: "presence" }
  /** A value of one column. */
  | { readonly kind: "column"; readonly column: string }
  /** An object with all columns that change together; or null, which empties them. */
  | { readonly kind: "columns"; readonly columns: readonly string[] };

/** A register of an entity, with the values that stand in it. */
export interface Standing {
  readonly entity: EntityRef;
  readonly view: string;
  readonly register: string;
  readonly form: Form;
  readonly values: readonly Choice[];
}

/** The register that a matter is about, with its rule and the state of the entity. */
export interface Opened {
  readonly projection: Projection;
  readonly id: string;
  readonly rule: DecidedRule;
  readonly state: EntityState;
  /** The case that asks for the decision; `null`: there is none. */
  readonly caseId: string | null;
  readonly values: readonly StandingValue[];
}

/** A case. Throws `not-found`. */
export async function caseNamed({ db }: Pick<Desk, "db">, id: string): Promise<CaseRow> {
  const found = await caseById(db, id);
  if (found !== null) return found;
  throw new TributaryError("not-found", `there is no case ${id}`, "`tributary case list --state all` shows all.");
}

/** The values of a register, to pick from. Throws `not-found`, or `usage` where there is nothing to decide. */
export async function standing(desk: Pick<Desk, "db" | "projections">, matter: Matter): Promise<Standing> {
  const { projection, id, rule, values } = await openMatter(desk, matter);
  return {
    entity: { type: projection.entity, id },
    view: projection.name,
    register: rule.name,
    form: formOf(rule),
    values: choicesOf(values),
  };
}

/** How a value for a register is written. */
export function formOf({ name, columns }: DecidedRule): Form {
  if (name === DELETED) return { kind: "presence" };
  return columns.length === 1 && columns[0] === name ? { kind: "column", column: name } : { kind: "columns", columns };
}

/** Reads the register that a matter is about. Throws `not-found`, or `usage` where there is nothing to decide. */
export async function openMatter(desk: Pick<Desk, "db" | "projections">, matter: Matter): Promise<Opened> {
  const wanted = await wantedOf(desk, matter);
  const found = registerOf(desk.projections, wanted);
  const state = await stateOf(desk, found.projection, wanted.id);
  return openedWith(found, { id: wanted.id, state, caseId: "case" in matter ? matter.case : null });
}

/** A register as an entity's state has it. */
export const openedWith = (
  { projection, rule }: Pick<Opened, "projection" | "rule">,
  known: Pick<Opened, "id" | "state" | "caseId">,
): Opened => ({ projection, rule, ...known, values: siblingsOf(rule, known.state).map(standingValue) });

const standingValue = ({ by, value }: Sibling): StandingValue => ({
  event: `${by.origin}/${by.seq}`,
  actor: by.actor,
  hlc: by.hlc,
  clockWrong: by.clockWrong,
  value,
});

export interface Wanted {
  /** `null`: the first view of such entities that has the register. */
  readonly view: string | null;
  readonly type: string;
  readonly id: string;
  readonly register: string;
}

async function wantedOf(desk: Pick<Desk, "db">, matter: Matter): Promise<Wanted> {
  if (!("case" in matter)) return { view: null, ...matter.entity, register: matter.register };
  const found = await caseNamed(desk, matter.case);
  const refusal = refusalOf(found);
  if (refusal !== null) throw refusal;
  return { view: found.view, type: found.entityType, id: found.subject, register: found.rule };
}

/** Why there is no value to choose in a case; `null`: there are values. */
export function refusalOf({ id, kind, state }: Pick<CaseRow, "id" | "kind" | "state">): TributaryError | null {
  if (kind === "fork")
    return new TributaryError(
      "usage",
      `case ${id} is a fork: there are no values to choose from`,
      "`tributary case show` tells what it is; `tributary case accept` ends it.",
    );
  if (kind === "invariant")
    return new TributaryError(
      "usage",
      `case ${id} is a violated invariant: there are no values to choose from`,
      "Correct or cancel one of the entities with a new event, or `tributary case accept` it.",
    );
  return state === "closed"
    ? new TributaryError("usage", `case ${id} is closed`, "`tributary explain` tells who decided it.")
    : null;
}

/** A register by its name or the name of one of its columns, and the view that has it. Throws `not-found`, or `usage` for a register that is never contested. */
export function registerOf(
  projections: Desk["projections"],
  { view, type, register }: Wanted,
): { readonly projection: Projection; readonly rule: DecidedRule } {
  const candidates = entityViews(projections).filter(({ name, entity }) => (view === null ? entity === type : name === view));
  const ruleIn = ({ registers }: Projection): RegisterRule | undefined =>
    registers.get(register) ?? [...registers.values()].find(({ columns }) => columns.includes(register));
  const projection = candidates.find((each) => ruleIn(each) !== undefined);
  const rule = projection === undefined ? undefined : ruleIn(projection);
  if (projection === undefined || rule === undefined)
    throw candidates.length === 0
      ? new TributaryError("not-found", `no view is of entities of type ${type}`, "Check the spelling.")
      : new TributaryError(
          "not-found",
          `${candidates.map(({ name }) => name).join(" and ")} has no register ${register}`,
          `There are: ${[...new Set(candidates.flatMap(({ registers }) => [...registers.keys()]))].join(", ")}.`,
        );
  if (rule.kind === "merged")
    throw new TributaryError(
      "usage",
      `${rule.name} merges by itself: there is never a conflict to decide`,
      "Write an ordinary event to change it.",
    );
  return { projection, rule };
}

async function stateOf({ db }: Pick<Desk, "db">, { name }: Projection, id: string): Promise<EntityState> {
  const packed = await packedState(db, name, { id });
  if (packed === undefined)
    throw new TributaryError("not-found", `view ${name} has not been built`, `\`tributary rebuild ${name}\` builds it.`);
  if (packed === null)
    throw new TributaryError("not-found", `${name} has no row ${id}`, "Check the spelling, and whether the site has synced.");
  return unpackState(packed);
}

/** The values that a decision gives to the columns of a register. Throws `usage` for a value of another form. */
export function columnValues(rule: DecidedRule, value: JsonValue): Readonly<Record<string, JsonValue>> {
  const form = formOf(rule);
  if (form.kind === "column") return { [form.column]: value };
  return form.kind === "presence" ? {} : memberValues(rule.name, form.columns, value);
}

function memberValues(register: string, columns: readonly string[], value: JsonValue): Readonly<Record<string, JsonValue>> {
  const nothing = Object.fromEntries(columns.map((column) => [column, null]));
  if (value === null) return nothing;
  if (!isJsonObject(value))
    throw new TributaryError(
      "usage",
      `a value for ${register} is a JSON object of ${columns.join(", ")}, or null`,
      `For example: ${JSON.stringify(nothing)}.`,
    );
  const missing = columns.filter((column) => !Object.hasOwn(value, column));
  if (missing.length > 0)
    throw new TributaryError(
      "usage",
      `the value for ${register} leaves out ${missing.join(", ")}`,
      "These columns change together: name them all, with null for each that is to be empty.",
    );
  const foreign = Object.keys(value).filter((column) => !columns.includes(column));
  if (foreign.length > 0)
    throw new TributaryError(
      "usage",
      `${foreign.join(", ")} is not in ${register}`,
      `It has: ${columns.join(", ")}. Decide other registers one by one.`,
    );
  return value;
}
