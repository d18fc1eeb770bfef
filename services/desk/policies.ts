import {
  grantsOf,
  type Holder,
  HUB_ENTITIES,
  POLICY_ENTITY,
  POLICY_REMOVED,
  POLICY_SET,
  type Policy,
  type PolicyGrant,
  policyProblems,
  policySchema,
  TributaryError,
} from "../core/index.ts";
import { scopedViews, scopesOf, type View } from "../merge/engine.ts";
import { type PolicyRow, policyRows, type ScopeSize, scopeSize } from "../views/index.ts";
import { type By, type Desk, noted } from "./desk.ts";

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
}

/** Reads a policy as it was written. Throws `usage`, naming each member that is wrong. */
export function readPolicy(given: unknown): Policy {
  const read = policySchema.safeParse(given);
  if (read.success) return read.data;
  const problems = read.error.issues.map(
    ({ path, message }) => `${path.length === 0 ? "the policy" : path.join(".")} ${message}`,
  );
  throw new TributaryError(
    "usage",
    `this is not a policy: ${problems.join("; ")}`,
    "See docs/exchange.md for what a policy says.",
  );
}

/** The policies that hold, by name. One that cannot be read is left out: what no policy gives, nobody gets. */
export async function policies({ db }: Pick<Desk, "db">): Promise<readonly KnownPolicy[]> {
  return (await policyRows(db)).flatMap(known);
}

function known({ setBy, setAt, name, for: holders, entities }: PolicyRow): KnownPolicy[] {
  const read = policySchema.safeParse({ name, for: holders, entities });
  return read.success ? [{ policy: read.data, setBy, setAt }] : [];
}

/** Sets a policy in place of the one of its name, by an event of the hub. Throws `usage` where the hub's views cannot tell entities apart as the policy does. */
export async function setPolicy(
  { projections, write }: Pick<Desk, "projections" | "write">,
  given: unknown,
  { actor }: By,
): Promise<Policy> {
  const policy = readPolicy(given);
  mustFit(policy, projections);
  const { name, for: holders, entities } = policy;
  await write([{ type: POLICY_SET, entity: { type: POLICY_ENTITY, id: name }, data: { for: holders, entities }, actor }]);
  return policy;
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
  await desk.write([{ type: POLICY_REMOVED, entity: { type: POLICY_ENTITY, id: name }, data: noted(note), actor }]);
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
  { db, projections }: Pick<Desk, "db" | "projections">,
  holder: Holder,
  instead: readonly Policy[] = [],
): Promise<Preview> {
  for (const policy of instead) mustFit(policy, projections);
  const names = new Set(instead.map(({ name }) => name));
  const standing = (await policies({ db })).map(({ policy }) => policy).filter(({ name }) => !names.has(name));
  const given = grantsOf([...standing, ...instead], holder);
  const homes = scopedViews(projections);
  const grants: GrantSize[] = [];
  for (const grant of given) {
    const view = homes.get(grant.entityType);
    if (view === undefined) continue;
    grants.push({ grant, ...(await scopeSize(db, { view: view.name, entityType: grant.entityType, where: grant.where })) });
  }
  const types = new Set(given.map(({ entityType }) => entityType));
  return { grants, withheld: [...homes.keys()].filter((type) => !types.has(type) && !HUB_ENTITIES.includes(type)).sort() };
}
