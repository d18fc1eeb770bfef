import type { EntityRef } from "../../core/index.ts";
import type { Db } from "../connect.ts";

/** An event that was folded before the log was set back, and that has not been sent again since. */
export interface BeyondEvent {
  /** The life of the log that the event was folded in; `null`: none was noted. */
  readonly incarnation: string | null;
  readonly event: string;
  readonly position: string;
  readonly type: string;
}

/** The events about an entity that were folded before the log was set back, and that have not been sent again since. */
export async function beyondOf(db: Db, { type, id }: EntityRef): Promise<readonly BeyondEvent[]> {
  const { rows } = await db.query<BeyondEvent & Record<string, unknown>>(
    `SELECT b.incarnation, b.origin || '/' || b.seq AS event, b.position::text, b.type
     FROM tributary.audit_beyond b
     WHERE b.entity_type = $1 AND b.entity_id = $2
       AND NOT EXISTS (SELECT FROM tributary.audit a WHERE a.origin = b.origin AND a.seq = b.seq AND a.hash = b.hash)
     ORDER BY b.position`,
    [type, id],
  );
  return rows;
}
