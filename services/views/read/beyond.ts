import type { EntityRef } from "../../core/index.ts";
import type { Db } from "../connect.ts";

/** An event that had been folded of a log that was set back since, and that has not come again. */
export interface BeyondEvent {
  /** The life of the log that it was folded in; `null`: none was kept. */
  readonly incarnation: string | null;
  readonly event: string;
  readonly position: string;
  readonly type: string;
}

/** Such events about an entity. */
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
