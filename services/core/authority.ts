/**
 * Who may say what. The door asks before it takes an event, the projector and the auditor before they count one, and the desk before it writes one, so
 * all of them answer alike.
 *
 * A hub's people write from the site `hub` of the hub's own organisation. Another organisation's site of that name is a site like any other.
 * Which of those who may write a contested field may also decide it is said by the view (`authority` in its declaration).
 */
import { CASE_ENTITY } from "./case.ts";
import { deviceOf } from "./enrolled.ts";
import type { EntityRef } from "./event.ts";
import { type OriginId, type Position, partsOf } from "./ids.ts";
import { POLICY_ENTITY } from "./policy.ts";
import { QUARANTINE_ENTITY } from "./release.ts";
import { REPLICA_ENTITY } from "./replica.ts";
import { REGISTRY_DEVICE, SCHEMA_ENTITY } from "./schema-event.ts";

/** The site whose origins speak for a hub, in the hub's own organisation. */
export const HUB_SITE = "hub";

/** The entity that a site's registration is about: `site/<org>.<site>`. */
export const SITE_ENTITY = "site";

/**
 * The organisation whose hub a log belongs to. `null`: the log does not say, because no hub that declares it has written there yet. Then every site called `hub`
 * speaks for it, as it did when such logs were written.
 */
export type HubOrg = string | null;

/** Which organisation's hub a log says that it belongs to, and from which position on. */
export interface HubDeclaration {
  readonly org: string;
  readonly position: Position;
}

/** Whose hub a log belonged to at a position. `declared`: all declarations up to there, in log order. What came before the first one stays as it was. */
export const hubOrgAt = (declared: readonly HubDeclaration[], position: Position): HubOrg =>
  declared.findLast((each) => each.position < position)?.org ?? null;

/** Whether an origin speaks for the hub of an organisation: that is, whether it may release and reject quarantined events, note cases and register sites. */
export function speaksForHub(origin: OriginId, hub: HubOrg): boolean {
  const { org, site } = partsOf(origin);
  return site === HUB_SITE && (hub === null || org === hub);
}

/** Whether only a hub's own processes append to an origin, straight to the log. What comes to the door in its name is not theirs. */
export const isRegistryOrigin = (origin: OriginId, hub: HubOrg): boolean =>
  speaksForHub(origin, hub) && partsOf(origin).device === REGISTRY_DEVICE;

/** What only the hub's own people write, each in the words that follow "only the hub's operators may". */
const HUB_ONLY: ReadonlyMap<string, string> = new Map([
  [SITE_ENTITY, "register sites and give them roles"],
  [CASE_ENTITY, "note what is done about a case"],
  [QUARANTINE_ENTITY, "settle what is in quarantine"],
  [POLICY_ENTITY, "say what sites may hold"],
  [SCHEMA_ENTITY, "say which schemas there are"],
]);

/** Entity types that only events of the hub's own origins may be about, or whose names the types of such events begin with. */
export const HUB_ENTITIES: readonly string[] = [...HUB_ONLY.keys()];

/** Why an origin may not write an event; `code` as in the gate's problems. */
export interface Forbidden {
  readonly code: "type-not-allowed" | "entity-not-allowed";
  readonly message: string;
  readonly path: null;
}

/** Whose hub is asked, and the entity types that the origin may write, as whoever vouched for it said (`null`: all). */
export interface Grant {
  readonly hub: HubOrg;
  readonly types: readonly string[] | null;
}

/** Why an origin may not write an event; `null`: it may. */
export function forbidden(
  { type, origin, entity }: { readonly type: string; readonly origin: OriginId; readonly entity: EntityRef },
  { hub, types }: Grant,
): Forbidden | null {
  if (isOfReplica(type, entity)) return ofAnother(origin, entity);
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

/** Whether an event is about a replica, or its type says so. */
const isOfReplica = (type: string, entity: EntityRef): boolean =>
  entity.type === REPLICA_ENTITY || type.startsWith(`${REPLICA_ENTITY}.`);

/** Each device says of its own replica what it deleted, whatever else it may write about; nobody says it of another's, the hub's people neither. */
function ofAnother(origin: OriginId, { type, id }: EntityRef): Forbidden | null {
  const device = deviceOf(origin);
  if (type === REPLICA_ENTITY && id === device) return null;
  return {
    code: "entity-not-allowed",
    message: `a device speaks of its own replica only, which is ${REPLICA_ENTITY}/${device}; this is about ${type}/${id}`,
    path: null,
  };
}

/** Who has the say over a field, as views declare it: organisations, sites (`site` or `org.site`), people. */
export interface Who {
  readonly orgs?: readonly string[];
  readonly sites?: readonly string[];
  readonly actors?: readonly string[];
}

/** Whether an origin belongs to a site, which is named as views name it: `site`, or `org.site`. */
export function isAt(name: string, origin: OriginId): boolean {
  const { org, site } = partsOf(origin);
  return name === site || name === `${org}.${site}`;
}

/** Whether an author is one of these. */
export const isOneOf = (
  { orgs = [], sites = [], actors = [] }: Who,
  { origin, actor }: { readonly origin: OriginId; readonly actor: string },
): boolean => orgs.includes(partsOf(origin).org) || sites.some((name) => isAt(name, origin)) || actors.includes(actor);
