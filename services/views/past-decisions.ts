/**
 * Decisions that a new build replaces are kept as superseded, as versions of rows are. All of it is done while the shards are held, which is short enough: with so many decisions
 * in each build, on two busy cores, 5,000 take 0.2 s, 60,000 take 1.3 s and 100,000 take 2.7 s when one in a hundred differs, and 5,000 take 0.7 s and 60,000 take 10 s when
 * all differ. 60,000 entities have a few thousand decisions, as only contested registers have any.
 */
import type { Db } from "./connect.ts";
import { isKnownNow, NEVER } from "./names.ts";
import { furthestOf, least, type Positions } from "./shards.ts";

/** A view, and the two builds between which decisions are carried over. */
export interface DecisionsMove {
  readonly view: string;
  readonly from: number;
  readonly to: number;
}

/** The condition that two decisions are on the same register and say the same. What ended them later does not matter. */
export const saysTheSame = (a: string, b: string): string =>
  `${a}.view = ${b}.view AND ${a}.entity_id = ${b}.entity_id AND ${a}.register = ${b}.register AND ${a}.position = ${b}.position AND ${a}.rule = ${b}.rule
   AND ${a}.rule_version = ${b}.rule_version AND ${a}.reason = ${b}.reason AND ${a}.value::text IS NOT DISTINCT FROM ${b}.value::text
   AND ${a}.winner::text = ${b}.winner::text AND ${a}.losers::text = ${b}.losers::text AND ${a}.is_open = ${b}.is_open`;

const COLUMNS = "entity_type, rule, rule_version, reason, winner, losers, settled_position, value, is_open, known_from";

/**
 * Marks decisions that only the new build has as known from the swap on, and adds those that only the old one has, as superseded at the swap. Where the log was set back, what
 * lay beyond is not carried over.
 */
export async function carryDecisions(db: Db, { view, from, to }: DecisionsMove, positions: Positions): Promise<void> {
  const end = furthestOf(positions);
  const swappedAt = least(positions) ?? end;
  if (end === null || swappedAt === null) return;
  const known = (alias: string, build: string): string =>
    `${alias}.view = $1 AND ${alias}.generation = ${build} AND ${isKnownNow(alias)}`;
  // The planner knows nothing of a build that was just written, takes it for one row and loops over all pairs: 29 s for 5,000 decisions, and four times that for twice as many.
  await db.query("SET LOCAL enable_nestloop = off");
  await db.query(
    `UPDATE tributary.decision_row n SET known_from = $4
     WHERE ${known("n", "$3")} AND n.position <= $4
       AND NOT EXISTS (SELECT FROM tributary.decision_row o WHERE ${known("o", "$2")} AND ${saysTheSame("o", "n")})`,
    [view, from, to, swappedAt],
  );
  await db.query(
    `UPDATE tributary.decision_row n SET known_from = o.known_from FROM tributary.decision_row o
     WHERE ${known("n", "$3")} AND ${known("o", "$2")} AND ${saysTheSame("o", "n")} AND o.known_from <= $4`,
    [view, from, to, end],
  );
  await db.query(
    `INSERT INTO tributary.decision_row (view, generation, entity_id, register, position, ${COLUMNS}, superseded_at)
     SELECT o.view, $3, o.entity_id, o.register, o.position, ${COLUMNS.split(", ")
       .map((name) => `o.${name}`)
       .join(", ")}, least(o.superseded_at, $4::bigint)
     FROM tributary.decision_row o
     WHERE o.view = $1 AND o.generation = $2 AND greatest(o.position, o.known_from) <= $5 AND (o.superseded_at < ${NEVER}
       OR NOT EXISTS (SELECT FROM tributary.decision_row n WHERE ${known("n", "$3")} AND ${saysTheSame("o", "n")}))
     ON CONFLICT DO NOTHING`,
    [view, from, to, swappedAt, end],
  );
  await db.query("SET LOCAL enable_nestloop TO DEFAULT");
}
