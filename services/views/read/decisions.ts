import type { EntityRef, Position } from "../../core/index.ts";
import type { Author, Decision } from "../../merge/engine.ts";
import type { Db } from "../connect.ts";
import { commonPosition } from "../shard-positions.ts";
import { heldIn } from "./sql.ts";

/** What a rule decided about values that stood side by side, when an event made them so. */
export interface RecordedDecision {
  readonly view: string;
  readonly entity: string;
  readonly register: string;
  readonly position: string;
  readonly rule: string;
  readonly ruleVersion: number;
  readonly reason: Decision["reason"];
  /** What the row showed: the winner's value, unless the rule made one of several. */
  readonly value: unknown;
  readonly winner: { readonly value: unknown; readonly by: Author };
  readonly losers: readonly { readonly value: unknown; readonly by: Author }[];
  /** Whether a person was to decide. */
  readonly isOpen: boolean;
  /** The position of the event that changed the register again, and so ended the decision; `null`: the decision stands. The member has the column's name. */
  readonly settledPosition: string | null;
}

const MEMBERS = `view, entity_id AS entity, register, position, rule, rule_version AS "ruleVersion", reason, value, winner, losers,
    is_open AS "isOpen"`;

/** Decisions up to a position, $1, as they were known there: one that was ended beyond it still stands. */
const DECISIONS = `SELECT ${MEMBERS}, CASE WHEN settled_position <= $1 THEN settled_position END AS "settledPosition"
  FROM tributary.decision
  WHERE position <= $1`;

/** A decision that was replaced when its entity was folded again, or by a new build of its view. */
export interface SupersededDecision extends RecordedDecision {
  /** The positions from which on the decision was known, and from which on it was no longer known. */
  readonly knownFrom: string;
  readonly supersededAt: string;
}

/**
 * Leaves out decisions of an entity of another type with the same id. The event whose value won is about the entity itself; the one at the decision's position may be the
 * release of a quarantined event. `$3`: the type that is asked for.
 */
const ofType = (table: string): string =>
  `NOT EXISTS (SELECT FROM tributary.audit a
     WHERE a.origin = ${table}.winner -> 'by' ->> 'origin' AND a.seq = (${table}.winner -> 'by' ->> 'seq')::bigint AND ${heldIn("a", "entity_type")} <> $3)`;

/** All decisions on an entity up to a position, in log order. */
export async function decisionsOn(db: Db, { type, id }: EntityRef, upTo: Position | null): Promise<readonly RecordedDecision[]> {
  const { rows } = await db.query<RecordedDecision & Record<string, unknown>>(
    `${DECISIONS} AND entity_id = $2 AND ${ofType("tributary.decision")}
     ORDER BY position, register`,
    [upTo, id, type],
  );
  return rows;
}

/** The decisions on an entity that were replaced, in log order, as far as they were known up to a position. */
export async function decisionsSuperseded(
  db: Db,
  { type, id }: EntityRef,
  upTo: Position | null,
): Promise<readonly SupersededDecision[]> {
  const { rows } = await db.query<SupersededDecision & Record<string, unknown>>(
    `SELECT ${MEMBERS}, settled_position AS "settledPosition", known_from AS "knownFrom", superseded_at AS "supersededAt"
     FROM tributary.decision_superseded
     WHERE known_from <= $1 AND entity_id = $2 AND ${ofType("tributary.decision_superseded")}
     ORDER BY position, register, superseded_at`,
    [upTo, id, type],
  );
  return rows;
}

/** The decisions that stand at the position that all shards have reached, in the order of entities: one for each contested register of the live views. */
export async function decisionsStanding(db: Db): Promise<readonly RecordedDecision[]> {
  const { rows } = await db.query<RecordedDecision & Record<string, unknown>>(
    `${DECISIONS} AND (settled_position IS NULL OR settled_position > $1) ORDER BY entity_id, register`,
    [await commonPosition(db)],
  );
  return rows;
}
