import { existsSync } from "node:fs";
import { userInfo } from "node:os";
import { TributaryError, withoutLogin } from "../core/index.ts";
import { rolesOfSite, setSiteRoles, silentSites } from "../desk/index.ts";
import { hasOwnBroker, userLine } from "../local/index.ts";
import { sites as siteStatuses } from "../views/index.ts";
import { type Command, DAY_COUNT } from "./args.ts";
import { addressesOf } from "./commands-hub.ts";
import { withDesk } from "./desk.ts";
import { writeWhole } from "./files.ts";
import { counted, table } from "./output.ts";
import { hubDir } from "./paths.ts";
import { runningHub } from "./reach.ts";
import { addSite, entityTypes, roleNames, siteNamed } from "./sites.ts";
import { withViews } from "./with-views.ts";

const DEFAULT_TOKEN_DAYS = 90;
const DEFAULT_CODE_DAYS = 7;

export const siteAdd: Command = {
  name: "site add",
  summary: "register a site; issue a one-time code and a token for its devices",
  usage:
    "tributary site add NAME [--org NAME] [--title TEXT] [--days N] [--device NAME] [--types TYPE,…] [--roles ROLE,…] [--code-days N] [--save NAME] [--data DIR]",
  help: `Writes the registration as an event of the hub's own origin, and prints two things. One is a one-time code: one device of the site enrols its key with it
(\`tributary field enrol\`). It is valid for --code-days (default ${DEFAULT_CODE_DAYS}). The other is a token, with which devices of the site sync and enrol by themselves. It
expires after --days (default ${DEFAULT_TOKEN_DAYS}); a device that has enrolled no longer needs it. Both are valid for one site, or with --device for one device. Both are
shown only once: keep them safe. If a tablet is lost, revoke it with \`tributary device revoke\`, then run this command with --device for the tablet that replaces it.

  --save   write the code into NAME.code and the token into NAME.token, readable for you only, and print neither
  --org    the partner organisation that the site belongs to (default: the hub's own)
  --types  the entity types that devices with this code or token may write about; events about others are quarantined, with the reason. Default: all but
           the hub's own types (sites, policies, cases, quarantine), which no site may write
  --roles  the roles of the site, for which policies may give it entities (docs/exchange.md); in place of those that it had. \`tributary site roles\` changes them

  tributary site add juba --title "Juba, Munuki office"`,
  options: {
    data: { type: "string" },
    org: { type: "string" },
    title: { type: "string" },
    days: { type: "string" },
    device: { type: "string" },
    types: { type: "string" },
    roles: { type: "string" },
    "code-days": { type: "string" },
    save: { type: "string" },
  },
  async run({ positionals, text, number, out }) {
    const [site] = positionals;
    if (site === undefined) throw new TributaryError("usage", "the site's name is missing", `Use: ${siteAdd.usage}`);
    const dir = hubDir(text("data"));
    const save = text("save");
    if (save !== undefined) checkFree(save);
    const state = await runningHub(text("data"), ["nats"]);
    const title = text("title");
    const device = text("device");
    const org = text("org");
    const types = text("types");
    const roles = text("roles");
    const added = await addSite(dir, state, {
      site,
      days: number("days", DEFAULT_TOKEN_DAYS, DAY_COUNT),
      codeDays: number("code-days", DEFAULT_CODE_DAYS, DAY_COUNT),
      actor: userInfo().username,
      ...(org === undefined ? {} : { org }),
      ...(title === undefined ? {} : { title }),
      ...(device === undefined ? {} : { device }),
      ...(types === undefined ? {} : { types: entityTypes(types) }),
      ...(roles === undefined ? {} : { roles: roleNames(roles) }),
    });
    const { urls, isReachable } = addressesOf(state);
    out.result({ ...added, natsUrl: withoutLogin(state.natsUrl), httpUrl: state.httpUrl, urls, isReachable });
    if (save !== undefined) saveSecrets(save, added);
    const [code, token] = save === undefined ? ["CODE", "TOKEN"] : [`@${save}.code`, `@${save}.token`];
    if (save === undefined) {
      out.line(`Site ${added.org}.${added.site} is registered. Its token, valid until ${added.expiresAt}:\n\n${added.token}\n`);
      out.line(`A one-time code for one device, valid until ${added.codeExpiresAt}:\n\n${added.code}\n`);
    } else
      out.line(
        `Site ${added.org}.${added.site} is registered. Its one-time code is in ${save}.code (valid until ${added.codeExpiresAt}), its token in ${save}.token (until ${added.expiresAt}).\n`,
      );
    out.line(
      `On a device:\n  tributary field init --org ${added.org} --site ${added.site} --device ${device ?? "NAME"}\n  tributary field enrol --hub ${urls[0]} --code ${code}\n  tributary field sync --hub ${urls[0]}\nor, without enrolling first:\n  tributary field sync --hub ${urls[0]} --token ${token}`,
    );
    if (added.roles !== null && added.roles.length > 0) out.line(`\nIts roles: ${added.roles.join(", ")}.`);
    if (added.types !== null) out.line(`\nBoth allow events about ${added.types.join(", ")} only; others are quarantined.`);
    for (const type of added.typesWithoutSchema) out.line(`No schema in schemas/ is about ${type}. Check its spelling.`);
    if (urls.length > 1) out.line(`\nThe hub is also at ${urls.slice(1).join(" and ")}.`);
    if (!isReachable)
      out.line(
        `\nThese addresses work on this machine only. Start the hub with --public-url URL so that this command prints the address that devices reach. To open the HTTP door to the network, start the hub with --listen 0.0.0.0:PORT (with TLS in front of it: docs/production.md).`,
      );
    if (!hasOwnBroker(dir))
      out.line(
        `\nIf your NATS server uses logins, add this user to it (docs/production.md); the device logs in with it:\n  ${userLine({ kind: "password", ...added.login, org: added.org, site: added.site, device: device ?? null, expiresAtMs: 0 })}`,
      );
    return 0;
  },
};

/** Runs before a code is made, because a code is shown only once. */
function checkFree(name: string): void {
  for (const file of [`${name}.code`, `${name}.token`])
    if (existsSync(file))
      throw new TributaryError(
        "usage",
        `${file} is there already`,
        "It may hold what a device still needs. Choose another name for --save, or remove it.",
      );
}

function saveSecrets(name: string, { code, token }: { readonly code: string; readonly token: string }): void {
  writeWhole(`${name}.code`, `${code}\n`);
  writeWhole(`${name}.token`, `${token}\n`);
}

export const siteRoles: Command = {
  name: "site roles",
  summary: "show or change the roles for which policies give a site entities",
  usage: "tributary site roles NAME [ROLE,… | --none] [--org NAME] [--note TEXT] [--actor NAME] [--data DIR]",
  help: `Without roles, shows those that the site has. With roles, the site has these and no others from now on; with --none it has none. That is an event of the hub, so the log shows who had
which role, and when. It takes effect within seconds, like a changed policy: what a site is not given any more, its devices delete, and \`tributary replica list\` lists until they have confirmed it.

  tributary site roles juba nurse,warehouse`,
  options: {
    data: { type: "string" },
    org: { type: "string" },
    note: { type: "string" },
    actor: { type: "string" },
    none: { type: "boolean" },
  },
  async run({ positionals, text, flag, out }) {
    const [name, ...rest] = positionals;
    if (name === undefined) throw new TributaryError("usage", "the site's name is missing", `Use: ${siteRoles.usage}`);
    const given = roleNames(rest.join(","));
    if (flag("none") && given.length > 0)
      throw new TributaryError("usage", "--none and roles say two things", `Use: ${siteRoles.usage}`);
    const isChange = flag("none") || given.length > 0;
    const note = text("note");
    const by = { actor: text("actor") ?? userInfo().username, ...(note === undefined ? {} : { note }) };
    const { site, roles, hasChanged } = await withDesk(text("data"), async (desk) => {
      const named = siteNamed(name, text("org"), desk.org);
      return isChange
        ? { site: named, ...(await setSiteRoles(desk, named, given, by)) }
        : { site: named, roles: await rolesOfSite(desk, named), hasChanged: false };
    });
    out.result({ site, roles, hasChanged });
    const has = roles.length === 0 ? "no roles" : `${counted(roles.length, "role")}: ${roles.join(", ")}`;
    out.line(`${site} has ${has}${hasChanged ? " from now on" : isChange ? " already" : ""}.`);
    return 0;
  },
};

export const siteList: Command = {
  name: "site list",
  summary: "show how many events each site has sent, and when it last did",
  usage: "tributary site list [--silent DAYS] [--data DIR]",
  help: `For each site: its roles, its events in the log, how many of them are quarantined, how many were stamped by a wrong clock, and when the hub recorded the last one.
--silent lists only the sites of which the hub has recorded no event for so many days, and those that have never sent one.

  tributary site list --silent 7`,
  maxPositionals: 0,
  options: { data: { type: "string" }, silent: { type: "string" } },
  async run({ text, number, out }) {
    const days = text("silent") === undefined ? null : number("silent", 0, DAY_COUNT);
    const all = await withViews(text("data"), (db) => siteStatuses(db));
    const sites = days === null ? all : silentSites(all, days, Date.now());
    out.result(sites);
    if (days !== null && sites.length === 0) {
      out.line(
        all.length === 0
          ? "No site is registered yet: `tributary site add NAME` registers one."
          : `The hub has recorded events of every site within ${counted(days, "day")}.`,
      );
      return 0;
    }
    out.line(
      table(
        ["site", "title", "roles", "devices", "events", "quarantined", "wrong clock", "last event"],
        sites.map((s) => [
          s.site,
          s.title,
          s.roles.join(", "),
          s.devices,
          s.events,
          s.quarantined,
          s.clockWrong,
          s.lastRecordedAt,
        ]),
      ),
    );
    return 0;
  },
};
