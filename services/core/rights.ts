/**
 * What a person may ask of a hub, and which roles may ask it. In come the roles that somebody's token proves and the team's matrix; out come rights. A role or
 * a right that has no line here gives nothing. Whose rows a person is shown is another question: `whose.ts`.
 */
import { z } from "zod";
import type { HubOrg } from "./authority.ts";
import { TributaryError } from "./errors.ts";

/**
 * All rights, each with what it allows in one sentence. A right has the word of a site token's scope where both mean the same: `events:append`,
 * `schemas:read`, `schemas:write`. The scope `keys:enrol` is no person's: only the hub's own console has it, for some minutes.
 */
const WORDS = {
  "views:read": "Read the rows of the views, now and as they were.",
  "history:read": "Read the versions that a row had, and the events that made them.",
  "decisions:read": "Read which value of a conflict is shown, by which rule and against whom.",
  "cases:read": "Read conflicts and broken invariants that wait for a person.",
  "cases:decide": "Decide a case, or accept it as it is.",
  "cases:assign": "Give a case to a person, and take it back.",
  "quarantine:read": "Read events that the gate did not admit, and why.",
  "quarantine:settle": "Release or reject quarantined events.",
  "parked:read": "Read which entities a view could not fold further, and why.",
  "schemas:read": "Read the schemas and their versions.",
  "schemas:write": "Register schemas, compare them, and set how they may change.",
  "sites:read": "Read which sites and devices there are, and when they last spoke.",
  "sites:enrol": "Register sites, and issue the tokens and codes that enrol their devices.",
  "sites:revoke": "Revoke sites, devices and site tokens.",
  "policies:read": "Read which site may hold what.",
  "policies:write": "Say which site may hold what.",
  "status:read": "Read how far sites, views and the log have come.",
  "audit:read": "Read the audit trail, reconstruct any moment, and verify what is stored.",
  "events:append": "Append events.",
  "replicas:read": "Read which device holds what, and what it has deleted.",
  "queries:free": "Ask free queries, not only those that the hub has on its list.",
  "people:revoke": "Revoke people's tokens.",
} as const;

export type Right = keyof typeof WORDS;

export const isRight = (name: string): name is Right => Object.hasOwn(WORDS, name);

export const RIGHTS: readonly Right[] = Object.keys(WORDS).filter(isRight);
/** What a right allows, as a sentence. */
export const rightWords = (right: Right): string => WORDS[right];

const READS: readonly Right[] = RIGHTS.filter((right) => right.endsWith(":read"));

/** The rights of each role, as long as the team says nothing else. */
const MATRIX = {
  field: ["views:read", "schemas:read", "events:append"],
  coordinator: [
    "views:read",
    "history:read",
    "decisions:read",
    "cases:read",
    "cases:decide",
    "cases:assign",
    "quarantine:read",
    "quarantine:settle",
    "parked:read",
    "schemas:read",
    "sites:read",
    "sites:enrol",
    "sites:revoke",
    "policies:read",
    "status:read",
    "replicas:read",
    "events:append",
  ],
  resolver: [
    "views:read",
    "history:read",
    "decisions:read",
    "cases:read",
    "cases:decide",
    "cases:assign",
    "quarantine:read",
    "quarantine:settle",
    "parked:read",
    "schemas:read",
    "status:read",
  ],
  auditor: [...READS, "queries:free"],
  "schema-owner": [
    "views:read",
    "quarantine:read",
    "parked:read",
    "schemas:read",
    "schemas:write",
    "status:read",
    "queries:free",
  ],
  admin: RIGHTS,
} as const satisfies Record<string, readonly Right[]>;

/** What a person is to a hub, as a token proves it. A site's roles are other words: a team chooses them, and policies give them buckets. */
export type Role = keyof typeof MATRIX;
export const isPersonRole = (name: string): name is Role => Object.hasOwn(MATRIX, name);
export const ROLES: readonly Role[] = Object.keys(MATRIX).filter(isPersonRole);

/** The rights of each role. */
export type Matrix = Readonly<Record<Role, readonly Right[]>>;
/** The matrix of a hub whose team has said nothing else. */
export const DEFAULT_MATRIX: Matrix = MATRIX;

const known = <Name extends string>(what: string, names: readonly Name[], is: (name: string) => name is Name) =>
  z.string().refine(is, {
    error: ({ input }) => `${JSON.stringify(input)} is not a ${what}: ${what}s are ${names.join(", ")}`,
  });

/** What a team writes of the matrix: by role, the rights that it has instead of those by default. A role that is not named keeps these. */
export const matrixSchema = z.partialRecord(
  known("role", ROLES, isPersonRole),
  z.array(known("right", RIGHTS, isRight)).max(RIGHTS.length),
);

/**
 * The matrix that a team's file makes of the default one. `given`: parsed JSON, `{ "resolver": ["views:read", …], … }`; nothing: the default.
 * Throws `input-malformed`, which names each role and right that there is not.
 */
export function matrixOf(given: unknown = {}): Matrix {
  const parsed = matrixSchema.safeParse(given);
  if (parsed.success) return { ...DEFAULT_MATRIX, ...parsed.data };
  const problems = parsed.error.issues.map(problemOf).join("; ");
  throw new TributaryError(
    "input-malformed",
    `the matrix of roles cannot be read: ${problems}`,
    "`tributary role list` shows all roles and rights.",
  );
}

/** An issue of zod in words. What is wrong with a key stands inside the issue about its record. */
function problemOf(issue: z.core.$ZodIssue): string {
  const words = issue.code === "invalid_key" ? issue.issues.map(({ message }) => message).join("; ") : issue.message;
  const [role] = issue.path;
  return issue.code === "invalid_key" || role === undefined ? words : `${String(role)}: ${words}`;
}

/** The rights of somebody who has these roles, in the order of `RIGHTS`, each once. Names that are not roles give nothing. */
export function rightsOf(roles: readonly string[], matrix: Matrix): readonly Right[] {
  const given = new Set(roles.filter(isPersonRole).flatMap((role) => matrix[role]));
  return RIGHTS.filter((right) => given.has(right));
}

/** What concerns all organisations of a hub alike, so that only people of the hub's own organisation have it, whatever their role. */
export const HUB_RIGHTS: readonly Right[] = ["schemas:write", "policies:write"];

/** The rights of a person at a hub. `org`: the person's organisation; `hub`: the organisation whose hub it is (`null`: not known, so nobody belongs to it). */
export const rightsAt = (
  { org, roles, hub }: { readonly org: string; readonly roles: readonly string[]; readonly hub: HubOrg },
  matrix: Matrix,
): readonly Right[] => rightsOf(roles, matrix).filter((right) => org === hub || !HUB_RIGHTS.includes(right));

/** The roles that have a right, in the order of `ROLES`. */
export const rolesWith = (right: Right, matrix: Matrix): readonly Role[] => ROLES.filter((role) => matrix[role].includes(right));
