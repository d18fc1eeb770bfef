import type { Author, Decision } from "../../merge/engine.ts";
import type { Db } from "../connect.ts";

/** What a rule made of values that stood side by side, as an event made them so. */
export interface RecordedDecision {
  readonly view: string;
  readonly entity: string;
  readonly register: string;
  readonly position: string;
  readonly rule: string;
  readonly ruleVersion: number;
  readonly reason: Decision["reason"];
  /** What the row showed; the winner's, unless the rule made it of several. */
  readonly value: unknown;
  readonly winner: { readonly value: unknown; readonly by: Author };
  readonly losers: readonly { readonly value: unknown; readonly by: Author }[];
  /** A person was to decide. */
  readonly isOpen: boolean;
  /** The position of the event that changed it again; `null`: it stands. */
  readonly settledPosition: string | null;
}

const MEMBERS = `view, entity_id AS entity, register, position, rule, rule_version AS "ruleVersion", reason, value, winner, losers,
    is_open AS "isOpen", settled_position AS "settledPosition"`;
const DECISIONS = `SELECT ${MEMBERS} FROM tributary.decision`;

/** A decision that folding its entity anew, or a new build of its view, has replaced. */
export interface SupersededDecision extends RecordedDecision {
  /** The positions from which on it was known, and from which on it was no longer. */
  readonly knownFrom: string;
  readonly supersededAt: string;
}

/** All decisions on the entities of an id that are known now, in log order. */
export async function decisionsOn(db: Db, id: string): Promise<readonly RecordedDecision[]> {
  const { rows } = await db.query<RecordedDecision & Record<string, unknown>>(
    `${DECISIONS} WHERE entity_id = $1 ORDER BY position, register`,
    [id],
  );
  return rows;
}

/** Decisions on the entities of an id that were replaced, in log order. */
export async function decisionsSuperseded(db: Db, id: string): Promise<readonly SupersededDecision[]> {
  const { rows } = await db.query<SupersededDecision & Record<string, unknown>>(
    `SELECT ${MEMBERS}, known_from AS "knownFrom", superseded_at AS "supersededAt" FROM tributary.decision_superseded
     WHERE entity_id = $1 ORDER BY position, register, superseded_at`,
    [id],
  );
  return rows;
}

/** The decisions that stand: one for each contested register of the live views, by entity. */
export async function decisionsStanding(db: Db): Promise<readonly RecordedDecision[]> {
  const { rows } = await db.query<RecordedDecision & Record<string, unknown>>(
    `${DECISIONS} WHERE settled_position IS NULL ORDER BY entity_id, register`,
  );
  return rows;
}
