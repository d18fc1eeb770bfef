import { TributaryError } from "../core/index.ts";
import { type AsOf, type Db, type RowsQuestion, rows, viewNames } from "../views/index.ts";
import type { Command, Input } from "./args.ts";
import { type Cell, shown, table } from "./output.ts";
import { positionAsked } from "./positions.ts";
import { withViews } from "./with-views.ts";

const DEFAULT_ROWS = 50;

export const view: Command = {
  name: "view",
  summary: "show a view's rows",
  usage:
    "tributary view NAME [--id ID] [--where COLUMN=VALUE] [--as-of [INCARNATION:]POSITION | --at TIME] [--limit N] [--data DIR]",
  help: `Views are declared in projections/. Without a name, the command lists them. After a view's own columns come deleted, conflicts (how many of its
registers are contested) and waiting_for (events that have not arrived yet).

--as-of shows the rows as the hub knew them when the log ended at that position; --at, as it knew them at that time. The rows are read from their kept
versions, as today's rules made them.

  tributary view beneficiaries --where status=idp --limit 20
  tributary view beneficiaries --at 2026-05-03T12:00Z`,
  maxPositionals: 1,
  options: {
    data: { type: "string" },
    id: { type: "string" },
    where: { type: "string" },
    limit: { type: "string" },
    "as-of": { type: "string" },
    at: { type: "string" },
  },
  async run(input) {
    const { positionals, text, out } = input;
    const [name] = positionals;
    return withViews(text("data"), async (db) => {
      if (name === undefined) {
        const names = await viewNames(db);
        out.result(names);
        out.line(names.join("\n"));
        return 0;
      }
      const found = await rows(db, await questionOf(db, name, input));
      out.result({ view: name, total: found.total, rows: found.rows });
      out.line(
        table(
          found.columns,
          found.rows.map((row) => found.columns.map((column) => cellOf(row[column]))),
        ),
      );
      out.line(`\n${found.rows.length} of ${found.total} rows.`);
      return 0;
    });
  },
};

async function questionOf(db: Db, name: string, { text, number }: Input): Promise<RowsQuestion> {
  const [id, where] = [text("id"), text("where")];
  const asOf = await momentAsked(db, text("as-of"), text("at"));
  return {
    view: name,
    ...(id === undefined ? {} : { id }),
    ...(where === undefined ? {} : { where: conditionOf(where) }),
    ...(asOf === undefined ? {} : { asOf }),
    page: { limit: number("limit", DEFAULT_ROWS) },
  };
}

function conditionOf(where: string): { readonly column: string; readonly value: string } {
  const [, column, value] = /^([a-z0-9_]+)=(.*)$/s.exec(where) ?? [];
  if (column !== undefined && value !== undefined) return { column, value };
  throw new TributaryError("usage", `--where ${shown(where)} is not a condition`, "Write COLUMN=VALUE.");
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

const cellOf = (value: unknown): Cell =>
  value === null || value === undefined
    ? null
    : typeof value === "object"
      ? JSON.stringify(value)
      : (value as string | number | boolean);
