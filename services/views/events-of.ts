import type { EntityRef, OriginId, Position, Seq } from "../core/index.ts";
import type { Db } from "./connect.ts";
import { withoutNul } from "./copy.ts";

/** An event, by its name. */
export interface EventName {
  readonly origin: OriginId;
  readonly seq: Seq;
}

/** The events that may count for an entity up to a position, in log order: its own, those that stand with placeholders, and what releases events from quarantine. */
export async function eventNamesOf(db: Db, { type, id }: EntityRef, upTo: Position): Promise<EventName[]> {
  const { rows } = await db.query<{ origin: OriginId; seq: string }>(
    `SELECT a.origin, a.seq, a.position AS counted FROM tributary.audit a
       WHERE a.entity_type = $1 AND a.entity_id = $2 AND a.position <= $3 AND a.quarantine_code IS NULL
     UNION
     SELECT a.origin, a.seq, a.position FROM tributary.audit a
       WHERE a.held_otherwise IS NOT NULL AND a.held_otherwise ->> 'entity_id' = $2 AND a.position <= $3 AND a.quarantine_code IS NULL
         AND coalesce(a.held_otherwise ->> 'entity_type', a.entity_type) = $1
     UNION
     SELECT r.origin, r.seq, r.position FROM tributary.quarantine q JOIN tributary.audit r ON r.position = q.settled_position
       WHERE q.entity_type = $1 AND q.entity_id = $2 AND q.state = 'released' AND r.position <= $3
     ORDER BY counted`,
    [type, withoutNul(id), upTo],
  );
  return rows.map(({ origin, seq }) => ({ origin, seq: Number(seq) as Seq }));
}
