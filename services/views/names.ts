import { createHash } from "node:crypto";

/** A name in SQL. Names come from checked declarations; they are quoted since SQL may reserve them. */
export const q = (name: string): string => `"${name}"`;
/** A table in a schema, in SQL. */
export const at = (namespace: string, table: string): string => `${q(namespace)}.${q(table)}`;

/** The role that sees what belongs to the organisations that a transaction names, the role that sees all rows, and the role through which a team's own logins do: `owned.ts`. */
export const READER = "tributary_reader";
export const OVERSEER = "tributary_overseer";
export const ALL_ROWS = "tributary_all_rows";
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
