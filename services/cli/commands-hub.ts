import { networkInterfaces, userInfo } from "node:os";
import type { Client } from "pg";
import { isNatsUrl, isTributaryError, parseNatsUrl, TributaryError, withoutLogin } from "../core/index.ts";
import { hasOwnBroker, userLine } from "../local/index.ts";
import { connectViews } from "../projector/index.ts";
import { parseListen, publicUrl } from "./addresses.ts";
import type { Command, Input } from "./args.ts";
import { NATS_OPTIONS, useNatsFiles } from "./broker.ts";
import { told } from "./commands-backup.ts";
import { checkEvery } from "./every.ts";
import { FOLDER_OPTIONS } from "./folders.ts";
import { shown, table } from "./output.ts";
import { type HubState, hubDir } from "./places.ts";
import { positionAsked } from "./positions.ts";
import { runningHub } from "./reach.ts";
import { settingOf } from "./settings.ts";
import { addSite, entityTypes, listSites } from "./sites.ts";
import { bracketed, type Hub, type HubOptions, isEverywhere, startHub } from "./supervise.ts";

const DEFAULT_TOKEN_DAYS = 90;
const DEFAULT_CODE_DAYS = 7;

/** Runs `work` with a connection to the hub's views. */
export async function withViews<T>(data: string | undefined, work: (db: Client) => Promise<T>): Promise<T> {
  const { postgresUrl } = await runningHub(data, ["postgres"]);
  const db = await connectViews(postgresUrl, "tributary-cli");
  try {
    return await work(db);
  } finally {
    await db.end();
  }
}

const PORTS = { nats: "nats-port", eventstore: "eventstore-port", postgres: "postgres-port" } as const;
const VARIABLES = {
  nats: "TRIBUTARY_NATS_URL",
  eventstore: "TRIBUTARY_EVENTSTORE_URL",
  postgres: "TRIBUTARY_POSTGRES_URL",
} as const;
const LAST_PORT = 65_535;

/** The ports that were asked for. Throws `usage` for what is no port, or is about a server that is not the hub's own. */
function portsOf({ text, number }: Input): NonNullable<HubOptions["ports"]> {
  const ports: Partial<Record<keyof typeof PORTS, number>> = {};
  for (const name of ["nats", "eventstore", "postgres"] as const) {
    const option = PORTS[name];
    const said = text(option) === undefined ? settingOf(`ports.${name}`) : undefined;
    if (text(option) === undefined && said === undefined) continue;
    const port = said === undefined ? number(option, 0) : Number(said);
    if (port < 1 || port > LAST_PORT)
      throw new TributaryError("usage", `--${option} ${port} is no port`, `Take one from 1 to ${LAST_PORT}.`);
    if (process.env[VARIABLES[name]])
      throw new TributaryError(
        "usage",
        `--${option} is for the hub's own server, and ${VARIABLES[name]} names another`,
        "Leave out one of the two.",
      );
    ports[name] = port;
  }
  return ports;
}

/** Addresses that devices can reach, as the operator knows them; one empty word: none any more. `undefined`: nothing was said. */
function publicUrlsOf({ list }: Input): string[] | undefined {
  const said = settingOf("publicUrls");
  const given = list("public-url").length > 0 || said === undefined ? list("public-url") : [said];
  if (given.length === 0) return undefined;
  const urls = given.flatMap((text) => text.split(",")).map((text) => text.trim());
  return urls.filter((url) => url !== "").map((url) => publicUrl(url, "--public-url"));
}

export const hub: Command = {
  name: "hub",
  summary: "run a hub: broker, event store, views, ingress and projector",
  usage:
    "tributary hub [--data DIR] [--org NAME] [--schemas DIR] [--projections DIR] [--listen HOST:PORT] [--public-url URL]… [--nats-port N] [--eventstore-port N] [--postgres-port N] [--projectors N] [--reconcile-every HOURS] [--require-keys] [--anchor FILE|URL] [--nats-creds FILE] [--nats-nkey FILE] [--nats-ca FILE] [--nats-cert FILE --nats-key FILE]",
  help: `Starts what a hub needs and stays until Ctrl-C. Each server is taken from the environment when a URL names it
(TRIBUTARY_NATS_URL, TRIBUTARY_EVENTSTORE_URL, TRIBUTARY_POSTGRES_URL; docs/production.md has the settings for logins and certificates), else from a container engine, else from PATH, else embedded. One of its own that
ends is started again; when it does not come back, the hub ends and says why. Data stay in --data (default .tributary/hub) between runs, and so do
the ports. --schemas and --projections: the folders of your own forms and views; they are kept for the next start, and every command on this hub works with them.
Settings may stand in tributary.config.ts too (\`tributary config check\`). --public-url: where devices reach this hub, as \`site add\` prints it (repeat it, or use commas; "" forgets it). --projectors: processes that
share the folding (default 1). --reconcile-every: balance views against the log that often, and put right what differs. --require-keys: take nothing
from devices that have no enrolled key. --anchor (or TRIBUTARY_ANCHOR): keep where the log ends, signed, in a file outside the data folder or at an address that
takes PUT; a log that was set back or replaced since then, and no restore declared, is noticed at the next start. With notifications.json in the data folder, people are told of conflicts.

  tributary hub --org relief --listen 127.0.0.1:8080 --public-url https://hub.example.org`,
  options: {
    data: { type: "string" },
    org: { type: "string" },
    ...FOLDER_OPTIONS,
    listen: { type: "string" },
    "public-url": { type: "string", multiple: true },
    "nats-port": { type: "string" },
    "eventstore-port": { type: "string" },
    "postgres-port": { type: "string" },
    projectors: { type: "string" },
    "reconcile-every": { type: "string" },
    "require-keys": { type: "boolean" },
    ...NATS_OPTIONS,
    anchor: { type: "string" },
  },
  async run(input) {
    const { text, number, flag, out } = input;
    useNatsFiles(text);
    const dir = hubDir(text("data"));
    const org = text("org") ?? settingOf("org");
    const listen = text("listen") ?? settingOf("listen");
    const publicUrls = publicUrlsOf(input);
    const everySaid = settingOf("reconcileEveryHours");
    const every =
      text("reconcile-every") !== undefined
        ? number("reconcile-every", 0)
        : everySaid === undefined
          ? undefined
          : Number(everySaid);
    if (every !== undefined) checkEvery(every);
    // From the first moment on: a hub that is stopped while it starts takes its servers with it.
    const stop = new AbortController();
    // And each time: npm passes on the Ctrl-C that the terminal has sent to all, and a second one must not end the hub before its servers.
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => stop.abort());
    const stopped = new Promise<void>((resolve) => stop.signal.addEventListener("abort", () => resolve()));
    out.progress(`Starting a hub in ${dir} …`);
    let running: Hub | null = null;
    const say = (line: string): void => out.notice(running === null ? line : `${new Date().toISOString().slice(0, 19)}Z ${line}`);
    try {
      running = await startHub({
        dataDir: dir,
        say,
        projectors: Math.max(1, number("projectors", Number(settingOf("projectors") ?? 1))),
        requireKeys: flag("require-keys") || settingOf("requireKeys") === "true",
        ports: portsOf(input),
        signal: stop.signal,
        ownGroups: true,
        ...(every === undefined ? {} : { reconcileEveryHours: every }),
        ...(org === undefined ? {} : { org }),
        ...(text("anchor") === undefined ? {} : { anchor: text("anchor")! }),
        ...(listen === undefined ? {} : { listen: parseListen(listen) }),
        ...(publicUrls === undefined ? {} : { publicUrls }),
      });
    } catch (error) {
      if (!stop.signal.aborted || !isTributaryError(error)) throw error;
      out.progress("Stopped before it was up.");
      return 0;
    }
    try {
      tell(running, input);
      await Promise.race([stopped, running.failed]);
    } finally {
      out.progress("Stopping …");
      await running.close();
    }
    return 0;
  },
};

function tell({ state, backends, incarnation }: Hub, { out }: Input): void {
  const servers = [backends.nats, backends.eventstore, backends.postgres];
  out.result({
    ...state,
    natsUrl: withoutLogin(state.natsUrl),
    incarnation,
    backends: servers.map(({ name, how, detail }) => ({ name, how, detail })),
  });
  out.line(`The hub of ${state.org} is running.\n`);
  out.line(
    table(
      ["part", "where", "how"],
      [
        ["HTTP door", state.httpUrl, "ingress"],
        ...servers.map(({ name, url, how, detail }) => [
          name,
          name === "nats" ? withoutLogin(url) : url.replace(/:[^:@/]+@/, ":…@").replace(/&connectionName=.*/, ""),
          `${how}: ${detail}`,
        ]),
      ],
      "  ",
    ),
  );
  const { urls, isReachable } = addressesOf(state);
  if (isReachable) out.line(`\nDevices sync with ${urls.join(" or ")}.`);
  const sentence = told(incarnation);
  out.line(`\n${sentence[0]!.toUpperCase()}${sentence.slice(1)}.`);
  if (!incarnation.isConfirmed)
    out.line(
      "The log holds less than was seen of it before. If you know why, say so with `tributary restore --confirm`; docs/operations.md tells what to look at.",
    );
  out.line(`\nRegister a site with \`tributary site add NAME\`; Ctrl-C stops the hub.`);
}

const isOnlyHere = (url: string): boolean =>
  (isNatsUrl(url) ? parseNatsUrl(url).servers : [URL.parse(url)?.host ?? ""]).every((host) =>
    /^(127\.|localhost(:|$)|\[::1\])/.test(host),
  );

/**
 * Where devices reach the hub: what its operator said, else this machine's addresses where a door is open to them, else, good on this machine alone, the hub's own.
 */
export function addressesOf(state: HubState): { readonly urls: readonly string[]; readonly isReachable: boolean } {
  if (state.publicUrls !== undefined && state.publicUrls.length > 0) return { urls: state.publicUrls, isReachable: true };
  const open = state.listen !== undefined && isEverywhere(state.listen.host) ? outsideAddresses(state.listen) : [];
  const own = [withoutLogin(state.natsUrl), state.httpUrl].filter((url) => url !== "");
  const urls = [...own.filter((url) => !isOnlyHere(url)), ...open];
  return urls.length > 0 ? { urls, isReachable: true } : { urls: own, isReachable: false };
}

/** A door's addresses on this machine's networks. */
function outsideAddresses({ host, port }: NonNullable<HubState["listen"]>): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, family, scopeid }) => !internal && !scopeid && (host === "::" || family === "IPv4"))
    .map(({ address }) => `http://${bracketed(address)}:${port}`);
}

export const siteAdd: Command = {
  name: "site add",
  summary: "register a site; issue a one-time code and a token for its devices",
  usage:
    "tributary site add NAME [--org NAME] [--title TEXT] [--days N] [--device NAME] [--types TYPE,…] [--code-days N] [--data DIR]",
  help: `Writes the registration as an event of the hub's own origin, and prints a one-time code with which one device of the site enrols its key
(\`tributary field enrol\`; good for --code-days, default ${DEFAULT_CODE_DAYS}), and a token with which devices of the site sync and enrol by themselves. Both are for one site
(with --device: one device). The token runs out after --days (default ${DEFAULT_TOKEN_DAYS}); a device that has enrolled needs it no more. Both are shown once: keep them
safe. For a tablet that was lost: \`tributary device revoke\`, then this with --device for the one that takes its place. --org: a partner organisation whose site it
is; default: the hub's own. --types: the entity types that whoever uses this code or token may write about; events about others are quarantined, with the reason. Default:
all but the hub's own (sites, cases, quarantine), which no site writes.

  tributary site add juba --title "Juba, Munuki office"`,
  options: {
    data: { type: "string" },
    org: { type: "string" },
    title: { type: "string" },
    days: { type: "string" },
    device: { type: "string" },
    types: { type: "string" },
    "code-days": { type: "string" },
  },
  async run({ positionals, text, number, out }) {
    const [site] = positionals;
    if (site === undefined) throw new TributaryError("usage", "the site's name is missing", `Use: ${siteAdd.usage}`);
    const dir = hubDir(text("data"));
    const state = await runningHub(text("data"), ["nats"]);
    const title = text("title");
    const device = text("device");
    const org = text("org");
    const types = text("types");
    const added = await addSite(dir, state, {
      site,
      days: number("days", DEFAULT_TOKEN_DAYS),
      codeDays: number("code-days", DEFAULT_CODE_DAYS),
      actor: userInfo().username,
      ...(org === undefined ? {} : { org }),
      ...(title === undefined ? {} : { title }),
      ...(device === undefined ? {} : { device }),
      ...(types === undefined ? {} : { types: entityTypes(types) }),
    });
    const { urls, isReachable } = addressesOf(state);
    out.result({ ...added, natsUrl: withoutLogin(state.natsUrl), httpUrl: state.httpUrl, urls, isReachable });
    out.line(`Site ${added.org}.${added.site} is registered. Its token, good until ${added.expiresAt}:\n\n${added.token}\n`);
    out.line(`A one-time code for one device, good until ${added.codeExpiresAt}:\n\n${added.code}\n`);
    out.line(
      `On a device:\n  tributary field init --org ${added.org} --site ${added.site} --device ${device ?? "NAME"}\n  tributary field enrol --hub ${urls[0]} --code CODE\n  tributary field sync --hub ${urls[0]}\nor, without enrolling first:\n  tributary field sync --hub ${urls[0]} --token TOKEN`,
    );
    if (added.types !== null) out.line(`\nBoth let in events about ${added.types.join(", ")} only; others are quarantined.`);
    for (const type of added.typesWithoutSchema)
      out.line(`No schema in schemas/ is about a ${type}: is it written as the schemas write it?`);
    if (urls.length > 1) out.line(`\nThe hub is also at ${urls.slice(1).join(" and ")}.`);
    if (!isReachable)
      out.line(
        `\nThese addresses are good on this machine only. Start the hub with --public-url URL to have the one printed that devices reach, and with --listen 0.0.0.0:PORT to open the HTTP door to the network (TLS in front of it: docs/production.md).`,
      );
    if (!hasOwnBroker(dir))
      out.line(
        `\nIf your NATS knows logins, give it this user (docs/production.md); the device logs in as that by itself:\n  ${userLine({ kind: "password", ...added.login, org: added.org, site: added.site, device: device ?? null, expiresAtMs: 0 })}`,
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
