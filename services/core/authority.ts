/**
 * Who may say what. Asked by the door before it takes an event, by projector and auditor before they count one, and by the desk before it writes one, so
 * that all of them answer alike.
 *
 * A hub's people write from the site `hub` of the hub's own organisation. A site of that name of another organisation is a site like any other.
 * Who may decide a contested field among those that may write it is said by the view (`authority` in its declaration).
 */
import { CASE_ENTITY } from "./case.ts";
import type { EntityRef } from "./event.ts";
import { type OriginId, type Position, partsOf } from "./ids.ts";
import { QUARANTINE_ENTITY } from "./release.ts";

/** The site whose origins speak for a hub, in the hub's own organisation. */
export const HUB_SITE = "hub";

/** The entity that a site's registration is about: `site/<org>.<site>`. */
export const SITE_ENTITY = "site";

/**
 * The organisation whose hub a log is of. `null`: the log does not say, because no hub that declares it has written there yet. Then every site called `hub`
 * speaks for it, as it did when such logs were written.
 */
export type HubOrg = string | null;

/** Which organisation's hub a log says that it is of, and from where on. */
export interface HubDeclaration {
  readonly org: string;
  readonly position: Position;
}

/** Whose hub a log was of when it came to a position. `declared`: all declarations up to there, in log order. What came before the first stays as it was. */
export const hubOrgAt = (declared: readonly HubDeclaration[], position: Position): HubOrg =>
  declared.findLast((each) => each.position < position)?.org ?? null;

/** Whether an origin speaks for the hub of an organisation: releases and rejects what is in quarantine, notes cases, registers sites. */
export function speaksForHub(origin: OriginId, hub: HubOrg): boolean {
  const { org, site } = partsOf(origin);
  return site === HUB_SITE && (hub === null || org === hub);
}

/** What the hub's own people alone write, each in the words that follow "only the hub's operators may". */
const HUB_ONLY: ReadonlyMap<string, string> = new Map([
  [SITE_ENTITY, "register sites"],
  [CASE_ENTITY, "note what is done about a case"],
  [QUARANTINE_ENTITY, "settle what is in quarantine"],
]);

/** Entity types that events of the hub's own origins alone are about, or whose names the events' types begin with. */
export const HUB_ENTITIES: readonly string[] = [...HUB_ONLY.keys()];

/** Why an origin may not write an event; `code` as in the gate's problems. */
export interface Forbidden {
  readonly code: "type-not-allowed" | "entity-not-allowed";
  readonly message: string;
  readonly path: null;
}

/** Whose hub is asked, and the entity types that whoever vouched for the origin lets it write (`null`: all). */
export interface Grant {
  readonly hub: HubOrg;
  readonly types: readonly string[] | null;
}

/** Why an origin may not write an event; `null`: it may. */
export function forbidden(
  { type, origin, entity }: { readonly type: string; readonly origin: OriginId; readonly entity: EntityRef },
  { hub, types }: Grant,
): Forbidden | null {
  if (speaksForHub(origin, hub)) return null;
  const { org, site } = partsOf(origin);
  const what = HUB_ONLY.get(entity.type) ?? HUB_ONLY.get(type.slice(0, type.indexOf(".")));
  if (what !== undefined) return { code: "type-not-allowed", message: `only the hub's operators may ${what}`, path: null };
  if (types === null || types.includes(entity.type)) return null;
  const allowed = types.length === 0 ? "nothing" : `${types.join(", ")} only`;
  return {
    code: "entity-not-allowed",
    message: `${org}.${site} was let in to write about ${allowed}; this is about a ${entity.type}`,
    path: null,
  };
}

/** Who has the say over a field, as views declare it: organisations, sites (`site` or `org.site`), people. */
export interface Who {
  readonly orgs?: readonly string[];
  readonly sites?: readonly string[];
  readonly actors?: readonly string[];
}

/** Whether an origin is of a site, named as views do: `site`, or `org.site`. */
export function isAt(name: string, origin: OriginId): boolean {
  const { org, site } = partsOf(origin);
  return name === site || name === `${org}.${site}`;
}

/** Whether an author is one of these. */
export const isOneOf = (
  { orgs = [], sites = [], actors = [] }: Who,
  { origin, actor }: { readonly origin: OriginId; readonly actor: string },
): boolean => orgs.includes(partsOf(origin).org) || sites.some((name) => isAt(name, origin)) || actors.includes(actor);
