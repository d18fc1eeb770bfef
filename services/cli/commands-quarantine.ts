import { userInfo } from "node:os";
import { type EntityRef, type JsonObject, type SchemaRef, TributaryError } from "../core/index.ts";
import {
  correct,
  correctable,
  type Desk,
  examine,
  nameOf,
  parsedObject,
  type ReleaseRequest,
  reject,
  release,
  type Which,
} from "../desk/index.ts";
import { type QuarantineFilter, quarantine, quarantineRates as rates } from "../views/index.ts";
import { type Command, DAY_COUNT, type Input } from "./args.ts";
import { refOf } from "./commands-schema.ts";
import { withDesk } from "./desk.ts";
import { readText } from "./files.ts";
import { table } from "./output.ts";
import { changesOf } from "./set-values.ts";
import { withViews } from "./with-views.ts";

const STATES = ["held", "released", "rejected", "all"] as const;
const FILTERS = { site: { type: "string" }, code: { type: "string" }, schema: { type: "string" } } as const;
const FILTER_HELP = "--site, --code and --schema (SUBJECT or SUBJECT@VERSION) select some of them.";

function filterOf({ text }: Input): Omit<QuarantineFilter, "state"> {
  const [site, code, schema] = [text("site"), text("code"), text("schema")];
  const { subject, version } =
    schema === undefined ? { subject: null, version: null } : refOf(schema, "--schema SUBJECT or --schema SUBJECT@VERSION");
  return {
    ...(site === undefined ? {} : { site }),
    ...(code === undefined ? {} : { code }),
    ...(subject === null ? {} : { subject }),
    ...(version === null ? {} : { version }),
  };
}

/** Which events are meant: the named ones, or with `--all` those that the filters choose. */
function whichOf(input: Input, usage: string): Which {
  if (input.flag("all")) {
    if (input.positionals.length > 0)
      throw new TributaryError("usage", "--all and names of events do not go together", `Use: ${usage}`);
    return { filter: filterOf(input) };
  }
  if (input.positionals.length === 0) throw new TributaryError("usage", "no event is named", `Use: ${usage}`);
  return { names: input.positionals };
}

export const quarantineList: Command = {
  name: "quarantine list",
  summary: "list events that the gate held back",
  usage:
    "tributary quarantine list [--state held|released|rejected|all] [--site NAME] [--code CODE] [--schema SUBJECT[@VERSION]] [--data DIR]",
  help: `Quarantined events are in the log at their seq, with their raw data and the reason. Nothing is lost, and nothing waits for them. Without --state the command
lists those that are still held. ${FILTER_HELP}`,
  maxPositionals: 0,
  options: { data: { type: "string" }, state: { type: "string" }, ...FILTERS },
  async run(input) {
    const given = input.text("state") ?? "held";
    const state = STATES.find((each) => each === given);
    if (state === undefined)
      throw new TributaryError("usage", `there is no state ${given}`, "The states are held, released, rejected and all.");
    const filter = { ...filterOf(input), ...(state === "all" ? {} : { state }) };
    const rows = await withViews(input.text("data"), (db) => quarantine(db, filter));
    input.out.result(rows);
    input.out.line(
      rows.length === 0
        ? state === "held"
          ? "Nothing is quarantined."
          : `Nothing is ${state}.`
        : table(
            ["event", "entity", "type", "schema", "state", "reason"],
            rows.map((r) => [nameOf(r), r.entity, r.type, r.schema, r.state, r.reason]),
          ),
    );
    return 0;
  },
};

export const quarantineShow: Command = {
  name: "quarantine show",
  summary: "show a quarantined event: its raw data, and all that is wrong with it",
  usage: "tributary quarantine show ORIGIN/SEQ [--data DIR]",
  help: `Decodes the data as far as possible and checks it against the present schemas. An event that was wrong when it arrived may fit by now.

  tributary quarantine show relief.juba.tablet-1.k3x9/17`,
  maxPositionals: 1,
  options: { data: { type: "string" } },
  async run({ positionals, text, out }) {
    const [name] = positionals;
    if (name === undefined) throw new TributaryError("usage", "the event is missing", `Use: ${quarantineShow.usage}`);
    const { event: row, data, schema, problems } = await withDesk(text("data"), (desk) => examine(desk, name));
    out.result({ ...row, data, checkedWith: `${schema.subject}@${schema.version}`, problems });
    out.line(`${row.entity} (${row.type}, schema ${row.schema}) by ${row.actor} at ${row.site}, recorded ${row.recordedAt}`);
    out.line(`  held because: ${row.reason}${row.path === null ? "" : ` (at ${row.path})`}`);
    if (row.state !== "held")
      out.line(`  ${row.state} by ${row.settledBy} on ${row.settledAt}${row.settledNote === null ? "" : `: ${row.settledNote}`}`);
    if (data === null) out.line("  its data are not a JSON object, and are shown as they came:");
    else {
      const wrong = new Map(problems.map((problem) => [problem.path?.split("/")[1] ?? "", problem.message]));
      out.line("");
      out.line(
        table(
          ["field", "value", "now"],
          Object.entries(data).map(([field, value]) => [field, JSON.stringify(value), wrong.get(field) ?? "fits"]),
          "  ",
        ),
      );
      for (const { path, message } of problems) if (path === null || !(path.split("/")[1]! in data)) out.line(`  ${message}`);
    }
    out.line(`\n  raw: ${row.raw}`);
    if (row.state === "held" && problems.length === 0)
      out.line(`\nIt fits ${schema.subject}@${schema.version} now: \`tributary quarantine release ${nameOf(row)}\`.`);
    return 0;
  },
};

export const quarantineRelease: Command = {
  name: "quarantine release",
  summary: "release quarantined events, as they are or corrected; correct parked entities",
  usage: `tributary quarantine release ORIGIN/SEQ… | --all [--site NAME] [--code CODE] [--schema SUBJECT[@VERSION]]
      [--set FIELD=VALUE]… [--with JSON|@FILE] [--as SUBJECT@VERSION] [--note TEXT] [--actor NAME] [--dry-run] [--data DIR]`,
  help: `Changes each event by --set (one or more fields) or --with (all of its data), then checks it against the present schemas and views. An event of the hub's own
origin releases what fits; the views then count the released event as its author wrote it, at its own time. What still does not fit stays in quarantine, and
the command says why. The log keeps the event as it came, and who released it with which data. --as checks and reads it with another version.
You can also name a parked entity, or its event, as \`tributary parked list\` prints it. Then --set is written as a correction by the hub: an ordinary event about
the entity, with all that is known of the entity as its basis. Each view then folds the entity again, with the correction.
${FILTER_HELP}

  tributary quarantine release relief.juba.tablet-1.k3x9/17 --set birth_date=2019-02-28 --note "typing error, asked the family"
  tributary quarantine release --all --code schema-unknown --schema beneficiary@3`,
  options: {
    data: { type: "string" },
    all: { type: "boolean" },
    set: { type: "string", multiple: true },
    with: { type: "string" },
    as: { type: "string" },
    note: { type: "string" },
    actor: { type: "string" },
    "dry-run": { type: "boolean" },
    ...FILTERS,
  },
  async run(input) {
    const { text, out } = input;
    const request = {
      changes: changesOf(input.list("set")),
      replacement: replacementOf(text("with")),
      dryRun: input.flag("dry-run"),
      actor: text("actor") ?? userInfo().username,
      ...noteOf(input),
      ...schemaOf(text("as")),
    };
    return withDesk(text("data"), async (desk) => {
      const parked = input.flag("all") ? [] : await correctable(desk, input.positionals);
      if (parked.length > 0) return correctThem(desk, parked, request, input);
      const which = whichOf(input, quarantineRelease.usage);
      const { released, held, dryRun } = await release(desk, { ...request, which });
      out.result({ released, held, dryRun });
      out.line(`${dryRun ? "Would release" : "Released"} ${released.length}; ${held.length} stay in quarantine.`);
      for (const { event, problem } of held) out.line(`  ${event}: ${problem}`);
      return held.length > 0 && released.length === 0 ? 3 : 0;
    });
  },
};

/** Corrects parked entities by what `--set` and `--with` say. */
async function correctThem(
  desk: Desk,
  entities: readonly EntityRef[],
  { changes, replacement, ...by }: Omit<ReleaseRequest, "which">,
  { text, out }: Input,
): Promise<number> {
  if (text("as") !== undefined)
    throw new TributaryError(
      "usage",
      "--as is for events in quarantine",
      "Leave out --as: a correction is checked against the entity's own schemas.",
    );
  const values = Object.fromEntries([...Object.entries(replacement ?? {}), ...changes]);
  const names = await correct(desk, { entities, values, ...by });
  out.result({ released: names, corrected: names, held: [], dryRun: by.dryRun });
  out.line(
    `${by.dryRun ? "Would correct" : "Corrected"} ${names.join(", ")}: ${Object.keys(values).join(", ")}. The views fold this again; in a moment \`tributary parked list\` shows whether it fits.`,
  );
  return 0;
}

function replacementOf(given: string | undefined): JsonObject | null {
  if (given === undefined) return null;
  const replacement = parsedObject(given.startsWith("@") ? readText(given.slice(1)) : given);
  if (replacement !== null) return replacement;
  throw new TributaryError("input-malformed", "--with is not a JSON object", 'Write it like {"phone": "+211912345678"}.');
}

function schemaOf(given: string | undefined): { readonly schema?: SchemaRef } {
  if (given === undefined) return {};
  const [, subject, version] = /^(.+)@(\d{1,9})$/.exec(given) ?? [];
  if (subject === undefined) throw new TributaryError("usage", "--as does not name a schema", "Write SUBJECT@VERSION.");
  return { schema: { subject, version: Number(version) } };
}

function noteOf({ text }: Input): { readonly note?: string } {
  const note = text("note");
  return note === undefined ? {} : { note };
}

export const quarantineReject: Command = {
  name: "quarantine reject",
  summary: "reject quarantined events for good, with a reason",
  usage:
    "tributary quarantine reject ORIGIN/SEQ… | --all [--site NAME] [--code CODE] [--schema SUBJECT[@VERSION]] --reason TEXT [--actor NAME] [--data DIR]",
  help: `Rejected events stay in the log and in the audit, with the reason and who gave it. No view ever counts them. ${FILTER_HELP}

  tributary quarantine reject relief.juba.tablet-1.k3x9/18 --reason "a test by the trainer"`,
  options: {
    data: { type: "string" },
    all: { type: "boolean" },
    reason: { type: "string" },
    actor: { type: "string" },
    ...FILTERS,
  },
  async run(input) {
    const { text, out } = input;
    const reason = input.need("reason", "why they are rejected");
    const which = whichOf(input, quarantineReject.usage);
    const actor = text("actor") ?? userInfo().username;
    const rejected = await withDesk(text("data"), (desk) => reject(desk, { which, reason, actor }));
    out.result({ rejected, reason });
    out.line(`Rejected ${rejected.length}.`);
    return 0;
  },
};

export const quarantineRates: Command = {
  name: "quarantine rates",
  summary: "show how much of each site's and schema's data is held back",
  usage: "tributary quarantine rates [--days N] [--data DIR]",
  help: "If the rate of a site or schema is high, call the site: its app may be out of date, or people may misunderstand a question. --days counts only what was recorded in the last N days.",
  maxPositionals: 0,
  options: { data: { type: "string" }, days: { type: "string" } },
  async run({ text, number, out }) {
    const days = text("days") === undefined ? null : number("days", 0, DAY_COUNT);
    const rows = await withViews(text("data"), (db) => rates(db, days));
    out.result(rows);
    out.line(
      table(
        ["site", "schema", "events", "quarantined", "of these held", "%"],
        rows.map((r) => [r.site, r.schema, r.events, r.quarantined, r.held, r.percent]),
      ),
    );
    return 0;
  },
};
