import type { z } from "zod";
import {
  grantsOf,
  type Holder,
  HUB_ENTITIES,
  isRole,
  POLICY_ENTITY,
  POLICY_REMOVED,
  POLICY_SET,
  type Policy,
  type PolicyGrant,
  policyProblems,
  policySchema,
  TributaryError,
} from "../core/index.ts";
import type { NewEvent } from "../field/index.ts";
import { scopedViews, scopesOf, type View } from "../merge/engine.ts";
import { lastSeen, type PolicyRow, policyIn, policyRows, type ScopeSize, scopeSize, siteRoles } from "../views/index.ts";
import { type By, type Desk, noted } from "./desk.ts";
import { writeAccepted } from "./quarantine.ts";

/** A policy that holds, with who set it and when. */
export interface KnownPolicy {
  readonly policy: Policy;
  readonly setBy: string;
  /** ISO 8601. */
  readonly setAt: string;
}

/** A grant with what it amounts to now. */
export interface GrantSize extends ScopeSize {
  readonly grant: PolicyGrant;
}

/** What a holder would be given. */
export interface Preview {
  readonly grants: readonly GrantSize[];
  /** The entity types that no policy gives. */
  readonly withheld: readonly string[];
  /** Policies that hold and no longer fit the hub's views: what they name covers nothing. */
  readonly unfit: readonly { readonly policy: string; readonly problem: string }[];
}

/** Reads a policy as it was written. Throws `usage`, naming each member that is wrong. */
export function readPolicy(given: unknown): Policy {
  const read = policySchema.safeParse(given);
  const problems = read.success ? wrongRoles(read.data) : wrongMembers(read.error);
  if (read.success && problems.length === 0) return read.data;
  throw new TributaryError("usage", `this is not a policy: ${problems.join("; ")}`, "`tributary policy set --help` shows one.");
}

const wrongMembers = ({ issues }: z.ZodError): string[] =>
  issues.map(({ path, message }) => `${path.length === 0 ? "the policy" : path.join(".")} ${message}`);

/** No site can have a role of another form, so a policy that names one would silently give nothing. */
const wrongRoles = ({ for: whom }: Policy): string[] =>
  whom === "everyone"
    ? []
    : whom.roles.filter((role) => !isRole(role)).map((role) => `for.roles names ${JSON.stringify(role)}, which is no role`);

/** What a policy names and the hub does not have: sites that were never registered, and roles that no site has. */
export interface Absent {
  readonly sites: readonly string[];
  readonly roles: readonly string[];
}

/** Names of a policy that nobody bears: they may be misspelled, or come later. */
export async function absentHolders({ db }: Pick<Desk, "db">, { for: whom }: Policy): Promise<Absent> {
  if (whom === "everyone") return { sites: [], roles: [] };
  const known = await siteRoles(db);
  const roles = new Set([...known.values()].flat());
  return { sites: whom.sites.filter((site) => !known.has(site)), roles: whom.roles.filter((role) => !roles.has(role)) };
}

/** The policies that hold, by name. One that cannot be read is left out: what no policy gives, nobody gets. */
export async function policies({ db }: Pick<Desk, "db">): Promise<readonly KnownPolicy[]> {
  return (await policyRows(db)).flatMap(known);
}

function known(row: PolicyRow): KnownPolicy[] {
  const policy = policyIn(row);
  return policy === null ? [] : [{ policy, setBy: row.setBy, setAt: row.setAt }];
}

/**
 * Sets a policy in place of the one of its name, by an event of the hub. Sites that are named without their organisation are of the hub's own. Throws `usage` where the hub's views cannot tell
 * entities apart as the policy does, `event-invalid` where the hub does not admit the event.
 */
export async function setPolicy(
  desk: Pick<Desk, "db" | "org" | "projections" | "write">,
  given: unknown,
  { actor }: By,
): Promise<Policy> {
  const policy = ownSites(readPolicy(given), desk.org);
  mustFit(policy, desk.projections);
  const { name, for: holders, entities } = policy;
  await write(desk, { type: POLICY_SET, entity: { type: POLICY_ENTITY, id: name }, data: { for: holders, entities }, actor });
  return policy;
}

/** A bare name of a site could be any organisation's: what is kept says which. */
function ownSites(policy: Policy, org: string): Policy {
  if (policy.for === "everyone") return policy;
  const sites = policy.for.sites.map((site) => (site.includes(".") ? site : `${org}.${site}`));
  return { ...policy, for: { ...policy.for, sites } };
}

/** Writes an event about a policy, by somebody who has seen all that the hub has of it. */
async function write(desk: Pick<Desk, "db" | "write">, event: NewEvent): Promise<void> {
  await writeAccepted(desk, [event], "the policy", [{ entity: event.entity, seen: await lastSeen(desk.db, event.entity) }]);
}

function mustFit(policy: Policy, views: readonly View[]): void {
  const problems = policyProblems(policy, scopesOf(views));
  if (problems.length === 0) return;
  throw new TributaryError(
    "usage",
    `policy ${policy.name} does not fit the hub's views: ${problems.join("; ")}`,
    "Name the columns in scopeBy of the view in projections/, or take them out of the policy.",
  );
}

/** Takes a policy back, by an event of the hub. Throws `not-found` where there is none of that name. */
export async function removePolicy(desk: Pick<Desk, "db" | "write">, name: string, { actor, note }: By): Promise<void> {
  const all = await policies(desk);
  if (!all.some(({ policy }) => policy.name === name))
    throw new TributaryError("not-found", `there is no policy ${name}`, namesIn(all));
  await write(desk, { type: POLICY_REMOVED, entity: { type: POLICY_ENTITY, id: name }, data: noted(note), actor });
}

const namesIn = (all: readonly KnownPolicy[]): string =>
  all.length === 0
    ? "There is none yet: set one with `tributary policy set FILE`."
    : `There are: ${all.map(({ policy }) => policy.name).join(", ")}.`;

/** One policy, by its name. Throws `not-found`. */
export async function policyNamed(desk: Pick<Desk, "db">, name: string): Promise<KnownPolicy> {
  const all = await policies(desk);
  const found = all.find(({ policy }) => policy.name === name);
  if (found === undefined) throw new TributaryError("not-found", `there is no policy ${name}`, namesIn(all));
  return found;
}

/**
 * What a holder is given now: each grant with its entities, events and bytes. `instead`: as if these policies held too, each in place of the one of its name.
 */
export async function previewPolicies(
  { db, org, projections }: Pick<Desk, "db" | "org" | "projections">,
  holder: Holder,
  instead: readonly Policy[] = [],
): Promise<Preview> {
  for (const policy of instead) mustFit(policy, projections);
  const names = new Set(instead.map(({ name }) => name));
  const standing = (await policies({ db })).map(({ policy }) => policy).filter(({ name }) => !names.has(name));
  const homes = scopedViews(projections);
  const scopes = scopesOf(projections);
  const unfit = standing.flatMap((policy) => policyProblems(policy, scopes).map((problem) => ({ policy: policy.name, problem })));
  const own = instead.map((policy) => ownSites(policy, org));
  const given = grantsOf([...standing, ...own], holder).filter(({ entityType, where }) =>
    Object.keys(where).every((column) => scopes.get(entityType)?.includes(column)),
  );
  const grants: GrantSize[] = [];
  for (const grant of given) {
    const view = homes.get(grant.entityType);
    if (view === undefined) continue;
    grants.push({ grant, ...(await scopeSize(db, { view: view.name, entityType: grant.entityType, where: grant.where })) });
  }
  const types = new Set(given.map(({ entityType }) => entityType));
  return { grants, withheld: [...homes.keys()].filter((type) => !types.has(type) && !HUB_ENTITIES.includes(type)).sort(), unfit };
}
