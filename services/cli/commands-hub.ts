import { userInfo } from "node:os";
import type { Client } from "pg";
import { TributaryError } from "../core/index.ts";
import { connectViews } from "../projector/index.ts";
import type { Command } from "./args.ts";
import { checkEvery } from "./every.ts";
import { shown, table } from "./output.ts";
import { hubDir, readState } from "./places.ts";
import { addSite, listSites } from "./sites.ts";
import { startHub } from "./supervise.ts";
import { parseListen } from "./workers.ts";

const DEFAULT_TOKEN_DAYS = 90;
const DEFAULT_CODE_DAYS = 7;

/** Runs `work` with a connection to the hub's views. */
export async function withViews<T>(data: string | undefined, work: (db: Client) => Promise<T>): Promise<T> {
  const db = await connectViews(readState(hubDir(data)).postgresUrl, "tributary-cli");
  try {
    return await work(db);
  } finally {
    await db.end();
  }
}

export const hub: Command = {
  name: "hub",
  summary: "run a hub: broker, event store, views, ingress and projector",
  usage:
    "tributary hub [--data DIR] [--org NAME] [--listen HOST:PORT] [--projectors N] [--reconcile-every HOURS] [--require-keys]",
  help: `Starts what a hub needs and stays until Ctrl-C. Each server is taken from the environment when a URL names it
(TRIBUTARY_NATS_URL, TRIBUTARY_EVENTSTORE_URL, TRIBUTARY_POSTGRES_URL), else from a container engine, else from PATH, else embedded.
Data stay in --data (default .tributary/hub) between runs. --projectors: processes that share the folding (default 1). --reconcile-every: balance
views against the log that often, and put right what differs. --require-keys: take nothing from devices that have no enrolled key. With notifications.json in the data folder, people are told of conflicts.

  tributary hub --org relief --listen 127.0.0.1:8080`,
  options: {
    data: { type: "string" },
    org: { type: "string" },
    listen: { type: "string" },
    projectors: { type: "string" },
    "reconcile-every": { type: "string" },
    "require-keys": { type: "boolean" },
  },
  async run({ text, number, flag, out }) {
    const dir = hubDir(text("data"));
    const org = text("org");
    const listen = text("listen");
    const every = text("reconcile-every") === undefined ? undefined : number("reconcile-every", 0);
    if (every !== undefined) checkEvery(every);
    out.progress(`Starting a hub in ${dir} …`);
    const running = await startHub({
      dataDir: dir,
      say: out.progress,
      projectors: Math.max(1, number("projectors", 1)),
      requireKeys: flag("require-keys"),
      ...(every === undefined ? {} : { reconcileEveryHours: every }),
      ...(org === undefined ? {} : { org }),
      ...(listen === undefined ? {} : { listen: parseListen(listen) }),
    });
    const { state, backends } = running;
    out.result({
      ...state,
      backends: [backends.nats, backends.eventstore, backends.postgres].map(({ name, how, detail }) => ({ name, how, detail })),
    });
    out.line(`The hub of ${state.org} is running.\n`);
    out.line(
      table(
        ["part", "where", "how"],
        [
          ["HTTP door", state.httpUrl, "ingress"],
          ...[backends.nats, backends.eventstore, backends.postgres].map(({ name, url, how, detail }) => [
            name,
            url.replace(/:[^:@/]+@/, ":…@"),
            `${how}: ${detail}`,
          ]),
        ],
        "  ",
      ),
    );
    out.line(`\nRegister a site with \`tributary site add NAME\`; Ctrl-C stops the hub.`);
    const stopped = new Promise<void>((resolve) => {
      process.once("SIGINT", resolve);
      process.once("SIGTERM", resolve);
    });
    try {
      await Promise.race([stopped, running.failed]);
    } finally {
      out.progress("Stopping …");
      await running.close();
    }
    return 0;
  },
};

export const siteAdd: Command = {
  name: "site add",
  summary: "register a site; issue a one-time code and a token for its devices",
  usage: "tributary site add NAME [--org NAME] [--title TEXT] [--days N] [--device NAME] [--code-days N] [--data DIR]",
  help: `Writes the registration as an event of the hub's own origin, and prints a one-time code with which one device of the site enrols its key
(\`tributary field enrol\`; good for --code-days, default ${DEFAULT_CODE_DAYS}), and a token with which devices of the site sync and enrol by themselves. Both are for one site
(with --device: one device). The token runs out after --days (default ${DEFAULT_TOKEN_DAYS}); a device that has enrolled needs it no more. Both are shown once: keep them
safe. For a tablet that was lost: \`tributary device revoke\`, then this with --device for the one that takes its place. --org: a partner organisation whose site it
is; default: the hub's own.

  tributary site add juba --title "Juba, Munuki office"`,
  options: {
    data: { type: "string" },
    org: { type: "string" },
    title: { type: "string" },
    days: { type: "string" },
    device: { type: "string" },
    "code-days": { type: "string" },
  },
  async run({ positionals, text, number, out }) {
    const [site] = positionals;
    if (site === undefined) throw new TributaryError("usage", "the site's name is missing", `Use: ${siteAdd.usage}`);
    const dir = hubDir(text("data"));
    const title = text("title");
    const device = text("device");
    const org = text("org");
    const state = readState(dir);
    const added = await addSite(dir, state, {
      site,
      days: number("days", DEFAULT_TOKEN_DAYS),
      codeDays: number("code-days", DEFAULT_CODE_DAYS),
      actor: userInfo().username,
      ...(org === undefined ? {} : { org }),
      ...(title === undefined ? {} : { title }),
      ...(device === undefined ? {} : { device }),
    });
    out.result({ ...added, natsUrl: state.natsUrl, httpUrl: state.httpUrl });
    out.line(`Site ${added.org}.${added.site} is registered. Its token, good until ${added.expiresAt}:\n\n${added.token}\n`);
    out.line(`A one-time code for one device, good until ${added.codeExpiresAt}:\n\n${added.code}\n`);
    out.line(
      `On a device:\n  tributary field init --org ${added.org} --site ${added.site} --device ${device ?? "NAME"}\n  tributary field enrol --hub ${state.natsUrl} --code CODE\n  tributary field sync --hub ${state.natsUrl}\nor, without enrolling first:\n  tributary field sync --hub ${state.natsUrl} --token TOKEN`,
    );
    return 0;
  },
};

export const siteList: Command = {
  name: "site list",
  summary: "show each site's standing",
  usage: "tributary site list [--data DIR]",
  help: "Events in the log, quarantined ones, events stamped by wrong clocks, and when the site was last heard of.",
  options: { data: { type: "string" } },
  async run({ text, out }) {
    const sites = await withViews(text("data"), listSites);
    out.result(sites);
    out.line(
      table(
        ["site", "title", "devices", "events", "quarantined", "wrong clock", "last heard of"],
        sites.map((s) => [s.site, s.title, s.devices, s.events, s.quarantined, s.clockWrong, s.lastRecordedAt]),
      ),
    );
    return 0;
  },
};

const DEFAULT_ROWS = 50;
const SYSTEM = new Set(["state", "first_position", "last_position"]);
/** Columns that a row's kept past does not have. */
const PRESENT_ONLY = new Set(["conflicts", "waiting_for"]);

export const view: Command = {
  name: "view",
  summary: "show a view's rows",
  usage: "tributary view NAME [--id ID] [--where COLUMN=VALUE] [--as-of POSITION | --at TIME] [--limit N] [--data DIR]",
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
  if (position !== undefined && !/^\d{1,19}$/.test(position))
    throw new TributaryError(
      "usage",
      `--as-of ${position} is no position`,
      "Positions are whole numbers; `tributary audit entity` shows each event's.",
    );
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
    moment: position ?? new Date(time!).toISOString(),
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
