import {
  entitySchema,
  HUB_ENTITIES,
  HUB_SITE,
  isRole,
  MAX_ROLES,
  nameOf,
  rolesIn,
  SITE_ENTITY,
  SITE_ROLES_SET,
  TributaryError,
} from "../core/index.ts";
import type { NewEvent } from "../field/index.ts";
import { lastSeen, type SiteStatus, siteRoles } from "../views/index.ts";
import { PROGRAMS_SITE } from "./console.ts";
import { type By, type Desk, noted } from "./desk.ts";
import { writeAccepted } from "./quarantine.ts";

export interface NewSite {
  readonly site: string;
  /** The organisation whose site it is, where that is not the hub's own. */
  readonly org?: string;
  readonly title?: string;
  readonly device?: string;
  /** The entity types that the site may write; default: all but the hub's own. */
  readonly types?: readonly string[];
  /** The roles by which policies may give it entities, in place of those that it had; default: those that it has. */
  readonly roles?: readonly string[];
  /** How long its token is valid. */
  readonly days: number;
  /** How long its one-time code is valid. */
  readonly codeDays?: number;
  readonly actor: string;
}

/** Whom a token and a code are to let in, and how long they are valid. */
export interface Grant {
  readonly org: string;
  readonly site: string;
  /** One device of the site; `undefined`: all. */
  readonly device?: string;
  /** The entity types that may be written about; `undefined`: all but the hub's own. */
  readonly types?: readonly string[];
  readonly lifetimeS: number;
  readonly expiresAt: string;
  readonly codeDays: number;
  readonly actor: string;
}

/** What lets a site's devices in. */
export interface Admission {
  readonly token: string;
  /** The token's login at a broker, and what it must be allowed there: for whoever keeps the logins of a broker that is not the hub's own. */
  readonly login: { readonly user: string; readonly pass: string };
  readonly rights: { readonly publish: readonly string[]; readonly subscribe: readonly string[] };
  /** The code that enrols the key of one device, once. */
  readonly code: string;
  readonly codeExpiresAt: string;
}

export interface RegisteredSite extends Admission {
  readonly org: string;
  readonly site: string;
  readonly expiresAt: string;
  /** The entity types that the site may write about; `null`: all but the hub's own. */
  readonly types: readonly string[] | null;
  /** The roles that it was given; `null`: those that it had before, if any. */
  readonly roles: readonly string[] | null;
  /** Those of these types that no schema is about. */
  readonly typesWithoutSchema: readonly string[];
}

/** The entity types that a site is to write about, each once. Throws `usage` for a text that is not an entity type, and for the hub's own types. */
export function siteTypes(given: readonly string[]): readonly string[] {
  const types = [...new Set(given)];
  for (const type of types) {
    if (HUB_ENTITIES.includes(type))
      throw new TributaryError("usage", `only the hub's own people write about a ${type}`, "Leave it out of the site's types.");
    if (!entitySchema.safeParse({ type, id: "x" }).success)
      throw new TributaryError(
        "usage",
        `${JSON.stringify(type)} is not an entity type`,
        "Write entity types like beneficiary, distribution.",
      );
  }
  if (types.length === 0)
    throw new TributaryError("usage", "no entity type is named", "Leave the types out for a site that may write about all.");
  return types;
}

/** The roles that a site is to have, each once. Throws `usage` for what cannot be a role. */
export function rolesFor(given: readonly string[]): readonly string[] {
  const roles = rolesIn(given);
  for (const role of roles)
    if (!isRole(role))
      throw new TributaryError(
        "usage",
        `${JSON.stringify(role)} is not a role`,
        "A role is a name like nurse or warehouse-2: letters, digits, . _ and -, at most 40.",
      );
  if (roles.length > MAX_ROLES)
    throw new TributaryError("usage", `these are ${roles.length} roles`, `A site has at most ${MAX_ROLES}.`);
  return roles;
}

const rolesEvent = (site: string, roles: readonly string[], { actor, note }: By): NewEvent => ({
  type: SITE_ROLES_SET,
  entity: { type: SITE_ENTITY, id: site },
  data: { roles: [...roles], ...noted(note) },
  actor,
});

/** The roles of a site, which is named `org.site`. Throws `not-found` for a site that was never registered. */
export async function rolesOfSite({ db }: Pick<Desk, "db">, site: string): Promise<readonly string[]> {
  const roles = (await siteRoles(db)).get(site);
  if (roles === undefined) throw noSite(site);
  return roles;
}

const noSite = (site: string): TributaryError =>
  new TributaryError(
    "not-found",
    `there is no site ${site}`,
    "`tributary site list` lists the sites; `tributary site add NAME` registers one. Name a partner's site with its organisation.",
  );

/**
 * Gives a site roles in place of those that it had, by an event of the hub. `site`: `org.site`. Returns the roles, and whether that changed anything; if not, nothing is written. Throws `not-found` for a site that
 * was never registered, `usage` for what cannot be a role.
 */
export async function setSiteRoles(
  desk: Pick<Desk, "db" | "write">,
  site: string,
  given: readonly string[],
  by: By,
): Promise<{ readonly roles: readonly string[]; readonly hasChanged: boolean }> {
  const roles = rolesFor(given);
  const before = await rolesOfSite(desk, site);
  if (before.join() === roles.join()) return { roles, hasChanged: false };
  const event = rolesEvent(site, roles, by);
  await writeAccepted(desk, [event], "the roles", [{ entity: event.entity, seen: await lastSeen(desk.db, event.entity) }]);
  return { roles, hasChanged: true };
}

/** The sites of which the hub has recorded no event for so many days, or none at all. The hub itself is not a site in the field. */
export const silentSites = (sites: readonly SiteStatus[], days: number, nowMs: number): readonly SiteStatus[] =>
  sites.filter(
    ({ site, lastRecordedAt }) =>
      site !== HUB_SITE && (lastRecordedAt === null || Date.parse(lastRecordedAt) < nowMs - days * DAY_S * 1000),
  );

const DEFAULT_CODE_DAYS = 7;
const DAY_S = 86_400;

/**
 * Registers a site: writes an event of the hub's own origin, which goes the way of every other event, and returns what lets the site's devices in. `admit` makes that with the hub's
 * keys; it is called when the registration is in the log. Throws `usage` for names that no site can have.
 */
export async function registerSite(
  { org: own, gate, write }: Pick<Desk, "org" | "gate" | "write">,
  { site, org: given, title, device, types: asked, roles: wanted, days, codeDays = DEFAULT_CODE_DAYS, actor }: NewSite,
  admit: (grant: Grant) => Promise<Admission>,
): Promise<RegisteredSite> {
  const org = nameOf("organisation", given ?? own);
  nameOf("site", site);
  if (site === HUB_SITE)
    throw new TributaryError(
      "usage",
      `${site} is the hub's own site, whose people release and reject what is in quarantine`,
      "Choose another name for a site in the field.",
    );
  if (site === PROGRAMS_SITE)
    throw new TributaryError(
      "usage",
      `in the name of ${site}, programs append through the hub itself`,
      "Choose another name for a site in the field.",
    );
  const types = asked === undefined ? undefined : siteTypes(asked);
  const roles = wanted === undefined ? undefined : rolesFor(wanted);
  const lifetimeS = days * DAY_S;
  const expiresAt = new Date((Math.floor(Date.now() / 1000) + lifetimeS) * 1000).toISOString();
  await write([
    {
      type: "site.registered",
      entity: { type: SITE_ENTITY, id: `${org}.${site}` },
      data: { org, site, ...(title === undefined ? {} : { title }), token_expires_at: expiresAt },
      actor,
    },
    ...(roles === undefined ? [] : [rolesEvent(`${org}.${site}`, roles, { actor })]),
  ]);
  const admission = await admit({
    org,
    site,
    ...(device === undefined ? {} : { device: nameOf("device", device) }),
    ...(types === undefined ? {} : { types }),
    lifetimeS,
    expiresAt,
    codeDays,
    actor,
  });
  const known = new Set(gate.subjects().map(({ annotations }) => annotations.entity));
  return {
    org,
    site,
    expiresAt,
    types: types ?? null,
    roles: roles ?? null,
    typesWithoutSchema: (types ?? []).filter((type) => !known.has(type)),
    ...admission,
  };
}
