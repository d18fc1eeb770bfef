import { userInfo } from "node:os";
import { parseEntity } from "../audit/index.ts";
import { type JsonObject, type JsonValue, positionToText, TributaryError } from "../core/index.ts";
import {
  accept,
  assign,
  type CaseDetails,
  type Choice,
  caseDetails,
  comment,
  decide,
  type Form,
  type Matter,
  type Noted,
  standing,
} from "../desk/index.ts";
import { DELETED } from "../merge/engine.ts";
import { type CaseFilter, type CaseRow, cases, mustBeView } from "../views/index.ts";
import type { Command, Input } from "./args.ts";
import { withDesk } from "./desk.ts";
import { viewsOf } from "./folders.ts";
import { type Cell, type Output, shown, table } from "./output.ts";
import { withViews } from "./with-views.ts";

const STATES = ["open", "accepted", "closed"] as const;

function filterOf({ text }: Input): CaseFilter {
  const given = text("state") ?? "open";
  const state = STATES.find((each) => each === given);
  if (state === undefined && given !== "all")
    throw new TributaryError("usage", `there is no state ${given}`, `The states are ${STATES.join(", ")} and all.`);
  const [view, rule, assignee] = [text("view"), text("rule"), text("assignee")];
  return {
    ...(state === undefined ? {} : { state }),
    ...(view === undefined ? {} : { view }),
    ...(rule === undefined ? {} : { rule }),
    ...(assignee === undefined ? {} : { assignee: assignee === "nobody" ? null : assignee }),
  };
}

/** Who left a case as it is, when, and why. */
export const acceptedWords = ({ acceptedBy, acceptedAt, acceptedNote }: CaseRow): string =>
  `left as it is by ${acceptedBy ?? "somebody"}${acceptedAt === null ? "" : ` on ${acceptedAt}`}${acceptedNote === null ? "" : `: ${acceptedNote}`}`;

/** A case about an entity, in one line: what it is, and how it stands. */
export const caseLine = (row: CaseRow): string =>
  `case ${row.id}, ${row.view} ${row.rule}: ${row.says} (${row.state === "accepted" ? acceptedWords(row) : row.state === "open" ? `open since ${row.openedAt}` : "closed"})`;

const subjectOf = ({ kind, entityType, subject }: CaseRow): string =>
  kind === "invariant" ? subject : `${entityType}/${subject}`;

export const caseList: Command = {
  name: "case list",
  summary: "list what people must decide: conflicts under a manual rule, violated invariants, forked devices",
  usage:
    "tributary case list [--state open|accepted|closed|all] [--view NAME] [--rule NAME] [--assignee PERSON|nobody] [--data DIR]",
  help: `Lists the cases, the oldest first, and the position up to which none is missing (\`through\` in --json). Later cases are shown as far as they are known.

  tributary case list --view distributions --assignee nobody`,
  maxPositionals: 0,
  options: {
    data: { type: "string" },
    state: { type: "string" },
    view: { type: "string" },
    rule: { type: "string" },
    assignee: { type: "string" },
  },
  async run(input) {
    const filter = filterOf(input);
    const { cases: rows, through } = await withViews(input.text("data"), async (db) => {
      // The hub's own cases, of forks, are about devices.
      if (filter.view !== undefined && filter.view !== "devices") await mustBeView(db, filter.view);
      return cases(db, filter);
    });
    const asOf = through === null ? null : positionToText(through);
    input.out.result({ through: asOf, cases: rows });
    input.out.line(
      rows.length === 0
        ? "There are no such cases."
        : table(
            ["case", "state", "view", "rule", "about", "what", "assigned to", "since"],
            rows.map((r) => [r.id, r.state, r.view, r.rule, subjectOf(r), r.says, r.assignee, r.openedAt]),
          ),
    );
    const accepted = rows.filter(({ state }) => state === "accepted");
    if (accepted.length > 0) input.out.line("\nAccepted as they are:");
    for (const row of accepted) input.out.line(`  ${row.id}  ${acceptedWords(row)}`);
    input.out.line(
      asOf === null
        ? "\nThe projector has not begun: cases may be missing."
        : `\nAs of position ${asOf}: no case from before it is missing.`,
    );
    return 0;
  },
};

function choiceTable(choices: readonly Choice[], worded: (value: JsonValue) => string): string {
  return table(
    ["pick", "value", "by", "stamp", "event"],
    choices.map(({ pick, value, actor, hlc, clockWrong, event }) => [
      pick,
      worded(value),
      actor,
      hlc.slice(0, 19) + (clockWrong ? " (wrong clock)" : ""),
      event,
    ]),
    "  ",
  );
}

/** A value in words; for whether an entity is there, “deleted” or “there”. */
const wordedIn =
  (register: string) =>
  (value: JsonValue): string =>
    register === DELETED ? (value === true ? "deleted" : "there") : shown(value);

/** The two branches of a fork, each with what shows who made it. */
function forkTable({ accepted, refused }: CaseRow["about"]): string {
  const row = (what: string, branch: JsonObject): Cell[] => [
    what,
    Number(branch.through ?? 0),
    shown(branch.head ?? null),
    branch.signature == null ? "nobody" : `the device's key ${shown((branch.signature as JsonObject).kid as JsonValue)}`,
  ];
  const log = (accepted?.run ?? { through: null, head: (accepted?.at as JsonObject | null)?.hash ?? null }) as JsonObject;
  return table(
    ["branch", "up to seq", "ends with the hash", "signed by"],
    [row("in the log", log), row("refused", refused ?? {})],
    "  ",
  );
}

export const caseShow: Command = {
  name: "case show",
  summary: "show a case with all events involved, and what people said",
  usage: "tributary case show CASE | TYPE/ID REGISTER [--data DIR]",
  help: `Shows the values that stand side by side, or the entities that violate the invariant, with their events, assignments and comments. Each value has a code for
\`case resolve --pick\`. With TYPE/ID REGISTER the command shows the values of any register, even if a rule has decided it and there is no case.

  tributary case show beneficiary/NBO-000023 phone`,
  maxPositionals: 2,
  options: { data: { type: "string" } },
  async run({ positionals, text, out }) {
    const matter = matterOf(positionals, caseShow.usage);
    if (!("case" in matter)) return showRegister(matter, text("data"), out);
    const details = await withViews(text("data"), (db) => caseDetails({ db }, matter.case));
    const { case: found, choices, events, notes } = details;
    out.result({
      ...found,
      ...(choices === null ? {} : { about: { ...found.about, siblings: choices } }),
      events,
      notes,
    });
    out.line(`Case ${found.id}, ${found.state}: ${found.says}`);
    out.line(`  ${found.view}, ${found.kind} ${found.rule}, about ${subjectOf(found)}, open since ${found.openedAt}`);
    if (found.assignee !== null) out.line(`  assigned to ${found.assignee}`);
    if (found.state === "accepted") out.line(`  ${acceptedWords(found)}`);
    out.line("");
    tellAbout(details, out);
    for (const note of notes)
      out.line(
        `  ${note.at}  ${note.actor} ${note.kind}${note.assignee === null ? "" : ` to ${note.assignee}`}${note.text === null ? "" : `: ${note.text}`}`,
      );
    return 0;
  },
};

/** What a case is about, and what to do. */
function tellAbout({ case: found, choices, events }: CaseDetails, out: Output): void {
  const isClosed = found.state === "closed";
  if (choices !== null) {
    out.line(choiceTable(choices, wordedIn(found.rule)));
    if (!isClosed) out.line(`\nDecide with \`tributary case resolve ${found.id} --pick CODE\`, or --value VALUE.`);
    return;
  }
  if (found.kind === "fork") {
    out.line(forkTable(found.about));
    if (found.state !== "open") return;
    out.line(
      `\nFind out who writes under this name: a tablet that was copied, or somebody who has its key (\`tributary device revoke ${found.subject}\`). An honest\ndevice continues by itself under a new epoch, and sends there what was refused. Then \`tributary case accept ${found.id} --note WHY\`.`,
    );
    return;
  }
  out.line(
    table(
      ["entity", "event", "type", "by", "site", "happened", "data"],
      events.map((e) => [e.entity, e.event, e.type, e.actor, e.site, e.occurredAt, JSON.stringify(e.data)]),
      "  ",
    ),
  );
  if (found.about.values !== undefined) out.line(`  ${JSON.stringify(found.about.values)}`);
  if (found.state === "accepted") out.line("\nIt stays as it is. If anything is added to it, it is open again.");
  if (found.state === "open")
    out.line(
      `\nCorrect or cancel one of them with a new event, and the case closes; or \`tributary case accept ${found.id} --note WHY\` leaves it as it is.`,
    );
}

/** The values of one register of an entity, whether or not anybody is asked to decide. */
async function showRegister(matter: Matter, data: string | undefined, out: Output): Promise<number> {
  const projections = await viewsOf(data);
  const { entity: ref, view, register, values } = await withViews(data, (db) => standing({ db, projections }, matter));
  const entity = `${ref.type}/${ref.id}`;
  out.result({ entity, view, register, siblings: values });
  if (values.length === 0) {
    out.line(`${entity}, ${register} in ${view}: nobody has written it.`);
    return 0;
  }
  out.line(
    `${entity}, ${register} in ${view}: ${values.length === 1 ? "one value stands" : `${values.length} values stand side by side`}\n`,
  );
  out.line(choiceTable(values, wordedIn(register)));
  out.line(`\nDecide with \`tributary case resolve ${entity} ${register} --pick CODE\`, or --value VALUE.`);
  return 0;
}

/** What the arguments are about: CASE, or TYPE/ID REGISTER. A case already has its register. */
function matterOf([first, second]: readonly string[], usage: string): Matter {
  if (first === undefined) throw new TributaryError("usage", "the case is missing", `Use: ${usage}`);
  if (first.includes("/")) {
    const entity = parseEntity(first);
    if (second === undefined) throw new TributaryError("usage", "the register is missing", `Use: ${usage}`);
    return { entity, register: second };
  }
  if (second !== undefined)
    throw new TributaryError("usage", `${second} is one argument too many: ${first} is a case, not TYPE/ID`, `Use: ${usage}`);
  return { case: first };
}

function caseIn({ positionals: [id] }: Input, usage: string): string {
  if (id === undefined) throw new TributaryError("usage", "the case is missing", `Use: ${usage}`);
  return id;
}

/** Who acts, and the note that they leave. */
function byIn({ text }: Input): { readonly actor: string; readonly note?: string } {
  const note = text("note");
  return { actor: text("actor") ?? userInfo().username, ...(note === undefined ? {} : { note }) };
}

const NOTE_OPTIONS = { data: { type: "string" }, actor: { type: "string" }, note: { type: "string" } } as const;

function told({ out }: Input, noted: Noted, words: string): number {
  out.result(noted);
  out.line(words);
  return 0;
}

export const caseAssign: Command = {
  name: "case assign",
  summary: "give a case to somebody",
  usage: "tributary case assign CASE PERSON|nobody [--note TEXT] [--actor NAME] [--data DIR]",
  help: "The assignment is an event in the log, with who assigned the case to whom.",
  maxPositionals: 2,
  options: NOTE_OPTIONS,
  async run(input) {
    const id = caseIn(input, caseAssign.usage);
    const person = input.positionals[1];
    if (person === undefined || person === "")
      throw new TributaryError("usage", "the person is missing", `Use: ${caseAssign.usage}`);
    const to = person === "nobody" ? null : person;
    const noted = await withDesk(input.text("data"), (desk) => assign(desk, { case: id, to, ...byIn(input) }));
    return told(input, noted, `Case ${id} is ${to === null ? "nobody's" : `${to}'s`} now.`);
  },
};

export const caseComment: Command = {
  name: "case comment",
  summary: "add a comment to a case",
  usage: "tributary case comment CASE TEXT [--actor NAME] [--data DIR]",
  help: "The log keeps the comment with the case.",
  maxPositionals: 2,
  options: { data: { type: "string" }, actor: { type: "string" } },
  async run(input) {
    const id = caseIn(input, caseComment.usage);
    const text = input.positionals[1];
    if (text === undefined || text === "") throw new TributaryError("usage", "the text is missing", `Use: ${caseComment.usage}`);
    const { actor } = byIn(input);
    const noted = await withDesk(input.text("data"), (desk) => comment(desk, { case: id, text, actor }));
    return told(input, noted, `Noted on case ${id}.`);
  },
};

export const caseAccept: Command = {
  name: "case accept",
  summary: "leave a violated invariant or a fork as it is, with the reason",
  usage: "tributary case accept CASE --note WHY [--actor NAME] [--data DIR]",
  help: "Use it for what is right after all, or cannot be undone. The decision holds for the case as it is now. If anything is added to the case, it is open again.",
  maxPositionals: 1,
  options: NOTE_OPTIONS,
  async run(input) {
    const id = caseIn(input, caseAccept.usage);
    const note = input.need("note", "say why it may stay as it is");
    const noted = await withDesk(input.text("data"), (desk) => accept(desk, { case: id, ...byIn(input), note }));
    return told(input, noted, `Case ${id} stays as it is.`);
  },
};

export const caseResolve: Command = {
  name: "case resolve",
  summary: "decide a conflict: pick one of the values, or set another",
  usage:
    "tributary case resolve CASE | TYPE/ID REGISTER (--pick CODE|ORIGIN/SEQ | --value VALUE) [--note TEXT] [--actor NAME] [--data DIR]",
  help: `Writes an event of the hub's own origin that has seen all values standing side by side, and therefore replaces them. You can decide any conflict this way, even
one that a rule has decided: name the entity and its register. \`case show\` prints the CODE of each value. VALUE is JSON or plain text; for \`deleted\` it is true
or false. If somebody wrote another value without having seen the decision, it stands beside the decision and the case is open again. If a register belongs
to certain organisations or sites, only they can decide it.

  tributary case resolve 3fa2b1c09d5e --pick 7c1e --note "asked her"
  tributary case resolve beneficiary/NBO-000023 phone --value +254712000023`,
  maxPositionals: 2,
  options: { ...NOTE_OPTIONS, pick: { type: "string" }, value: { type: "string" } },
  async run(input) {
    const { positionals, text, out } = input;
    const [pick, given] = [text("pick"), text("value")];
    if ((pick === undefined) === (given === undefined))
      throw new TributaryError("usage", "give either --pick or --value", `Use: ${caseResolve.usage}`);
    const matter = matterOf(positionals, caseResolve.usage);
    const by = byIn(input);
    const decided = await withDesk(text("data"), async (desk) => {
      const chosen = pick === undefined ? { value: valueTyped(await standing(desk, matter), given ?? "") } : { pick };
      return decide(desk, { matter, chosen, ...by });
    });
    const { entity, register, value } = decided;
    out.result(decided);
    out.line(`${entity}, ${register}: ${wordedIn(register)(value)}, decided by ${by.actor}.`);
    return 0;
  },
};

/** A value as it is typed: JSON; for a register with a column of its own also plain text; for whether an entity is deleted, true or false. */
function valueTyped({ form, register }: { readonly form: Form; readonly register: string }, typed: string): JsonValue {
  if (form.kind === "presence") {
    if (typed === "true" || typed === "false") return typed === "true";
    throw new TributaryError(
      "usage",
      `--value ${typed} is neither true nor false`,
      "Write --value true (deleted) or --value false (present).",
    );
  }
  try {
    return JSON.parse(typed) as JsonValue;
  } catch {
    if (form.kind === "column") return typed;
    throw new TributaryError(
      "usage",
      `--value for ${register} must be a JSON object of ${form.columns.join(", ")}, or null`,
      `For example: --value '${JSON.stringify(Object.fromEntries(form.columns.map((column) => [column, null])))}'.`,
    );
  }
}
