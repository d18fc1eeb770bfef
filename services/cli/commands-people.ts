/** What a hub's operators do about people: tokens for them, and what their roles may. */
import { existsSync } from "node:fs";
import {
  HUB_RIGHTS,
  isPersonRole,
  nameOf,
  RIGHTS,
  ROLES,
  type Role,
  rightWords,
  rolesWith,
  TributaryError,
} from "../core/index.ts";
import { ISSUER, personName, readPeople } from "../http/index.ts";
import { type Command, DAY_COUNT } from "./args.ts";
import { withKeyBook } from "./hub-keys.ts";
import { counted, table } from "./output.ts";
import { hubDir, peopleFile } from "./paths.ts";
import { runningHub } from "./reach.ts";
import { issueHubPersonToken } from "./tokens.ts";

const DEFAULT_DAYS = 30;

export const tokenIssue: Command = {
  name: "token issue",
  summary: "issue a person's token",
  usage:
    "tributary token issue --person NAME (--role field|coordinator|resolver|auditor|schema-owner|admin)… [--org NAME] [--days N] [--data DIR]",
  help: `Prints a token with which a person, or a program in their name, asks the hub over HTTP. It says who they are, of which organisation, and in which roles; what these may
is the hub's matrix (\`tributary role list\`). \`GET /v1/me\` tells whoever has the token. It is shown only once. Sites have tokens of their own (\`tributary site add\`); neither is taken for the other. For more than a few people,
have a provider sign them in (docs/rights.md).

  --role  one of ${ROLES.join(", ")}; repeat the option or use commas
  --org   the person's organisation, whose rows they are shown (default: the hub's own)
  --days  how long it is valid (default ${DEFAULT_DAYS})

  tributary token issue --person amina --role coordinator --days 7`,
  maxPositionals: 0,
  options: {
    data: { type: "string" },
    person: { type: "string" },
    org: { type: "string" },
    role: { type: "string", multiple: true },
    days: { type: "string" },
  },
  async run({ text, need, list, number, out }) {
    const dir = hubDir(text("data"));
    const person = personName(need("person", "the person's name"));
    const roles = rolesGiven(list("role"));
    const days = number("days", DEFAULT_DAYS, DAY_COUNT);
    const state = await runningHub(text("data"), ["eventstore"]);
    const org = nameOf("organisation", text("org") ?? state.org);
    // The person may have been revoked: the new token must be later than that, even within the same second.
    const issuedAfterS = await withKeyBook(dir, state, async ({ record }) => record.personRevokedThroughS(person, ISSUER) ?? 0);
    const token = await issueHubPersonToken(dir, { person, org, roles, lifetimeS: days * 86_400, issuedAfterS });
    out.result({ token, person, org, roles, days, url: state.httpUrl });
    out.line(`${person} of ${org} may ask as ${roles.join(", ")}, for ${counted(days, "day")}, at ${state.httpUrl}:\n\n${token}`);
    return 0;
  },
};

/** Roles as people write them: with commas, spaces or both, each once. Throws `usage`. */
function rolesGiven(given: readonly string[]): readonly Role[] {
  const names = [...new Set(given.flatMap((text) => text.split(/[\s,]+/)).filter((name) => name !== ""))];
  const wrong = names.filter((name) => !isPersonRole(name));
  const hint = `Roles are ${ROLES.join(", ")}. \`tributary role list\` says what each may.`;
  if (names.length === 0) throw new TributaryError("usage", "no role is given (--role)", hint);
  if (wrong.length > 0) throw new TributaryError("usage", `${wrong.join(", ")}: there is no such role`, hint);
  return names.filter(isPersonRole);
}

export const roleList: Command = {
  name: "role list",
  summary: "show what each role may",
  usage: "tributary role list [--data DIR]",
  help: `Shows the rights of each role at this hub: the default ones, or those that people.json of the hub's folder (or the file that TRIBUTARY_PEOPLE names) gives it instead. Rights
with a * are for people of the hub's own organisation only. These roles are people's; what a site's roles may hold, policies say (\`tributary policy list\`).`,
  maxPositionals: 0,
  options: { data: { type: "string" } },
  async run({ text, out }) {
    const file = peopleFile(text("data"));
    const { matrix, providers } = readPeople(file);
    out.result({
      file: existsSync(file) ? file : null,
      roles: matrix,
      rights: Object.fromEntries(RIGHTS.map((right) => [right, rightWords(right)])),
      ownOrganisationOnly: HUB_RIGHTS,
      providers: providers.map(({ issuer, orgs }) => ({ issuer, orgs })),
    });
    out.line(
      table(
        ["right", "what it allows", "roles"],
        RIGHTS.map((right) => [
          `${right}${HUB_RIGHTS.includes(right) ? " *" : ""}`,
          rightWords(right),
          rolesWith(right, matrix).join(", "),
        ]),
      ),
    );
    for (const { issuer, orgs } of providers) out.line(`\n${issuer} speaks for people of ${orgs.join(", ")}.`);
    return 0;
  },
};
