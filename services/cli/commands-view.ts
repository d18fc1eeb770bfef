import type { Client } from "pg";
import { TributaryError } from "../core/index.ts";
import type { Command } from "./args.ts";
import { shown, table } from "./output.ts";
import { positionAsked } from "./positions.ts";
import { withViews } from "./with-views.ts";

const DEFAULT_ROWS = 50;
const SYSTEM = new Set(["state", "first_position", "last_position"]);
/** Columns that a row's kept past does not have. */
const PRESENT_ONLY = new Set(["conflicts", "waiting_for"]);

export const view: Command = {
  name: "view",
  summary: "show a view's rows",
  usage:
    "tributary view NAME [--id ID] [--where COLUMN=VALUE] [--as-of [INCARNATION:]POSITION | --at TIME] [--limit N] [--data DIR]",
  help: `Views are declared in projections/. Without a name: the list of them. Columns after the declared ones: deleted, conflicts (how
many of its registers are contested), waiting_for (events that have not come yet).

With --as-of or --at: the rows as the hub knew them when the log ended at that position, or had recorded what it had at that time; rows of the present
rules, from their kept past.

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
  async run({ positionals, text, number, out }) {
    return withViews(text("data"), async (db) => {
      const known = (await db.query<{ name: string }>("SELECT name FROM tributary.view ORDER BY name")).rows.map(
        ({ name }) => name,
      );
      const [name] = positionals;
      if (name === undefined) {
        out.result(known);
        out.line(known.join("\n"));
        return 0;
      }
      if (!known.includes(name))
        throw new TributaryError("not-found", `there is no view ${name}`, `There are: ${known.join(", ")}.`);
      const described = (
        await db.query<{ column_name: string; data_type: string }>(
          "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'views' AND table_name = $1 ORDER BY ordinal_position",
          [name],
        )
      ).rows;
      const columns = described.map(({ column_name }) => column_name);
      // The driver gives such numbers as texts.
      const isWide = new Set(
        described.filter(({ data_type }) => data_type === "bigint" || data_type === "numeric").map((c) => c.column_name),
      );
      const conditions: string[] = [];
      const values: unknown[] = [];
      const past = await pastOf(db, name, text("as-of"), text("at"));
      const source = past === null ? `views."${name}"` : past.sql;
      if (past !== null) values.push(past.moment);
      const id = text("id");
      if (id !== undefined) conditions.push(`id = $${values.push(id)}`);
      const where = text("where");
      if (where !== undefined) {
        const [, column, value] = /^([a-z0-9_]+)=(.*)$/s.exec(where) ?? [];
        if (column === undefined || !columns.includes(column)) {
          throw new TributaryError(
            "usage",
            `--where ${shown(where)} names no column of ${name}`,
            `Write COLUMN=VALUE; columns are ${columns.join(", ")}.`,
          );
        }
        conditions.push(`"${column}"::text = $${values.push(value)}`);
      }
      const shownColumns = columns.filter((column) => !SYSTEM.has(column) && !(past !== null && PRESENT_ONLY.has(column)));
      const { rows } = await db.query<Record<string, unknown>>(
        `SELECT ${shownColumns.map((column) => (isWide.has(column) ? `"${column}"::float8 AS "${column}"` : `"${column}"`)).join(", ")} FROM (SELECT * FROM ${source} t
           ${conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`} ORDER BY id LIMIT ${number("limit", DEFAULT_ROWS)}) v`,
        values,
      );
      const { rows: counted } = await db.query<{ count: string }>(
        `SELECT count(*) FROM ${source} t ${conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`}`,
        values,
      );
      const plain = rows.map((row) =>
        Object.fromEntries(Object.entries(row).map(([key, value]) => [key, value instanceof Date ? dayOf(value) : value])),
      );
      out.result({ view: name, total: Number(counted[0]!.count), rows: plain });
      out.line(
        table(
          shownColumns,
          plain.map((row) => shownColumns.map((column) => cellOf(row[column]))),
        ),
      );
      out.line(`\n${rows.length} of ${counted[0]!.count} rows.`);
      return 0;
    });
  },
};

/** A view's rows as of a position or a time: of each row the last version that was recorded by then. `null`: the present was asked for. */
async function pastOf(
  db: Client,
  name: string,
  position: string | undefined,
  time: string | undefined,
): Promise<{ readonly sql: string; readonly moment: string } | null> {
  if (position === undefined && time === undefined) return null;
  if (position !== undefined && time !== undefined)
    throw new TributaryError("usage", "--as-of and --at do not go together", `Use: ${view.usage}`);
  const asked = position === undefined ? null : (await positionAsked(db, position)).toString();
  if (time !== undefined && Number.isNaN(Date.parse(time)))
    throw new TributaryError("usage", `--at ${time} is no time`, "Write it like 2026-05-03T12:00Z.");
  const { rows } = await db.query("SELECT 1 WHERE to_regclass($1) IS NOT NULL", [`views."${name}_history"`]);
  if (rows.length === 0)
    throw new TributaryError(
      "not-found",
      `the past of ${name} is not kept`,
      "Views of entities keep it, unless their declaration says history: false.",
    );
  const until = position === undefined ? "recorded_at <= $1::timestamptz" : "position <= $1::bigint";
  // The columns of the view as it is declared now; what a version lacks is null.
  return {
    sql: `(SELECT r.* FROM (SELECT DISTINCT ON (id) id, deleted, values FROM views."${name}_history" WHERE ${until} ORDER BY id, position DESC) h,
      LATERAL jsonb_populate_record(NULL::views."${name}", h.values::jsonb || jsonb_build_object('id', h.id, 'deleted', h.deleted)) r)`,
    moment: asked ?? new Date(time!).toISOString(),
  };
}

const cellOf = (value: unknown): string | number | boolean | null =>
  value === null || value === undefined
    ? null
    : typeof value === "object"
      ? JSON.stringify(value)
      : (value as string | number | boolean);

/** The driver makes local midnights of days; they are shown as the day they stand for. */
const dayOf = (value: Date): string =>
  value.getHours() === 0 && value.getMinutes() === 0 && value.getSeconds() === 0 && value.getMilliseconds() === 0
    ? `${value.getFullYear()}-${String(value.getMonth() + 1).padStart(2, "0")}-${String(value.getDate()).padStart(2, "0")}`
    : value.toISOString();
