import { readFileSync } from "node:fs";
import { userInfo } from "node:os";
import { messageOf, type Policy, type PolicyGrant, TributaryError } from "../core/index.ts";
import {
  type Absent,
  absentHolders,
  policies,
  policyNamed,
  previewPolicies,
  readPolicy,
  removePolicy,
  setPolicy,
} from "../desk/index.ts";
import { siteRoles } from "../views/index.ts";
import type { Command } from "./args.ts";
import { withDesk } from "./desk.ts";
import { counted, table } from "./output.ts";
import { roleNames, siteNamed } from "./sites.ts";

const DATA = { data: { type: "string" } } as const;
const ACTOR = { actor: { type: "string" } } as const;

export const policyList: Command = {
  name: "policy list",
  summary: "policies: which entities sites may hold",
  usage: "tributary policy list [--data DIR] [--json]",
  help: "Lists the policies that hold, whom each gives something, and the entity types that it gives.",
  maxPositionals: 0,
  options: DATA,
  async run({ text, out }) {
    const all = await withDesk(text("data"), policies);
    out.result({ policies: all });
    out.line(
      all.length === 0
        ? "There is no policy: sites get nothing back from the hub. `tributary policy set FILE` sets one."
        : table(
            ["policy", "for", "entities", "set by", "set at"],
            all.map(({ policy, setBy, setAt }) => [
              policy.name,
              forWords(policy),
              Object.keys(policy.entities).join(", "),
              setBy,
              setAt,
            ]),
          ),
    );
    return 0;
  },
};

export const policyShow: Command = {
  name: "policy show",
  summary: "one policy, as a file that `policy set` takes",
  usage: "tributary policy show NAME [--data DIR] [--json]",
  help: "Prints a policy as JSON. Change it, and set it again with `tributary policy set FILE`.",
  maxPositionals: 1,
  options: DATA,
  async run({ positionals, text, out }) {
    const [name] = positionals;
    if (name === undefined) throw new TributaryError("usage", "the policy's name is missing", `Use: ${policyShow.usage}`);
    const found = await withDesk(text("data"), (desk) => policyNamed(desk, name));
    out.result(found);
    out.line(JSON.stringify(found.policy, null, 2));
    return 0;
  },
};

export const policySet: Command = {
  name: "policy set",
  summary: "set a policy from a file",
  usage: "tributary policy set FILE [--actor NAME] [--data DIR] [--json]",
  help: `Sets a policy in place of the one of its name. It is an event of the hub, so the log shows who might see what, and when. What no policy gives, no site gets.

  { "name": "kampala",
    "for": { "sites": ["kampala"] },
    "entities": { "beneficiary": { "where": { "district": ["Kampala"] }, "priority": 1 } } }

"for" names sites (\`site\` or \`org.site\`), orgs, roles, hubs, or is "everyone". "where" names columns of the view's scopeBy, each with one value or several. See what it would
give before with \`tributary policy preview --as SITE --policy FILE\`.`,
  maxPositionals: 1,
  options: { ...DATA, ...ACTOR },
  async run({ positionals, text, out }) {
    const [file] = positionals;
    if (file === undefined) throw new TributaryError("usage", "the policy's file is missing", `Use: ${policySet.usage}`);
    const given = fileOf(file);
    const { policy, absent } = await withDesk(text("data"), async (desk) => {
      const set = await setPolicy(desk, given, { actor: text("actor") ?? userInfo().username });
      return { policy: set, absent: await absentHolders(desk, set) };
    });
    out.result({ policy, absent });
    out.line(`Policy ${policy.name} holds from now on.`);
    for (const line of absentWords(absent)) out.line(line);
    return 0;
  },
};

export const policyRemove: Command = {
  name: "policy remove",
  summary: "take a policy back",
  usage: "tributary policy remove NAME [--note TEXT] [--actor NAME] [--data DIR] [--json]",
  help: "Takes a policy back, by an event of the hub. Sites no longer get what only it gave them.",
  maxPositionals: 1,
  options: { ...DATA, ...ACTOR, note: { type: "string" } },
  async run({ positionals, text, out }) {
    const [name] = positionals;
    if (name === undefined) throw new TributaryError("usage", "the policy's name is missing", `Use: ${policyRemove.usage}`);
    const note = text("note");
    const by = { actor: text("actor") ?? userInfo().username, ...(note === undefined ? {} : { note }) };
    await withDesk(text("data"), (desk) => removePolicy(desk, name, by));
    out.result({ removed: name });
    out.line(`Policy ${name} no longer holds.`);
    return 0;
  },
};

export const policyPreview: Command = {
  name: "policy preview",
  summary: "what a site is given: entities, events, bytes",
  usage: "tributary policy preview --as SITE [--org NAME] [--role ROLE,…] [--policy FILE] [--data DIR] [--json]",
  help: `Counts what the policies give a site now: for each entity type the entities, their events, and the bytes of the events' data. Less than these bytes travels, because pages are
packed. The roles are those that the site has; with --role, as if it had these instead. With --policy, as if the policy of that file held too, in place of the one of its name. Nothing is written.`,
  maxPositionals: 0,
  options: { ...DATA, as: { type: "string" }, org: { type: "string" }, role: { type: "string" }, policy: { type: "string" } },
  async run({ text, out }) {
    const site = text("as");
    if (site === undefined)
      throw new TributaryError("usage", "--as is missing: the site to look as", `Use: ${policyPreview.usage}`);
    const file = text("policy");
    const instead = file === undefined ? [] : [readPolicy(fileOf(file))];
    const asked = text("role");
    const { named, preview, roles, isRegistered } = await withDesk(text("data"), async (desk) => {
      const name = siteNamed(site, text("org"), desk.org);
      const known = (await siteRoles(desk.db)).get(name);
      const [org = "", of = ""] = name.split(".");
      const holder = { kind: "site" as const, org, site: of, roles: asked === undefined ? (known ?? []) : roleNames(asked) };
      return {
        named: name,
        roles: holder.roles,
        isRegistered: known !== undefined,
        preview: await previewPolicies(desk, holder, instead),
      };
    });
    out.result({ site: named, roles, isRegistered, ...preview });
    if (!isRegistered) out.line(`No site ${named} is registered. A site of that name would be given:`);
    if (roles.length > 0) out.line(`As a site with the ${roles.length === 1 ? "role" : "roles"} ${roles.join(", ")}.`);
    for (const { grant, entities, events, bytes } of preview.grants)
      out.line(
        `${grant.entityType}${whereWords(grant)}: ${counted(entities, "entity", "entities")}, ${counted(events, "event")}, ${bytes} bytes (policy ${grant.policy}, priority ${grant.priority}${grant.statesOnly ? ", states only" : ""})`,
      );
    if (preview.grants.length === 0) out.line(`No policy gives ${named} anything.`);
    for (const { policy, problem } of preview.unfit)
      out.line(`Policy ${policy} no longer fits the views, so a part of it gives nothing: ${problem}.`);
    if (preview.withheld.length > 0) out.line(`Not given: ${preview.withheld.join(", ")}.`);
    return 0;
  },
};

/** A name that nobody bears may be misspelled: then the policy gives nothing, and nobody would say so. */
function absentWords({ sites, roles }: Absent): string[] {
  return [
    ...sites.map((site) => `No site ${site} is registered yet. Check the name with \`tributary site list\`.`),
    ...roles.map((role) => `No site has the role ${role} yet: \`tributary site roles SITE ${role}\` gives it.`),
  ];
}

function fileOf(path: string): unknown {
  const text = readFileSync(path, "utf8");
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new TributaryError("usage", `${path} is not JSON: ${messageOf(error)}`, "Correct the file, and set the policy again.");
  }
}

function forWords({ for: whom }: Policy): string {
  if (whom === "everyone") return "everyone";
  return Object.entries(whom)
    .flatMap(([kind, names]) => names.map((name) => (kind === "sites" ? name : `${kind.slice(0, -1)} ${name}`)))
    .join(", ");
}

const whereWords = ({ where }: PolicyGrant): string =>
  Object.entries(where)
    .map(([column, values]) => `, ${column} ${values.join(" or ")}`)
    .join("");
