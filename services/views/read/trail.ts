import type { EntityRef, Position } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { incarnationOf } from "../incarnations.ts";
import { commonPosition } from "../places.ts";
import { type AuditRow, auditEvents } from "./audit-events.ts";
import { type BeyondEvent, beyondOf } from "./beyond.ts";
import { decisionsOn, type RecordedDecision } from "./decisions.ts";
import { type ParkedWhere, whereParked } from "./parked.ts";

/** All that is known of an entity. */
export interface Trail {
  /** The position up to which events and decisions are shown: all shards have reached it. `null`: some have not begun. */
  readonly through: Position | null;
  /** The life of the log that all positions here are of. */
  readonly incarnation: string | null;
  readonly events: readonly AuditRow[];
  readonly decisions: readonly RecordedDecision[];
  /** Views that the entity is parked in. */
  readonly parked: readonly ParkedWhere[];
  /** Events about it that had been folded of a log that was set back since, and that have not come again. */
  readonly beyond: readonly BeyondEvent[];
}

/**
 * All events of an entity in log order, and every decision on it, up to the position that all shards have reached; `null`: the audit has nothing of it up to there.
 * Where it is parked, and what a log that was set back had of it, is told as it is now: one shard alone knows it.
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
    decisions: await decisionsOn(db, entity.id, through),
    parked: await whereParked(db, entity),
    beyond,
  };
}
