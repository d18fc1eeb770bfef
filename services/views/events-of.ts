import type { EntityRef, OriginId, Position, Seq } from "../core/index.ts";
import type { Db } from "./connect.ts";
import { withoutNul } from "./copy.ts";
import { COUNTED_AT, COUNTED_FROM, countedOf } from "./read/counts.ts";

/** An event, by its name. */
export interface EventName {
  readonly origin: OriginId;
  readonly seq: Seq;
}

/** The events that count for an entity up to a position, in log order: its own, and for each quarantined one the event that released it. */
export async function eventNamesOf(db: Db, { type, id }: EntityRef, upTo: Position): Promise<EventName[]> {
  const { rows } = await db.query<{ origin: OriginId; seq: string }>(
    `SELECT e.origin, e.seq
     FROM (SELECT ${COUNTED_AT} AS position ${COUNTED_FROM} AND ${countedOf("$3")}) counted
     JOIN tributary.audit e USING (position)
     ORDER BY position`,
    [type, withoutNul(id), upTo],
  );
  return rows.map(({ origin, seq }) => ({ origin, seq: Number(seq) as Seq }));
}
