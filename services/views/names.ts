import { createHash } from "node:crypto";

/** A name in SQL. Names come from checked declarations; they are quoted since SQL may reserve them. */
export const q = (name: string): string => `"${name}"`;
/** A table in a schema, in SQL. */
export const at = (namespace: string, table: string): string => `${q(namespace)}.${q(table)}`;

/** The roles through which rows are shown to people: `owned.ts`. Roles belong to a server, so each database has its own; `roleSql` is such a role's name, as SQL. */
export const ROLES = ["reader", "overseer", "all_rows"] as const;
export type RoleKind = (typeof ROLES)[number];
export const roleSql = (kind: string): string =>
  `(SELECT 'tributary_' || ${kind} || '_' || CASE WHEN datname ~ '^[a-z_][a-z0-9_]{0,30}$' THEN datname::text ELSE oid::text END
    FROM pg_database WHERE datname = current_database())`;
/** The setting that names these organisations, with commas between them. */
export const ORGS = "tributary.orgs";

/** The schema of the views that people read. */
export const LIVE = "views";

/** The schema that a build's tables stand in while it is not live. */
export const namespaceOf = (generation: number): string => `tributary_g${generation}`;

/** The name of a prepared statement: hashed, since the driver keeps only 63 bytes of it. */
export const statementName = (kind: string, namespace: string, view: string): string =>
  `${kind}:${createHash("sha256").update(`${namespace}.${view}`).digest("hex").slice(0, 32)}`;

/** The `superseded_at` of a version that nothing has superseded. */
export const NEVER = 9_223_372_036_854_775_807n;

/** The condition that a version of a row is known now. */
export const isKnownNow = (alias: string): string => `${alias}.superseded_at = ${NEVER}`;

/** The condition that a version of a row was known at a position. `position`: the position, as SQL. */
export const wasKnownAt = (alias: string, position: string): string =>
  `greatest(${alias}.position, ${alias}.known_from) <= ${position} AND ${alias}.superseded_at > ${position}`;
