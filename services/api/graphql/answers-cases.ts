import { type EntityRef, type JsonValue, positionToText, TributaryError } from "../../core/index.ts";
import { accept, assign, type Chosen, caseDetails, comment, decide, type Form, type Matter, standing } from "../../desk/index.ts";
import { type CaseRow, caseById, cases as readCases } from "../../views/index.ts";
import { liveViews } from "./answers-views.ts";
import { atDesk, byOf, writtenEvent } from "./desk.ts";
import { type Answers, type Asking, given } from "./hub.ts";

interface CasesArgs {
  readonly state?: CaseRow["state"] | null;
  readonly view?: string | null;
  readonly rule?: string | null;
  readonly assignee?: string | null;
  readonly unassigned?: boolean | null;
}

const cases = ({ assignee, unassigned, ...filter }: CasesArgs, { hub, principal }: Asking) =>
  hub.reading.read(principal.viewer, async (db) => {
    const whose = unassigned === true ? { assignee: null } : given({ assignee });
    const found = await readCases(db, { ...given(filter), ...whose });
    return { cases: found.cases, through: found.through === null ? null : positionToText(found.through) };
  });

const oneCase = ({ id }: { readonly id: string }, { hub, principal }: Asking) =>
  hub.reading.read(principal.viewer, async (db) => ((await caseById(db, id)) === null ? null : caseDetails({ db }, id)));

const register = (
  { entity, register: name }: { readonly entity: EntityRef; readonly register: string },
  { hub, principal }: Asking,
) => {
  const projections = liveViews(hub);
  return hub.reading.read(principal.viewer, async (db) => {
    const { form, ...found } = await standing({ db, projections }, { entity, register: name });
    return { ...found, form: form.kind, columns: columnsOf(form) };
  });
};

const columnsOf = (form: Form): readonly string[] =>
  form.kind === "columns" ? form.columns : form.kind === "column" ? [form.column] : [];

interface DecideArgs {
  readonly pick?: string | null;
  /** Given as `null`, it empties the register; left out, it is not there. */
  readonly value?: JsonValue;
  readonly note?: string | null;
}

/** Throws `usage` where both are given, or neither. */
function chosenOf(args: DecideArgs): Chosen {
  const { pick = null, value } = args;
  const isValue = Object.hasOwn(args, "value") && value !== undefined;
  if (pick !== null && !isValue) return { pick };
  if (pick === null && isValue) return { value };
  throw new TributaryError(
    "usage",
    pick === null ? "neither pick nor value says what is decided" : "pick and value both say what is decided",
    "Give pick for one of the values that stand side by side, or value for another one.",
  );
}

const decideOn = (matter: Matter, args: DecideArgs, asking: Asking) => {
  const chosen = chosenOf(args);
  return atDesk(asking, async (desk) => {
    const decided = await decide(desk, { matter, chosen, ...byOf(asking, args.note) });
    return { ...decided, event: writtenEvent(decided.event) };
  });
};

interface OfCase {
  readonly case: string;
  readonly note?: string | null;
}

export const caseAnswers = { cases, case: oneCase, register } satisfies Answers;

/** What people decide about cases. */
export const caseDecisions = {
  decideCase: ({ case: id, ...args }: DecideArgs & { readonly case: string }, asking: Asking) =>
    decideOn({ case: id }, args, asking),
  decideRegister: (
    { entity, register: name, ...args }: DecideArgs & { readonly entity: EntityRef; readonly register: string },
    asking: Asking,
  ) => decideOn({ entity, register: name }, args, asking),
  assignCase: ({ case: id, to, note }: OfCase & { readonly to?: string | null }, asking: Asking) =>
    atDesk(asking, (desk) => assign(desk, { case: id, to: to ?? null, ...byOf(asking, note) })),
  acceptCase: ({ case: id, note }: OfCase & { readonly note: string }, asking: Asking) =>
    atDesk(asking, (desk) => accept(desk, { case: id, actor: asking.principal.subject, note })),
  commentCase: ({ case: id, text }: OfCase & { readonly text: string }, asking: Asking) =>
    atDesk(asking, (desk) => comment(desk, { case: id, text, actor: asking.principal.subject })),
} satisfies Answers;
