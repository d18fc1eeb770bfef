/**
 * Policies: which buckets a site, an organisation or another hub may hold. A policy is a file in `policies/`; setting it writes an event, so the log shows who might
 * see what, and when. What no policy gives, nobody gets.
 */
import { z } from "zod";
import type { Bucket, ScopeValue } from "./bucket.ts";
import { SCHEMA_ENTITY } from "./schema-event.ts";

/** The entity that a policy is: `policy/<name>`. */
export const POLICY_ENTITY = "policy";
/** Entity types of which everybody may hold all, whatever the policies say: without them nobody could read what else arrives. Their views have no scope. */
export const OPEN_ENTITIES: readonly string[] = [POLICY_ENTITY, SCHEMA_ENTITY];
/** Sets a policy, in place of the one of that name. */
export const POLICY_SET = "policy.set";
/** Takes a policy back. */
export const POLICY_REMOVED = "policy.removed";
/** Gives a site its roles, in place of those that it had. An event of the hub about the site, so no site gives itself any. */
export const SITE_ROLES_SET = "site.roles-set";

const ROLE = /^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$/;
export const MAX_ROLES = 100;
/** Whether sites can have a role of this name. */
export const isRole = (name: string): boolean => ROLE.test(name);
/** The roles of a site as they are kept, each once, by name. What cannot be read as roles is none. */
export const rolesIn = (kept: unknown): readonly string[] =>
  Array.isArray(kept) ? [...new Set(kept.filter((role) => typeof role === "string"))].sort() : [];

const name = z.string().regex(/^[a-z][a-z0-9-]{0,39}$/, "is a name of small letters, digits and -, at most 40");
const scopeValue = z.union([z.string().max(200), z.number(), z.boolean(), z.null()]);
/** One value or several, of which an entity must have one. */
const oneOf = z.union([scopeValue, z.array(scopeValue).min(1).max(1_000)]);

const entitySchema = z.strictObject({
  /** By scope column. A column that is not named may have any value. */
  where: z.record(z.string(), oneOf).default({}),
  /** Whether the holder gets these entities (`down`), hands them over to others (`up`), or both. */
  direction: z.enum(["up", "down", "both"]).default("both"),
  /** Lower numbers are sent first. */
  priority: z.int().min(0).max(9).default(5),
  /** Only the present state is sent, without the events that it was folded from. */
  statesOnly: z.boolean().default(false),
});

export const policySchema = z.strictObject({
  name,
  /** Whom it gives something. `everyone`: each site that the hub lets in, of whichever organisation. Sites are named `org.site`. */
  for: z.union([
    z.literal("everyone"),
    z.strictObject({
      sites: z.array(z.string().min(1)).max(1_000).default([]),
      orgs: z.array(z.string().min(1)).max(100).default([]),
      roles: z.array(z.string().min(1)).max(100).default([]),
      hubs: z.array(z.string().min(1)).max(100).default([]),
    }),
  ]),
  /** By entity type. */
  entities: z.record(z.string().min(1).max(200), entitySchema),
});

export type Policy = z.infer<typeof policySchema>;

/** Who asks: a site, with the roles that it was given, or another hub. */
export type Holder =
  | { readonly kind: "site"; readonly org: string; readonly site: string; readonly roles: readonly string[] }
  | { readonly kind: "hub"; readonly org: string };

/** A set of buckets of one entity type, as one policy gives it. */
export interface Grant {
  readonly policy: string;
  readonly entityType: string;
  readonly where: Readonly<Record<string, readonly ScopeValue[]>>;
  readonly direction: "up" | "down" | "both";
  readonly priority: number;
  readonly statesOnly: boolean;
}

function isFor({ for: whom }: Policy, holder: Holder): boolean {
  if (whom === "everyone") return holder.kind === "site";
  if (holder.kind === "hub") return whom.hubs.includes(holder.org);
  const { org, site, roles } = holder;
  return whom.orgs.includes(org) || whom.sites.includes(`${org}.${site}`) || whom.roles.some((role) => roles.includes(role));
}

/** What the policies give a holder, in the order in which it is sent. */
export function grantsOf(policies: readonly Policy[], holder: Holder): readonly Grant[] {
  const grants = policies
    .filter((policy) => isFor(policy, holder))
    .flatMap((policy) =>
      Object.entries(policy.entities).map(
        ([entityType, { where, ...rest }]): Grant => ({
          policy: policy.name,
          entityType,
          where: Object.fromEntries(
            Object.entries(where).map(([column, values]) => [column, Array.isArray(values) ? values : [values]]),
          ),
          ...rest,
        }),
      ),
    );
  return grants.sort((a, b) => a.priority - b.priority || (a.policy < b.policy ? -1 : 1));
}

/** Whether a grant covers a bucket, by the names of the bucket's values. A column that is not part of the scope covers nothing. */
export const coversBucket = (grant: Grant, bucket: Bucket): boolean =>
  grant.entityType === bucket.entityType &&
  Object.entries(grant.where).every(([column, allowed]) => {
    const at = bucket.columns?.indexOf(column) ?? -1;
    return at >= 0 && allowed.includes(bucket.values[at]!);
  });

/**
 * What is wrong with a policy for a hub's views, in words; empty: nothing. `scopes`: the scope columns of each entity type that has a view.
 */
export function policyProblems(policy: Policy, scopes: ReadonlyMap<string, readonly string[]>): string[] {
  return Object.entries(policy.entities).flatMap(([entityType, { where }]) => {
    const columns = scopes.get(entityType);
    if (columns === undefined) return [`no view shows entities of the type ${entityType}`];
    return Object.keys(where)
      .filter((column) => !columns.includes(column))
      .map((column) =>
        columns.length === 0
          ? `the view of ${entityType} has no scopeBy, so nothing can be chosen by ${column}`
          : `${column} is not a scope column of ${entityType}: these are ${columns.join(", ")}`,
      );
  });
}
