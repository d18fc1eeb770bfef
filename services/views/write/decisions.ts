import type { Position } from "../../core/index.ts";
import type { Author, Sibling } from "../../merge/engine.ts";
import type { DecisionRow, EndedDecision, ViewBuild } from "../changes.ts";
import type { Db } from "../connect.ts";
import { copyText, line } from "../copy.ts";
import { isKnownNow } from "../names.ts";
import { saysTheSame } from "../past-decisions.ts";

/** Writes new decisions, and marks earlier ones that an event has ended. */
export async function writeDecisions(db: Db, ended: readonly EndedDecision[], decisions: readonly DecisionRow[]): Promise<void> {
  if (ended.length > 0) {
    await db.query(
      `UPDATE tributary.decision_row d SET settled_position = s.position
       FROM unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::bigint[]) AS s (view, generation, entity_id, register, position)
       WHERE d.view = s.view AND d.generation = s.generation AND d.entity_id = s.entity_id AND d.register = s.register
         AND d.settled_position IS NULL AND ${isKnownNow("d")}`,
      [
        ended.map((s) => s.view),
        ended.map((s) => s.generation),
        ended.map((s) => s.entityId),
        ended.map((s) => s.register),
        ended.map((s) => s.position),
      ],
    );
  }
  if (decisions.length > 0) await copyText(db, DECISION_COPY, decisions.map(decisionLine).join(""));
}

const DECISION_COPY =
  "COPY tributary.decision_row (view, generation, entity_type, entity_id, register, position, rule, rule_version, reason, value, winner, losers, is_open, settled_position) FROM STDIN";

const authored = ({ by, value }: Sibling): { value: unknown; by: Author } => ({ value, by });

const decisionLine = ({ view, generation, entityType, entityId, position, decision, endedAt }: DecisionRow): string =>
  line([
    view,
    generation,
    entityType,
    entityId,
    decision.register,
    position,
    decision.rule,
    decision.ruleVersion,
    decision.reason,
    JSON.stringify(decision.value),
    JSON.stringify(authored(decision.winner)),
    JSON.stringify(decision.losers.map(authored)),
    decision.isOpen ? "t" : "f",
    endedAt,
  ]);

/** An entity that is folded again, and the position from which on the result is known. */
interface Anew {
  readonly id: string;
  readonly from: Position;
}

const OF_ENTITY = "d.view = $1 AND d.generation = $2 AND d.entity_id = $3";
const paramsOf = ({ projection, generation }: ViewBuild, { id, from }: Anew): unknown[] => [
  projection.name,
  generation,
  id,
  from,
];

/** Deletes the decisions on an entity that are known now, in a build that nobody reads yet. Superseded ones stay: they were carried over from the live build. */
export async function dropDecisions(db: Db, { projection, generation }: ViewBuild, id: string): Promise<void> {
  await db.query(`DELETE FROM tributary.decision_row d WHERE ${OF_ENTITY} AND ${isKnownNow("d")}`, [
    projection.name,
    generation,
    id,
  ]);
}

/** Marks all decisions on an entity as superseded, before the decisions of its new fold are written. `keepSame` follows once they are. */
export async function supersedeDecisions(db: Db, build: ViewBuild, anew: Anew): Promise<void> {
  const params = paramsOf(build, anew);
  // Such a decision was never known at any position: what replaces it was folded at the same one.
  await db.query(`DELETE FROM tributary.decision_row d WHERE ${OF_ENTITY} AND ${isKnownNow("d")} AND d.known_from >= $4`, params);
  await db.query(`UPDATE tributary.decision_row d SET superseded_at = $4 WHERE ${OF_ENTITY} AND ${isKnownNow("d")}`, params);
}

/** Restores decisions that the new fold has given again, as if they had never been superseded; new ones are known from here on. */
export async function keepSame(db: Db, build: ViewBuild, anew: Anew): Promise<void> {
  const params = paramsOf(build, anew);
  const isSame = `n.generation = d.generation AND ${isKnownNow("n")} AND ${saysTheSame("n", "d")}`;
  await db.query(`UPDATE tributary.decision_row d SET known_from = $4 WHERE ${OF_ENTITY} AND ${isKnownNow("d")}`, params);
  await db.query(
    `UPDATE tributary.decision_row n SET known_from = d.known_from FROM tributary.decision_row d
     WHERE ${OF_ENTITY} AND d.superseded_at = $4 AND ${isSame}`,
    params,
  );
  await db.query(
    `DELETE FROM tributary.decision_row d USING tributary.decision_row n WHERE ${OF_ENTITY} AND d.superseded_at = $4 AND ${isSame}`,
    params,
  );
}
