/**
 * Whose a row is, and who is shown it. In come a row's organisation and who looks; out comes yes or no. Where it is not known who looks, nothing is shown; where
 * it is not known whose a row is, only those see it who see everything.
 *
 * A row belongs to one organisation, its owner:
 *
 *   what is about an entity     (rows and their past, decisions, cases, audit, what is parked): the organisation whose origin brought the entity into being.
 *                               That is the origin of the entity's first admitted event in this hub's log, by position; a released event stands at its
 *                               release. Later events, of whichever organisation, change nothing: a stamp can be set back to be first, a position
 *                               cannot.
 *   a site, a replica           the organisation that its id names, though the hub's people write about it
 *   what is about one event     (quarantined, a dead letter): the organisation of the event's origin
 *
 * Two hubs may have taken in two organisations' first events of an entity in another order. Each then shows it to the owner by its own log.
 */
import { type HubOrg, SITE_ENTITY } from "./authority.ts";
import type { EntityRef } from "./event.ts";
import { isName, type OriginId, orgOf, type Position } from "./ids.ts";
import { REPLICA_ENTITY } from "./replica.ts";
import type { Role } from "./rights.ts";

/** Whose rows somebody is shown. */
export interface Viewer {
  /** The organisations; empty: nobody's rows. `null`: every organisation's. */
  readonly orgs: readonly string[] | null;
}

/** Who sees the rows of every organisation. */
export const EVERYBODY: Viewer = { orgs: null };
/** Whoever has no organisation: sees nothing. */
export const NOBODY: Viewer = { orgs: [] };

/** People of the hub's own organisation in one of these roles see the rows of every organisation. */
export const ROLES_ACROSS: readonly Role[] = ["auditor", "admin"];

/**
 * Whose rows a person is shown. `org`: the person's organisation, as their token proves it; `null`: it proves none. `hub`: the organisation whose hub this is;
 * `null`: it is not known, so nobody belongs to it.
 */
export function viewerOf({
  org,
  roles,
  hub,
}: {
  readonly org: string | null;
  readonly roles: readonly string[];
  readonly hub: HubOrg;
}): Viewer {
  if (org === null || !isName(org)) return NOBODY;
  if (org === hub && ROLES_ACROSS.some((role) => roles.includes(role))) return EVERYBODY;
  return { orgs: [org] };
}

/** Whether somebody is shown what belongs to an organisation. `null`: it is not known whose it is. */
export const maySee = ({ orgs }: Viewer, org: string | null | undefined): boolean =>
  orgs === null || (typeof org === "string" && isName(org) && orgs.includes(org));

/** The organisation that what an origin wrote, or what names its organisation, belongs to. */
export const ownerOf = (of: OriginId | { readonly org: string }): string => (typeof of === "string" ? orgOf(of) : of.org);

/** The organisation that a site's or a replica's id names, which is `org.site` or `org.site.device`; `null`: the entity's id names none. */
function orgNamedBy({ type, id }: EntityRef): string | null {
  if (type !== SITE_ENTITY && type !== REPLICA_ENTITY) return null;
  const org = id.slice(0, Math.max(0, id.indexOf(".")));
  return isName(org) ? org : null;
}

/**
 * The organisation that an entity belongs to. `events`: its admitted events, all or at least the first one by position, in any order. `null`: there are none.
 * This is the definition; whoever keeps the owner in a column keeps what this says.
 */
export function ownerOfEntity(
  entity: EntityRef,
  events: Iterable<{ readonly origin: OriginId; readonly position: Position }>,
): string | null {
  let first: { readonly origin: OriginId; readonly position: Position } | null = null;
  for (const event of events) if (first === null || event.position < first.position) first = event;
  return first === null ? null : (orgNamedBy(entity) ?? orgOf(first.origin));
}
