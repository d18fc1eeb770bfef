import type { EntityRef } from "../../core/index.ts";
import type { Db } from "../connect.ts";
import { incarnationOf } from "../incarnations.ts";
import { type AuditRow, auditEvents } from "./audit-events.ts";
import { type BeyondEvent, beyondOf } from "./beyond.ts";
import { type CaseRow, casesOf } from "./cases.ts";
import { decisionsOn, type RecordedDecision } from "./decisions.ts";
import { type ParkedWhere, whereParked } from "./parked.ts";

/** All that is known of an entity. */
export interface Trail {
  /** The life of the log that all positions here are of. */
  readonly incarnation: string | null;
  readonly events: readonly AuditRow[];
  readonly decisions: readonly RecordedDecision[];
  /** Views that the entity is parked in. */
  readonly parked: readonly ParkedWhere[];
  /** The cases that it is in, closed ones too. */
  readonly cases: readonly CaseRow[];
  /** Events about it that had been folded of a log that was set back since, and that have not come again. */
  readonly beyond: readonly BeyondEvent[];
}

/** All events of an entity in log order, and every decision on it; `null`: the audit has nothing of it. */
export async function trail(db: Db, entity: EntityRef): Promise<Trail | null> {
  const events = await auditEvents(db, entity);
  const beyond = await beyondOf(db, entity);
  if (events.length === 0 && beyond.length === 0) return null;
  return {
    incarnation: await incarnationOf(db),
    events,
    decisions: await decisionsOn(db, entity.id),
    parked: await whereParked(db, entity),
    cases: await casesOf(db, entity),
    beyond,
  };
}
