import { createHash } from "node:crypto";

/** SQL of views' tables. Names come from checked declarations; quoting them is for names that SQL reserves. */
export const q = (name: string): string => `"${name}"`;
export const at = (place: string, table: string): string => `${q(place)}.${q(table)}`;

/** Where views stand that people read. */
export const LIVE = "views";

/** The schema that a build's tables stand in while it is not live. */
export const placeOf = (generation: number): string => `tributary_g${generation}`;

/** The driver keeps 63 bytes of a statement's name. */
export const statementName = (kind: string, place: string, view: string): string =>
  `${kind}:${createHash("sha256").update(`${place}.${view}`).digest("hex").slice(0, 32)}`;

/** Where a version stands that nothing has superseded. */
export const NEVER = 9_223_372_036_854_775_807n;

/** Of versions of rows: those that are known now. */
export const isKnownNow = (alias: string): string => `${alias}.superseded_at = ${NEVER}`;

/** Of versions of rows: those that were known at a position, as SQL has it. */
export const wasKnownAt = (alias: string, position: string): string =>
  `greatest(${alias}.position, ${alias}.known_from) <= ${position} AND ${alias}.superseded_at > ${position}`;
