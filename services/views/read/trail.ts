import type { EntityRef, Position } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { incarnationOf } from "../incarnations.ts";
import { commonPosition } from "../shard-positions.ts";
import { type AuditRow, auditEvents } from "./audit-events.ts";
import { type BeyondEvent, beyondOf } from "./beyond.ts";
import { type CaseRow, casesOf } from "./cases.ts";
import { decisionsOn, decisionsSuperseded, type RecordedDecision, type SupersededDecision } from "./decisions.ts";
import { type ParkedWhere, whereParked } from "./parked.ts";

/** All that is known of an entity. */
export interface Trail {
  /** The position up to which events and decisions are shown: all shards have reached it. `null`: some have not begun. */
  readonly through: Position | null;
  /** The life of the log that all positions here belong to. */
  readonly incarnation: string | null;
  readonly events: readonly AuditRow[];
  readonly decisions: readonly RecordedDecision[];
  /** Decisions that stood before its entity was folded again, or its view was built again, and gave others. */
  readonly superseded: readonly SupersededDecision[];
  /** The views that the entity is parked in. */
  readonly parked: readonly ParkedWhere[];
  /** The cases that it is in, closed ones too. */
  readonly cases: readonly CaseRow[];
  /** Events about the entity that were folded before the log was set back, and that have not been sent again since. */
  readonly beyond: readonly BeyondEvent[];
}

/**
 * All events of an entity in log order, and every decision on it, up to the position that all shards have reached; `null`: the audit has no event of it up to there.
 * Where the entity is parked, and what the log held of it before it was set back, is shown as it is now, since only one shard is concerned.
 */
export async function trail(db: Db, entity: EntityRef): Promise<Trail | null> {
  // Read first: what is committed meanwhile lies beyond it.
  const through = await commonPosition(db);
  const events = await auditEvents(db, entity, through);
  const beyond = await beyondOf(db, entity);
  if (events.length === 0 && beyond.length === 0) return null;
  return {
    through,
    incarnation: await incarnationOf(db),
    events,
    decisions: await decisionsOn(db, entity, through),
    superseded: await decisionsSuperseded(db, entity, through),
    parked: await whereParked(db, entity),
    cases: await casesOf(db, entity),
    beyond,
  };
}
