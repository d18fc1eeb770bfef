import { nameOf, siteRights, TributaryError } from "../core/index.ts";
import { codeHash, readCode, siteLogin } from "../core/node.ts";
import {
  type Admission,
  type Grant,
  type NewSite,
  type RegisteredSite,
  registerSite,
  rolesFor,
  siteTypes,
} from "../desk/index.ts";
import { createGate } from "../gate/index.ts";
import { hubConsole } from "./desk.ts";
import { foldersOf, loadForms } from "./folders.ts";
import { issueCode, withKeyBook } from "./hub-keys.ts";
import { admitNew, rightOfToken } from "./logins.ts";
import type { HubState } from "./state.ts";
import { issueHubToken } from "./tokens.ts";

/** A list of entity types as people write it: with commas, spaces or both. */
export const entityTypes = (given: string): readonly string[] => siteTypes(given.split(/[\s,]+/).filter((type) => type !== ""));

/** A list of roles as people write it: with commas, spaces or both. */
export const roleNames = (given: string): readonly string[] => rolesFor(given.split(/[\s,]+/).filter((role) => role !== ""));

/** A site as it is named on a command line, as `org.site`: `site`, with its organisation in an option or not, or `org.site`. `own`: the hub's organisation. */
export function siteNamed(name: string, org: string | undefined, own: string): string {
  const [first = "", second, ...more] = name.split(".");
  if (more.length > 0 || second === "")
    throw new TributaryError("usage", `${name} is not a site's name`, "Name it SITE, or ORG.SITE.");
  const [of, site] = second === undefined ? [org ?? own, first] : [first, second];
  if (org !== undefined && org !== of)
    throw new TributaryError("usage", `${name} names another organisation than --org ${org}`, "Leave --org out.");
  return `${nameOf("organisation", of)}.${nameOf("site", site)}`;
}

/** Registers a site at the hub of a data directory; its token and its code are made with the hub's own keys. */
export function addSite(dir: string, state: HubState, site: NewSite): Promise<RegisteredSite> {
  const gate = createGate(loadForms(foldersOf(dir)));
  return registerSite({ org: state.org, gate, write: hubConsole(dir, state, gate) }, site, (grant) => admit(dir, state, grant));
}

/** Makes what lets a site's devices in, and has the hub's own broker know it. */
export function admit(
  dir: string,
  state: HubState,
  { lifetimeS, expiresAt, codeDays, actor, ...bound }: Grant,
): Promise<Admission> {
  const { org, site, device = null } = bound;
  return withKeyBook(dir, state, async (book, ring) => {
    // The site may have been revoked: the new token must be later than that, even within the same second.
    const issuedAfterS = book.record.revocationOf(`${org}.${site}`)?.issuedThroughS ?? 0;
    const token = await issueHubToken(dir, { ...bound, lifetimeS, issuedAfterS });
    const { code, expiresAt: codeExpiresAt } = await issueCode(book, ring, { ...bound, days: codeDays, actor });
    const secret = readCode(code);
    if (secret === null)
      throw new TributaryError("backend-failed", "the hub made a code that it cannot read", "This is a bug; please report it.");
    const login = siteLogin(token, org, site);
    await admitNew(
      dir,
      book.record,
      [
        { ...login, expiresAtMs: Date.parse(expiresAt), right: rightOfToken(token) },
        { ...siteLogin(secret, org, site), expiresAtMs: Date.parse(codeExpiresAt), right: { code: codeHash(code) } },
      ].map((each) => ({ kind: "password", org, site, device, ...each })),
    );
    return { token, login, rights: siteRights(org, site, device), code, codeExpiresAt };
  });
}
