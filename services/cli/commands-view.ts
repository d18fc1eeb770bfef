import { TributaryError } from "../core/index.ts";
import { type AsOf, type Db, type FoundRows, positionAsked, type RowsQuestion, viewNames, withRows } from "../views/index.ts";
import { type Command, type Input, ROW_COUNT } from "./args.ts";
import { counted } from "./output.ts";
import { asCsv, asJson, asTable } from "./row-writers.ts";
import { withViews } from "./with-views.ts";

const DEFAULT_ROWS = 50;

export const view: Command = {
  name: "view",
  summary: "show a view's rows",
  usage:
    "tributary view NAME [--id ID] [--where CONDITION]… [--columns NAME,…] [--sort COLUMN[:desc]] [--csv] [--limit N] [--after ID] [--as-of [INCARNATION:]POSITION | --at TIME] [--data DIR]",
  help: `Views are declared in projections/. Without a name, the command lists them. After a view's own columns come deleted, conflicts (how many of its
registers are contested) and waiting_for (events that have not arrived yet).

--where takes COLUMN, an operator and a VALUE; where it stands more than once, all conditions hold. Write it in quotes, because < and > mean something else to a shell.
  =  !=          equal, not equal (a row without a value is not equal to any VALUE); without a VALUE: empty, not empty
  >  >=  <  <=   numbers, days and times by their order, texts by their letters. A day that is compared with times means the whole day in UTC
  ~              contains; small and capital letters A to Z count as the same
--columns chooses columns, and their order. --sort orders rows by a column, the least first (with :desc the greatest); rows without a value come last.
--limit is ${DEFAULT_ROWS} by default, with --csv all rows. --after ID continues after a row that has been shown. With --json: limit, total, more (whether there are others) and next (the ID for --after).
--csv writes a header and a line for each row (RFC 4180): no value is an empty cell, an empty text is "".

--as-of shows the rows as the hub knew them when the log ended at that position; --at, as it knew them at that time. The rows are read from their kept
versions, as today's rules made them.

  tributary view beneficiaries --where status=idp --where 'household_size>=5' --sort household_size:desc
  tributary view beneficiaries --columns id,given_name,village --csv > people.csv
  tributary view beneficiaries --at 2026-05-03T12:00Z`,
  maxPositionals: 1,
  options: {
    data: { type: "string" },
    id: { type: "string" },
    where: { type: "string", multiple: true },
    columns: { type: "string" },
    sort: { type: "string" },
    csv: { type: "boolean" },
    limit: { type: "string" },
    after: { type: "string" },
    "as-of": { type: "string" },
    at: { type: "string" },
  },
  async run(input) {
    const { positionals, text, flag, out } = input;
    const [name] = positionals;
    if (flag("csv") && out.json)
      throw new TributaryError("usage", "--csv and --json do not go together", "Leave one of them out.");
    if (name === undefined) mustAskNothing(input);
    const limit =
      text("limit") === undefined ? (flag("csv") ? null : DEFAULT_ROWS) : input.number("limit", DEFAULT_ROWS, ROW_COUNT);
    return withViews(text("data"), async (db) => {
      if (name === undefined) {
        const names = await viewNames(db);
        out.result(names);
        out.line(names.join("\n"));
        return 0;
      }
      return withRows(db, await questionOf(db, name, limit, input), async (found) => {
        if (out.json) {
          await asJson(limit)(found, out);
          return 0;
        }
        const last = await (flag("csv") ? asCsv : asTable)(found, out);
        if (!flag("csv")) out.line(`\n${found.shown} of ${counted(found.total, "row")}.`);
        if (found.hasMore) out.notice(moreWords(found, last));
        return 0;
      });
    });
  },
};

/** How to see the rows that were left out. */
const moreWords = ({ total }: FoundRows, last: string | null): string =>
  last === null
    ? `There are more: --limit ${total} shows all.`
    : `There are more: --after ${JSON.stringify(last)} shows the next, --limit ${total} shows all.`;

/** Throws `usage` where rows are asked for and no view is named. */
function mustAskNothing({ text, list, flag }: Input): void {
  const given = ["id", "columns", "sort", "limit", "after", "as-of", "at"].find((option) => text(option) !== undefined);
  const option = given ?? (list("where").length > 0 ? "where" : flag("csv") ? "csv" : undefined);
  if (option !== undefined)
    throw new TributaryError("usage", `--${option} is about a view's rows, and no view is named`, `Use: ${view.usage}`);
}

async function questionOf(db: Db, name: string, limit: number | null, { text, list }: Input): Promise<RowsQuestion> {
  const [id, after, columns, sort] = [text("id"), text("after"), text("columns"), text("sort")];
  const asOf = await momentAsked(db, text("as-of"), text("at"));
  return {
    view: name,
    ...(id === undefined ? {} : { id }),
    where: list("where"),
    ...(columns === undefined ? {} : { columns }),
    ...(sort === undefined ? {} : { sort }),
    ...(asOf === undefined ? {} : { asOf }),
    page: { ...(limit === null ? {} : { limit }), ...(after === undefined ? {} : { after }) },
  };
}

async function momentAsked(db: Db, position: string | undefined, time: string | undefined): Promise<AsOf | undefined> {
  if (position !== undefined && time !== undefined)
    throw new TributaryError("usage", "--as-of and --at do not go together", `Use: ${view.usage}`);
  if (position !== undefined) return { position: await positionAsked(db, position) };
  if (time === undefined) return undefined;
  const ms = Date.parse(time);
  if (Number.isNaN(ms)) throw new TributaryError("usage", `--at ${time} is not a time`, "Write it like 2026-05-03T12:00Z.");
  return { time: new Date(ms).toISOString() };
}
