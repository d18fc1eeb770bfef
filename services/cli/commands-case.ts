import { createHash } from "node:crypto";
import { userInfo } from "node:os";
import type { Client } from "pg";
import { parseEntity } from "../audit/index.ts";
import {
  CASE_ENTITY,
  HUB_SITE,
  isJsonObject,
  type JsonObject,
  type JsonValue,
  type OriginId,
  TributaryError,
} from "../core/index.ts";
import type { Gate } from "../gate/index.ts";
import type { Fork } from "../log/index.ts";
import {
  columnWords,
  DELETED,
  type DecidedRule,
  type EntityState,
  entityViews,
  isOneOf,
  RESOLVED,
  type RegisterRule,
  type Sibling,
  siblingsOf,
  unpackState,
} from "../merge/engine.ts";
import type { Projection } from "../merge/index.ts";
import type { Command, Input } from "./args.ts";
import { writeAtDesk } from "./desk.ts";
import { type Cell, type Output, shown, table } from "./output.ts";
import { PROJECTIONS_DIR } from "./places.ts";
import { loadProjections } from "./projections.ts";
import { withHubGate } from "./registry.ts";
import { withViews } from "./with-views.ts";

interface CaseRow extends Record<string, unknown> {
  readonly id: string;
  readonly state: "open" | "accepted" | "closed";
  readonly kind: "register" | "invariant" | "fork";
  readonly view: string;
  readonly entityType: string;
  /** The entity, or the key that entities share. */
  readonly subject: string;
  /** The register or the invariant. */
  readonly rule: string;
  readonly says: string;
  readonly about: {
    readonly siblings?: readonly Choice[];
    readonly members?: readonly { readonly entity: string; readonly events: readonly string[] }[];
    readonly values?: JsonObject;
  } & Partial<Fork>;
  readonly mark: string;
  readonly openedAt: string;
  readonly assignee: string | null;
  readonly acceptedBy: string | null;
  readonly acceptedNote: string | null;
}

const SELECT = `SELECT id, state, kind, view, entity_type AS "entityType", subject, rule, says, about, mark, assignee, accepted_by AS "acceptedBy",
    accepted_note AS "acceptedNote", to_char(opened_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS "openedAt"
  FROM tributary.case`;

const STATES = ["open", "accepted", "closed", "all"];

async function findCases(db: Client, { text }: Input): Promise<CaseRow[]> {
  const state = text("state") ?? "open";
  if (!STATES.includes(state)) throw new TributaryError("usage", `--state ${state} is none`, `States are ${STATES.join(", ")}.`);
  const { rows } = await db.query<CaseRow>(
    `${SELECT} WHERE ($1 = 'all' OR state = $1) AND ($2::text IS NULL OR view = $2) AND ($3::text IS NULL OR rule = $3)
       AND ($4::text IS NULL OR assignee IS NOT DISTINCT FROM nullif($4, 'nobody')) ORDER BY opened_position, id LIMIT 1000`,
    [state, text("view") ?? null, text("rule") ?? null, text("assignee") ?? null],
  );
  return rows;
}

async function findCase(db: Client, id: string | undefined, usage: string): Promise<CaseRow> {
  if (id === undefined) throw new TributaryError("usage", "the case is missing", `Use: ${usage}`);
  const { rows } = await db.query<CaseRow>(`${SELECT} WHERE id = $1`, [id]);
  if (rows[0] === undefined)
    throw new TributaryError("not-found", `there is no case ${id}`, "`tributary case list --state all` shows all.");
  return rows[0];
}

const subjectOf = ({ kind, entityType, subject }: CaseRow): string =>
  kind === "invariant" ? subject : `${entityType}/${subject}`;

export const caseList: Command = {
  name: "case list",
  summary: "show what waits for people: conflicts under a manual rule, violated invariants, devices with two histories",
  usage:
    "tributary case list [--state open|accepted|closed|all] [--view NAME] [--rule NAME] [--assignee PERSON|nobody] [--data DIR]",
  help: "The queue, oldest first.\n\n  tributary case list --view distributions --assignee nobody",
  maxPositionals: 0,
  options: {
    data: { type: "string" },
    state: { type: "string" },
    view: { type: "string" },
    rule: { type: "string" },
    assignee: { type: "string" },
  },
  async run(input) {
    const rows = await withViews(input.text("data"), (db) => findCases(db, input));
    input.out.result(rows);
    input.out.line(
      rows.length === 0
        ? "There are none."
        : table(
            ["case", "state", "view", "rule", "about", "what", "assigned to", "since"],
            rows.map((r) => [r.id, r.state, r.view, r.rule, subjectOf(r), r.says, r.assignee, r.openedAt]),
          ),
    );
    return 0;
  },
};

/** A value as a person may pick it. */
interface Choice {
  readonly event: string;
  readonly actor: string;
  readonly hlc: string;
  readonly clockWrong: boolean;
  readonly value: JsonValue;
}

const choiceOf = ({ by, value }: Sibling): Choice => ({
  event: `${by.origin}/${by.seq}`,
  actor: by.actor,
  hlc: by.hlc,
  clockWrong: by.clockWrong,
  value,
});

const MIN_CODE_DIGITS = 4;
const longCodeOf = (event: string): string => createHash("sha256").update(event).digest("hex");

/**
 * A short code for each of the values that stand side by side, by its event: what is picked is what was shown, whoever wrote meanwhile. Never a place in
 * the list, which moves.
 */
export function pickCodes(events: readonly string[]): string[] {
  const codes = events.map(longCodeOf);
  const isClear = (digits: number): boolean => new Set(codes.map((code) => code.slice(0, digits))).size === new Set(codes).size;
  let digits = MIN_CODE_DIGITS;
  while (!isClear(digits)) digits++;
  return codes.map((code) => code.slice(0, digits));
}

/** The value that a code or ORIGIN/SEQ names; a code that was shown when fewer stood there holds while it names but one. */
function picked(pick: string, choices: readonly Choice[]): Choice {
  const isCode = new RegExp(`^[0-9a-f]{${MIN_CODE_DIGITS},64}$`).test(pick);
  const found = choices.filter(({ event }) => event === pick || (isCode && longCodeOf(event).startsWith(pick)));
  if (found.length === 1) return found[0]!;
  const codes = pickCodes(choices.map(({ event }) => event));
  throw new TributaryError(
    "usage",
    `--pick ${pick} names ${found.length === 0 ? "none" : "several"} of the values that stand side by side`,
    `There are: ${choices.map(({ value, actor }, i) => `${codes[i]} ${shown(value)} by ${actor}`).join("; ")}.`,
  );
}

function choiceTable(choices: readonly Choice[], worded: (value: JsonValue) => string): string {
  const codes = pickCodes(choices.map(({ event }) => event));
  return table(
    ["pick", "value", "by", "stamp", "event"],
    choices.map(({ value, actor, hlc, clockWrong, event }, i) => [
      codes[i],
      worded(value),
      actor,
      hlc.slice(0, 19) + (clockWrong ? " (wrong clock)" : ""),
      event,
    ]),
    "  ",
  );
}

/** With its code, for programs. */
const withCodes = (choices: readonly Choice[]): (Choice & { readonly pick: string })[] => {
  const codes = pickCodes(choices.map(({ event }) => event));
  return choices.map((choice, i) => ({ pick: codes[i]!, ...choice }));
};

/** Whether an entity is there, or a value, in words. */
const wordedIn =
  (register: string) =>
  (value: JsonValue): string =>
    register === DELETED ? (value === true ? "deleted" : "there") : shown(value);

/** The two branches of a fork, each with what shows who made it. */
function forkTable({ accepted, refused }: Partial<Fork>): string {
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
  help: `The values that stand side by side, or the entities that break the invariant, with their events; assignments and comments. Each value has a code that
--pick of \`case resolve\` takes. With TYPE/ID REGISTER: the values of a register, though a rule has decided it and nobody is asked.

  tributary case show beneficiary/NBO-000023 phone`,
  maxPositionals: 2,
  options: { data: { type: "string" } },
  async run({ positionals, text, out }) {
    if (positionals[0]?.includes("/") === true) return showRegister(positionals, text("data"), out);
    refuseRegister(positionals, caseShow.usage);
    return withViews(text("data"), async (db) => {
      const found = await findCase(db, positionals[0], caseShow.usage);
      const { rows: notes } = await db.query<{
        kind: string;
        actor: string;
        at: string;
        text: string | null;
        assignee: string | null;
      }>(
        `SELECT kind, actor, to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS at, text, assignee
         FROM tributary.case_note WHERE case_id = $1 ORDER BY position`,
        [found.id],
      );
      const events = await eventsOf(db, found);
      const choices = found.about.siblings;
      out.result({
        ...found,
        ...(choices === undefined ? {} : { about: { ...found.about, siblings: withCodes(choices) } }),
        events,
        notes,
      });
      out.line(`Case ${found.id}, ${found.state}: ${found.says}`);
      out.line(`  ${found.view}, ${found.kind} ${found.rule}, about ${subjectOf(found)}, open since ${found.openedAt}`);
      if (found.assignee !== null) out.line(`  assigned to ${found.assignee}`);
      if (found.state === "accepted")
        out.line(`  left as it is by ${found.acceptedBy}${found.acceptedNote === null ? "" : `: ${found.acceptedNote}`}`);
      out.line("");
      if (choices !== undefined) {
        out.line(choiceTable(choices, wordedIn(found.rule)));
        if (found.state !== "closed")
          out.line(`\nDecide with \`tributary case resolve ${found.id} --pick CODE\`, or --value VALUE.`);
      } else if (found.kind === "fork") {
        out.line(forkTable(found.about));
        out.line(
          `\nFind out who writes under this name: a tablet that was copied, or somebody who has its key (\`tributary device revoke ${found.subject}\`). An honest\ndevice goes on under a new epoch by itself, with what was refused. Then \`tributary case accept ${found.id} --note WHY\`.`,
        );
      } else {
        out.line(
          table(
            ["entity", "event", "type", "by", "site", "happened", "data"],
            events.map((e) => [e.entity, e.event, e.type, e.actor, e.site, e.occurredAt, JSON.stringify(e.data)]),
            "  ",
          ),
        );
        if (found.about.values !== undefined) out.line(`  ${JSON.stringify(found.about.values)}`);
        if (found.state !== "closed")
          out.line(
            `\nCorrect or cancel one of them by an event of its own, and the case closes; or \`tributary case accept ${found.id} --note WHY\` leaves it as it is.`,
          );
      }
      for (const note of notes)
        out.line(
          `  ${note.at}  ${note.actor} ${note.kind}${note.assignee === null ? "" : ` to ${note.assignee}`}${note.text === null ? "" : `: ${note.text}`}`,
        );
      return 0;
    });
  },
};

/** The values of one register of an entity, whether or not anybody is asked to decide. */
async function showRegister(positionals: readonly string[], data: string | undefined, out: Output): Promise<number> {
  const views = await loadProjections(PROJECTIONS_DIR);
  return withViews(data, async (db) => {
    const { projection, id, rule } = await targetOf(db, positionals, entityViews(views), caseShow.usage);
    const choices = siblingsOf(rule, await stateOf(db, projection, id)).map(choiceOf);
    const entity = `${projection.entity}/${id}`;
    out.result({ entity, view: projection.name, register: rule.name, siblings: withCodes(choices) });
    if (choices.length === 0) {
      out.line(`${entity}, ${rule.name} in ${projection.name}: nobody has written it.`);
      return 0;
    }
    out.line(
      `${entity}, ${rule.name} in ${projection.name}: ${choices.length === 1 ? "one value stands" : `${choices.length} values stand side by side`}\n`,
    );
    out.line(choiceTable(choices, wordedIn(rule.name)));
    out.line(`\nDecide with \`tributary case resolve ${entity} ${rule.name} --pick CODE\`, or --value VALUE.`);
    return 0;
  });
}

/** A case has its register already. */
function refuseRegister([first, second]: readonly string[], usage: string): void {
  if (first !== undefined && second !== undefined)
    throw new TributaryError("usage", `${second} is one argument too many: ${first} is a case, not TYPE/ID`, `Use: ${usage}`);
}

interface InvolvedEvent extends Record<string, unknown> {
  readonly entity: string;
  readonly event: string;
  readonly type: string;
  readonly actor: string;
  readonly site: string;
  readonly occurredAt: string;
  readonly data: JsonObject | null;
}

async function eventsOf(db: Client, { about }: CaseRow): Promise<InvolvedEvent[]> {
  const names = about.siblings?.map(({ event }) => event) ?? about.members?.flatMap(({ events }) => events) ?? [];
  const { rows } = await db.query<InvolvedEvent>(
    `SELECT a.entity_type || '/' || a.entity_id AS entity, a.origin || '/' || a.seq AS event, a.type, a.actor, a.site,
       to_char(a.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') AS "occurredAt", a.data
     FROM tributary.audit a JOIN unnest($1::text[], $2::bigint[]) AS x (origin, seq) USING (origin, seq) ORDER BY a.position`,
    [names.map((name) => name.slice(0, name.lastIndexOf("/"))), names.map((name) => name.slice(name.lastIndexOf("/") + 1))],
  );
  return rows;
}

/** Writes an event about a case at the hub's desk. */
async function note(input: Input, usage: string, type: string, dataOf: (found: CaseRow) => JsonObject): Promise<CaseRow> {
  const found = await withViews(input.text("data"), (db) => findCase(db, input.positionals[0], usage));
  const text = input.text("note");
  const data = { ...dataOf(found), ...(text === undefined ? {} : { text }) };
  await withHubGate(input.text("data"), ({ dir, state, gate }) =>
    writeAtDesk(dir, state, gate, [{ type, entity: { type: CASE_ENTITY, id: found.id }, data, actor: actorOf(input) }]),
  );
  input.out.result({ case: found.id, type, data });
  return found;
}

const actorOf = ({ text }: Input): string => text("actor") ?? userInfo().username;
const NOTE_OPTIONS = { data: { type: "string" }, actor: { type: "string" }, note: { type: "string" } } as const;

export const caseAssign: Command = {
  name: "case assign",
  summary: "give a case to somebody",
  usage: "tributary case assign CASE PERSON|nobody [--note TEXT] [--actor NAME] [--data DIR]",
  help: "An event like any other: who gave it to whom is in the log.",
  maxPositionals: 2,
  options: NOTE_OPTIONS,
  async run(input) {
    const person = input.positionals[1];
    if (person === undefined || person === "")
      throw new TributaryError("usage", "the person is missing", `Use: ${caseAssign.usage}`);
    const found = await note(input, caseAssign.usage, "case.assigned", () => ({ assignee: person === "nobody" ? null : person }));
    input.out.line(`Case ${found.id} is ${person === "nobody" ? "nobody's" : `${person}'s`} now.`);
    return 0;
  },
};

export const caseComment: Command = {
  name: "case comment",
  summary: "say something about a case",
  usage: "tributary case comment CASE TEXT [--actor NAME] [--data DIR]",
  help: "Kept in the log with the case.",
  maxPositionals: 2,
  options: NOTE_OPTIONS,
  async run(input) {
    const text = input.positionals[1];
    if (text === undefined || text === "") throw new TributaryError("usage", "the text is missing", `Use: ${caseComment.usage}`);
    const found = await note(input, caseComment.usage, "case.commented", () => ({ text }));
    input.out.line(`Noted on case ${found.id}.`);
    return 0;
  },
};

export const caseAccept: Command = {
  name: "case accept",
  summary: "leave a violated invariant or a fork as it is, with the reason",
  usage: "tributary case accept CASE --note WHY [--actor NAME] [--data DIR]",
  help: "For what was right after all, or cannot be undone. It holds for the case as it stands: should anything join it, it is open again.",
  maxPositionals: 1,
  options: NOTE_OPTIONS,
  async run(input) {
    input.need("note", "say why it may stay as it is");
    const found = await note(input, caseAccept.usage, "case.accepted", (row) => {
      if (row.state === "closed") throw new TributaryError("usage", `case ${row.id} is closed`, "There is nothing to accept.");
      if (row.kind === "register")
        throw new TributaryError("usage", `case ${row.id} is a conflict between values`, "Choose one: `tributary case resolve`.");
      return { mark: row.mark };
    });
    input.out.line(`Case ${found.id} stays as it is.`);
    return 0;
  },
};

export const caseResolve: Command = {
  name: "case resolve",
  summary: "decide a conflict: pick one of the values, or set another",
  usage:
    "tributary case resolve CASE | TYPE/ID REGISTER (--pick CODE|ORIGIN/SEQ | --value VALUE) [--note TEXT] [--actor NAME] [--data DIR]",
  help: `Writes an event of the hub's own origin that has seen all values standing side by side, and so takes their place. Any conflict may be decided so, also
one that a rule has decided: name the entity and its register. \`case show\` gives each value's CODE. VALUE is JSON, or plain text; for \`deleted\` it is
true or false. A value that somebody wrote meanwhile without having seen
the decision stands beside it: then the case is open again. Where only some have the say over a register, only they can decide.

  tributary case resolve 3fa2b1c09d5e --pick 7c1e --note "asked her"
  tributary case resolve beneficiary/NBO-000023 phone --value +254712000023`,
  maxPositionals: 2,
  options: { ...NOTE_OPTIONS, pick: { type: "string" }, value: { type: "string" } },
  async run(input) {
    const { positionals, text, out } = input;
    const views = await loadProjections(PROJECTIONS_DIR);
    return withHubGate(text("data"), async ({ dir, state: hub, gate }) => {
      const { projection, id, rule, held, caseId } = await withViews(text("data"), async (db) => {
        const target = await targetOf(db, positionals, entityViews(views), caseResolve.usage);
        return { ...target, held: await stateOf(db, target.projection, target.id) };
      });
      const siblings = siblingsOf(rule, held);
      const actor = actorOf(input);
      const author = { origin: `${hub.org}.${HUB_SITE}.console.x` as OriginId, actor };
      if (rule.authority !== null && !isOneOf(rule.authority, author))
        throw new TributaryError(
          "not-permitted",
          `${actor} at the hub of ${hub.org} has no say over ${projection.name}.${rule.name}`,
          `It is for ${Object.entries(rule.authority)
            .map(([kind, names]) => `${kind} ${(names as string[]).join(", ")}`)
            .join("; ")}. They decide by an event of type ${RESOLVED}.`,
        );
      const value = chosenValue(input, rule, siblings);
      const data: JsonObject = {
        ...(rule.name === DELETED ? { values: {}, deleted: value } : { values: valuesOf(rule, value) }),
        ...(caseId === null ? {} : { case: caseId }),
        ...(text("note") === undefined ? {} : { note: text("note")! }),
      };
      checkValues(projection, gate, data.values as JsonObject);
      const entity = { type: projection.entity, id };
      const { appended } = await writeAtDesk(
        dir,
        hub,
        gate,
        [{ type: RESOLVED, entity, data, actor }],
        [{ entity, seen: held.seen }],
      );
      out.result({ entity: `${entity.type}/${id}`, register: rule.name, value, event: appended[0] });
      out.line(`${entity.type}/${id}, ${rule.name}: ${wordedIn(rule.name)(value)}, decided by ${actor}.`);
      return 0;
    });
  },
};

async function targetOf(
  db: Client,
  positionals: readonly string[],
  projections: readonly Projection[],
  usage: string,
): Promise<{ readonly projection: Projection; readonly id: string; readonly rule: DecidedRule; readonly caseId: string | null }> {
  const [first, second] = positionals;
  let wanted: { view?: string; type: string; id: string; register: string; caseId: string | null };
  if (first?.includes("/") === true) {
    const entity = parseEntity(first);
    if (second === undefined) throw new TributaryError("usage", "the register is missing", `Use: ${usage}`);
    wanted = { ...entity, register: second, caseId: null };
  } else {
    refuseRegister(positionals, usage);
    const found = await findCase(db, first, usage);
    if (found.kind === "fork")
      throw new TributaryError(
        "usage",
        `case ${found.id} is a fork: there are no values to choose from`,
        "`tributary case show` tells what it is; `tributary case accept` settles it.",
      );
    if (found.kind === "invariant")
      throw new TributaryError(
        "usage",
        `case ${found.id} is a violated invariant: there are no values to choose from`,
        "Correct or cancel one of the entities by an event of its own, or `tributary case accept` it.",
      );
    if (found.state === "closed")
      throw new TributaryError("usage", `case ${found.id} is closed`, "`tributary explain` tells who decided it.");
    wanted = { view: found.view, type: found.entityType, id: found.subject, register: found.rule, caseId: found.id };
  }
  const candidates = projections.filter(({ name, entity }) =>
    wanted.view === undefined ? entity === wanted.type : name === wanted.view,
  );
  const ruleIn = ({ registers }: Projection): RegisterRule | undefined =>
    registers.get(wanted.register) ?? [...registers.values()].find(({ columns }) => columns.includes(wanted.register));
  // Of several views of an entity, the first that has the register.
  const projection = candidates.find((view) => ruleIn(view) !== undefined);
  const rule = projection === undefined ? undefined : ruleIn(projection);
  if (projection === undefined || rule === undefined)
    throw new TributaryError(
      "not-found",
      candidates.length === 0
        ? `no view is of entities of type ${wanted.type}`
        : `${candidates.map(({ name }) => name).join(" and ")} has no register ${wanted.register}`,
      candidates.length === 0
        ? "Check the spelling."
        : `There are: ${[...new Set(candidates.flatMap(({ registers }) => [...registers.keys()]))].join(", ")}.`,
    );
  if (rule.kind === "merged")
    throw new TributaryError(
      "usage",
      `${rule.name} merges by itself: there is never a conflict to decide`,
      "Write an ordinary event to change it.",
    );
  return { projection, id: wanted.id, rule, caseId: wanted.caseId };
}

async function stateOf(db: Client, { name }: Projection, id: string): Promise<EntityState> {
  const { rows: tables } = await db.query<{ table: string | null }>("SELECT to_regclass($1) AS table", [`views."${name}"`]);
  if (tables[0]?.table == null)
    throw new TributaryError("not-found", `view ${name} has not been built`, `\`tributary rebuild ${name}\` builds it.`);
  const { rows } = await db.query<{ state: string }>(`SELECT state FROM views."${name}" WHERE id = $1`, [id]);
  if (rows[0] === undefined)
    throw new TributaryError("not-found", `${name} has no row ${id}`, "Check the spelling, and whether the site has synced.");
  return unpackState(rows[0].state);
}

/** The value that the options choose. */
function chosenValue({ text }: Input, rule: DecidedRule, siblings: readonly Sibling[]): JsonValue {
  const [pick, given] = [text("pick"), text("value")];
  if ((pick === undefined) === (given === undefined))
    throw new TributaryError("usage", "either --pick or --value says what is decided", `Use: ${caseResolve.usage}`);
  if (pick !== undefined) {
    if (siblings.length === 0)
      throw new TributaryError("usage", `nobody has written ${rule.name}: there is nothing to pick`, "Set it with --value.");
    return picked(pick, siblings.map(choiceOf)).value;
  }
  return rule.name === DELETED
    ? asPresence(given!)
    : isAlone(rule)
      ? asJson(given!, given!)
      : asMembers(rule, asJson(given!, null, rule));
}

function asJson(text: string, otherwise: string | null, rule?: DecidedRule): JsonValue {
  try {
    return JSON.parse(text) as JsonValue;
  } catch {
    if (otherwise === null) throw notMembers(rule!);
    return otherwise;
  }
}

function asPresence(text: string): boolean {
  if (text === "true" || text === "false") return text === "true";
  throw new TributaryError(
    "usage",
    `--value ${text} does not say whether it is ${DELETED}`,
    "Say --value true (gone) or --value false (there).",
  );
}

/** Whether a register is one column of its own name. */
const isAlone = ({ name, columns }: DecidedRule): boolean => columns.length === 1 && columns[0] === name;

const notMembers = ({ name, columns }: DecidedRule): TributaryError =>
  new TributaryError(
    "usage",
    `--value for ${name} is a JSON object of ${columns.join(", ")}, or null`,
    `For example: --value '${JSON.stringify(Object.fromEntries(columns.map((column) => [column, null])))}'.`,
  );

/** The values of columns that change together: all of them, and no others. */
function asMembers(rule: DecidedRule, value: JsonValue): JsonObject {
  const { name, columns } = rule;
  if (value === null) return Object.fromEntries(columns.map((column) => [column, null]));
  if (!isJsonObject(value)) throw notMembers(rule);
  const missing = columns.filter((column) => !Object.hasOwn(value, column));
  if (missing.length > 0)
    throw new TributaryError(
      "usage",
      `--value for ${name} leaves out ${missing.join(", ")}`,
      "These columns change together: name them all, null for what is to be empty.",
    );
  const foreign = Object.keys(value).filter((column) => !columns.includes(column));
  if (foreign.length > 0)
    throw new TributaryError(
      "usage",
      `${foreign.join(", ")} is not in ${name}`,
      `It has: ${columns.join(", ")}. Decide other registers one by one.`,
    );
  return value;
}

const valuesOf = (rule: DecidedRule, value: JsonValue): JsonObject =>
  isAlone(rule) ? { [rule.name]: value } : asMembers(rule, value);

/** Holds a decided value to what its column and the schemas that write the field allow. */
function checkValues({ name, entity, columns }: Projection, gate: Gate, values: JsonObject): void {
  for (const [column, value] of Object.entries(values)) {
    const declared = Object.hasOwn(columns, column) ? columns[column]! : null;
    if (declared === null) throw new TributaryError("usage", `${name} has no column ${column}`, "Name its columns in --value.");
    if (value !== null && !declared.fits(value))
      throw new TributaryError(
        "event-invalid",
        `${shown(value)} does not fit ${name}.${column}, ${columnWords(declared)}`,
        declared.type === "text"
          ? `Where it is a text, quote it: --value '${JSON.stringify(String(value))}'.`
          : "Correct the value.",
      );
    const wrong = value === null ? null : gate.checkField(entity, column, value);
    if (wrong !== null)
      throw new TributaryError(
        "event-invalid",
        wrong.message,
        `The forms of a ${entity} say what each field may be: \`tributary schema list\`.`,
      );
  }
}
