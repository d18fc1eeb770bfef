import { CASE_ENTITY, type JsonObject, TributaryError } from "../core/index.ts";
import { type CaseNote, type CaseRow, caseEvents, caseNotes, type InvolvedEvent } from "../views/index.ts";
import { type By, type Desk, noted } from "./desk.ts";
import { type Choice, choicesOf } from "./pick.ts";
import { caseNamed } from "./standing.ts";

/** A case with all that is known of it. */
export interface CaseDetails {
  readonly case: CaseRow;
  /** For a conflict: the values that stand side by side, each with the code that picks it; `null`: the case is of another kind. */
  readonly choices: readonly Choice[] | null;
  readonly events: readonly InvolvedEvent[];
  readonly notes: readonly CaseNote[];
}

/** A case with its events and what people said about it. Throws `not-found`. */
export async function caseDetails(desk: Pick<Desk, "db">, id: string): Promise<CaseDetails> {
  const found = await caseNamed(desk, id);
  const { siblings } = found.about;
  return {
    case: found,
    choices: siblings === undefined ? null : choicesOf(siblings),
    events: await caseEvents(desk.db, found),
    notes: await caseNotes(desk.db, found.id),
  };
}

/** What was written about a case. */
export interface Noted {
  readonly case: string;
  readonly type: string;
  readonly data: JsonObject;
}

interface About extends By {
  readonly case: string;
}

/** Gives a case to somebody; `to: null` takes it from whoever has it. Throws `not-found`. */
export async function assign(desk: Desk, { to, ...about }: About & { readonly to: string | null }): Promise<Noted> {
  const found = await caseNamed(desk, about.case);
  return write(desk, found, { type: "case.assigned", data: { assignee: to } }, about);
}

/** Comments on a case. Throws `not-found`; `usage` for an empty comment. */
export async function comment(desk: Desk, { text, ...about }: Omit<About, "note"> & { readonly text: string }): Promise<Noted> {
  if (text === "") throw new TributaryError("usage", "the comment is empty", "Say something.");
  const found = await caseNamed(desk, about.case);
  return write(desk, found, { type: "case.commented", data: { text } }, about);
}

/**
 * Accepts a violated invariant or a fork as it is, for a reason. That holds for the case as it stands: if anything joins it, it opens again. Throws `not-found`;
 * `usage` for a case that is closed or is a conflict between values.
 */
export async function accept(desk: Desk, about: About & { readonly note: string }): Promise<Noted> {
  const found = await caseNamed(desk, about.case);
  const refusal = acceptRefusal(found);
  if (refusal !== null) throw refusal;
  return write(desk, found, { type: "case.accepted", data: { mark: found.mark } }, about);
}

/** Why a case cannot be accepted as it is; `null`: it can. */
export function acceptRefusal({ id, state, kind }: Pick<CaseRow, "id" | "state" | "kind">): TributaryError | null {
  if (state === "closed") return new TributaryError("usage", `case ${id} is closed`, "There is nothing to accept.");
  return kind === "register"
    ? new TributaryError("usage", `case ${id} is a conflict between values`, "Choose one: `tributary case resolve`.")
    : null;
}

async function write(
  desk: Desk,
  { id }: CaseRow,
  said: { readonly type: string; readonly data: JsonObject },
  by: By,
): Promise<Noted> {
  const data = { ...said.data, ...noted(by.note, "text") };
  await desk.write([{ type: said.type, entity: { type: CASE_ENTITY, id }, data, actor: by.actor }]);
  return { case: id, type: said.type, data };
}
