import { type JsonValue, TributaryError } from "../core/index.ts";
import type { Field } from "../field/index.ts";
import type { Columns, Projection } from "../merge/engine.ts";
import { type Command, ROW_COUNT } from "./args.ts";
import { NATS_OPTIONS } from "./broker.ts";
import { COMMON, DB_HELP, HUB, hubOf, natsGiven, openWithViews, tellProgress, tokenFor } from "./commands-field.ts";
import { entityIn, entityNamed } from "./entities.ts";
import { whereOf } from "./field-where.ts";
import { type Cell, type Output, table } from "./output.ts";
import { tellPulled } from "./replica-words.ts";
import { storyLines } from "./story.ts";

const VIEWS = { ...COMMON, projections: { type: "string" } } as const;
const FOLDERS_HELP = "--projections names the folder of the views that the device folds (default: the project's).";

export const fieldPull: Command = {
  name: "field pull",
  summary: "bring what the hub has for this device",
  usage:
    "tributary field pull --hub URL [--token TOKEN|@file] [--tries N] [--schemas DIR] [--projections DIR] [--db FILE] [--nats-creds FILE] [--nats-nkey FILE] [--nats-ca FILE] [--nats-cert FILE --nats-key FILE]",
  help: `The hub's policies say which entities a site holds (\`tributary policy preview --as SITE\`). The device asks for what it lacks, checks it against the hashes and the hub's signature, and
folds it into the same views as the hub's, which it shows offline (\`field view\`). What has left its buckets is deleted here, and the device says so to the hub at the next sync. \`field sync\`
does the same after it has sent. An interrupted pull resumes. ${FOLDERS_HELP} ${DB_HELP}

  tributary field pull --hub https://hub.example.org`,
  maxPositionals: 0,
  options: { ...VIEWS, ...HUB, token: { type: "string" }, tries: { type: "string" }, ...NATS_OPTIONS },
  async run(input) {
    const { out } = input;
    const url = hubOf(input, fieldPull.usage);
    using field = await openWithViews(input);
    const isPatient = input.text("tries") !== undefined;
    const token = tokenFor(field, input);
    const result = await field.pull({
      url,
      ...(token === undefined ? {} : { token }),
      ...natsGiven(url, input),
      failFast: !isPatient,
      ...(isPatient ? { maxTries: input.number("tries", 10, { least: 1, most: 1_000_000 }) } : {}),
      onProgress: (progress) => tellProgress(out, progress),
    });
    if (process.stderr.isTTY) out.progress("");
    out.result({ ...result, status: field.status() });
    tellPulled(out, result);
    return 0;
  },
};

const cellOf = (value: unknown): Cell => (value !== null && typeof value === "object" ? JSON.stringify(value) : (value as Cell));

/** `district` or `district:desc`. */
function orderOf(text: string): { readonly column: string; readonly descending: boolean } {
  const [column = "", how = "asc", ...rest] = text.split(":");
  if (rest.length === 0 && (how === "asc" || how === "desc")) return { column, descending: how === "desc" };
  throw new TributaryError("usage", `--order ${JSON.stringify(text)} is not an order`, "Write COLUMN, or COLUMN:desc.");
}

const DEFAULT_ROWS = 50;

/** All columns that a view's declaration names. */
const columnsIn = ({ columns, derived }: Projection): Columns => ({
  ...columns,
  ...Object.fromEntries(Object.entries(derived).map(([name, { column }]) => [name, column])),
});

export const fieldView: Command = {
  name: "field view",
  summary: "show a view's rows on a device, offline",
  usage:
    "tributary field view VIEW [--where CONDITION]… [--order COLUMN[:desc]]… [--limit N] [--after ID] [--schemas DIR] [--projections DIR] [--db FILE]",
  help: `Shows what this device holds: what the hub has sent it, with its own events on top. Without a VIEW it lists the views. After a view's own columns come conflicts (how many of its
registers are contested) and _own: pending (the hub has not confirmed what this device wrote), confirmed, quarantined, or nothing (this device wrote none of it).
Deleted rows are left out; --where deleted=true shows them. A value that this device may not see stands as "withheld"; no condition on it holds.

--where takes COLUMN, one of = != > >= < <= ^= (begins with), and a VALUE, which is empty for rows without one; where it stands more than once, all conditions hold.
--limit is ${DEFAULT_ROWS} by default; --after ID goes on after a row that has been shown. ${FOLDERS_HELP} ${DB_HELP}

  tributary field view beneficiaries --where district=Kampala --order family_name --limit 20`,
  maxPositionals: 1,
  options: {
    ...VIEWS,
    where: { type: "string", multiple: true },
    order: { type: "string", multiple: true },
    limit: { type: "string" },
    after: { type: "string" },
  },
  async run(input) {
    const { positionals, text, list, number, out } = input;
    const [name] = positionals;
    using field = await openWithViews(input);
    if (name === undefined) {
      const names = field.views().map((view) => view.name);
      out.result({ views: names });
      out.line(names.join("\n"));
      return 0;
    }
    const shown = field.views().find((view) => view.name === name);
    const after = text("after");
    const limit = number("limit", DEFAULT_ROWS, ROW_COUNT);
    const found = field.query(name, {
      where: whereOf(list("where"), shown === undefined ? {} : columnsIn(shown)),
      order: list("order").map(orderOf),
      limit: limit + 1,
      ...(after === undefined ? {} : { after }),
    });
    const rows = found.slice(0, limit);
    const more = found.length > limit;
    const next = more ? (rows.at(-1)?.id ?? null) : null;
    out.result({ view: name, limit, rows, more, next });
    tellRows(out, rows);
    if (next !== null) out.notice(`There are more: --after ${JSON.stringify(next)} shows the next.`);
    return 0;
  },
};

/** Facts that are shown only where a row has something to say. */
/** A row's value, or that it is withheld. */
const shownIn = (row: Readonly<Record<string, JsonValue>>, name: string): Cell =>
  Array.isArray(row._withheld) && row._withheld.includes(name) ? "withheld" : cellOf(row[name]);

const QUIET: readonly string[] = ["deleted", "_problem", "_olderRules", "_withheld"];
const isQuiet = (value: JsonValue | undefined): boolean =>
  value === null || value === undefined || value === false || (Array.isArray(value) && value.length === 0);

function tellRows(out: Output, rows: readonly Readonly<Record<string, JsonValue>>[]): void {
  const [first] = rows;
  if (first === undefined) {
    out.line("There are no such rows on this device.");
    return;
  }
  // The cells say which columns are withheld.
  const says = (name: string): boolean =>
    rows.some((row) => !isQuiet(row[name]) || (name === "deleted" && shownIn(row, name) === "withheld"));
  const shown = Object.keys(first).filter((name) => !QUIET.includes(name) || (name !== "_withheld" && says(name)));
  out.line(
    table(
      shown,
      rows.map((row) => shown.map((name) => shownIn(row, name))),
    ),
  );
}

export const fieldExplain: Command = {
  name: "field explain",
  summary: "explain offline how an entity's row, or one field of it, got its value",
  usage:
    "tributary field explain TYPE ID [FIELD] | TYPE/ID [FIELD] [--view NAME] [--schemas DIR] [--projections DIR] [--db FILE]",
  help: `Shows for each field who wrote which value, what they had seen, which values stood beside it, which rule decided and why, and which losing values were kept: as \`tributary explain\` does at
the hub, from what this device holds. ${FOLDERS_HELP} ${DB_HELP}

  tributary field explain beneficiary NBO-000023 household_size`,
  maxPositionals: 3,
  options: { ...VIEWS, view: { type: "string" } },
  async run(input) {
    const { entity, rest } = entityIn(input.positionals, fieldExplain.usage, 1);
    const [field, view] = [rest[0], input.text("view")];
    using device = await openWithViews(input);
    const told = device.explain(entityNamed(entity), {
      ...(view === undefined ? {} : { view }),
      ...(field === undefined ? {} : { field }),
    });
    input.out.result({ entity, views: told });
    input.out.line(told.map(explainedText).join("\n\n"));
    return 0;
  },
};

const explainedText = ({
  entity,
  view,
  deleted,
  hasEvents,
  olderRules,
  unfolded,
  registers,
}: ReturnType<Field["explain"]>[number]): string =>
  [
    `${entity} in ${view}${deleted ? ", deleted" : ""}${olderRules ? "\n(told by this device's rules; the hub's are others)" : ""}`,
    ...(hasEvents ? [] : ["Only its present state is on this device, without the events that it came from."]),
    ...unfolded.map(({ event, type, error }) => `${event} (${type}) could not be folded: ${error}`),
    ...registers.map((register) => storyLines(register).join("\n")),
  ].join("\n\n");

export const fieldConflicts: Command = {
  name: "field conflicts",
  summary: "list offline what waits for a person to decide",
  usage: "tributary field conflicts [VIEW] [--schemas DIR] [--projections DIR] [--db FILE]",
  help: `Lists each contested value on this device that a rule leaves to people: what is shown meanwhile, and what stands beside it. ${FOLDERS_HELP} ${DB_HELP}`,
  maxPositionals: 1,
  options: VIEWS,
  async run(input) {
    using field = await openWithViews(input);
    const [view] = input.positionals;
    const open = field.conflicts(view);
    input.out.result({ conflicts: open });
    input.out.line(
      open.length === 0
        ? "Nothing waits for a person on this device."
        : table(
            ["entity", "view", "field", "shown", "beside it", "rule"],
            open.map((each) => [
              each.entity,
              each.view,
              each.register,
              cellOf(each.value),
              each.losers.map(({ value }) => JSON.stringify(value)).join(", "),
              each.rule,
            ]),
          ),
    );
    return 0;
  },
};
