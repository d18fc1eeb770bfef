import type { Author, Sibling } from "../../merge/engine.ts";
import type { DecisionRow, SettledDecision } from "../changes.ts";
import type { Db } from "../connect.ts";
import { copyText, line } from "../copy.ts";

/** Writes what was decided, and settles what was decided before. */
export async function writeDecisions(
  db: Db,
  settled: readonly SettledDecision[],
  decisions: readonly DecisionRow[],
): Promise<void> {
  if (settled.length > 0) {
    await db.query(
      `UPDATE tributary.decision_row d SET settled_position = s.position
       FROM unnest($1::text[], $2::int[], $3::text[], $4::text[], $5::bigint[]) AS s (view, generation, entity_id, register, position)
       WHERE d.view = s.view AND d.generation = s.generation AND d.entity_id = s.entity_id AND d.register = s.register
         AND d.settled_position IS NULL`,
      [
        settled.map((s) => s.view),
        settled.map((s) => s.generation),
        settled.map((s) => s.entityId),
        settled.map((s) => s.register),
        settled.map((s) => s.position),
      ],
    );
  }
  if (decisions.length > 0) await copyText(db, DECISION_COPY, decisions.map(decisionLine).join(""));
}

const DECISION_COPY =
  "COPY tributary.decision_row (view, generation, entity_id, register, position, rule, rule_version, reason, value, winner, losers, is_open, settled_position) FROM STDIN";

const authored = ({ by, value }: Sibling): { value: unknown; by: Author } => ({ value, by });

const decisionLine = ({ view, generation, entityId, position, decision, settledPosition }: DecisionRow): string =>
  line([
    view,
    generation,
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
    settledPosition,
  ]);
